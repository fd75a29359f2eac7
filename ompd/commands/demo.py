"""The command that shows the whole protocol on real records."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ompd.commands.console import BuiltIn, Profile, plain_errors

if TYPE_CHECKING:
    from ompd.commands.demo_results import DemoResult


class Signatures(StrEnum):
    """Signature backends."""

    PYBLST = "pyblst"
    PY_ECC = "py_ecc"


def demo(
    dataset: Annotated[BuiltIn, typer.Option(help="Data set.")] = BuiltIn.WBC,
    profile: Annotated[
        Profile | None,
        typer.Option(help="What the table tells the cloud.", show_default="all, side by side"),
    ] = None,
    queries: Annotated[int, typer.Option(help="Held-out records, half of each class.")] = 200,
    k: Annotated[
        int | None,
        typer.Option("--k", help="Neighbours that vote, odd.", show_default="wbc 9, mm 11"),
    ] = None,
    signatures: Annotated[
        Signatures | None,
        typer.Option(
            help="Signature backend; py_ecc is portable and some 300 times slower.",
            show_default="the fastest installed",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Diagnose held-out records through user, hospital and cloud, and measure every stage.

    Without --profile, all side by side. `ompd audit` attacks them.
    """
    with plain_errors():
        from ompd.commands.demo_run import run_demo

        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        ) as bar:
            profiles = [profile.value] if profile else [each.value for each in Profile]
            results = []
            for name in profiles:
                task = bar.add_task(f"{name}: setting up", total=queries)

                def advance(done: int, task: TaskID = task, name: str = name) -> None:
                    bar.update(task, completed=done, description=f"{name}: diagnosing")

                results.append(
                    run_demo(
                        dataset.value,
                        profile=name,
                        queries=queries,
                        k=k,
                        signatures=signatures and signatures.value,
                        progress=advance,
                    )
                )
    if as_json:
        shown = {result.profile: result.as_dict() for result in results}
        typer.echo(json.dumps(shown[profile.value] if profile else shown))
    elif profile:
        _show(results[0])
    else:
        _compare(results)


def _show(result: DemoResult) -> None:
    console = Console(highlight=False)
    head = Table(show_header=False, box=None, pad_edge=False)
    head.add_column(style="bold")
    head.add_column()
    blind = result.profile == "blind"
    asked = "a model of weights of evidence" if blind else f"K = {result.k}"
    rows = [
        ("data set", f"{result.dataset}, {result.instances} instances, {asked}"),
        ("queries", f"{result.queries} held-out records"),
        ("accuracy, plain", f"{result.accuracy_plain:.1%}"),
        (f"accuracy, {result.profile}", f"{result.accuracy:.1%}"),
    ]
    agree = "as the plain model's, bit for bit" if result.distances_agree else "DIFFER"
    rows += (
        [
            ("labels agree", f"{result.label_agreement:.1%}"),
            ("probabilities", agree),
            ("values the hospital learns of a query", "nothing"),
        ]
        if blind
        else [
            (
                "labels agree",
                f"{result.label_agreement:.1%} ({result.tied_queries} tie at the K-th place)",
            ),
            (
                "K nearest",
                "as the plain oracle's" if result.distances_agree else "DIFFER from the oracle",
            ),
            ("certified by the hospital", f"{result.certified:.1%}"),
        ]
    )
    for name, value in (
        *rows,
        (
            "signatures",
            f"{result.signatures_made} made, {result.signatures_verified} verified "
            f"({result.signature_backend})",
        ),
        ("values the cloud learns", _learned(result)),
    ):
        head.add_row(name, value)
    console.print(head)

    what = {
        "setup": ("keys, weights, table", "table_upload"),
        "query": (
            "user encrypts cells under its own key, signs"
            if blind
            else "user signs and encrypts the features",
            "user_to_hospital",
        ),
        "job": (JOBS.get(result.profile, ""), "hospital_to_cloud"),
        "verdict": (ANSWERS.get(result.profile, ""), "cloud_to_hospital"),
        "report": (REPORTS.get(result.profile, ""), "hospital_to_user"),
        "score": ("hospital scores what it cannot see", "hospital_to_user"),
        "read": ("user opens the report", None),
    }
    stages = Table(title="Stages (setup once, the others median per query)", title_justify="left")
    stages.add_column("stage")
    stages.add_column("what happens")
    stages.add_column("ms", justify="right")
    stages.add_column("bytes sent", justify="right")
    for stage, milliseconds in result.stage_ms.items():
        doing, link = what[stage]
        size = f"{result.link_bytes[link]:,}" if link else ""
        stages.add_row(stage, doing, f"{milliseconds:.2f}", size)
    per_query = [ms for stage, ms in result.stage_ms.items() if stage != "setup"]
    sent = result.query_bytes
    stages.add_section()
    stages.add_row("", "one query, all stages", f"{sum(per_query):.2f}", f"{sent:,}")
    console.print(stages)


JOBS = {
    "paper": "hospital encodes and blinds",
    "hardened": "hospital encodes and blinds",
    "sealed": "hospital encodes and asks for buckets",
}
ANSWERS = {
    "paper": "cloud finds neighbours, votes",
    "hardened": "cloud finds neighbours, votes",
    "sealed": "cloud returns encrypted buckets",
}
REPORTS = {
    "paper": "hospital adds advice",
    "hardened": "hospital adds advice",
    "sealed": "hospital finds neighbours, adds advice",
}


def _learned(result: DemoResult) -> str:
    if result.profile == "blind":
        return "there is no cloud"
    if result.recovered is None:
        return "nothing"
    return f"{result.recovered:.0%} (a guess: {result.guessed:.0%})"


def _compare(results: list[DemoResult]) -> None:
    """One row per profile."""
    console = Console(highlight=False)
    first = results[-1]
    console.print(
        f"{first.dataset}: {first.instances} instances, K = {first.k}, {first.queries} held-out "
        "records, one after the other through all stages"
    )
    table = Table()
    table.add_column("profile")
    for heading in ("accuracy", "certified", "ms", "bytes"):
        table.add_column(heading, justify="right")
    table.add_column("values the cloud learns")
    for result in results:
        spent = sum(ms for stage, ms in result.stage_ms.items() if stage != "setup")
        sent = result.query_bytes
        table.add_row(
            result.profile,
            f"{result.accuracy:.1%}",
            f"{result.certified:.0%}",
            f"{spent:.1f}",
            f"{sent:,}",
            _learned(result),
        )
    console.print(table)
    wrong = [result.profile for result in results if not result.distances_agree]
    console.print(
        f"The K nearest DIFFER from a plain search's under: {', '.join(wrong)}."
        if wrong
        else "Under every profile the K nearest are those of a plain search over the same "
        "integers, up to exact ties; blind has no neighbours, and a plain model's probabilities."
    )
    console.print(
        "certified: the hospital itself knows that they are, and need not trust the cloud; blind "
        "has none. "
        "ms, bytes: one query, all stages. More: `ompd demo --profile NAME` shows the stages, "
        "`ompd audit` what an attacker gets."
    )

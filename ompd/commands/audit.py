"""The command that attacks the profiles."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ompd.commands.console import BuiltIn, cell, plain_errors
from ompd.errors import ParameterError

if TYPE_CHECKING:
    from ompd.audit import Result


class Panel(StrEnum):
    """What can be attacked, the least private first: what an attack can do shows there."""

    AGGREGATE = "aggregate"
    TEXT = "text"
    IMAGES = "images"
    PAPER = "paper"
    HARDENED = "hardened"
    SEALED = "sealed"
    BLIND = "blind"


def audit(
    dataset: Annotated[BuiltIn, typer.Option(help="Data set.")] = BuiltIn.WBC,
    profile: Annotated[
        list[Panel] | None,
        typer.Option(
            help="Profile to attack, the published aggregation, text or images; may be repeated.",
            show_default="all",
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="Own records as CSV, instead of a data set.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="Schema of --table, as JSON.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also write a picture; needs the extra 'audit'.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Fixes the split and the known rows; keys are always fresh.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Attack records and queries as a curious cloud could, and show what each profile leaks.

    Attacks get what the cloud receives, in medical text what a physician does, and side knowledge
    that their line names. Whatever they achieve is a lower bound: others may do better.
    """
    with plain_errors():
        from ompd import audit as attacks
        from ompd.datasets import load

        if (table is None) != (schema is None):
            raise ParameterError("table, schema: expected both or neither")
        data = load(dataset.value) if table is None else load(table, schema)
        profiles = [chosen.value for chosen in profile or Panel]
        if plot is not None:
            attacks.check_plot(plot)
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        ) as bar:
            task = bar.add_task("making tables", total=None)
            results = attacks.run_audit(
                data,
                profiles,
                seed=seed,
                progress=lambda attack: bar.update(task, description=attack),
            )
        if plot is not None:
            attacks.plot(results, f"What the cloud recovers from {data.info.title}", plot)
    if as_json:
        typer.echo(json.dumps(attacks.as_dict(results)))
    else:
        _show(results, data.info.title)


def _show(results: list[Result], title: str) -> None:
    console = Console(highlight=False)
    for name in dict.fromkeys(result.profile for result in results):
        whoever = "hospital or user" if name == "blind" else "the cloud"
        what = cell(f"{name}: what {whoever} recovers from {title}")
        if name == Panel.TEXT:
            what = f"{name}: what a physician recovers of an invented patient's notes"
        shown = Table(title=what, title_justify="left")
        shown.add_column("attack")
        shown.add_column("what is recovered, from what", ratio=1)
        for heading in ("recovered", "baseline", "ms"):
            shown.add_column(heading, justify="right", no_wrap=True)
        for result in results:
            if result.profile == name:
                shown.add_row(
                    result.attack.replace("_", " "),
                    cell(result.meaning),
                    f"{result.recovered:.1%}",
                    f"{result.baseline:.1%}",
                    f"{1e3 * result.seconds:,.1f}",
                )
        console.print(shown)
    console.print(
        "baseline: the best guess without ciphertext. A control is no part of its profile and must "
        "succeed."
    )

"""The commands about medical text."""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.console import plain_errors

if TYPE_CHECKING:
    from ompd.text import Correlation

text_app = typer.Typer(help="What medical notes assert, correlated while sealed.")

#: Where the demo's physician draws the line: between invented patients of both kinds.
_THRESHOLD = 0.45
_SHIFT = 9
_LAST = datetime.date(2024, 3, 1)


@text_app.callback()
def _group() -> None:
    """Keep `demo` a command of its own."""


@text_app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option(help="Picture of the correlation by lag, such as rho.png.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the invented patients.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures for machines.")] = False,
) -> None:
    """Correlate the notes of two invented patients with a template of a failing heart."""
    with plain_errors():
        found, milliseconds, sizes, sample = _run(seed)
        if out is not None:
            from ompd.text.picture import draw

            draw(found, _THRESHOLD, out)
        if as_json:
            patients = {
                name: {
                    "lags": each.lags.tolist(),
                    "rho": [round(float(rho), 4) for rho in each.rho],
                    "best_lag": each.best[0],
                    "fits": each.fits(_THRESHOLD),
                }
                for name, each in found.items()
            }
            typer.echo(json.dumps({"patients": patients, "ms": milliseconds, "bytes": sizes}))
            return
        console = Console(highlight=False)
        console.print(f"A note of the first patient:\n\n{sample}\n", markup=False)
        console.print(_table(found))
        for name, each in found.items():
            lag, rho = each.best
            verdict = f"fits from day {lag + 1} on" if each.fits(_THRESHOLD) else "does not fit"
            console.print(f"{name}: {verdict} (ρ = {rho:.2f}, threshold {_THRESHOLD})")
        for name, taken in milliseconds.items():
            size = f", sends {sizes[name]:,} bytes" if name in sizes else ""
            console.print(f"{name}: {taken:.1f} ms{size}", markup=False)


def _run(
    seed: int,
) -> tuple[dict[str, Correlation], dict[str, float], dict[str, int], str]:
    import numpy as np

    from ompd.text import (
        Course,
        PlainAnnotator,
        correlate,
        correlation_keys,
        load,
        open_reply,
        seal_course,
        seal_template,
    )
    from ompd.text.invented import notes, template

    rng = np.random.default_rng(seed)
    lexicon = load("cardiology")
    annotator = PlainAnnotator(lexicon)
    sought = template(lexicon)
    secret, public = correlation_keys()
    sample = ""
    found = {}
    milliseconds: dict[str, float] = {}
    sizes: dict[str, int] = {}

    def timed(name: str, task: Any) -> Any:
        start = time.perf_counter()
        made = task()
        # The last time counts: the first one compiles.
        milliseconds[name] = round((time.perf_counter() - start) * 1e3, 2)
        if hasattr(made, "to_bytes"):
            sizes[name] = len(made.to_bytes())
        return made

    for name, shift in (("failing heart", _SHIFT), ("no episode", None)):
        written = notes(rng, lexicon, last=_LAST, shift=shift)
        # A day late in the episode.
        sample = sample or str(written[-8].text)
        course = timed(
            "patient reads notes",
            lambda written=written: Course.from_notes(written, annotator, last=_LAST),
        )
        sealed = timed("patient seals", lambda course=course: seal_course(public, course))
        asking = timed("physician asks", lambda: seal_template(secret, sought))
        reply = timed(
            "cloud", lambda sealed=sealed, asking=asking: correlate(public, sealed, asking)
        )
        found[name] = timed(
            "physician reads", lambda reply=reply: open_reply(secret, sought, reply)
        )
    return found, milliseconds, sizes, sample


def _table(found: dict[str, Correlation]) -> Table:
    table = Table(title="ρ by lag in days")
    table.add_column("lag", justify="right")
    for name in found:
        table.add_column(name, justify="right")
    first = next(iter(found.values()))
    best = first.best[0]
    for place, lag in enumerate(first.lags.tolist()):
        if (lag - best) % 6 == 0:
            table.add_row(str(lag), *(f"{each.rho[place]:.2f}" for each in found.values()))
    return table

"""The command that diagnoses a file of any size."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.console import Method, cell, plain_errors

if TYPE_CHECKING:
    from ompd.bulk.score import Scored

#: Exit status after Ctrl-C, as shells have it.
_INTERRUPTED = 130


class Way(StrEnum):
    """What a table tells the cloud, or that there is none."""

    NONE = "none"
    SEALED = "sealed"
    HARDENED = "hardened"
    PAPER = "paper"


def score(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="People: CSV, ARFF, Parquet or Arrow.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Diagnoses: a new .csv or .parquet file.")
    ],
    records: Annotated[
        str, typer.Option(help="Records to learn from: a file, or wbc or mm.", metavar="TABLE")
    ],
    schema: Annotated[
        Path | None,
        typer.Option(
            help="Schema of both files, from `ompd schema`.",
            metavar="FILE",
            show_default="that of wbc or mm",
        ),
    ] = None,
    profile: Annotated[
        Way,
        typer.Option(help="What the table tells the cloud; none: no parties, a plain classifier."),
    ] = Way.NONE,
    method: Annotated[
        Method, typer.Option(help="How features become vectors; evidence needs ompd\\[sklearn].")
    ] = Method.RELIEF_MW,
    k: Annotated[
        int | None,
        typer.Option("--k", help="Neighbours that vote, odd.", show_default="chosen"),
    ] = None,
    id: Annotated[
        str | None,
        typer.Option("--id", help="Column of ids.", metavar="COL", show_default="the schema's"),
    ] = None,
) -> None:
    """Diagnose all people of a file, piece by piece: memory does not grow with the file.

    What is done is kept in OUT.partial. Interrupted, killed or out of disk, the same command goes
    on there. A row that cannot be diagnosed has the reason in
    OUT's column `error`.

    Example: `ompd schema old.csv --out form.toml`, look at form.toml, then
    `ompd score new.csv found.csv --records old.csv --schema form.toml --profile sealed`
    """
    with plain_errors():
        from ompd.bulk.score import score as score_file
        from ompd.datasets import load, read_schema

        start = time.perf_counter()
        try:
            form = None if schema is None else read_schema(schema)
            table = load(records, form)
            scored = score_file(
                source, out, table, form,
                profile=None if profile is Way.NONE else profile.value,
                method=method.value, k=k, id=id,
            )  # fmt: skip
        except KeyboardInterrupt:
            console = Console(stderr=True, highlight=False)
            text = f"interrupted: what is done is in {out.name}.partial; the same command goes on"
            console.print(text, markup=False, soft_wrap=True)
            raise typer.Exit(_INTERRUPTED) from None
        _show(scored, out, time.perf_counter() - start)


def _show(scored: Scored, out: Path, seconds: float) -> None:
    table = Table(title=cell(str(out)), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("rows", f"{scored.rows:,}")
    for label, rows in sorted(scored.labels.items()):
        table.add_row(cell(f"  {label}"), f"{rows:,}")
    table.add_row("  with an error", f"{scored.failures:,}")
    table.add_row("certified", f"{scored.certified:,}")
    if scored.resumed:
        table.add_row("done by an earlier run", f"{scored.resumed:,}")
    fresh = scored.rows - scored.resumed
    table.add_row("seconds", f"{seconds:.1f}")
    table.add_row("rows per second", f"{fresh / seconds:,.0f}")
    Console(highlight=False).print(table)

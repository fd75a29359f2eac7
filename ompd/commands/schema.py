"""The command that proposes a schema for a hospital's own file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.console import USAGE, cell, plain_errors, visible
from ompd.files import write_private


def schema(
    file: Annotated[Path, typer.Argument(help="CSV, ARFF, Parquet or Arrow.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write the schema; FILE with .toml if not given.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column of classes.")] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="Column of row ids; empty for none.")
    ] = None,
) -> None:
    """Propose a schema for a table of patients, as a file to look through and edit."""
    with plain_errors():
        from ompd.schema import Schema

        found = Schema.infer(file, label=label, id=id_)
        text = found.to_toml().encode()
        target = file.with_suffix(".toml") if out is None else out
        problem = _write(target, text)
    if problem:
        error = Console(stderr=True, highlight=False)
        error.print(f"ompd: {target}: {problem}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(USAGE)
    console = Console(highlight=False)
    table = Table()
    for heading in ("feature", "kind", "domain", "missing"):
        table.add_column(heading)
    for feature in found.features:
        domain = f"{feature.low:g} to {feature.high:g}"
        if feature.levels:
            domain = f"{len(feature.levels)} levels"
        elif feature.since:
            domain += f" days since {feature.since}"
        table.add_row(cell(feature.name), feature.kind, domain, feature.missing)
    console.print(table)
    form = found.table
    if form is not None:
        classes = visible(", ".join(found.classes))
        console.print(f"Classes, in column {form.label!r}: {classes}", markup=False)
        if form.id:
            console.print(f"Ids of rows, in column {form.id!r}", markup=False)
        for name, note in form.notes:
            if not name:
                console.print(visible(f"Check: {note}"), markup=False)
    last = f"Wrote {target}. Look at every line with # Check before you use it."
    console.print(last, markup=False, soft_wrap=True)


def _write(path: Path, text: bytes) -> str:
    """Write a new file; return why not, if it cannot be."""
    try:
        # Private, since ends of domains come from patients.
        write_private(path, [text], exclusive=True)
    except FileExistsError:
        return "is there already; choose another with --out"
    except (OSError, ValueError):
        return "cannot be written"
    return ""

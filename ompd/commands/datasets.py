"""The command that lists the data sets."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ompd.commands.console import plain_errors


def datasets() -> None:
    """List the data sets that come with the package."""
    with plain_errors():
        from ompd.datasets import available

        console = Console(highlight=False)
        table = Table()
        for heading in ("name", "title", "classes"):
            table.add_column(heading)
        for heading in ("rows", "features"):
            table.add_column(heading, justify="right")
        for info in available():
            classes = zip(info.schema.classes, info.class_rows, strict=True)
            table.add_row(
                info.name,
                info.title,
                ", ".join(f"{count} {name}" for name, count in classes),
                str(info.rows),
                str(len(info.schema.features)),
            )
        console.print(table)
        for info in available():
            console.print(f"\n{info.name}: {info.source}. {info.licence}.", markup=False)
            console.print(info.citation, markup=False)
            for change in info.changes:
                console.print(f"Changed: {change.reason}", markup=False)

"""The command that shows how a server does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ompd.commands.console import cell, needing, plain_errors

#: Seconds between two looks.
_LOOK = 1.0


def status(
    config: Annotated[
        Path, typer.Option(help="Configuration of the hospital or cloud that serves.")
    ] = Path("hospital.toml"),
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
) -> None:
    """Show how a server does, each second anew until Ctrl-C."""
    with plain_errors(), needing("service"):
        from ompd.service.orders import server_config
        from ompd.service.orders import status as ask

        read = server_config(config)
        console = Console(highlight=False)
        told = ask(read)
        if once or not console.is_terminal:
            console.print(_table(told, None))
            return
        with Live(_table(told, None), console=console) as live:
            try:
                while True:
                    time.sleep(_LOOK)
                    before, told = told, ask(read)
                    live.update(_table(told, before))
            except KeyboardInterrupt:
                return


def _table(told: Mapping[str, Any], before: Mapping[str, Any] | None) -> Table:
    table = Table(title=cell(f"{told['role']} {told['party']}"), title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in told.items():
        if name in ("party", "role"):
            continue
        if name == "queries" and before is not None:
            done = sum(value.values()) - sum(before["queries"].values())
            seconds = max(told["seconds"] - before["seconds"], 1e-3)
            table.add_row("queries per second", f"{done / seconds:,.0f}")
        for label, text in _rows(name, value):
            table.add_row(cell(label), cell(text))
    return table


def _rows(name: str, value: Any) -> list[tuple[str, str]]:
    """Return a value as lines of a table."""
    if isinstance(value, dict):
        return [(f"{name}: {key}", _text(each)) for key, each in value.items()]
    if isinstance(value, list):
        lines = []
        for each in value:
            if isinstance(each, dict):
                label, *others = each.items()
                lines.append((str(label[1]), ", ".join(f"{k} {_text(v)}" for k, v in others)))
            else:
                lines.append((name, _text(each)))
        return lines
    return [(name, _text(value))]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "any number"
    return f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)

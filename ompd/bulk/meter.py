"""How far a long call is, for people who watch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Self


class Meter:
    """A progress bar on standard error.

    Parameters
    ----------
    shown : bool, optional
        By default only on a terminal.
    """

    def __init__(self, shown: bool | None = None) -> None:
        self._shown = sys.stderr.isatty() if shown is None else bool(shown)
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._shown:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                ProgressColumn,
                Task,
                TextColumn,
                TimeRemainingColumn,
            )
            from rich.text import Text

            class Speed(ProgressColumn):
                """Rows per second."""

                def render(self, task: Task) -> Text:
                    if task.fields.get("rows") and task.finished_speed is not None:
                        return Text(f"{task.finished_speed:,.0f} rows/s")
                    if task.fields.get("rows") and task.speed is not None:
                        return Text(f"{task.speed:,.0f} rows/s")
                    return Text("")

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                Speed(),
                TimeRemainingColumn(),
            )
            # Into a file or notebook goes what it was in the end.
            console = Console(stderr=True)
            self._bar = Progress(*columns, console=console, transient=console.is_terminal)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, what: str) -> Callable[[float], None]:
        """Begin something that tells its share from 0 to 1; returns what to tell it to."""
        if self._bar is None:
            return lambda share: None
        task = self._bar.add_task(what, total=1.0, rows=False)
        return lambda share: self._bar.update(task, completed=share)

    def rows(self, what: str, total: int | None) -> Callable[[int], None]:
        """Begin so many rows; returns what to call with the number of further ones."""
        if self._bar is None:
            return lambda count: None
        task = self._bar.add_task(what, total=total, rows=True)
        return lambda count: self._bar.advance(task, count)

"""What all commands share on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import typer
from rich.console import Console
from rich.markup import escape

from ompd.errors import BackendUnavailableError, OmpdError

#: Exit status for input that cannot be used, as for wrong options.
USAGE = 2


class BuiltIn(StrEnum):
    """Data sets that come with the package."""

    WBC = "wbc"
    MM = "mm"


class Profile(StrEnum):
    """What a table tells the cloud; `blind` has none, and does not tell the hospital either."""

    BLIND = "blind"
    SEALED = "sealed"
    HARDENED = "hardened"
    PAPER = "paper"


class Method(StrEnum):
    """How features become vectors."""

    RELIEF_MW = "relief-mw"
    EVIDENCE = "evidence"


def visible(text: str) -> str:
    """Return a text of somebody's file without what does not print, so that it moves no cursor."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def cell(text: str) -> str:
    """Return such a text as a cell or title of a table, where brackets would be colours."""
    return escape(visible(text))


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Say which extra of this package is missing, where something cannot be imported."""
    missing = False
    try:
        yield
    except ModuleNotFoundError as error:
        missing = not (error.name or "").startswith("ompd")
        if not missing:
            raise
    if missing:
        raise BackendUnavailableError(f"this command needs more: pip install 'ompd[{extra}]'")


def say(text: str) -> None:
    """Print a line, as it is."""
    Console(highlight=False).print(visible(text), markup=False, soft_wrap=True)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn this package's errors into one line on standard error."""
    try:
        yield
    except OmpdError as error:
        console = Console(stderr=True, highlight=False)
        console.print(visible(f"ompd: {error}"), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(USAGE) from None

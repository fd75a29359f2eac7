"""Commands around the log of who asked for what."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ompd.commands.console import plain_errors, say
from ompd.errors import ParameterError, StoreError, UnknownKeyError

if TYPE_CHECKING:
    from ompd.stores.audit_check import Head, Verdict

audit_log_app = typer.Typer(
    help="The log of who asked for what kind of thing, when.",
    epilog="Start with: ompd audit-log verify STATE/audit-log --identity IDENTITY",
    no_args_is_help=True,
)

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


@audit_log_app.callback()
def _group() -> None:
    """Keep the name of the one command that there is."""


@audit_log_app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The log.")],
    identity: Annotated[
        Path | None, typer.Option(help="Folder of its owner's identity; present keys only.")
    ] = None,
    registry: Annotated[
        Path | None, typer.Option(help="Registry in which its owner is, with all its keys.")
    ] = None,
    known: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER:CHAIN",
            help="An entry that was noted elsewhere; tells a log that was put back.",
        ),
    ] = None,
) -> None:
    """Say whether a log is as it was written. It may be in use.

    Exit status 2 says that an entry was changed, moved or left out, or is not signed by the owner.
    What a crash leaves is told and no error.
    """
    with plain_errors():
        from ompd.stores.audit_check import verify as verify_log

        if identity is None and registry is None:
            raise ParameterError("verify: expected --identity, --registry or both")

        def keys(party: str) -> list[bytes]:
            found = _of_identity(identity, party) + _of_registry(registry, party)
            if not found:
                raise UnknownKeyError(f"log: no keys of its owner {party} are known here")
            return found

        _show(verify_log(folder, keys, known=_head(known)))


def _head(text: str | None) -> Head | None:
    from ompd.stores.audit_check import Head

    if text is None:
        return None
    found = _HEAD.fullmatch(text)
    if found is None:
        raise ParameterError("known: expected NUMBER:CHAIN, as `ompd audit-log verify` shows it")
    return Head(int(found[1]), found[2])


def _of_identity(folder: Path | None, party: str) -> list[bytes]:
    if folder is None:
        return []
    from ompd.crypto.identity_files import read_card

    public = read_card(folder).public
    public.verify()
    return [public.signing_key] if public.id == party else []


def _of_registry(path: Path | None, party: str) -> list[bytes]:
    if path is None:
        return []
    from ompd.stores.registry import Registry

    if not path.exists():
        raise StoreError(f"{path.name}: there is no such registry")
    with Registry(path) as opened:
        try:
            return [entry.public.signing_key for entry in opened.history(party)]
        except UnknownKeyError:
            return []


def _show(verdict: Verdict) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    n, chain = verdict.head
    state = "closed" if verdict.closed else "open, or its process was killed"
    rows = [
        ("log of", verdict.party),
        ("entries", f"{verdict.first} to {n}, in order"),
        ("signed", f"up to {verdict.signed}" + ("" if verdict.signed < n else ", all of them")),
        ("state", state),
    ]
    if verdict.torn:
        rows.append(("torn end", f"{verdict.torn} bytes that are no entry, as a crash leaves"))
    if verdict.crashes:
        rows.append(("crashes", f"{verdict.crashes}, with {verdict.cut} torn ends kept"))
    if verdict.restores:
        rows.append(("restored", f"{verdict.restores} times from a backup"))
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table, markup=False)
    # In one piece, to be copied.
    say(f"note elsewhere: {n}:{chain}")

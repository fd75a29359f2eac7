"""The command that opens the pages of a health record."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ompd.commands.console import needing, plain_errors, say
from ompd.commands.passwords import PasswordOption, password_of
from ompd.errors import ConfigError, ParameterError

if TYPE_CHECKING:
    from ompd.record import Record


def portal(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="Folder of one's own record; made if it is missing.",
            show_default="none, with --physician",
        ),
    ] = None,
    hospital: Annotated[
        list[Path] | None,
        typer.Option(
            help="Configuration of a user, whose hospital can then be asked; may be repeated.",
            metavar="FILE",
            show_default="none",
        ),
    ] = None,
    cloud: Annotated[
        Path | None,
        typer.Option(
            help="Configuration of who keeps and shares records in a cloud.",
            metavar="FILE",
            show_default="none",
        ),
    ] = None,
    physician: Annotated[
        Path | None,
        typer.Option(
            help="The same of who reads what others share, and has no record of one's own here.",
            metavar="FILE",
            show_default="none",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port on this device; 0 for any.", min=0, max=65535)
    ] = 0,
    password_file: PasswordOption = None,
) -> None:
    """Open a health record in the browser, on this device and for nobody else.

    The address that it prints opens the record once. Whoever closes the record in the browser, or
    presses Ctrl-C here, ends it.

    Example: `ompd portal my-record --hospital user.toml`
    """  # fmt: skip
    with plain_errors(), needing("care,service"):
        from ompd.portal.door import Door
        from ompd.portal.house import House
        from ompd.portal.serving import run
        from ompd.service import SubscriberClient

        if (folder is None) == (physician is None):
            raise ParameterError("expected either DIR, of one's own record, or --physician FILE")
        if physician is not None and (hospital or cloud):
            raise ParameterError("--physician: goes with neither --hospital nor --cloud")
        hospitals = _hospitals(hospital or [])
        with ExitStack() as stack:
            keeps = cloud or physician
            client = None if keeps is None else stack.enter_context(SubscriberClient.open(keeps))
            record = None if folder is None else stack.enter_context(_record(folder, password_file))
            run(House(record, Door(_announce), hospitals=hospitals, cloud=client), port)
        say("the record is closed")


def _hospitals(files: list[Path]) -> dict[str, Path]:
    from ompd.service.config import UserConfig, read_config

    found: dict[str, Path] = {}
    for path in files:
        name = read_config(path, UserConfig).hospital
        if name in found:
            raise ConfigError(f"{path.name}: another file is for this hospital already")
        found[name] = path
    return found


def _record(folder: Path, password_file: Path | None) -> Record:
    from ompd.record import Record
    from ompd.record.record import FILE

    is_new = not os.path.lexists(folder / FILE)
    password = password_of(password_file, fresh=is_new)
    if not is_new:
        return Record.open(folder, password)
    record = Record.create(folder, password)
    say(f"made a record in {folder}")
    return record


def _announce(address: str) -> None:
    # Without colours and line breaks, so that it can be copied.
    sys.stdout.write(f"open once: {address}\n")
    sys.stdout.flush()

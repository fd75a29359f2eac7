"""Commands of a health record at a cloud: backed up, restored, shared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ompd.commands.console import needing, plain_errors, say
from ompd.commands.passwords import PasswordOption, password_of
from ompd.commands.record import FolderArgument, opened, record_app

__all__ = ["record_app"]

ConfigOption = Annotated[
    Path, typer.Option(help="Configuration of the person: identity, wallet, clouds.")
]
RecipientArgument = Annotated[str, typer.Argument(help="Id of who may read.")]


@record_app.command()
def backup(
    folder: FolderArgument,
    config: ConfigOption = Path("person.toml"),
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Also if the cloud has a backup that is not known here."),
    ] = False,
    password_file: PasswordOption = None,
) -> None:
    """Bring a record's backup at the cloud up to date."""
    with plain_errors(), needing("service"):
        from ompd.record import backup as back_up
        from ompd.service import SubscriberClient

        with (
            opened(folder, password_file) as record,
            SubscriberClient.open(config) as person,
        ):
            number = back_up(record, person, replace=replace)
            say(f"the cloud has {len(record):,} resources, up to change {number:,}")


@record_app.command()
def restore(
    folder: FolderArgument,
    config: ConfigOption = Path("person.toml"),
    least: Annotated[
        int, typer.Option(min=0, help="Number of the last change that must be in the backup.")
    ] = 0,
    password_file: PasswordOption = None,
) -> None:
    """Make a record of its backup at the cloud."""
    with plain_errors(), needing("service"):
        from ompd.record import restore as bring_back
        from ompd.service import SubscriberClient

        password = password_of(password_file)
        with (
            SubscriberClient.open(config) as person,
            bring_back(folder, password, person, least=least) as record,
        ):
            say(f"{len(record):,} resources are in {folder}")


@record_app.command()
def public(config: ConfigOption = Path("person.toml")) -> None:
    """Print the code that others need to share their records with this person."""
    with plain_errors(), needing("service"):
        from ompd.record.codes import code_of
        from ompd.service import SubscriberClient

        with SubscriberClient.open(config) as person:
            say(code_of(person.subscriber.id, person.public))


@record_app.command()
def share(
    folder: FolderArgument,
    code: Annotated[
        str, typer.Argument(help="What `ompd record public`, or the page of the recipient, shows.")
    ],
    kinds: Annotated[list[str], typer.Argument(help="Types of resources, such as Observation.")],
    out: Annotated[Path, typer.Option(help="File for the recipient; it must not exist.")],
    config: ConfigOption = Path("person.toml"),
    password_file: PasswordOption = None,
) -> None:
    """Let another person read all resources of some types, until the present epoch ends."""
    with plain_errors(), needing("service"):
        from ompd.crypto.identity_files import write_private
        from ompd.record import share as share_with
        from ompd.record import shares as shares_of
        from ompd.record.codes import read_code
        from ompd.service import SubscriberClient

        recipient, key = read_code(code)
        with (
            opened(folder, password_file) as record,
            SubscriberClient.open(config) as person,
        ):
            notices = share_with(record, person, kinds, recipient, key)
            write_private(out, notices, exclusive=True)
            until = max(each.until for each in shares_of(record) if each.recipient == recipient)
        say(f"{recipient} may read until {until:%Y-%m-%d %H:%M} UTC, with {out}")


@record_app.command()
def shares(folder: FolderArgument, password_file: PasswordOption = None) -> None:
    """List what is shared with whom, and until when."""
    with plain_errors():
        from ompd.record import shares as shares_of

        with opened(folder, password_file) as record:
            for each in shares_of(record):
                say(f"{each.recipient}: {each.kind}, until {each.until:%Y-%m-%d %H:%M} UTC")


@record_app.command()
def refresh(
    folder: FolderArgument,
    config: ConfigOption = Path("person.toml"),
    password_file: PasswordOption = None,
) -> None:
    """Bring up to date what others may read."""
    with plain_errors(), needing("service"):
        from ompd.record import refresh as bring_up
        from ompd.service import SubscriberClient

        with (
            opened(folder, password_file) as record,
            SubscriberClient.open(config) as person,
        ):
            kinds = bring_up(record, person)
            say(f"up to date: {', '.join(kinds) or 'nothing is shared'}")


@record_app.command()
def revoke(
    folder: FolderArgument,
    recipient: RecipientArgument,
    config: ConfigOption = Path("person.toml"),
    password_file: PasswordOption = None,
) -> None:
    """Let the cloud refuse somebody from now on. What was read stays known."""
    with plain_errors(), needing("service"):
        from ompd.record import revoke as end
        from ompd.service import SubscriberClient

        with (
            opened(folder, password_file) as record,
            SubscriberClient.open(config) as person,
        ):
            ended = end(record, person, recipient)
            say(f"{recipient} is refused: {', '.join(each.kind for each in ended) or 'nothing'}")


@record_app.command()
def password(
    folder: FolderArgument,
    new_password_file: PasswordOption = None,
    password_file: PasswordOption = None,
) -> None:
    """Replace a record's password."""
    with plain_errors(), opened(folder, password_file) as record:
        record.protect(password_of(new_password_file, fresh=True))
        say("the record is opened by the new password, and no longer by the old one")

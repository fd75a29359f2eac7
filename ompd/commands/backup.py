"""Commands that copy a party's state, and put it back."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ompd.commands.console import needing, plain_errors, say
from ompd.commands.key_tables import fingerprint, moment

ConfigOption = Annotated[Path | None, typer.Option(help="Configuration of the party.")]


class WithState(StrEnum):
    """Roles that have a configuration and state."""

    USER = "user"
    HOSPITAL = "hospital"
    CLOUD = "cloud"


def backup(
    role: Annotated[WithState, typer.Argument(help="Whose state.")],
    out: Annotated[Path, typer.Option(help="File to write; it must not exist.")],
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration of the party.", show_default="ROLE.toml"),
    ] = None,
) -> None:
    """Write a backup of a party whose server is stopped: keys, registry and state, in one file.

    Hints, short-lived keys, passwords and certificates are not in it. Keys of tables are, in the
    clear: encrypt the file before it leaves the machine.
    """
    with plain_errors(), needing("service"):
        from ompd.service.backups import back_up_party

        made = back_up_party(role.value, config or Path(f"{role.value}.toml"), out)
        size = sum(file.size for file in made.files)
        say(f"wrote {len(made.files)} files of {made.party}, {size / 1e6:.1f} MB, to {out.name}")


def restore(
    file: Annotated[Path, typer.Argument(help="What `ompd backup` wrote.")],
    config: Annotated[
        Path | None,
        typer.Option(
            help="Configuration that says where things go; the one in the backup if it is missing.",
            show_default="ROLE.toml",
        ),
    ] = None,
) -> None:
    """Put a backup back, after every byte of it was checked. Nothing is replaced.

    The password file comes from elsewhere.
    """
    with plain_errors(), needing("service"):
        from ompd.service.backups import restore_party
        from ompd.stores.backup import Backup

        with Backup(file) as opened:
            manifest = opened.manifest
            found = restore_party(opened, config or Path(f"{manifest.role}.toml"))
            say(f"restored {manifest.party} as it was on {moment(manifest.time / 1000)}")
            say(f"fingerprint {fingerprint(opened.public)}")
        for line in _AFTER[manifest.role]:
            say(f"- {line}")
        if not os.path.lexists(found.password_file):
            say(f"- put the password into {found.password_file}, mode 0600")


#: What a restore cannot know, by role.
_AFTER = {
    "hospital": (
        "revoke again who was revoked since, and admit who was admitted",
        "make changes of tables since again, or publish them anew; tables of the profiles paper "
        "and hardened answer only once they are published anew",
        "privacy spent since is not in the ledger, if there is one",
        "for two minutes, frames are refused that may have come before",
    ),
    "cloud": (
        "revoke again who was revoked since, and admit who was admitted",
        "tables that hospitals published or changed since are refused: let them publish anew",
        "rows that hospitals removed since are here again until then",
        "for two minutes, frames are refused that may have come before",
    ),
    "user": ("revoke again who was revoked since, and admit who was admitted",),
}

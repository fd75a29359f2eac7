"""Commands that make, show, pass on, replace and revoke keys."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ompd.commands.console import plain_errors
from ompd.commands.key_tables import fingerprint, moment, show_card, show_entries
from ompd.commands.passwords import PasswordOption, password_of
from ompd.errors import KeystoreError, ParameterError, StoreError

if TYPE_CHECKING:
    from ompd.crypto import PublicIdentity
    from ompd.stores.registry import Registry

keys_app = typer.Typer(
    help="Keys of a party, and the registry of parties.",
    epilog="Start with: ompd keys new ID --folder DIR --role hospital",
    no_args_is_help=True,
)

_DAY = 86_400


class RoleName(StrEnum):
    """Roles of a party."""

    USER = "user"
    HOSPITAL = "hospital"
    CLOUD = "cloud"
    PATIENT = "patient"
    PHYSICIAN = "physician"
    COMPANY = "company"
    AUTHORITY = "authority"


class SuiteName(StrEnum):
    """Envelope suites."""

    X25519 = "x25519"
    MLKEM768X25519 = "mlkem768x25519"


FolderOption = Annotated[Path, typer.Option(help="Folder of the identity.")]
RegistryOption = Annotated[Path, typer.Option(help="Registry file.")]
DaysOption = Annotated[
    float | None, typer.Option(help="Days until the keys expire.", show_default="never")
]


@keys_app.command()
def new(
    party: Annotated[str, typer.Argument(metavar="ID", help="Name under which others know it.")],
    folder: FolderOption,
    role: Annotated[RoleName, typer.Option(help="What the party will be.")],
    suite: Annotated[SuiteName, typer.Option(help="Envelope suite.")] = SuiteName.X25519,
    password_file: PasswordOption = None,
) -> None:
    """Make the keys of a party and store them under a password."""
    with plain_errors():
        from ompd.crypto import Identity, check_id
        from ompd.crypto.identity_files import save_identity

        check_id(party)
        if os.path.lexists(folder / "identity.json"):
            # Before a password is asked for in vain.
            raise KeystoreError("folder: holds an identity already")
        password = password_of(password_file, fresh=True)
        identity = Identity.generate(party, suite=suite.value)
        save_identity(folder, identity, password, role=role.value)
        _say(f"made keys of {party}, fingerprint {fingerprint(identity.public)}")


@keys_app.command()
def show(
    folder: Annotated[Path | None, typer.Option(help="Folder of an identity.")] = None,
    registry: Annotated[Path | None, typer.Option(help="Registry file.")] = None,
    party: Annotated[
        str | None, typer.Option("--id", help="One party of the registry, with its history.")
    ] = None,
) -> None:
    """Show what is public: of an identity's folder, of a registry, or of both."""
    with plain_errors():
        if folder is None and registry is None:
            raise ParameterError("show: expected --folder, --registry or both")
        if folder is not None:
            from ompd.crypto.identity_files import read_card

            card = read_card(folder)
            public = _with_prekey(folder, card.public)
            public.verify()
            show_card(public, card.role, card.created)
            if party is None:
                party = card.public.id
        if registry is not None:
            with _registry(registry) as opened:
                entries = opened.parties() if party is None else opened.history(party)
            show_entries(entries)


@keys_app.command()
def export(
    folder: FolderOption,
    out: Annotated[Path, typer.Option(help="File to write.")],
    base64: Annotated[bool, typer.Option("--base64", help="Write text, not bytes.")] = False,
    rotation: Annotated[
        bool, typer.Option("--rotation", help="The statement of the last rotation instead.")
    ] = False,
) -> None:
    """Write what others need to know of a party. No password is needed.

    That includes the present short-lived key, if `prekey` has made one.
    """
    with plain_errors():
        from ompd.crypto.identity_files import read_card

        _check_out(out, folder)
        card = read_card(folder)
        public = _with_prekey(folder, card.public)
        public.verify()
        if rotation and not card.rotation:
            raise KeystoreError("folder: its keys are the first ones, nothing to export")
        _write(out, card.rotation if rotation else public.to_bytes(), base64)
        _say(f"wrote {'rotation' if rotation else 'identity'} of {card.public.id}, "
             f"fingerprint {fingerprint(card.public)}")  # fmt: skip


@keys_app.command()
def rotate(
    folder: FolderOption,
    out: Annotated[Path, typer.Option(help="File for the statement, signed by the old key.")],
    suite: Annotated[
        SuiteName | None, typer.Option(help="Envelope suite.", show_default="as before")
    ] = None,
    base64: Annotated[bool, typer.Option("--base64", help="Write text, not bytes.")] = False,
    password_file: PasswordOption = None,
) -> None:
    """Make new keys under the same password; the old ones are kept beside them.

    Hand the statement to every registry at once: from there on it refuses the old keys.
    """
    with plain_errors():
        from ompd.crypto import Identity
        from ompd.crypto.identity_files import load_identity, read_card, save_identity
        from ompd.crypto.rotation import Rotation

        _check_out(out, folder)
        card = read_card(folder)
        password = password_of(password_file)
        old = load_identity(folder, password)
        chosen = old.envelope_key.suite if suite is None else suite.value
        successor = Identity.generate(old.id, suite=chosen)
        statement = Rotation.make(old, successor.public).to_bytes()
        # The statement is stored with the new keys, so it can be exported again in any case.
        save_identity(folder, successor, password, role=card.role, rotation=statement, replace=True)
        try:
            _write(out, statement, base64)
        except KeystoreError as error:
            # Who rotated again would have a statement that no registry takes.
            raise KeystoreError(
                f"{error}; the new keys are in place, and `ompd keys export --rotation` writes "
                "their statement"
            ) from None
        _say(f"made new keys of {old.id}, fingerprint {fingerprint(successor.public)}")


@keys_app.command()
def prekey(
    folder: FolderOption,
    out: Annotated[Path, typer.Option(help="File to write: the identity with its new key.")],
    days: Annotated[float, typer.Option(help="Days that others may encrypt to the key.")] = 7.0,
    base64: Annotated[bool, typer.Option("--base64", help="Write text, not bytes.")] = False,
    password_file: PasswordOption = None,
) -> None:
    """Make the next short-lived key, and delete the one before the present one.

    Have every registry admit the file again, within a day; the present key opens until then. What
    is encrypted to a deleted key can be read by nobody any more.
    """
    with plain_errors():
        from ompd.crypto.identity_files import load_identity
        from ompd.crypto.prekey_files import open_prekeys

        if not 0 < days < 90:
            raise ParameterError("days: expected up to 90")
        _check_out(out, folder)
        password = password_of(password_file)
        identity = load_identity(folder, password)
        made = open_prekeys(folder, password, identity, lifetime=days * _DAY).rotate()
        public = identity.public.with_prekey(made)
        _write(out, public.to_bytes(), base64)
        _say(f"made a short-lived key of {identity.id}, until {moment(made.not_after / 1000)}")


@keys_app.command()
def admit(
    file: Annotated[Path, typer.Argument(help="What the party exported.")],
    registry: RegistryOption,
    role: Annotated[RoleName, typer.Option(help="What the party may be.")],
    days: DaysOption = None,
    readmit: Annotated[
        bool, typer.Option("--readmit", help="Take back a revoked party with new keys.")
    ] = False,
) -> None:
    """Enter a party into a registry, or the next short-lived key of one that is there.

    Compare the fingerprint with the party's own by another way, such as the telephone.
    """
    with plain_errors():
        from ompd.crypto import PublicIdentity

        public = PublicIdentity.from_bytes(_read(file))
        until = _until(days)
        with _registry(registry, create=True) as opened:
            opened.admit(public, role.value, valid_until=until, readmit=readmit)
        _say(f"admitted {public.id} as {role.value}, fingerprint {fingerprint(public)}")


@keys_app.command()
def accept(
    file: Annotated[Path, typer.Argument(help="Statement of a rotation.")],
    registry: RegistryOption,
) -> None:
    """Let new keys replace a registered party's old ones, as the old ones have signed."""
    with plain_errors():
        from ompd.crypto.rotation import Rotation

        statement = Rotation.from_bytes(_read(file))
        public = statement.public_identity
        with _registry(registry) as opened:
            opened.rotate(public, statement.signature)
        _say(f"accepted new keys of {public.id}, fingerprint {fingerprint(public)}")


@keys_app.command()
def renew(
    party: Annotated[str, typer.Argument(metavar="ID", help="A registered party.")],
    registry: RegistryOption,
    days: DaysOption = None,
) -> None:
    """Set another end of validity, counted from now."""
    with plain_errors():
        with _registry(registry) as opened:
            opened.renew(party, _until(days))
        _say(f"renewed {party}")


@keys_app.command()
def revoke(
    party: Annotated[str, typer.Argument(metavar="ID", help="A registered party.")],
    registry: RegistryOption,
    reason: Annotated[str, typer.Option(help="For the record.")] = "not given",
) -> None:
    """Accept nothing more under a party's keys. This cannot be undone."""
    with plain_errors():
        with _registry(registry) as opened:
            opened.revoke(party, reason)
        _say(f"revoked {party}")


def _with_prekey(folder: Path, public: PublicIdentity) -> PublicIdentity:
    from ompd.crypto.prekey_files import read_prekey

    return public.with_prekey(read_prekey(folder, public.signing_key))


@contextmanager
def _registry(path: Path, *, create: bool = False) -> Iterator[Registry]:
    from ompd.stores.registry import Registry

    if not create and not os.path.lexists(path):
        raise StoreError(f"{path.name}: there is no such registry")
    with Registry(path) as opened:
        yield opened


def _until(days: float | None) -> float | None:
    if days is not None and not 0 < days < 1_000_000:
        raise ParameterError("days: expected a positive number")
    return None if days is None else time.time() + days * _DAY


def _check_out(out: Path, folder: Path) -> None:
    """Refuse to write over a key."""
    if out.suffix == ".json" and out.resolve().parent == folder.resolve():
        raise KeystoreError("out: expected no key file of the identity")


def _write(path: Path, content: bytes, base64: bool) -> None:
    if base64:
        import base64 as codec

        content = codec.b64encode(content) + b"\n"
    problem = ""
    try:
        path.write_bytes(content)
    except OSError as error:
        problem = error.strerror or "cannot be written"
    if problem:
        raise KeystoreError(f"{path.name}: {problem}")


def _read(path: Path) -> bytes:
    """Read an exported file, in either form."""
    import base64 as codec

    content = b""
    problem = ""
    try:
        with path.open("rb") as file:
            # The decoders refuse what is too long; four thirds of their cap is enough to see it.
            content = file.read(1 << 14)
    except OSError as error:
        problem = error.strerror or "cannot be read"
    if problem:
        raise KeystoreError(f"{path.name}: {problem}")
    # What is not base64 begins with the mark of a MessagePack array, no letter of that alphabet.
    try:
        return codec.b64decode(content.strip(), validate=True) if content.isascii() else content
    except ValueError:
        return content


def _say(text: str) -> None:
    Console(highlight=False, file=sys.stdout).print(text, markup=False, soft_wrap=True)

"""The backup of a record in a cloud, and a record from it on another device.

Rows travel as they lie on the disk, sealed under the record's key, which the manifest has wrapped
as the file has it: for a password, or under a post-quantum suite for an identity.
"""

from __future__ import annotations

import os

import msgspec

from ompd.errors import RecordError, UnknownResourceError, VersionError
from ompd.record import slots
from ompd.record.parcels import (
    TOKEN_BYTES,
    Manifest,
    Person,
    decoded,
    known,
    new_token,
    plan,
    publish,
    send,
    sweep,
    unpack,
)
from ompd.record.record import Record
from ompd.record.slots import Opener
from ompd.share import Scope

#: Kind and epoch of the records that a backup consists of.
KIND = "ompd.backup"
EPOCH = 0
#: Under what a record keeps which backup it knows.
_ANCHOR = "backup/"
_NO_TOKEN = bytes(TOKEN_BYTES)


class _About(msgspec.Struct, frozen=True, array_like=True, tag="ompd-backup-1"):
    record: bytes
    slots: dict[str, bytes]


_ABOUTS = msgspec.msgpack.Decoder(_About)
_ROWS = msgspec.msgpack.Decoder(tuple[bytes, bytes])


def backup(record: Record, person: Person, *, cloud: str = "", replace: bool = False) -> int:
    """Have a cloud keep what of a record it does not have, and forget what the record has not.

    Whenever this ends early, the backup is the old one or the new one.

    Parameters
    ----------
    record : Record
    person : Person
    cloud : str
        A name that tells this cloud from others.
    replace : bool, default False
        Whether the backup may be one that this device does not know: by another device, of another
        record or, if the cloud lies, an older one.

    Returns
    -------
    int
        The number of the last change that is in it. Kept elsewhere, it lets `restore` notice an
        older backup.

    Raises
    ------
    VersionError
        If the cloud has another backup than this device knows: an older one, or one by another
        device; or a later one than the record, which then was put back from an older copy.
    RecordError
        If it is of another record.
    OmpdError
        If the cloud cannot be asked, refuses, or answers with something else.
    """
    scope = _scope(person)
    before, names = known(person, scope)
    anchor = _ANCHOR + cloud
    # One moment of the record; what is sent of it stays sealed.
    with record.held():
        if not replace:
            _check_known(record, before, record.kept(anchor))
        changes = record.changes
        about = msgspec.msgpack.encode(_About(record.id, record.slots()))
        live = record.rows(leaving_out=_ANCHOR)
        base = None if replace else before
        kept, waiting = plan(base, live)
        same = base and not waiting and len(kept) == len(base.parcels) and base.about == about
        things = [(place, msgspec.msgpack.encode(record.row(place))) for place in waiting]
    if base and same:
        sweep(person, scope, base, names)
        return base.changes
    parcels = (*kept, *send(person, scope, things))
    token = new_token()
    # Should this end before the manifest is there, either is known.
    record.keep(anchor, token + (before.token if before else _NO_TOKEN))
    publish(person, scope, Manifest(token, changes, about, parcels), names)
    record.keep(anchor, token)
    return changes


def restore(
    folder: str | os.PathLike[str],
    key: Opener,
    person: Person,
    *,
    cloud: str = "",
    least: int = 0,
) -> Record:
    """Make a record of its backup, and open it.

    Parameters
    ----------
    folder : path
        As for `Record.create`.
    key : str or Identity
        What opens the record.
    person : Person
        With the identity and sharing key of who made the backup.
    cloud : str
        As for `backup`.
    least : int
        Number of the last change that must be in it. Without one, an older backup is not noticed.

    Raises
    ------
    UnknownResourceError
        If there is no backup.
    VersionError
        If it is older than `least` says.
    PasswordError, DecryptionError, SignatureError
        If the key does not open the record.
    StoreError
        If the folder holds a record, or cannot be used.
    OmpdError
        If the cloud cannot be asked, refuses, or answers with something else.
    """
    scope = _scope(person)
    manifest, _ = known(person, scope)
    if manifest is None:
        raise UnknownResourceError("backup: the cloud has none")
    if manifest.changes < least:
        raise VersionError("backup: is older than one that is known")
    about = _about_of(manifest)
    slot = about.slots.get(slots.name_of(key))
    secret = slots.unwrap(key, slot, about.record)
    things = unpack(manifest, lambda name: person.open_record(scope, name))
    rows = [(place, *decoded(_ROWS, thing, "parcel")) for place, thing in things]
    record = Record.write(folder, about.record, secret, about.slots, rows, manifest.changes)
    record.keep(_ANCHOR + cloud, manifest.token)
    return record


def _check_known(record: Record, before: Manifest | None, tokens: bytes) -> None:
    ours = {tokens[at : at + TOKEN_BYTES] for at in range(0, len(tokens), TOKEN_BYTES)}
    if before is None:
        if ours and _NO_TOKEN not in ours:
            raise VersionError("backup: the cloud has lost it")
        return
    if _about_of(before).record != record.id:
        raise RecordError("backup: the cloud has one of another record")
    if before.token not in ours:
        raise VersionError("backup: is an older one, or another device's")
    if before.changes > record.changes:
        raise VersionError("record: is older than its backup")


def _about_of(manifest: Manifest) -> _About:
    return decoded(_ABOUTS, manifest.about, "manifest")


def _scope(person: Person) -> Scope:
    return person.subscriber.records.scope(KIND, EPOCH)

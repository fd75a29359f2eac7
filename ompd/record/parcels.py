"""Many small things as few records of a cloud: parcels, and a manifest of them.

A parcel has things of some places; the manifest, a record of a fixed name, says which parcels there
are and what they must be. Each thing is in one parcel. When things change or go, their parcels are
dissolved and what is left of these is packed anew, so that a cloud is left with nothing that went.
Parcels come before the manifest that names them, and the old ones go after it: whoever reads the
manifest finds what it names, whenever the writer ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

import msgspec

from ompd.errors import ContextMismatchError, FramingError, TooLargeError
from ompd.roles import Subscriber
from ompd.share import Received, Scope

T = TypeVar("T")
#: Name of the manifest.
MANIFEST = bytes(16)
TOKEN_BYTES = 16
#: Most bytes of all parcels of a scope.
MAX_SCOPE_BYTES = 1 << 30
#: Most bytes of a record; more are several records, and things are packed up to a half of it.
_MOST_BYTES = 512 << 10
#: Parcels below are packed anew with what changed, so that there is one of them at most.
_SMALL = 64 << 10


class Person(Protocol):
    """Whose records a cloud keeps, and the way there: `Direct`, or `ompd.service.SubscriberClient`.

    The methods are as those of `Subscriber.records`.
    """

    @property
    def subscriber(self) -> Subscriber:
        """Who asks."""

    def store(
        self, kind: str, content: bytes, *, record: bytes | None = None, epoch: int | None = None
    ) -> bytes:
        """Have a record kept; return its name."""

    def remove(self, scope: Scope, record: bytes) -> None:
        """Have a record forgotten."""

    def names(self, scope: Scope) -> list[bytes]:
        """Return the names of a scope's records."""

    def open_record(self, scope: Scope, record: bytes) -> bytes:
        """Return a record of one's own."""

    def grant(self, kind: str, recipient: str, public: bytes) -> bytes:
        """Share a scope; return a notice."""

    def revoke(self, scope: Scope, recipient: str) -> None:
        """Have a grant refused."""

    def accept(self, notice: bytes) -> Received:
        """Return what opens the records of a grant."""

    def open_shared(self, received: Received, record: bytes) -> bytes:
        """Return a record that is shared with this person."""


class Parcel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Things of some places.

    Attributes
    ----------
    names : tuple of bytes
        Of the records that it consists of.
    digest : bytes
        SHA-256 of these together.
    size : int
        Their bytes.
    places : tuple of int
    """

    names: tuple[bytes, ...]
    digest: bytes
    size: int
    places: tuple[int, ...]


class Manifest(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="ompd-parcels-1"
):
    """What is in a scope.

    Attributes
    ----------
    token : bytes
        16 random bytes: no two manifests are the same.
    changes : int
        Up to which change of the record it is.
    about : bytes
        What else there is to say.
    parcels : tuple of Parcel
    """

    token: bytes
    changes: int
    about: bytes
    parcels: tuple[Parcel, ...]


_MANIFESTS = msgspec.msgpack.Decoder(Manifest)
_THINGS = msgspec.msgpack.Decoder(list[tuple[int, bytes]])


def new_token() -> bytes:
    """Return what tells a manifest from all others."""
    return secrets.token_bytes(TOKEN_BYTES)


def decoded(decoder: msgspec.msgpack.Decoder[T], content: bytes, what: str) -> T:
    """Read what somebody else may have written.

    Raises
    ------
    FramingError
        If it is of another form.
    """
    # The decoder's own errors quote what they read.
    with contextlib.suppress(msgspec.DecodeError, UnicodeError, RecursionError):
        return decoder.decode(content)
    raise FramingError(f"{what}: is of another form")


def decode_manifest(content: bytes) -> Manifest:
    """Read a manifest.

    Raises
    ------
    FramingError
        If it is none.
    TooLargeError
        If it names very much.
    """
    manifest = decoded(_MANIFESTS, content, "manifest")
    if sum(max(parcel.size, 1) for parcel in manifest.parcels) > MAX_SCOPE_BYTES:
        raise TooLargeError(f"manifest: expected parcels of at most {MAX_SCOPE_BYTES} bytes")
    if any(len(parcel.names) != -(-parcel.size // _MOST_BYTES) for parcel in manifest.parcels):
        raise FramingError("manifest: its parcels contradict themselves")
    return manifest


def known(person: Person, scope: Scope) -> tuple[Manifest | None, list[bytes]]:
    """Return the manifest of a scope of one's own, if there is one, and all names of the scope."""
    names = person.names(scope)
    if MANIFEST not in names:
        return None, names
    return decode_manifest(person.open_record(scope, MANIFEST)), names


def plan(before: Manifest | None, live: Mapping[int, int]) -> tuple[list[Parcel], list[int]]:
    """Return parcels that stay as they are, and places of what has to be packed.

    Parameters
    ----------
    before : Manifest or None
        What the cloud has.
    live : mapping of int to int
        All places, and from which change each is.
    """
    if before is None:
        return [], sorted(live)
    last = before.changes
    kept = [
        parcel
        for parcel in before.parcels
        if all(live.get(place, last + 1) <= last for place in parcel.places)
    ]
    packed = {place for parcel in kept for place in parcel.places}
    if len(kept) < len(before.parcels) or packed != set(live):
        kept = [parcel for parcel in kept if parcel.size >= _SMALL]
        packed = {place for parcel in kept for place in parcel.places}
    return kept, sorted(set(live) - packed)


def send(person: Person, scope: Scope, things: Iterable[tuple[int, bytes]]) -> list[Parcel]:
    """Have a cloud keep things of places, in new parcels."""
    return [_send(person, scope, group) for group in _grouped(things)]


def publish(person: Person, scope: Scope, manifest: Manifest, names: Iterable[bytes]) -> None:
    """Have a cloud keep a manifest, and forget what it no longer names.

    Parameters
    ----------
    person : Person
    scope : Scope
    manifest : Manifest
        Its parcels are there.
    names : iterable of bytes
        What was there before them.
    """
    content = msgspec.msgpack.encode(manifest)
    person.store(scope.kind, content, record=MANIFEST, epoch=scope.epoch)
    sweep(person, scope, manifest, names)


def sweep(person: Person, scope: Scope, manifest: Manifest, names: Iterable[bytes]) -> None:
    """Have a cloud forget those of its names that a manifest does not have."""
    wanted = {MANIFEST, *(name for parcel in manifest.parcels for name in parcel.names)}
    for name in names:
        if name not in wanted:
            person.remove(scope, name)


def unpack(manifest: Manifest, fetch: Callable[[bytes], bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield places and things of all parcels.

    Parameters
    ----------
    manifest : Manifest
    fetch : callable
        Returns a record of the cloud by its name.

    Raises
    ------
    ContextMismatchError
        If a parcel is another than the manifest says.
    """
    for parcel in manifest.parcels:
        content = b"".join(map(fetch, parcel.names))
        if hashlib.sha256(content).digest() != parcel.digest:
            raise ContextMismatchError("parcel: is not the one that the manifest names")
        things = decoded(_THINGS, content, "parcel")
        if tuple(place for place, _ in things) != parcel.places:
            raise ContextMismatchError("parcel: has other things than the manifest says")
        yield from things


def _grouped(things: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    group: list[tuple[int, bytes]] = []
    size = 0
    for place, content in things:
        if group and size + len(content) > _MOST_BYTES // 2:
            yield group
            group, size = [], 0
        group.append((place, content))
        size += len(content)
    if group:
        yield group


def _send(person: Person, scope: Scope, things: list[tuple[int, bytes]]) -> Parcel:
    content = msgspec.msgpack.encode(things)
    names = tuple(
        person.store(
            scope.kind,
            content[start : start + _MOST_BYTES],
            record=secrets.token_bytes(len(MANIFEST)),
            epoch=scope.epoch,
        )
        for start in range(0, len(content), _MOST_BYTES)
    )
    digest = hashlib.sha256(content).digest()
    return Parcel(names, digest, len(content), tuple(place for place, _ in things))

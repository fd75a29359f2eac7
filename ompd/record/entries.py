"""What a record tells of a resource without opening it."""

from __future__ import annotations

import contextlib
import hashlib
import re
from datetime import datetime
from typing import Protocol

import msgspec

from ompd.errors import RecordError, StoreError

#: Largest resource, in bytes of its JSON.
MAX_RESOURCE_BYTES = 8 << 20

_KIND = re.compile(r"[A-Z][A-Za-z]{0,63}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)


class Storable(Protocol):
    """What a record takes: a checked resource."""

    @property
    def json(self) -> bytes:
        """Its canonical JSON."""

    @property
    def kind(self) -> str:
        """Its type, as ``"Observation"``."""

    @property
    def id(self) -> str:
        """Its id, unique among those of its kind."""

    @property
    def when(self) -> datetime | None:
        """When it was true of the person, with a time zone."""

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """Its codes, each with its system."""

    @property
    def words(self) -> tuple[str, ...]:
        """Texts in which it is found."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A resource of a record, not opened.

    Attributes
    ----------
    kind : str
        Its type, as ``"Observation"``.
    id : str
    version : int
        From 1; one more each time that it was replaced.
    when : datetime or None
        When it was true of the person, in UTC.
    codes : tuple of (str, str)
        System and code of each.
    changed : int
        Which change of the record it is from.
    """

    kind: str
    id: str
    version: int
    when: datetime | None
    codes: tuple[tuple[str, str], ...]
    changed: int

    @property
    def reference(self) -> str:
        """How other resources name it: ``"Observation/abc"``."""
        return f"{self.kind}/{self.id}"

    def __repr__(self) -> str:
        # Codes are a patient's.
        return "<Entry>"


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What is sealed beside a resource: its entry, its words, and what its body must be.

    Attributes
    ----------
    entry : Entry, as its fields
    tag : bytes
        Last 16 bytes of the sealed body.
    digest : bytes
        Of the resource, 16 bytes.
    words : tuple of str
    """

    kind: str
    id: str
    version: int
    when: datetime | None
    codes: tuple[tuple[str, str], ...]
    changed: int
    tag: bytes
    digest: bytes
    words: tuple[str, ...]

    def __repr__(self) -> str:
        return "<Head>"

    @property
    def entry(self) -> Entry:
        """The part that stays in memory."""
        return Entry(self.kind, self.id, self.version, self.when, self.codes, self.changed)

    @property
    def keys(self) -> set[str]:
        """Under what it is found: its words, and see `key_of_kind` and `keys_of_code`."""
        keys = set(self.words)
        keys.add(key_of_kind(self.kind))
        for system, code in self.codes:
            keys.update(keys_of_code(system, code))
        return keys


_HEADS = msgspec.msgpack.Decoder(Head)


def decode_head(plain: bytes) -> Head:
    """Read a head.

    Raises
    ------
    StoreError
        If it is none.
    """
    with contextlib.suppress(msgspec.DecodeError, UnicodeError):
        return _HEADS.decode(plain)
    raise StoreError("record: is of another version")


def key_of_kind(kind: str) -> str:
    """Return the key of all resources of a kind; no word has a bar."""
    return f"{kind}|"


def keys_of_code(system: str, code: str) -> tuple[str, str]:
    """Return the keys of a code: with its system, and of any in whatever case."""
    return f"|{system}|{code}", key_of_any(code)


def key_of_any(code: str) -> str:
    """Return the key of a code of any system."""
    return f"||{code.casefold()}"


def head_of(resource: Storable, version: int) -> Head:
    """Return the head of a resource that has no row yet."""
    return Head(
        resource.kind, resource.id, version, resource.when, resource.codes, 0, b"", b"",
        resource.words,
    )  # fmt: skip


def digest_of(content: bytes) -> bytes:
    """Return 16 bytes by which the same content is known again."""
    return hashlib.blake2b(content, digest_size=16).digest()


def check_storable(resource: Storable) -> None:
    """Return if a record can take a resource; raise otherwise.

    Raises
    ------
    RecordError
        If kind or id are of another form, it is very large, or its time has no zone.
    """
    content = getattr(resource, "json", None)
    if type(content) is not bytes:
        raise RecordError(f"resource: expected Resource, got {type(resource).__name__}")
    if len(content) > MAX_RESOURCE_BYTES:
        raise RecordError(f"resource: expected at most {MAX_RESOURCE_BYTES} bytes")
    if not _KIND.fullmatch(resource.kind) or not _ID.fullmatch(resource.id or ""):
        raise RecordError("resource: expected a kind, and an id of up to 64 characters")
    if resource.when is not None and resource.when.tzinfo is None:
        raise RecordError("resource: expected a time with a zone")

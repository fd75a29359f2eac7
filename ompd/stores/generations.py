"""Rows of a registry: one for each generation of a party's keys."""

from __future__ import annotations

import contextlib
import functools
import sqlite3

import msgspec

from ompd.crypto import PublicIdentity
from ompd.errors import (
    ExpiredKeyError,
    KeyMaterialError,
    NotYetValidError,
    OmpdError,
    RevokedKeyError,
    StoreError,
    UnknownKeyError,
)
from ompd.params import Role

SCHEMA = (
    "CREATE TABLE parties (id TEXT PRIMARY KEY, role TEXT NOT NULL) WITHOUT ROWID",
    # A signing key serves once, for one party and one generation, for ever.
    "CREATE TABLE generations ("
    "id TEXT NOT NULL REFERENCES parties (id), generation INTEGER NOT NULL, "
    "signing_key BLOB NOT NULL UNIQUE, public BLOB NOT NULL, since REAL NOT NULL, "
    "valid_from REAL, valid_until REAL, superseded_at REAL, revoked_at REAL, "
    "reason TEXT NOT NULL, rotation BLOB NOT NULL, "
    "PRIMARY KEY (id, generation)) WITHOUT ROWID",
)
SELECT = (
    "SELECT id, signing_key, public, role, generation, since, valid_from, valid_until, "
    "superseded_at, revoked_at, reason, rotation FROM generations JOIN parties USING (id) "
)
CURRENT = SELECT + "WHERE superseded_at IS NULL "


class Registration(msgspec.Struct, frozen=True):
    """One generation of a party's keys.

    Attributes
    ----------
    public : PublicIdentity
    role : {"user", "hospital", "cloud", "patient", "physician", "authority"}
    generation : int
        Counts from 1.
    since : float
        When it was registered; like all times, in seconds since the epoch.
    valid_from, valid_until : float, optional
        First moment of validity, and the first moment after; None for no bound.
    superseded_at : float, optional
        When the next generation took over.
    revoked_at : float, optional
    reason : str
        Of the revocation.
    rotation : bytes
        The signature by the generation before; empty if admitted.
    """

    public: PublicIdentity
    role: Role
    generation: int
    since: float
    valid_from: float | None
    valid_until: float | None
    superseded_at: float | None
    revoked_at: float | None
    reason: str
    rotation: bytes

    def check(self, now: float) -> None:
        """Return if new frames under these keys are acceptable; raise otherwise.

        Raises
        ------
        RevokedKeyError, NotYetValidError, ExpiredKeyError
        """
        if self.revoked_at is not None:
            raise RevokedKeyError("id: the keys of this party were revoked")
        if self.superseded_at is not None:
            raise ExpiredKeyError("id: newer keys of this party are registered")
        if self.valid_from is not None and now < self.valid_from:
            raise NotYetValidError("id: the keys of this party are not valid yet")
        if self.valid_until is not None and now >= self.valid_until:
            raise ExpiredKeyError("id: the keys of this party are no longer valid")

    def state(self, now: float) -> str:
        """Return "valid", "revoked", "superseded", "not yet valid" or "expired"."""
        if self.superseded_at is not None and self.revoked_at is None:
            return "superseded"
        try:
            self.check(now)
        except RevokedKeyError:
            return "revoked"
        except NotYetValidError:
            return "not yet valid"
        except ExpiredKeyError:
            return "expired"
        return "valid"


def text_of(id: object) -> str:
    """An id that SQLite can be asked for; whatever is no text is no party's."""
    return id if type(id) is str and id.isascii() else ""


def unknown() -> UnknownKeyError:
    """Return the error for an id that nobody has."""
    return UnknownKeyError("id: no party of this id is registered")


def current(connection: sqlite3.Connection, id: str) -> Registration | None:
    """Return a party's present generation; None if it was never registered."""
    row = connection.execute(CURRENT + "AND id = ?", (text_of(id),)).fetchone()
    return None if row is None else registration(row)


def known(connection: sqlite3.Connection, id: str) -> Registration:
    """Return a party's present generation.

    Raises
    ------
    UnknownKeyError
        If it was never registered.
    """
    found = current(connection, id)
    if found is None:
        raise unknown()
    return found


def supersede(connection: sqlite3.Connection, known: Registration, now: float) -> None:
    """Close the present generation."""
    connection.execute(
        "UPDATE generations SET superseded_at = ? WHERE id = ? AND generation = ?",
        (now, known.public.id, known.generation),
    )


def update(connection: sqlite3.Connection, known: Registration, public: PublicIdentity) -> None:
    """Write a generation's keys anew."""
    connection.execute(
        "UPDATE generations SET public = ? WHERE id = ? AND generation = ?",
        (public.to_bytes(), public.id, known.generation),
    )


def insert(
    connection: sqlite3.Connection,
    public: PublicIdentity,
    generation: int,
    now: float,
    valid_from: float | None,
    valid_until: float | None,
    rotation: bytes,
) -> None:
    """Add a generation.

    Raises
    ------
    KeyMaterialError
        If its signing key was registered before.
    """
    taken = connection.execute(
        "SELECT 1 FROM generations WHERE signing_key = ?", (public.signing_key,)
    ).fetchone()
    if taken:
        raise KeyMaterialError("public_identity: its signing key was registered before")
    connection.execute(
        "INSERT INTO generations VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, '', ?)",
        (public.id, generation, public.signing_key, public.to_bytes(), float(now), valid_from,
         valid_until, rotation),
    )  # fmt: skip


@functools.lru_cache(4096)
def registration(row: tuple[object, ...]) -> Registration:
    """Decode a row, and notice one that was not written by this module.

    What was decoded is kept: a server reads the same rows several times for each query.

    Raises
    ------
    StoreError
    """
    id, signing_key, encoded, *rest = row
    found: Registration | None = None
    with contextlib.suppress(OmpdError, ValueError):
        public = PublicIdentity.from_bytes(encoded)  # type: ignore[arg-type]
        names = Registration.__struct_fields__
        found = msgspec.convert(dict(zip(names, (public, *rest), strict=True)), Registration)
    if found is None or (found.public.id, found.public.signing_key) != (id, signing_key):
        raise StoreError("registry: an entry is damaged")
    return found

"""What patients and hospitals contributed to collections of a cloud, and what was made of it.

A collection takes contributions until its result is asked for. From then on it takes none, so that
there is one set of contributors and one result of it: two results of sets that differ by one
patient would show that patient's values. With the result the contributions are removed.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence

import msgspec

from ompd.errors import (
    ContextMismatchError,
    ContributorsError,
    ParameterError,
    QuotaError,
    ReplayError,
    StoreError,
    TooLargeError,
)
from ompd.stores.database import Database, MemoryDatabase
from ompd.stores.store import Store
from ompd.wire import Terms

#: Collections of one physician.
MOST_COLLECTIONS = 64
#: Of one contributor, in all collections together.
MOST_CONTRIBUTIONS, MOST_BYTES = 256, 64 << 20
#: Of all contributors and physicians together, by default.
ROOM = 64 << 30

_SCHEMA = (
    "CREATE TABLE collections (id BLOB PRIMARY KEY, physician TEXT NOT NULL, opened INTEGER NOT "
    "NULL, terms BLOB NOT NULL, key BLOB NOT NULL, digest BLOB NOT NULL, closed INTEGER NOT NULL, "
    "contributors INTEGER, result BLOB, result_digest BLOB)",
    "CREATE TABLE contributions (collection BLOB NOT NULL REFERENCES collections (id) ON DELETE "
    "CASCADE, sender TEXT NOT NULL, made INTEGER NOT NULL, size INTEGER NOT NULL, parts BLOB "
    "NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (collection, sender))",
    "CREATE INDEX by_sender ON contributions (sender, size)",
)
_PARTS = msgspec.msgpack.Decoder(tuple[bytes, ...])
_TERMS = msgspec.msgpack.Decoder(Terms)


class Kept(msgspec.Struct, frozen=True):
    """A collection, as it is here.

    Attributes
    ----------
    terms : Terms
    closed : bool
        Whether it takes no more contributions.
    """

    terms: Terms
    closed: bool

    def __repr__(self) -> str:
        return "<Kept>"


class Collections(Store[Database | MemoryDatabase]):
    """The collections of one cloud. For several threads and, with a file, processes.

    Parameters
    ----------
    path : path or None
        SQLite file; created if missing, with mode 0600. None keeps all in memory until the object
        is gone.
    room : int
        Most bytes of keys and contributions together.
    power_safe : bool, default True
        Whether every change waits for the disk.

    Raises
    ------
    ParameterError
        If the room is no positive integer.
    StoreError
        From every method, if the file is damaged, foreign, writable by others, locked or full.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        room: int = ROOM,
        power_safe: bool = True,
    ) -> None:
        if type(room) is not int or room < 1:
            raise ParameterError("room: expected a positive integer of bytes")
        self._room = room
        super().__init__(
            MemoryDatabase("collections", ("PRAGMA foreign_keys = ON", *_SCHEMA))
            if path is None
            else Database(
                path, application=0x4F4D5043, version=1, schema=_SCHEMA, power_safe=power_safe
            )
        )

    def open(self, terms: Terms, key: bytes, now: float) -> None:
        """Begin a collection; nothing happens if it is here, the same.

        Raises
        ------
        ContextMismatchError
            If another one has its id.
        QuotaError
            If its physician has very many here, or there is no room.
        """
        encoded = msgspec.msgpack.encode(terms)
        digest = _digest(terms.collection, encoded)
        with self._database.writing() as connection:
            row = connection.execute(
                "SELECT digest FROM collections WHERE id = ?", (terms.collection,)
            ).fetchone()
            if row is not None:
                if row[0] != digest:
                    raise ContextMismatchError("collection: its id is taken by another one")
                return
            (owned,) = connection.execute(
                "SELECT count(*) FROM collections WHERE physician = ?", (terms.physician,)
            ).fetchone()
            if owned >= MOST_COLLECTIONS:
                raise QuotaError(f"collection: expected at most {MOST_COLLECTIONS} per physician")
            self._check_room(connection, len(key))
            connection.execute(
                "INSERT INTO collections VALUES (?, ?, ?, ?, ?, ?, 0, NULL, NULL, NULL)",
                (terms.collection, terms.physician, int(now), encoded, key, digest),
            )

    def find(self, collection: bytes) -> Kept:
        """Return a collection.

        Raises
        ------
        ContextMismatchError
            If there is none of this id.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT terms, digest, closed FROM collections WHERE id = ?", (collection,)
            ).fetchone()
        if row is None:
            raise ContextMismatchError("collection: there is none of this id")
        encoded, digest, closed = row
        if not isinstance(encoded, bytes) or digest != _digest(collection, encoded):
            raise StoreError("collection: is damaged")
        return Kept(_TERMS.decode(encoded), bool(closed))

    def key(self, terms: Terms) -> bytes:
        """Return the public key of a collection, as its terms name it.

        Raises
        ------
        ContextMismatchError
            If there is no such collection.
        StoreError
            If it is damaged.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT key FROM collections WHERE id = ?", (terms.collection,)
            ).fetchone()
        if row is None:
            raise ContextMismatchError("collection: there is none of this id")
        if not isinstance(row[0], bytes) or hashlib.sha256(row[0]).digest() != terms.key:
            raise StoreError("collection: its key is damaged")
        return row[0]

    def put(self, collection: bytes, sender: str, parts: Sequence[bytes], made: int) -> None:
        """Keep a contribution, in the place of an earlier one of the same sender.

        Parameters
        ----------
        collection : bytes
        sender : str
        parts : sequence of bytes
        made : int
            When its sender made it, in milliseconds since the epoch.

        Raises
        ------
        ContextMismatchError
            If there is no such collection, or it takes no more.
        ReplayError
            If a later one of this sender is here.
        TooLargeError
            If it has as many contributors as its terms allow.
        QuotaError
            If the sender has very much here, or there is no room.
        """
        encoded = msgspec.msgpack.encode(tuple(parts))
        size = len(encoded)
        with self._database.writing() as connection:
            row = connection.execute(
                "SELECT terms, closed FROM collections WHERE id = ?", (collection,)
            ).fetchone()
            if row is None:
                raise ContextMismatchError("collection: there is none of this id")
            if row[1]:
                raise ContextMismatchError("collection: takes no more contributions")
            whose = "FROM contributions WHERE collection = ? AND sender = ?"
            before = connection.execute(f"SELECT made {whose}", (collection, sender)).fetchone()
            if before is not None and before[0] > made:
                raise ReplayError("contribution: a later one of its sender is here")
            connection.execute(f"DELETE {whose}", (collection, sender))
            if _count(connection, collection) >= _TERMS.decode(row[0]).most:
                raise TooLargeError("collection: has as many contributors as it takes")
            have, taken = connection.execute(
                "SELECT count(*), total(size) FROM contributions WHERE sender = ?", (sender,)
            ).fetchone()
            if have >= MOST_CONTRIBUTIONS or taken + size > MOST_BYTES:
                raise QuotaError("contribution: its sender has as much here as one may have")
            self._check_room(connection, size)
            connection.execute(
                "INSERT INTO contributions VALUES (?, ?, ?, ?, ?, ?)",
                (
                    collection,
                    sender,
                    made,
                    size,
                    encoded,
                    _digest(collection, sender.encode(), encoded),
                ),
            )

    def check_enough(self, collection: bytes, least: int) -> None:
        """Refuse to go on if there are fewer contributors than `least`.

        Raises
        ------
        ContributorsError
        """
        with self._database.reading() as connection:
            if _count(connection, collection) < least:
                raise ContributorsError("collection: has too few contributors for a result")

    def close_collection(self, collection: bytes, least: int) -> int:
        """Take no more contributions; return how many there are.

        Raises
        ------
        ContributorsError
            If there are fewer than `least`; the collection stays open.
        """
        with self._database.writing() as connection:
            count = _count(connection, collection)
            if count < least:
                raise ContributorsError("collection: has too few contributors for a result")
            connection.execute("UPDATE collections SET closed = 1 WHERE id = ?", (collection,))
        return count

    def contributions(self, collection: bytes) -> Iterator[tuple[bytes, ...]]:
        """Yield what each contributor sent, one at a time.

        Raises
        ------
        StoreError
            If something is damaged.
        """
        with self._database.reading() as connection:
            senders = connection.execute(
                "SELECT sender FROM contributions WHERE collection = ? ORDER BY sender",
                (collection,),
            ).fetchall()
        for (sender,) in senders:
            yield self.contribution(collection, sender)

    def contribution(self, collection: bytes, sender: str) -> tuple[bytes, ...]:
        """Return what a contributor sent.

        Raises
        ------
        ContextMismatchError
            If there is nothing of this contributor.
        StoreError
            If it is damaged.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT parts, digest FROM contributions WHERE collection = ? AND sender = ?",
                (collection, sender),
            ).fetchone()
        if row is None:
            raise ContextMismatchError("collection: has nothing of this contributor")
        return _parts(row[0], row[1], collection, sender.encode())

    def keep_result(self, collection: bytes, contributors: int, parts: Sequence[bytes]) -> None:
        """Keep a result, unless there is one, and remove the contributions."""
        encoded = msgspec.msgpack.encode(tuple(parts))
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE collections SET contributors = ?, result = ?, result_digest = ? "
                "WHERE id = ? AND result IS NULL",
                (contributors, encoded, _digest(collection, b"", encoded), collection),
            )
            connection.execute("DELETE FROM contributions WHERE collection = ?", (collection,))

    def result(self, collection: bytes) -> tuple[int, tuple[bytes, ...]] | None:
        """Return the number of contributors and the result; None if there is none yet.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT contributors, result, result_digest FROM collections WHERE id = ?",
                (collection,),
            ).fetchone()
        if row is None or row[1] is None:
            return None
        return int(row[0]), _parts(row[1], row[2], collection, b"")

    def forget(self, before: float) -> None:
        """Remove collections that were opened before a moment, with all that is in them."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM collections WHERE opened < ?", (int(before),))

    def _check_room(self, connection: sqlite3.Connection, size: int) -> None:
        (keys,) = connection.execute("SELECT total(length(key)) FROM collections").fetchone()
        (parts,) = connection.execute("SELECT total(size) FROM contributions").fetchone()
        if keys + parts + size > self._room:
            raise QuotaError("collection: there is no room for more")


def _count(connection: sqlite3.Connection, collection: bytes) -> int:
    (count,) = connection.execute(
        "SELECT count(*) FROM contributions WHERE collection = ?", (collection,)
    ).fetchone()
    return int(count)


def _parts(encoded: object, digest: object, *context: bytes) -> tuple[bytes, ...]:
    """Decode what was kept."""
    if isinstance(encoded, bytes) and digest == _digest(*context, encoded):
        return _PARTS.decode(encoded)
    raise StoreError("collection: what is in it is damaged")


def _digest(*parts: bytes) -> bytes:
    """What shows that a flipped bit is none of what was written."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()

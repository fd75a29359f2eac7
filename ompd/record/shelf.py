"""The file of a record: sealed rows, and the sealed sum of them.

A row is a head and a body, each padded, under AES-256-GCM and bound to its record and place; a head
says which body is its own. One more row seals the number of the last change, how many rows there
are and the sum of a keyed hash of their heads modulo 2**256. It changes together with them, so that
a row that was cut, put elsewhere, doubled, or taken from an older copy of the file leaves another
sum.
An older copy of the whole file has the right one; see `Shelf.changes`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ompd.confidential import Confidential
from ompd.crypto.symmetric import Sealer, derive
from ompd.errors import DecryptionError, StoreError
from ompd.files import FolderLock, own_folder
from ompd.record.entries import Head, decode_head, digest_of
from ompd.stores.database import Database

_SCHEMA = (
    "CREATE TABLE record (one INTEGER PRIMARY KEY CHECK (one = 0), id BLOB NOT NULL, "
    "state BLOB NOT NULL)",
    "CREATE TABLE slots (name TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID",
    # The body last: a head is read without what may be large.
    "CREATE TABLE rows (place INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL)",
)
_TAG_BYTES = 16
#: Sealed lengths are in steps of so many bytes.
_STEP = 512
_SIZE_BYTES = 4
_LABEL = b"ompd/record/1\x00"
_MODULUS = 1 << 256


class _State(msgspec.Struct, frozen=True, array_like=True):
    """What is sealed beside the rows."""

    changes: int
    rows: int
    next_place: int
    total: bytes


_STATES = msgspec.msgpack.Decoder(_State)


class Row(msgspec.Struct, frozen=True):
    """A row to be written.

    Attributes
    ----------
    head : Head
        Its `tag` and `digest` are set here.
    content : bytes
    """

    head: Head
    content: bytes

    def __repr__(self) -> str:
        return "<Row>"


class Shelf(Confidential):
    """Sealed rows in a file. Not for several threads at a time.

    Parameters
    ----------
    path : Path
        Made by `create`; `unlock` comes before anything about rows.

    Raises
    ------
    StoreError
        From every method, if the file is damaged, foreign, or the disk refuses.
    """

    __slots__ = ("_database", "_key", "_prf", "_sealer", "_state", "_states", "id")

    def __init__(self, path: Path) -> None:
        self._database = _database(path)
        with self._database.reading() as connection:
            connection.execute("PRAGMA secure_delete = ON")
        with self._database.reading() as connection:
            found = connection.execute("SELECT id FROM record").fetchone()
        if found is None:
            self._database.close()
            raise StoreError(f"{path.name}: was not finished when it was made")
        self.id = bytes(found[0])
        self._state = _State(0, 0, 0, b"")

    @classmethod
    def create(
        cls,
        path: Path,
        identifier: bytes,
        key: bytes,
        slots: Mapping[str, bytes],
        rows: Sequence[tuple[int, bytes, bytes]] = (),
        changes: int = 0,
    ) -> None:
        """Make the file of a record, all or nothing; one that was not finished is made anew.

        Parameters
        ----------
        path : Path
        identifier, key : bytes
            Of the record.
        slots : mapping of str to bytes
        rows : sequence of (place, head, body)
            Sealed, of another copy of this record.
        changes : int
            Number of the last change of that copy.

        Raises
        ------
        StoreError
            If there is one.
        """
        prf = _prf(identifier, key)
        total = sum(_hash(prf, place, head) for place, head, _ in rows) % _MODULUS
        next_place = max((place for place, _, _ in rows), default=-1) + 1
        state = _State(changes, len(rows), next_place, total.to_bytes(32, "big"))
        sealed = _state_sealer(identifier, key).seal(
            msgspec.msgpack.encode(state), _LABEL + identifier
        )
        with contextlib.closing(_database(path)) as database, database.writing() as connection:
            if connection.execute("SELECT 1 FROM record").fetchone() is not None:
                raise StoreError("folder: holds a record already")
            connection.execute("INSERT INTO record VALUES (0, ?, ?)", (identifier, sealed))
            connection.executemany("INSERT INTO slots VALUES (?, ?)", slots.items())
            connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)

    @property
    def changes(self) -> int:
        """Number of the last change. An older copy of the file has a smaller one."""
        return self._state.changes

    @property
    def key(self) -> bytes:
        """The **secret** key of the record."""
        return self._key

    def __len__(self) -> int:
        return self._state.rows

    # --- slots --------------------------------------------------------------------------------

    def slot(self, name: str) -> bytes | None:
        """Return a slot; None if there is none of this name."""
        query = "SELECT content FROM slots WHERE name = ?"
        with self._database.reading() as connection:
            found = connection.execute(query, (name,)).fetchone()
        return None if found is None else bytes(found[0])

    def slots(self) -> dict[str, bytes]:
        """Return all slots by name."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT name, content FROM slots").fetchall()
        return {str(name): bytes(content) for name, content in found}

    def put_slots(self, slots: Mapping[str, bytes]) -> None:
        """Keep slots, in place of those of the same name."""
        with self._database.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO slots VALUES (?, ?)", slots.items())
        self._wipe()

    def drop_slot(self, name: str) -> bool:
        """Remove a slot; tell whether there was one."""
        with self._database.writing() as connection:
            count = connection.execute("DELETE FROM slots WHERE name = ?", (name,)).rowcount
        self._wipe()
        return count > 0

    # --- rows ---------------------------------------------------------------------------------

    def unlock(self, key: bytes) -> Iterator[tuple[int, Head]]:
        """Take the key, and yield places and heads of all rows, ascending.

        Raises
        ------
        StoreError
            At the last one, if rows were changed, cut, doubled or put back.
        """
        self._key = key
        self._sealer = Sealer(derive(_LABEL, b"rows", self.id, key))
        self._states = _state_sealer(self.id, key)
        self._prf = _prf(self.id, key)
        return self.heads()

    def heads(self) -> Iterator[tuple[int, Head]]:
        """Read state and rows anew; as `unlock`."""
        with self._database.reading() as connection:
            (state,) = connection.execute("SELECT state FROM record").fetchone()
            rows = connection.execute("SELECT place, head FROM rows ORDER BY place").fetchall()
        with _noticed():
            plain = self._states.open(bytes(state), _LABEL + self.id)
            self._state = _STATES.decode(plain)
        total = 0
        for place, head in rows:
            total += _hash(self._prf, place, head)
            yield place, self._open_head(place, head)
        if (len(rows), total % _MODULUS) != (
            self._state.rows,
            int.from_bytes(self._state.total, "big"),
        ):
            raise StoreError("record: rows were cut, doubled, or put back from an older copy")

    def head(self, place: int) -> Head:
        """Return the head of a row, opened."""
        with self._database.reading() as connection:
            sealed = _head_at(connection, place)
        return self._open_head(place, sealed)

    def body(self, place: int) -> tuple[Head, bytes]:
        """Return head and content of a row, opened."""
        with self._database.reading() as connection:
            found = _row_at(connection, place)
        head = self._open_head(place, found[0])
        return head, self._open_body(place, head, found[1])

    def sealed(self, place: int) -> tuple[bytes, bytes]:
        """Return head and body of a row as the file has them."""
        with self._database.reading() as connection:
            found = _row_at(connection, place)
        return bytes(found[0]), bytes(found[1])

    def change(
        self,
        puts: Sequence[tuple[int | None, Row]],
        drops: Sequence[int] = (),
    ) -> tuple[list[tuple[int, Head]], list[tuple[int, Head]]]:
        """Write and remove rows, all or nothing, as one change.

        Parameters
        ----------
        puts : sequence of (place or None, Row)
            The row goes to the place, or to a new one.
        drops : sequence of int
            Places; none of them is written to.

        Returns
        -------
        tuple
            Places and heads that are there now, and those that were there before.
        """
        state = self._state
        total, next_place = int.from_bytes(state.total, "big"), state.next_place
        changes, rows = state.changes + 1, state.rows
        new: list[tuple[int, Head]] = []
        old: list[tuple[int, Head]] = []
        with self._database.writing() as connection:
            for known in (*drops, *(place for place, _ in puts if place is not None)):
                before = _head_at(connection, known)
                total -= _hash(self._prf, known, before)
                old.append((known, self._open_head(known, before)))
            connection.executemany("DELETE FROM rows WHERE place = ?", ((each,) for each in drops))
            rows -= len(drops)
            for known_or_none, row in puts:
                place = next_place if known_or_none is None else known_or_none
                if known_or_none is None:
                    next_place, rows = next_place + 1, rows + 1
                head, sealed, body = self._seal(place, row, changes)
                total += _hash(self._prf, place, sealed)
                connection.execute(
                    "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", (place, sealed, body)
                )
                new.append((place, head))
            after = _State(changes, rows, next_place, (total % _MODULUS).to_bytes(32, "big"))
            self._write_state(connection, after)
        self._state = after
        if old:
            self._wipe()
        return new, old

    def close(self) -> None:
        """Close the file; may be repeated."""
        self._database.close()

    def _seal(self, place: int, row: Row, changes: int) -> tuple[Head, bytes, bytes]:
        bound = self._bound(place)
        body = self._sealer.seal(_padded(row.content), b"body" + bound)
        head = msgspec.structs.replace(
            row.head, changed=changes, tag=body[-_TAG_BYTES:], digest=digest_of(row.content)
        )
        plain = _padded(msgspec.msgpack.encode(head))
        return head, self._sealer.seal(plain, b"head" + bound), body

    def _open_head(self, place: int, sealed: bytes) -> Head:
        with _noticed():
            return decode_head(_plain(self._sealer.open(sealed, b"head" + self._bound(place))))
        raise AssertionError  # pragma: no cover  (`_noticed` swallows nothing)

    def _open_body(self, place: int, head: Head, sealed: bytes) -> bytes:
        with _noticed():
            if sealed[-_TAG_BYTES:] != head.tag:
                raise DecryptionError("body: is another version's")
            return _plain(self._sealer.open(sealed, b"body" + self._bound(place)))
        raise AssertionError  # pragma: no cover  (`_noticed` swallows nothing)

    def _write_state(self, connection: sqlite3.Connection, state: _State) -> None:
        sealed = self._states.seal(msgspec.msgpack.encode(state), _LABEL + self.id)
        connection.execute("UPDATE record SET state = ?", (sealed,))

    def _bound(self, place: int) -> bytes:
        return _LABEL + self.id + place.to_bytes(8, "big")

    def _wipe(self) -> None:
        """Leave nothing of what was removed in the log of changes either."""
        # It is done once more with the next change, should the disk refuse now.
        with contextlib.suppress(StoreError), self._database.reading() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[FolderLock]:
    """Lock a folder for what the block returns; give it back if it returns nothing."""
    lock = own_folder(path, StoreError, "record")
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def _database(path: str | os.PathLike[str]) -> Database:
    return Database(path, application=0x4F4D5048, version=1, schema=_SCHEMA)


def _head_at(connection: sqlite3.Connection, place: int) -> bytes:
    return bytes(_row_at(connection, place, "head")[0])


def _row_at(connection: sqlite3.Connection, place: int, columns: str = "head, body") -> Any:
    query = f"SELECT {columns} FROM rows WHERE place = ?"  # noqa: S608  (no value is in it)
    found = connection.execute(query, (place,)).fetchone()
    if found is None:
        raise StoreError("record: a row was cut")
    return found


def _padded(content: bytes) -> bytes:
    """Return a content whose length tells little: which of several answers was given, say."""
    size = len(content)
    return size.to_bytes(_SIZE_BYTES, "big") + content + bytes(-(size + _SIZE_BYTES) % _STEP)


def _plain(padded: bytes) -> bytes:
    return padded[_SIZE_BYTES : _SIZE_BYTES + int.from_bytes(padded[:_SIZE_BYTES], "big")]


def _state_sealer(identifier: bytes, key: bytes) -> Sealer:
    return Sealer(derive(_LABEL, b"state", identifier, key))


def _prf(identifier: bytes, key: bytes) -> bytes:
    return derive(_LABEL, b"sum", identifier, key)


def _hash(prf: bytes, place: int, head: bytes) -> int:
    hashed = hashlib.blake2b(place.to_bytes(8, "big") + head, digest_size=32, key=prf)
    return int.from_bytes(hashed.digest(), "big")


@contextlib.contextmanager
def _noticed() -> Iterator[None]:
    """Say of what does not open that the file was changed."""
    noticed = False
    try:
        yield
    except (DecryptionError, msgspec.DecodeError):
        noticed = True
    if noticed:
        raise StoreError("record: was changed by somebody without its key, or is damaged")

"""What a cloud keeps for people and companies: sealed records, grants, programs; in one file.

Nothing in it can be read with what is in it. Grants and blinded grants are removed once their epoch
is over, and what they were is overwritten.

Requests may come in another order than they were made in, or be held back. So each thing has the
time at which it was asked for, and the latest request counts; what was removed leaves its name
behind for as long as an older request for it could still be accepted.
"""

from __future__ import annotations

import os
import sqlite3

from ompd.errors import (
    ContextMismatchError,
    GrantError,
    QuotaError,
    ReplayError,
    UnknownProgramError,
)
from ompd.stores.database import Database
from ompd.stores.store import Store

#: Most records and grants of one owner, and programs of one company.
MOST_RECORDS = 10_000
MOST_GRANTS = 1_000
MOST_PROGRAMS = 1_000
#: Most bytes of one owner's records, and of one company's programs.
MOST_BYTES = 1 << 30
#: Milliseconds for which the name of what was removed is kept; no frame is acceptable for as long.
_REMEMBERED = 3_600_000

_SCHEMA = (
    "CREATE TABLE records (owner TEXT NOT NULL, kind TEXT NOT NULL, epoch INTEGER NOT NULL, "
    "record BLOB NOT NULL, made INTEGER NOT NULL, size INTEGER NOT NULL, capsule BLOB NOT NULL, "
    "ciphertext BLOB NOT NULL, signature BLOB NOT NULL, "
    "PRIMARY KEY (owner, kind, epoch, record))",
    "CREATE INDEX records_size ON records (owner, size)",
    "CREATE INDEX records_removed ON records (made) WHERE size = 0",
    "CREATE TABLE grants (owner TEXT NOT NULL, kind TEXT NOT NULL, epoch INTEGER NOT NULL, "
    "recipient TEXT NOT NULL, made INTEGER NOT NULL, content BLOB NOT NULL, "
    "PRIMARY KEY (owner, kind, epoch, recipient)) WITHOUT ROWID",
    "CREATE INDEX grants_epoch ON grants (epoch)",
    "CREATE TABLE programs (program BLOB NOT NULL, epoch INTEGER NOT NULL, company TEXT NOT NULL, "
    "content BLOB NOT NULL, PRIMARY KEY (program, epoch))",
)

_RECORD = "SELECT made FROM records WHERE owner = ? AND kind = ? AND epoch = ? AND record = ?"
_GRANT = "SELECT made FROM grants WHERE owner = ? AND kind = ? AND epoch = ? AND recipient = ?"

Scope = tuple[str, str, int]


class Keeper(Store[Database]):
    """Records, grants and programs of a cloud.

    Parameters
    ----------
    path : path
        SQLite file; created if missing, with mode 0600, shared by threads and processes.

    Raises
    ------
    StoreError
        From every method, if the file is damaged, foreign, writable by others, or locked for ten
        seconds.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(Database(path, application=0x4F4D504B, version=1, schema=_SCHEMA))
        with self._database.reading() as connection:
            connection.execute("PRAGMA secure_delete = ON")

    def put(
        self,
        scope: Scope,
        record: bytes,
        made: int,
        capsule: bytes,
        ciphertext: bytes,
        signature: bytes,
    ) -> None:
        """Keep a record, in place of one of the same name.

        Parameters
        ----------
        scope : (owner, kind, epoch)
        record : bytes
        made : int
            When the owner asked for it, in milliseconds since the epoch.
        capsule, ciphertext, signature : bytes

        Raises
        ------
        ReplayError
            If a later one of this name is here, or was removed later.
        QuotaError
            If the owner has very many, or very much.
        """
        size = len(capsule) + len(ciphertext)
        with self._database.writing() as connection:
            _check_latest(connection, _RECORD, (*scope, record), made)
            connection.execute(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*scope, record, made, size, capsule, ciphertext, signature),
            )
            query = "SELECT count(*), total(size) FROM records WHERE owner = ?"
            _check_room(connection.execute(query, scope[:1]), MOST_RECORDS, "records")

    def remove(self, scope: Scope, record: bytes, made: int) -> None:
        """Forget a record; nothing if there is none.

        Raises
        ------
        ReplayError
            If a later one of this name is here.
        """
        with self._database.writing() as connection:
            _check_latest(connection, _RECORD, (*scope, record), made)
            connection.execute(
                "UPDATE records SET made = ?, size = 0, capsule = X'', ciphertext = X'', "
                "signature = X'' WHERE owner = ? AND kind = ? AND epoch = ? AND record = ?",
                (made, *scope, record),
            )
            connection.execute(
                "DELETE FROM records WHERE size = 0 AND made < ?", (made - _REMEMBERED,)
            )
        self._wipe()

    def get(self, scope: Scope, record: bytes) -> tuple[bytes, bytes, bytes]:
        """Return capsule, ciphertext and signature of a record.

        Raises
        ------
        ContextMismatchError
            If there is none of this name.
        """
        query = (
            "SELECT capsule, ciphertext, signature FROM records "
            "WHERE owner = ? AND kind = ? AND epoch = ? AND record = ? AND size > 0"
        )
        with self._database.reading() as connection:
            found = connection.execute(query, (*scope, record)).fetchone()
        if found is None:
            raise ContextMismatchError("record: there is none of this name")
        return bytes(found[0]), bytes(found[1]), bytes(found[2])

    def names(self, scope: Scope) -> list[bytes]:
        """Return the names of a scope's records, in their order."""
        query = (
            "SELECT record FROM records WHERE owner = ? AND kind = ? AND epoch = ? AND size > 0 "
            "ORDER BY record"
        )
        with self._database.reading() as connection:
            return [bytes(row[0]) for row in connection.execute(query, scope).fetchall()]

    def grant(self, scope: Scope, recipient: str, made: int, content: bytes) -> None:
        """Keep a grant, in place of one to the same recipient.

        Raises
        ------
        ReplayError
            If a later one is here, or was revoked later.
        QuotaError
            If the owner has very many.
        """
        with self._database.writing() as connection:
            _check_latest(connection, _GRANT, (*scope, recipient), made)
            connection.execute(
                "INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?, ?, ?)",
                (*scope, recipient, made, content),
            )
            query = "SELECT count(*), 0 FROM grants WHERE owner = ?"
            _check_room(connection.execute(query, scope[:1]), MOST_GRANTS, "grants")

    def revoke(self, scope: Scope, recipient: str, made: int) -> None:
        """Forget a grant before its epoch ends; nothing if there is none.

        Raises
        ------
        ReplayError
            If a later one is here.
        """
        with self._database.writing() as connection:
            _check_latest(connection, _GRANT, (*scope, recipient), made)
            connection.execute(
                "UPDATE grants SET made = ?, content = X'' "
                "WHERE owner = ? AND kind = ? AND epoch = ? AND recipient = ?",
                (made, *scope, recipient),
            )
        self._wipe()

    def granted(self, scope: Scope, recipient: str) -> bytes:
        """Return a grant.

        Raises
        ------
        GrantError
            If there is none.
        """
        query = (
            "SELECT content FROM grants "
            "WHERE owner = ? AND kind = ? AND epoch = ? AND recipient = ? AND content <> X''"
        )
        with self._database.reading() as connection:
            found = connection.execute(query, (*scope, recipient)).fetchone()
        if found is None:
            raise GrantError("grant: the sender has none for this")
        return bytes(found[0])

    def forget(self, epoch: int) -> int:
        """Remove the grants of all epochs before this one, and programs of those before the last.

        Returns
        -------
        int
            How many grants.
        """
        with self._database.writing() as connection:
            removed = connection.execute("DELETE FROM grants WHERE epoch < ?", (epoch,)).rowcount
            old = connection.execute("DELETE FROM programs WHERE epoch < ?", (epoch - 1,)).rowcount
        if removed or old:
            self._wipe()
        return removed

    def publish(self, program: bytes, epoch: int, company: str, content: bytes) -> None:
        """Keep a program for an epoch; the same company may replace it.

        Raises
        ------
        ContextMismatchError
            If the program is another company's.
        QuotaError
            If the company has very many.
        """
        with self._database.writing() as connection:
            query = "SELECT 1 FROM programs WHERE program = ? AND company <> ?"
            if connection.execute(query, (program, company)).fetchone() is not None:
                raise ContextMismatchError("program: is another company's")
            connection.execute(
                "INSERT OR REPLACE INTO programs VALUES (?, ?, ?, ?)",
                (program, epoch, company, content),
            )
            query = "SELECT count(*), total(length(content)) FROM programs WHERE company = ?"
            _check_room(connection.execute(query, (company,)), MOST_PROGRAMS, "programs")

    def program(self, program: bytes, epoch: int) -> bytes:
        """Return an encrypted program.

        Raises
        ------
        UnknownProgramError
            If there is none of this id and epoch.
        """
        query = "SELECT content FROM programs WHERE program = ? AND epoch = ?"
        with self._database.reading() as connection:
            found = connection.execute(query, (program, epoch)).fetchone()
        if found is None:
            raise UnknownProgramError("program: there is none of this id and epoch")
        return bytes(found[0])

    def _wipe(self) -> None:
        """Leave nothing of what was removed in the log of changes either."""
        with self._database.reading() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _check_latest(
    connection: sqlite3.Connection, query: str, name: tuple[object, ...], made: int
) -> None:
    found = connection.execute(query, name).fetchone()
    if found is not None and found[0] > made:
        raise ReplayError("request: a later one for the same was done before")


def _check_room(cursor: sqlite3.Cursor, most: int, name: str) -> None:
    # Raised inside the transaction, which undoes the insertion.
    count, size = cursor.fetchone()
    if count > most or size > MOST_BYTES:
        raise QuotaError(f"{name}: expected at most {most}, of {MOST_BYTES} bytes together")

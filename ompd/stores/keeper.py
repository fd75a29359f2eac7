"""What a cloud keeps for people and companies: sealed records, grants, programs; in one file.

Nothing in it can be read with what is in it. Grants and blinded grants are removed once their epoch
is over, and what they were is overwritten.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Self

from ompd.errors import ContextMismatchError, GrantError, QuotaError, UnknownProgramError
from ompd.stores.database import Database

#: Most records of one owner, grants of one scope, and programs of one company.
MOST_RECORDS = 10_000
MOST_GRANTS = 1_000
MOST_PROGRAMS = 1_000

_SCHEMA = (
    "CREATE TABLE records (owner TEXT NOT NULL, kind TEXT NOT NULL, epoch INTEGER NOT NULL, "
    "record BLOB NOT NULL, capsule BLOB NOT NULL, ciphertext BLOB NOT NULL, "
    "PRIMARY KEY (owner, kind, epoch, record))",
    "CREATE TABLE grants (owner TEXT NOT NULL, kind TEXT NOT NULL, epoch INTEGER NOT NULL, "
    "recipient TEXT NOT NULL, content BLOB NOT NULL, "
    "PRIMARY KEY (owner, kind, epoch, recipient)) WITHOUT ROWID",
    "CREATE INDEX grants_epoch ON grants (epoch)",
    "CREATE TABLE programs (program BLOB NOT NULL, epoch INTEGER NOT NULL, company TEXT NOT NULL, "
    "content BLOB NOT NULL, PRIMARY KEY (program, epoch))",
)

Scope = tuple[str, str, int]


class Keeper:
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
        self._database = Database(path, application=0x4F4D504B, version=1, schema=_SCHEMA)
        with self._database.reading() as connection:
            connection.execute("PRAGMA secure_delete = ON")

    def put(self, scope: Scope, record: bytes, capsule: bytes, ciphertext: bytes) -> None:
        """Keep a record, in place of one of the same name.

        Parameters
        ----------
        scope : (owner, kind, epoch)
        record, capsule, ciphertext : bytes

        Raises
        ------
        QuotaError
            If the owner has very many.
        """
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)",
                (*scope, record, capsule, ciphertext),
            )
            query = "SELECT count(*) FROM records WHERE owner = ?"
            _check_count(connection.execute(query, scope[:1]), MOST_RECORDS, "records")

    def remove(self, scope: Scope, record: bytes) -> None:
        """Forget a record; nothing if there is none."""
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM records WHERE owner = ? AND kind = ? AND epoch = ? AND record = ?",
                (*scope, record),
            )
        self._wipe()

    def get(self, scope: Scope, record: bytes) -> tuple[bytes, bytes]:
        """Return capsule and ciphertext of a record.

        Raises
        ------
        ContextMismatchError
            If there is none of this name.
        """
        query = (
            "SELECT capsule, ciphertext FROM records "
            "WHERE owner = ? AND kind = ? AND epoch = ? AND record = ?"
        )
        with self._database.reading() as connection:
            found = connection.execute(query, (*scope, record)).fetchone()
        if found is None:
            raise ContextMismatchError("record: there is none of this name")
        return bytes(found[0]), bytes(found[1])

    def names(self, scope: Scope) -> list[bytes]:
        """Return the names of a scope's records, in their order."""
        query = (
            "SELECT record FROM records WHERE owner = ? AND kind = ? AND epoch = ? ORDER BY record"
        )
        with self._database.reading() as connection:
            return [bytes(row[0]) for row in connection.execute(query, scope).fetchall()]

    def grant(self, scope: Scope, recipient: str, content: bytes) -> None:
        """Keep a grant, in place of one to the same recipient.

        Raises
        ------
        QuotaError
            If the scope has very many.
        """
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO grants VALUES (?, ?, ?, ?, ?)", (*scope, recipient, content)
            )
            query = "SELECT count(*) FROM grants WHERE owner = ? AND kind = ? AND epoch = ?"
            _check_count(connection.execute(query, scope), MOST_GRANTS, "grants")

    def granted(self, scope: Scope, recipient: str) -> bytes:
        """Return a grant.

        Raises
        ------
        GrantError
            If there is none.
        """
        query = (
            "SELECT content FROM grants "
            "WHERE owner = ? AND kind = ? AND epoch = ? AND recipient = ?"
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
            query = "SELECT count(*) FROM programs WHERE company = ?"
            _check_count(connection.execute(query, (company,)), MOST_PROGRAMS, "programs")

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

    def close(self) -> None:
        """Close the file; the keeper cannot be used any more."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<Keeper>"

    def _wipe(self) -> None:
        """Leave nothing of what was removed in the log of changes either."""
        with self._database.reading() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _check_count(cursor: sqlite3.Cursor, most: int, name: str) -> None:
    # Raised inside the transaction, which undoes the insertion.
    if cursor.fetchone()[0] > most:
        raise QuotaError(f"{name}: expected at most {most}")

"""Privacy spent per patient, in the process or in a file."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
import os
import secrets
import sqlite3
from collections.abc import Sequence
from fractions import Fraction

from ompd.errors import (
    BudgetExceededError,
    ParameterError,
    PrivacyParameterError,
    StoreError,
)
from ompd.stores.database import Database, MemoryDatabase
from ompd.stores.store import Store

_SALT_BYTES = 32
#: Releases are named by digests of this many bytes at most.
_MOST_DIGEST = 64
#: Comes before the name of a record; no text begins with it.
_RECORD = b"\xff"

_SCHEMA = (
    "CREATE TABLE releases (patient BLOB NOT NULL, digest BLOB NOT NULL, "
    "PRIMARY KEY (patient, digest)) WITHOUT ROWID",
    "CREATE TABLE totals (patient BLOB PRIMARY KEY, spent TEXT NOT NULL, digest BLOB NOT NULL) "
    "WITHOUT ROWID",
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), salt BLOB NOT NULL, "
    "digest BLOB NOT NULL)",
)


class BudgetLedger(Store[Database | MemoryDatabase]):
    """Adds up what has been released about each patient and record, and stops at a limit.

    Parameters
    ----------
    path : path or None
        SQLite file; created if missing, with mode 0600, shared by threads and processes. None
        keeps the account in memory until the object is gone.
    limit : float, int or Fraction
        Most epsilon that a patient, or a record of a table, may be charged in all. It is not kept
        in the file: whoever opens it says what the limit is.
    power_safe : bool, default True
        Whether every charge waits for the disk. Without it, charges of the last moments may be
        lost when the machine loses power, after the release that they stand for has left.

    Raises
    ------
    PrivacyParameterError
        If the limit is not a positive finite number.
    StoreError
        If the file is damaged, foreign, writable by others, or locked for ten seconds.
    VersionError
        If it was written by a newer version of this library. One of an older version is brought up.

    Notes
    -----
    Sums are fractions of integers, and a float counts as the decimal number that it prints as: ten
    charges of 0.1 are 1, not a little less or more.

    The file has SHA-256 digests of patients' ids (HMAC under a random key that the same file
    holds) and of releases. Digests of different files cannot be matched, but who has the file can
    test whether a given id is in it: keep it as you keep the list of patients. A hospital's noise
    comes from that key as well (`key`): who has the file and sees what the cloud sees can take the
    noise off.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        limit: float | Fraction,
        power_safe: bool = True,
    ) -> None:
        self._limit = _exact("limit", limit)
        super().__init__(
            MemoryDatabase("budget", _SCHEMA)
            if path is None
            else Database(
                path, application=0x4F4D5042, version=2, schema=_SCHEMA, steps={1: _add_digests},
                power_safe=power_safe,
            )
        )  # fmt: skip
        try:
            self._salt = self._adopt_salt()
        except BaseException:
            self.close()
            raise

    @property
    def limit(self) -> Fraction:
        """Most epsilon that a patient may be charged in all."""
        return self._limit

    def key(self, purpose: bytes) -> bytes:
        """Return 32 secret bytes for a purpose, the same for as long as the file lives.

        A hospital draws its noise from these: what was released once is then released again with
        the same noise, also after a restart, and need not be charged anew.
        """
        return hmac.digest(self._salt, b"ompd key\x00" + purpose, "sha256")

    def spend(self, patient: str, digest: bytes, epsilon: float | Fraction) -> None:
        """Charge a patient for one release, before it leaves; nothing if it left before.

        Parameters
        ----------
        patient : str
        digest : bytes
            Names the release: the same release always by the same digest, any other by another
            one, for example from `LaplaceNoise.query_digests`.
        epsilon : float, int or Fraction

        Raises
        ------
        BudgetExceededError
            If the patient's total would pass the limit; nothing is charged then.
        PrivacyParameterError
            If epsilon is not a positive finite number.
        ParameterError
            If the patient is no text or the digest not 16 to 64 bytes.
        StoreError
            If the file cannot be used; do not release anything then.
        """
        self.spend_all(patient, [digest], epsilon)

    def spend_all(self, patient: str, digests: Sequence[bytes], epsilon: float | Fraction) -> None:
        """Charge a patient for several releases, for all that are new or for none.

        Parameters
        ----------
        patient : str
        digests : sequence of bytes
        epsilon : float, int or Fraction
            Of each.

        Raises
        ------
        BudgetExceededError, PrivacyParameterError, ParameterError, StoreError
            As `spend`.
        """
        charge = _exact("epsilon", epsilon)
        checked = [_checked(digest) for digest in digests]
        who = self._name(patient)
        with self._database.writing() as connection:
            self._add(connection, who, checked, charge, "the patient's")

    def spend_many(
        self, charges: Sequence[tuple[str, Sequence[bytes]]], epsilon: float | Fraction
    ) -> list[BudgetExceededError | None]:
        """Charge patients one after the other, each as `spend_all`, with one wait for the disk.

        **Raises nothing for a patient whose budget is spent**: the caller looks at every verdict.

        Parameters
        ----------
        charges : sequence of (patient, digests)
        epsilon : float, int or Fraction
            Of each release.

        Returns
        -------
        list
            One entry per charge, in order: None if it is made, else the error that `spend_all`
            would raise.

        Raises
        ------
        PrivacyParameterError, ParameterError, StoreError
            As `spend`; nothing is charged then.
        """
        charge = _exact("epsilon", epsilon)
        named = [
            (self._name(who), [_checked(each) for each in digests]) for who, digests in charges
        ]
        verdicts: list[BudgetExceededError | None] = []
        with self._database.writing() as connection:
            for who, digests in named:
                connection.execute("SAVEPOINT one")
                try:
                    self._add(connection, who, digests, charge, "the patient's")
                    verdicts.append(None)
                except BudgetExceededError as error:
                    connection.execute("ROLLBACK TO one")
                    verdicts.append(error)
                connection.execute("RELEASE one")
        return verdicts

    def spend_each(self, releases: Sequence[tuple[str, bytes]], epsilon: float | Fraction) -> None:
        """Charge records of a table for one release each, for all that are new or for none.

        Parameters
        ----------
        releases : sequence of (record, digest)
            The record's name, which is never taken for a patient's, and what names the release.
        epsilon : float, int or Fraction
            Of each.

        Raises
        ------
        BudgetExceededError
            If the total of one record would pass the limit; nothing is charged then.
        PrivacyParameterError, ParameterError, StoreError
            As `spend`.
        """
        charge = _exact("epsilon", epsilon)
        named = [(self._name(record, _RECORD), _checked(digest)) for record, digest in releases]
        with self._database.writing() as connection:
            # In the order of the file's trees, which are otherwise walked at random.
            for who, digest in sorted(named):
                self._add(connection, who, [digest], charge, "a record's")

    def spent(self, patient: str) -> Fraction:
        """Return what a patient has been charged so far; 0 for one that is not known.

        Raises
        ------
        ParameterError, StoreError
        """
        who = self._name(patient)
        with self._database.reading() as connection:
            return _total(connection, who)

    def __repr__(self) -> str:
        return f"<BudgetLedger with a limit of {float(self._limit):g}>"

    def _adopt_salt(self) -> bytes:
        drawn = secrets.token_bytes(_SALT_BYTES)
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO state VALUES (1, ?, ?)", (drawn, _digest(drawn))
            )
            salt, digest = connection.execute("SELECT salt, digest FROM state").fetchone()
        if not isinstance(salt, bytes) or len(salt) != _SALT_BYTES or digest != _digest(salt):
            raise StoreError("budget: its state is damaged")
        return salt

    def _name(self, patient: str, kind: bytes = b"") -> bytes:
        if not isinstance(patient, str) or not patient:
            raise ParameterError("patient: expected a text")
        name = kind + patient.encode(errors="surrogatepass")
        return hmac.digest(self._salt, name, hashlib.sha256)

    def _add(
        self,
        connection: sqlite3.Connection,
        who: bytes,
        digests: Sequence[bytes],
        charge: Fraction,
        whose: str,
    ) -> None:
        added = sum(
            connection.execute(
                "INSERT OR IGNORE INTO releases VALUES (?, ?)", (who, digest)
            ).rowcount
            for digest in digests
        )
        if not added:
            return
        total = _total(connection, who, added) + added * charge
        if total > self._limit:
            # Raised inside the transaction, which undoes the insertions.
            raise BudgetExceededError(f"epsilon: {whose} privacy budget is spent")
        connection.execute(
            "INSERT OR REPLACE INTO totals VALUES (?, ?, ?)",
            (who, str(total), _digest(who, str(total))),
        )


def _checked(digest: bytes) -> bytes:
    if not isinstance(digest, bytes) or not 16 <= len(digest) <= _MOST_DIGEST:
        raise ParameterError(f"digest: expected 16 to {_MOST_DIGEST} bytes")
    return digest


def _total(connection: sqlite3.Connection, who: bytes, new: int = 0) -> Fraction:
    """Sum of a patient's charges, without as many releases as were entered just now."""
    query = "SELECT spent, digest FROM totals WHERE patient = ?"
    row = connection.execute(query, (who,)).fetchone()
    if row is None:
        query = "SELECT count(*) FROM releases WHERE patient = ?"
        if connection.execute(query, (who,)).fetchone() == (new,):
            return Fraction(0)
    elif isinstance(row[0], str) and row[1] == _digest(who, row[0]):
        with contextlib.suppress(ValueError, ZeroDivisionError):
            total = Fraction(row[0])
            if total > 0:
                return total
    raise StoreError("budget: a total is damaged")


def _digest(*parts: bytes | str) -> bytes:
    """What shows that a flipped bit is none of what was written."""
    content = b"\x00".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    return hashlib.blake2b(content, digest_size=16).digest()


def _add_digests(connection: sqlite3.Connection) -> None:
    """Make a ledger of version 1, which had none, one of version 2."""
    salts = connection.execute("SELECT salt FROM state").fetchall()
    totals = connection.execute("SELECT patient, spent FROM totals").fetchall()
    connection.execute("DROP TABLE state")
    connection.execute("DROP TABLE totals")
    for statement in _SCHEMA[1:]:
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO state VALUES (1, ?, ?)", [(salt, _digest(salt)) for (salt,) in salts]
    )
    connection.executemany(
        "INSERT INTO totals VALUES (?, ?, ?)",
        [(who, spent, _digest(who, spent)) for who, spent in totals],
    )


def _exact(name: str, value: float | Fraction) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
        raise PrivacyParameterError(f"{name}: expected a number, got {type(value).__name__}")
    if (isinstance(value, float) and not math.isfinite(value)) or value <= 0:
        raise PrivacyParameterError(f"{name}: expected a positive finite number")
    # The shortest decimal that stands for the float is what its author wrote.
    return Fraction(repr(float(value))) if isinstance(value, float) else Fraction(value)

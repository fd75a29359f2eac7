"""The books of an authority: credit, orders, spent tokens and the chain of receipts, in one file.

Every change is one transaction, the receipt included: after a crash either all of it happened or
nothing did, and the same order or request gets the same receipt again. The last receipt also stands
in a file beside: books that do not have it are an older copy, which knows less of what was spent.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from ompd.errors import (
    ContextMismatchError,
    CreditError,
    EpochError,
    ParameterError,
    QuotaError,
    SpentError,
    StoreError,
)
from ompd.stores.database import Database
from ompd.stores.store import Store
from ompd.stores.till_head import TillHead
from ompd.wire.payments import BEGINNING, PaymentReceipt, What

_SCHEMA = (
    "CREATE TABLE accounts (account TEXT PRIMARY KEY, credit INTEGER NOT NULL CHECK (credit >= 0)) "
    "WITHOUT ROWID",
    "CREATE TABLE orders (account TEXT NOT NULL, name BLOB NOT NULL, digest BLOB NOT NULL, "
    "number INTEGER NOT NULL, PRIMARY KEY (account, name)) WITHOUT ROWID",
    "CREATE TABLE spent (token BLOB PRIMARY KEY, request BLOB NOT NULL, epoch INTEGER NOT NULL) "
    "WITHOUT ROWID",
    "CREATE INDEX spent_epoch ON spent (epoch)",
    "CREATE TABLE requests (request BLOB PRIMARY KEY, number INTEGER NOT NULL, "
    "epoch INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), forgotten INTEGER NOT NULL)",
    "INSERT INTO state VALUES (1, 0)",
    "CREATE TABLE receipts (number INTEGER PRIMARY KEY, content BLOB NOT NULL)",
    "CREATE TABLE programs (program BLOB PRIMARY KEY, company TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE secrets (name TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID",
)

#: Most programs of one company, however old.
MOST_PROGRAMS = 10_000

Sign = Callable[[bytes], bytes]


class Till(Store[Database]):
    """What an authority has sold and taken.

    Parameters
    ----------
    path : path
        SQLite file; created if missing, with mode 0600, shared by threads and processes. Beside it,
        with ``.head`` added to its name, stands which receipt was the last.
    sign : callable
        Signs receipts with the authority's key.

    Raises
    ------
    StoreError
        If the file is an older copy. From every method, if it is damaged, foreign, writable by
        others, or locked for ten seconds.
    """

    def __init__(self, path: str | os.PathLike[str], sign: Sign) -> None:
        super().__init__(Database(path, application=0x4F4D5054, version=1, schema=_SCHEMA))
        self._sign = sign
        file = Path(path).absolute()
        try:
            self._head = TillHead(file.with_name(file.name + ".head"))
        except BaseException:
            super().close()
            raise
        self._check_head()

    def secret(self, name: str, draw: Callable[[], bytes]) -> bytes:
        """Return a secret of the authority, drawn when it is first asked for."""
        drawn = draw()
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, drawn))
            query = "SELECT content FROM secrets WHERE name = ?"
            (found,) = connection.execute(query, (name,)).fetchone()
        if not isinstance(found, bytes) or len(found) != len(drawn):
            raise StoreError("till: a secret is damaged")
        return found

    def register(self, program: bytes, company: str) -> None:
        """Note whose a program is: the first who asks.

        Raises
        ------
        ContextMismatchError
            If it is another company's.
        QuotaError
            If the company has very many.
        """
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO programs VALUES (?, ?)", (program, company))
            query = "SELECT company FROM programs WHERE program = ?"
            (owner,) = connection.execute(query, (program,)).fetchone()
            query = "SELECT count(*) FROM programs WHERE company = ?"
            if connection.execute(query, (company,)).fetchone()[0] > MOST_PROGRAMS:
                raise QuotaError(f"program: expected at most {MOST_PROGRAMS} of a company")
        if owner != company:
            raise ContextMismatchError("program: is another company's")

    def is_registered(self, program: bytes) -> bool:
        """Tell whether a program has a company."""
        with self._database.reading() as connection:
            query = "SELECT 1 FROM programs WHERE program = ?"
            return connection.execute(query, (program,)).fetchone() is not None

    def credit(self, account: str) -> int:
        """Return how many tokens an account can still buy."""
        with self._database.reading() as connection:
            return _credit(connection, account)

    def deposit(self, account: str, name: bytes, tokens: int) -> bytes:
        """Credit what was paid for by other means; the same payment once.

        Parameters
        ----------
        account : str
        name : bytes
            16 bytes that name the payment.
        tokens : int

        Returns
        -------
        bytes
            The receipt.

        Raises
        ------
        ContextMismatchError
            If that payment was another one.
        ParameterError
            If there is no positive number of tokens.
        """
        if type(tokens) is not int or not 0 < tokens <= 1 << 32:
            raise ParameterError("tokens: expected a positive integer")
        digest = hashlib.sha256(b"deposit\0" + name + tokens.to_bytes(8, "big")).digest()
        with self._database.writing() as connection:
            receipt = self._ordered(connection, account, name, digest, "deposit", tokens, tokens)
        return self._noted(receipt)

    def purchase(self, account: str, name: bytes, digest: bytes, tokens: int) -> bytes:
        """Take the price of an order from the account, once; returns the receipt.

        Raises
        ------
        CreditError
            If the account does not have as much.
        ContextMismatchError
            If the account has another order of this name.
        """
        with self._database.writing() as connection:
            receipt = self._ordered(connection, account, name, digest, "purchase", tokens, -tokens)
        return self._noted(receipt)

    def redeem(self, tokens: Sequence[bytes], request: bytes, epoch: int) -> bytes:
        """Spend tokens on a request, all or none; nothing if they were spent on the same before.

        Parameters
        ----------
        tokens : sequence of bytes
            Names of checked tokens.
        request : bytes
            Digest of what they are spent on.
        epoch : int
            Of the tokens.

        Returns
        -------
        bytes
            The receipt.

        Raises
        ------
        SpentError
            If one was spent on another request or given back, or is there twice.
        EpochError
            If what was spent of that epoch was forgotten.
        """
        with self._database.writing() as connection:
            known = self._spend(connection, tokens, request, epoch)
            if known is not None:
                return known
            receipt = self._book(connection, "redemption", "", len(tokens), request)
            self._remember(connection, request, receipt, epoch)
        return self._noted(receipt.to_bytes())

    def refund(
        self, account: str, name: bytes, tokens: Sequence[bytes], request: bytes, epoch: int
    ) -> bytes:
        """Credit tokens that were never spent, all or none; the same request once.

        Raises
        ------
        SpentError, EpochError, ContextMismatchError
            As `redeem`, `purchase`.
        """
        with self._database.writing() as connection:
            known = self._spend(connection, tokens, request, epoch)
            if known is not None:
                return known
            content = self._ordered(
                connection, account, name, request, "refund", len(tokens), len(tokens)
            )
            self._remember(connection, request, PaymentReceipt.from_bytes(content), epoch)
        return self._noted(content)

    def spent(self, tokens: Sequence[bytes], request: bytes) -> bytes:
        """Tell for each token whether it was spent on another request than this: 1, or 0."""
        query = "SELECT 1 FROM spent WHERE token = ? AND request <> ?"
        with self._database.reading() as connection:
            return bytes(
                connection.execute(query, (token, request)).fetchone() is not None
                for token in tokens
            )

    def receipts(self) -> Iterator[bytes]:
        """Return all receipts, in order, as far as they go now."""
        number = 0
        while True:
            with self._database.reading() as connection:
                query = "SELECT number, content FROM receipts WHERE number > ? LIMIT 1000"
                found = connection.execute(query, (number,)).fetchall()
            if not found:
                return
            number = found[-1][0]
            yield from (content for _, content in found)

    def forget(self, epoch: int) -> int:
        """Forget spent tokens of epochs before this one, whose tokens are refused from then on.

        Also if the clock goes back.

        Returns
        -------
        int
            How many.
        """
        with self._database.writing() as connection:
            connection.execute("UPDATE state SET forgotten = max(forgotten, ?)", (epoch,))
            connection.execute("DELETE FROM requests WHERE epoch < ?", (epoch,))
            return connection.execute("DELETE FROM spent WHERE epoch < ?", (epoch,)).rowcount

    def close(self) -> None:
        """Close the files; the till cannot be used any more."""
        super().close()
        self._head.close()

    def _check_head(self) -> None:
        """Refuse books that do not have the last receipt."""
        query = "SELECT content FROM receipts WHERE number = ?"
        is_older = True
        try:
            with self._database.reading() as connection:
                found = connection.execute(query, (self._head.number,)).fetchone()
            digest = b"" if found is None else hashlib.sha256(found[0]).digest()
            is_older = digest != self._head.digest
        finally:
            if is_older:
                self.close()
        if is_older:
            raise StoreError(
                "till: does not have the last receipt that was given; it is an older copy, in "
                "which tokens that were used since could be used again"
            )

    def _noted(self, receipt: bytes) -> bytes:
        number = PaymentReceipt.from_bytes(receipt).number
        self._head.note(number, hashlib.sha256(receipt).digest())
        return receipt

    def _spend(
        self,
        connection: sqlite3.Connection,
        tokens: Sequence[bytes],
        request: bytes,
        epoch: int,
    ) -> bytes | None:
        """Put tokens down as spent; returns the receipt if they were, on this request."""
        if epoch < connection.execute("SELECT forgotten FROM state").fetchone()[0]:
            raise EpochError("token: what was spent of its epoch is not known any more")
        query = "SELECT number FROM requests WHERE request = ?"
        known = connection.execute(query, (request,)).fetchone()
        if known is not None:
            return _receipt(connection, known[0])
        for token in tokens:
            added = connection.execute(
                "INSERT OR IGNORE INTO spent VALUES (?, ?, ?)", (token, request, epoch)
            )
            if not added.rowcount:
                # Raised inside the transaction, which undoes the insertions.
                raise SpentError("token: was spent on another request, or given back")
        return None

    def _ordered(
        self,
        connection: sqlite3.Connection,
        account: str,
        name: bytes,
        digest: bytes,
        what: What,
        tokens: int,
        change: int,
    ) -> bytes:
        query = "SELECT digest, number FROM orders WHERE account = ? AND name = ?"
        known = connection.execute(query, (account, name)).fetchone()
        if known is not None:
            if known[0] != digest:
                raise ContextMismatchError("order: another one of this name is in the books")
            return _receipt(connection, known[1])
        credit = _credit(connection, account) + change
        if credit < 0:
            raise CreditError("tokens: the account's credit is not enough")
        connection.execute("INSERT OR REPLACE INTO accounts VALUES (?, ?)", (account, credit))
        receipt = self._book(connection, what, account, tokens, digest)
        connection.execute(
            "INSERT INTO orders VALUES (?, ?, ?, ?)", (account, name, digest, receipt.number)
        )
        return receipt.to_bytes()

    def _book(
        self,
        connection: sqlite3.Connection,
        what: What,
        account: str,
        tokens: int,
        reference: bytes,
    ) -> PaymentReceipt:
        query = "SELECT number, content FROM receipts ORDER BY number DESC LIMIT 1"
        number, content = connection.execute(query).fetchone() or (0, None)
        previous = BEGINNING if content is None else hashlib.sha256(content).digest()
        blank = PaymentReceipt(number + 1, previous, what, account, tokens, reference)
        receipt = msgspec.structs.replace(blank, signature=self._sign(blank.message))
        connection.execute(
            "INSERT INTO receipts VALUES (?, ?)", (receipt.number, receipt.to_bytes())
        )
        return receipt

    @staticmethod
    def _remember(
        connection: sqlite3.Connection, request: bytes, receipt: PaymentReceipt, epoch: int
    ) -> None:
        connection.execute(
            "INSERT INTO requests VALUES (?, ?, ?)", (request, receipt.number, epoch)
        )


def _credit(connection: sqlite3.Connection, account: str) -> int:
    query = "SELECT credit FROM accounts WHERE account = ?"
    found = connection.execute(query, (account,)).fetchone()
    return 0 if found is None else int(found[0])


def _receipt(connection: sqlite3.Connection, number: int) -> bytes:
    query = "SELECT content FROM receipts WHERE number = ?"
    found = connection.execute(query, (number,)).fetchone()
    if found is None:
        raise StoreError("till: a receipt is missing")
    return bytes(found[0])

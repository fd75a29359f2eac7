"""What a person has of tokens: ordered, ready, bound to a use; in one file.

    order -> fill -> bind -> finish

What an order or a use needs to be sent again, byte for byte, is in the file before it is first
sent. After a crash, `orders` and `uses` tell what is to be sent once more; the authority gives the
same answer again.

Tokens are of one authority each, and what one authority asks or answers touches those of no other.
The file holds tokens, blinds and what was asked in the clear, with mode 0600: who reads it can
spend the tokens. A copy that is put back spends nothing twice: tokens that were used since are
refused, and dropped.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ompd.errors import ContextMismatchError, CreditError, ParameterError
from ompd.stores.database import Database
from ompd.stores.store import Store

_SCHEMA = (
    "CREATE TABLE orders (name BLOB PRIMARY KEY, authority TEXT NOT NULL, epoch INTEGER NOT NULL, "
    "receipt BLOB) WITHOUT ROWID",
    "CREATE TABLE tokens (token BLOB PRIMARY KEY, authority TEXT NOT NULL, place INTEGER NOT NULL, "
    "ordered BLOB NOT NULL, epoch INTEGER NOT NULL, factor BLOB, point BLOB, signature BLOB, "
    "used BLOB) WITHOUT ROWID",
    "CREATE INDEX tokens_ordered ON tokens (ordered, place)",
    "CREATE INDEX tokens_used ON tokens (used, place)",
    "CREATE TABLE uses (name BLOB PRIMARY KEY, authority TEXT NOT NULL, kind TEXT NOT NULL, "
    "content BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE results (key BLOB PRIMARY KEY, content BLOB NOT NULL, "
    "epoch INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE receipts (content BLOB PRIMARY KEY) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True, repr=False)
class Piece:
    """A token on its way: name, factor that blinds it, and blinded point."""

    token: bytes
    factor: bytes
    point: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Order:
    """An order that is not filled yet, to be sent (again)."""

    name: bytes
    epoch: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Use:
    """A use that is not finished yet, to be sent (again).

    Attributes
    ----------
    name : bytes
    kind : str
    epoch : int
        Of its tokens.
    content : bytes
        As it was bound.
    tokens : tuple of (name, signature)
    """

    name: bytes
    kind: str
    epoch: int
    content: bytes
    tokens: tuple[tuple[bytes, bytes], ...]


class Wallet(Store[Database]):
    """A person's tokens.

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
        super().__init__(Database(path, application=0x4F4D5057, version=1, schema=_SCHEMA))

    def order(self, authority: str, name: bytes, epoch: int, pieces: Sequence[Piece]) -> None:
        """Put down an order before it is sent."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO orders VALUES (?, ?, ?, NULL)", (name, authority, epoch)
            )
            connection.executemany(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
                [
                    (piece.token, authority, place, name, epoch, piece.factor, piece.point)
                    for place, piece in enumerate(pieces)
                ],
            )

    def orders(self, authority: str) -> list[Order]:
        """Return the orders from an authority that are not filled."""
        with self._database.writing(power_safe=False) as connection:
            query = "SELECT name, epoch FROM orders WHERE receipt IS NULL AND authority = ?"
            found = connection.execute(query, (authority,)).fetchall()
            return [_order(connection, *row) for row in found]

    def open_order(self, authority: str, name: bytes) -> Order:
        """Return an order that is not filled.

        Raises
        ------
        ContextMismatchError
            If there is none of this name from this authority, or it was filled.
        """
        with self._database.writing(power_safe=False) as connection:
            query = (
                "SELECT name, epoch FROM orders "
                "WHERE receipt IS NULL AND name = ? AND authority = ?"
            )
            found = connection.execute(query, (name, authority)).fetchone()
            if found is None:
                raise ContextMismatchError("order: none of this name is open")
            return _order(connection, *found)

    def fill(self, name: bytes, signatures: Sequence[bytes], receipt: bytes) -> None:
        """Put down what an order brought, checked: tokens that are ready. Again: nothing."""
        with self._database.writing() as connection:
            filled = connection.execute(
                "UPDATE orders SET receipt = ? WHERE name = ? AND receipt IS NULL", (receipt, name)
            )
            if filled.rowcount:
                connection.executemany(
                    "UPDATE tokens SET signature = ?, factor = NULL, point = NULL "
                    "WHERE ordered = ? AND place = ?",
                    [(signature, name, place) for place, signature in enumerate(signatures)],
                )
                connection.execute("INSERT OR IGNORE INTO receipts VALUES (?)", (receipt,))

    def cancel(self, name: bytes) -> None:
        """Forget an order that was refused, with what was to become its tokens."""
        with self._database.writing() as connection:
            query = "DELETE FROM orders WHERE name = ? AND receipt IS NULL"
            if connection.execute(query, (name,)).rowcount:
                connection.execute("DELETE FROM tokens WHERE ordered = ?", (name,))

    def ready(self, authority: str, epoch: int) -> int:
        """Return how many tokens of an authority and an epoch can be used."""
        query = (
            "SELECT count(*) FROM tokens WHERE signature IS NOT NULL AND used IS NULL "
            "AND authority = ? AND epoch = ?"
        )
        with self._database.reading() as connection:
            return int(connection.execute(query, (authority, epoch)).fetchone()[0])

    def bind(
        self,
        authority: str,
        name: bytes,
        kind: str,
        count: int,
        epochs: Sequence[int],
        content: bytes,
    ) -> Use:
        """Bind ready tokens of one authority and epoch to a use, before it is sent.

        Parameters
        ----------
        authority : str
        name : bytes
            16 random bytes.
        kind : str
        count : int
            How many tokens.
        epochs : sequence of int
            Which tokens will do; the first that has enough is taken.
        content : bytes
            What is needed to send it again, and to read the answer.

        Raises
        ------
        CreditError
            If there are not as many.
        """
        if count < 1:
            raise ParameterError("count: expected at least one token")
        query = (
            "SELECT token FROM tokens WHERE signature IS NOT NULL AND used IS NULL "
            "AND authority = ? AND epoch = ? LIMIT ?"
        )
        with self._database.writing() as connection:
            for epoch in epochs:
                found = connection.execute(query, (authority, epoch, count)).fetchall()
                if len(found) == count:
                    row = name, authority, kind, content
                    connection.execute("INSERT INTO uses VALUES (?, ?, ?, ?)", row)
                    connection.executemany(
                        "UPDATE tokens SET used = ?, place = ? WHERE token = ?",
                        [(name, place, token) for place, (token,) in enumerate(found)],
                    )
                    return _use(connection, name, kind, content)
        raise CreditError("tokens: the wallet does not have as many")

    def uses(self, authority: str, kind: str) -> list[Use]:
        """Return the uses of a kind of an authority's tokens that are not finished."""
        with self._database.writing(power_safe=False) as connection:
            query = "SELECT name, kind, content FROM uses WHERE authority = ? AND kind = ?"
            found = connection.execute(query, (authority, kind)).fetchall()
            return [_use(connection, *row) for row in found]

    def open_use(self, authority: str, name: bytes) -> Use:
        """Return a use that is not finished.

        Raises
        ------
        ContextMismatchError
            If there is none of this name of this authority's tokens.
        """
        with self._database.writing(power_safe=False) as connection:
            query = "SELECT name, kind, content FROM uses WHERE name = ? AND authority = ?"
            found = connection.execute(query, (name, authority)).fetchone()
            if found is None:
                raise ContextMismatchError("use: none of this name is open")
            return _use(connection, *found)

    def finish(
        self, name: bytes, receipt: bytes, results: Sequence[tuple[bytes, bytes]], epoch: int
    ) -> None:
        """Put down what a use brought; its tokens are gone. Again: nothing.

        Parameters
        ----------
        name : bytes
        receipt : bytes
        results : sequence of (key, content)
        epoch : int
            For which the results are good.
        """
        with self._database.writing() as connection:
            if connection.execute("DELETE FROM uses WHERE name = ?", (name,)).rowcount:
                connection.execute("DELETE FROM tokens WHERE used = ?", (name,))
                connection.executemany(
                    "INSERT OR REPLACE INTO results VALUES (?, ?, ?)",
                    [(key, content, epoch) for key, content in results],
                )
                connection.execute("INSERT OR IGNORE INTO receipts VALUES (?)", (receipt,))

    def release(self, name: bytes, spent: bytes) -> None:
        """End a use that the authority refused: drop the tokens that are spent, keep the others.

        Parameters
        ----------
        name : bytes
        spent : bytes
            One byte per token: 1 if it is spent, else 0.
        """
        with self._database.writing() as connection:
            if connection.execute("DELETE FROM uses WHERE name = ?", (name,)).rowcount:
                for place, gone in enumerate(spent):
                    if gone:
                        connection.execute(
                            "DELETE FROM tokens WHERE used = ? AND place = ?", (name, place)
                        )
                connection.execute("UPDATE tokens SET used = NULL WHERE used = ?", (name,))

    def forget(self, epoch: int) -> None:
        """Remove results of epochs before this one, and what no authority takes any more of tokens.

        These are tokens, ordered, ready or bound, and orders and uses of them.
        """
        with self._database.writing() as connection:
            connection.execute("DELETE FROM results WHERE epoch < ?", (epoch,))
            connection.execute("DELETE FROM orders WHERE epoch < ?", (epoch,))
            connection.execute(
                "DELETE FROM uses WHERE name IN (SELECT used FROM tokens WHERE epoch < ?)",
                (epoch,),
            )
            connection.execute("DELETE FROM tokens WHERE epoch < ?", (epoch,))

    def result(self, key: bytes) -> bytes | None:
        """Return what a finished use brought; None if nothing did."""
        with self._database.reading() as connection:
            query = "SELECT content FROM results WHERE key = ?"
            found = connection.execute(query, (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def receipts(self) -> list[bytes]:
        """Return all receipts, in no order."""
        with self._database.reading() as connection:
            return [bytes(row[0]) for row in connection.execute("SELECT content FROM receipts")]


def _order(connection: sqlite3.Connection, name: bytes, epoch: int) -> Order:
    query = "SELECT token, factor, point FROM tokens WHERE ordered = ? ORDER BY place"
    found = connection.execute(query, (name,)).fetchall()
    pieces = tuple(Piece(*row) for row in found)
    return Order(name, epoch, pieces)


def _use(connection: sqlite3.Connection, name: bytes, kind: str, content: bytes) -> Use:
    query = "SELECT token, signature, epoch FROM tokens WHERE used = ? ORDER BY place"
    found = connection.execute(query, (name,)).fetchall()
    epoch = found[0][2] if found else 0
    return Use(name, kind, epoch, content, tuple((token, signed) for token, signed, _ in found))

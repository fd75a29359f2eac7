"""What a hospital keeps for blind diagnoses: models, keys of users, and who has had how many."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple, Self

from ompd.errors import AllowanceError, StoreError
from ompd.stores.database import Database, MemoryDatabase

_SCHEMA = (
    "CREATE TABLE models (disease TEXT PRIMARY KEY, content BLOB NOT NULL, digest BLOB NOT NULL)",
    "CREATE TABLE keys (user TEXT PRIMARY KEY, signer BLOB NOT NULL, key_id BLOB NOT NULL, "
    "key BLOB NOT NULL)",
    "CREATE TABLE answers (edition BLOB NOT NULL, user TEXT NOT NULL, rows INTEGER NOT NULL, "
    "PRIMARY KEY (edition, user)) WITHOUT ROWID",
)


class KeptKey(NamedTuple):
    """The key of a user.

    Attributes
    ----------
    signer : bytes
        The signing key that it came with.
    key_id : bytes
    key : bytes
    """

    signer: bytes
    key_id: bytes
    key: bytes


class BlindStore:
    """Models, keys and counts of one hospital. For several threads, and processes of one file.

    Parameters
    ----------
    path : path or None
        SQLite file; created if missing, with mode 0600. None keeps all in memory until the object
        is gone.

    Raises
    ------
    StoreError
        From every method, if the file is damaged, foreign, writable by others, or locked for ten
        seconds.
    VersionError
        If it was written by a newer version of this library.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._database: Database | MemoryDatabase
        if path is None:
            self._database = MemoryDatabase("blind", _SCHEMA)
        else:
            self._database = Database(path, application=0x4F4D504D, version=1, schema=_SCHEMA)

    def close(self) -> None:
        """Close the file; the store cannot be used any more."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def models(self) -> dict[str, bytes]:
        """Return what was kept of every disease.

        Raises
        ------
        StoreError
            If one of them is damaged.
        """
        with self._database.reading() as connection:
            found = connection.execute("SELECT disease, content, digest FROM models").fetchall()
        for _, content, digest in found:
            if not isinstance(content, bytes) or digest != _digest(content):
                raise StoreError("blind: a model is damaged")
        return {disease: content for disease, content, _ in found}

    def keep_model(self, disease: str, content: bytes, edition: bytes, before: bytes) -> None:
        """Keep a model in the place of the one before, whose counts are forgotten.

        Parameters
        ----------
        disease : str
        content : bytes
        edition, before : bytes
            Names of the two; of none where there was none.
        """
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO models VALUES (?, ?, ?)",
                (disease, content, _digest(content)),
            )
            connection.execute("DELETE FROM answers WHERE edition IN (?, ?)", (edition, before))

    def drop_model(self, disease: str, edition: bytes) -> None:
        """Forget a model and its counts."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM models WHERE disease = ?", (disease,))
            connection.execute("DELETE FROM answers WHERE edition = ?", (edition,))

    def keep_key(self, user: str, signer: bytes, key: bytes) -> bytes:
        """Keep the key of a user in the place of the one before; returns its name."""
        key_id = hashlib.sha256(key).digest()
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)", (user, signer, key_id, key)
            )
        return key_id

    def key_id(self, user: str) -> tuple[bytes, bytes] | None:
        """Return signer and name of a user's key, without reading it; None if there is none."""
        with self._database.reading() as connection:
            query = "SELECT signer, key_id FROM keys WHERE user = ?"
            found: tuple[bytes, bytes] | None = connection.execute(query, (user,)).fetchone()
        return found

    def key(self, user: str) -> KeptKey | None:
        """Return the key of a user; None if there is none.

        Raises
        ------
        StoreError
            If it is damaged.
        """
        with self._database.reading() as connection:
            query = "SELECT signer, key_id, key FROM keys WHERE user = ?"
            found = connection.execute(query, (user,)).fetchone()
        if found is None:
            return None
        kept = KeptKey(*found)
        if not isinstance(kept.key, bytes) or hashlib.sha256(kept.key).digest() != kept.key_id:
            raise StoreError("blind: a key is damaged")
        return kept

    def had(self, user: str, edition: bytes) -> int:
        """Return how many rows a user was told of a model."""
        with self._database.reading() as connection:
            query = "SELECT rows FROM answers WHERE edition = ? AND user = ?"
            found = connection.execute(query, (edition, user)).fetchone()
        return 0 if found is None else int(found[0])

    def take(self, user: str, edition: bytes, rows: int, most: int) -> None:
        """Count rows before they are answered, all or none.

        Raises
        ------
        AllowanceError
            If there would be more than `most`.
        """
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, 0)", (edition, user))
            taken = connection.execute(
                "UPDATE answers SET rows = rows + ? WHERE edition = ? AND user = ? "
                "AND rows + ? <= ?",
                (rows, edition, user, rows, most),
            )
            if not taken.rowcount:
                raise AllowanceError(f"query: expected at most {most} rows of one user and model")

    def untake(self, user: str, edition: bytes, rows: int) -> None:
        """Take back what was counted for a query that is not answered."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE answers SET rows = max(0, rows - ?) WHERE edition = ? AND user = ?",
                (rows, edition, user),
            )


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()

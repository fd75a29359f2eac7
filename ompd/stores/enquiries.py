"""How often a cloud has answered about one patient, in the process or in a file."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets

from ompd.errors import ParameterError, QuotaError, StoreError
from ompd.params import ENQUIRY_CAP
from ompd.stores.database import Database, MemoryDatabase
from ompd.stores.store import Store

_SALT_BYTES = 32
_DIGEST_BYTES = 32
_MOST_EPOCH = 1 << 62

_SCHEMA = (
    "CREATE TABLE enquiries (patient BLOB NOT NULL, epoch INTEGER NOT NULL, digest BLOB NOT NULL, "
    "PRIMARY KEY (patient, epoch, digest)) WITHOUT ROWID",
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), salt BLOB NOT NULL, "
    "digest BLOB NOT NULL)",
)


class EnquiryQuota(Store[Database | MemoryDatabase]):
    """Counts enquiries about each patient, and stops at a cap per epoch.

    Parameters
    ----------
    path : path or None
        SQLite file; created if missing, with mode 0600, shared by threads and processes. None
        keeps the counts in memory until the object is gone.
    cap : int, default 8
        Most different enquiries about one patient in one epoch, of all physicians together. It is
        not kept in the file.
    power_safe : bool, default True
        Whether each count waits for the disk.

    Raises
    ------
    ParameterError
        If the cap is no positive integer.
    StoreError
        If the file is damaged, foreign, writable by others, or locked for ten seconds.
    VersionError
        If it was written by a newer version of this library.

    Notes
    -----
    An enquiry is counted before it is answered, so that a cloud that is killed in between has
    counted one too many and never one too few. Asked again within the epoch, the same enquiry has
    the same answer and is not counted again.

    The file has digests of patients' ids, made with a random key that the same file holds: who has
    the file can test whether a given id is in it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        cap: int = ENQUIRY_CAP,
        power_safe: bool = True,
    ) -> None:
        if type(cap) is not int or cap < 1:
            raise ParameterError("cap: expected a positive integer")
        self._cap = cap
        super().__init__(
            MemoryDatabase("enquiries", _SCHEMA)
            if path is None
            else Database(
                path, application=0x4F4D5045, version=1, schema=_SCHEMA, power_safe=power_safe
            )
        )
        try:
            self._salt = self._adopt_salt()
        except BaseException:
            self.close()
            raise

    @property
    def cap(self) -> int:
        """Most different enquiries about one patient in one epoch."""
        return self._cap

    def take(self, patient: str, epoch: int, digest: bytes) -> None:
        """Count an enquiry, before it is answered; nothing if it was counted in this epoch.

        Parameters
        ----------
        patient : str
        epoch : int
            From 0 on; the cloud's own clock says which it is.
        digest : bytes
            32 bytes that name the enquiry: the same one always by the same, any other by others.

        Raises
        ------
        QuotaError
            If there were as many as may be; nothing is counted then.
        ParameterError
            If an argument is of another type or range.
        StoreError
            If the file cannot be used; do not answer then.
        """
        if not isinstance(digest, bytes) or len(digest) != _DIGEST_BYTES:
            raise ParameterError(f"digest: expected {_DIGEST_BYTES} bytes")
        who = self._name(patient, epoch)
        with self._database.writing() as connection:
            added = connection.execute(
                "INSERT OR IGNORE INTO enquiries VALUES (?, ?, ?)", (who, epoch, digest)
            ).rowcount
            (count,) = connection.execute(
                "SELECT count(*) FROM enquiries WHERE patient = ? AND epoch = ?", (who, epoch)
            ).fetchone()
            if added and count > self._cap:
                # Raised inside the transaction, which undoes the insertion.
                raise QuotaError("patient: as many enquiries were answered as may be in an epoch")

    def taken(self, patient: str, epoch: int) -> int:
        """Return how many enquiries about a patient were counted in an epoch.

        Raises
        ------
        ParameterError, StoreError
        """
        who = self._name(patient, epoch)
        with self._database.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM enquiries WHERE patient = ? AND epoch = ?", (who, epoch)
            ).fetchone()
        return int(count)

    def forget(self, before: int) -> None:
        """Remove the counts of all epochs before one.

        They are over; should the clock go back to one of them, its enquiries are counted anew.

        Raises
        ------
        ParameterError, StoreError
        """
        _check_epoch(before)
        with self._database.writing() as connection:
            connection.execute("DELETE FROM enquiries WHERE epoch < ?", (before,))

    def __repr__(self) -> str:
        return f"<EnquiryQuota of {self._cap} per patient and epoch>"

    def _adopt_salt(self) -> bytes:
        drawn = secrets.token_bytes(_SALT_BYTES)
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO state VALUES (1, ?, ?)", (drawn, _digest(drawn))
            )
            salt, digest = connection.execute("SELECT salt, digest FROM state").fetchone()
        # Another salt would give every patient a new account.
        if not isinstance(salt, bytes) or len(salt) != _SALT_BYTES or digest != _digest(salt):
            raise StoreError("enquiries: its state is damaged")
        return salt

    def _name(self, patient: str, epoch: int) -> bytes:
        if not isinstance(patient, str) or not patient:
            raise ParameterError("patient: expected a text")
        _check_epoch(epoch)
        return hmac.digest(self._salt, patient.encode(errors="surrogatepass"), hashlib.sha256)


def _check_epoch(epoch: object) -> None:
    if type(epoch) is not int or not 0 <= epoch < _MOST_EPOCH:
        raise ParameterError("epoch: expected an integer from 0 on")


def _digest(salt: bytes) -> bytes:
    """What shows that a flipped bit is none of what was written."""
    return hashlib.blake2b(salt, digest_size=16).digest()

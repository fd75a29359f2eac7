"""The cloud: keeps tables and answers jobs on them.

This module names neither the encoder nor the secret side of blinding, and needs neither.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from ompd.crypto import Identity
from ompd.errors import ContextMismatchError, TooLargeError, VersionError
from ompd.roles.party import Party
from ompd.roles.stored import BlindedStored, BucketStored, RingStored, Stored
from ompd.search import ballots
from ompd.search.verdicts import Ballots
from ompd.wire import (
    BucketUpload,
    Fetch,
    Job,
    Kind,
    Receipt,
    RingJob,
    RingUpload,
    TableUpload,
)

#: Tables of one hospital.
_MOST_TABLES = 1024

_UPLOADS: dict[Kind, type[TableUpload | RingUpload | BucketUpload]] = {
    Kind.TABLE: TableUpload,
    Kind.RING_TABLE: RingUpload,
    Kind.BUCKET_TABLE: BucketUpload,
}
_JOBS: dict[Kind, type[Job | RingJob | Fetch]] = {
    Kind.JOB: Job,
    Kind.RING_JOB: RingJob,
    Kind.FETCH: Fetch,
}


@dataclass(frozen=True, slots=True, repr=False)
class _Version:
    """One version of a table, whether it was asked, and when it stops answering."""

    owner: str
    version: int
    stored: Stored
    asked: bool = False
    expires: float | None = None


class Cloud(Party):
    """Finds neighbours among blinded instances, or returns encrypted buckets.

    Parameters
    ----------
    identity : Identity
    ballots : callable
        The engine of the blinded profiles; same contract as `ompd.search.ballots`.
    **options
        Directory, replays, clock and window as for `Party`.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        ballots: Ballots = ballots,
        **options: Any,
    ) -> None:
        super().__init__(identity, **options)
        self._ballots = ballots
        # Newest version first; the one in use stays until the hospital has moved on.
        self._tables: dict[bytes, tuple[_Version, ...]] = {}
        self._lock = threading.Lock()

    def store(self, upload: bytes) -> bytes:
        """Accept a table, or a newer version of one, and return a receipt frame.

        Chooses K on the blinded table where the hospital left it open. The version before goes on
        answering until the hospital, once it has the receipt, asks the new one.

        Raises
        ------
        ContextMismatchError
            If another hospital owns the table.
        VersionError
            If the version is not newer than the stored one.
        TooLargeError
            If the hospital has very many tables here, or answers would not fit into a frame.
        ParameterError, RangeError, NeighborsError, LabelError, TableError
            If modulus, values, layout, K or labels are not possible.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        frame = self._authenticate(upload, *_UPLOADS)
        header = frame.header
        body = self._open(frame, _UPLOADS[header.kind])
        self._check_succession(body.table_id, body.version, header.sender)
        stored = self._stored(body)
        self._claim(frame)
        added = _Version(header.sender, body.version, stored)
        with self._lock:
            self._check_succession(body.table_id, body.version, header.sender)
            before = self._living(self._tables.get(body.table_id, ()))
            # The hospital asks the version whose receipt it has: the last one asked or, if that
            # has yet to begin, the one before this. Others came to nothing.
            asked = [old for old in before if old.asked]
            kept = [old for old in before if old is before[0] or old in asked]
            self._tables[body.table_id] = (added, *kept)
        return self._send(
            header.sender,
            Receipt(body.table_id, body.version, stored.k),
            nonce=header.nonce,
            sequence=header.sequence,
        )

    def answer(self, job: bytes) -> bytes:
        """Answer a job frame with a verdict frame, or with sums of buckets.

        Raises
        ------
        ContextMismatchError
            If the sender has no such table here.
        VersionError
            If the job is for a version of the table that is not or no longer here.
        FramingError, RangeError
            If the queries or offsets have the wrong number or range, or are of another profile
            than the table.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        frame = self._authenticate(job, *_JOBS)
        header = frame.header
        body = self._open(frame, _JOBS[header.kind])
        table = self._find(body.table_id, body.version, header.sender)
        if not isinstance(body, table.stored.job):
            raise ContextMismatchError("job: is of another profile than the table")
        run = table.stored.prepare(body)
        self._claim(frame)
        self._retire(body.table_id, body.version)
        return self._send(header.sender, run(), nonce=header.nonce, sequence=header.sequence)

    def refuse(self, job: bytes) -> bytes:
        """Answer a job that `answer` did not accept with a frame that tells no reason.

        Raises
        ------
        OmpdError
            If the frame is not authentic and fresh, or was received before.
        """
        return self._refuse(job, *_JOBS)

    def _stored(self, body: TableUpload | RingUpload | BucketUpload) -> Stored:
        if isinstance(body, TableUpload):
            return BlindedStored.of(body, self._ballots)
        if isinstance(body, RingUpload):
            return RingStored.of(body, self._ballots)
        return BucketStored.of(body)

    def _check_succession(self, table_id: bytes, version: int, owner: str) -> None:
        versions = self._tables.get(table_id)
        if versions is None:
            owned = sum(each[0].owner == owner for each in self._tables.values())
            if owned >= _MOST_TABLES:
                raise TooLargeError(f"table: expected at most {_MOST_TABLES} per hospital")
            return
        if versions[0].owner != owner:
            raise ContextMismatchError("table: belongs to another hospital")
        if version <= versions[0].version:
            raise VersionError(f"table: expected a version above {versions[0].version}")

    def _find(self, table_id: bytes, version: int, owner: str) -> _Version:
        versions = self._tables.get(table_id)
        if versions is None or versions[0].owner != owner:
            raise ContextMismatchError("job: the sender has no table under this id")
        for found in self._living(versions):
            if found.version == version:
                return found
        raise VersionError(f"job: expected version {versions[0].version} of the table")

    def _retire(self, table_id: bytes, version: int) -> None:
        """Let older versions end, once one is asked; what is on its way to them still counts."""
        with self._lock:
            expires = self._clock() + self._window
            self._tables[table_id] = tuple(
                replace(each, asked=True)
                if each.version == version
                else replace(each, expires=expires)
                if each.version < version and each.expires is None
                else each
                for each in self._living(self._tables[table_id])
            )

    def _living(self, versions: tuple[_Version, ...]) -> tuple[_Version, ...]:
        now = self._clock()
        return tuple(each for each in versions if each.expires is None or now <= each.expires)

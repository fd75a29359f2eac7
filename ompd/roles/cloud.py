"""The cloud: keeps tables and answers jobs on them.

This module names neither the encoder nor the secret side of blinding, and needs neither.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from ompd.crypto import Identity
from ompd.errors import ContextMismatchError, VersionError
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
    """One version of a table, and when it stops answering."""

    owner: str
    version: int
    stored: Stored
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
        # The newest version and, until the hospital has moved on, the one before it.
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
            before = self._tables.get(body.table_id, ())
            self._tables[body.table_id] = (added, *before[:1])
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
            return
        if versions[0].owner != owner:
            raise ContextMismatchError("table: belongs to another hospital")
        if version <= versions[0].version:
            raise VersionError(f"table: expected a version above {versions[0].version}")

    def _find(self, table_id: bytes, version: int, owner: str) -> _Version:
        versions = self._tables.get(table_id)
        if versions is None or versions[0].owner != owner:
            raise ContextMismatchError("job: the sender has no table under this id")
        now = self._clock()
        for found in versions:
            if found.version == version and (found.expires is None or now <= found.expires):
                return found
        raise VersionError(f"job: expected version {versions[0].version} of the table")

    def _retire(self, table_id: bytes, version: int) -> None:
        """Let the version before end, once the newest is asked; what is on its way still counts."""
        with self._lock:
            now = self._clock()
            newest, *before = self._tables[table_id]
            if version == newest.version and before and before[0].expires is None:
                before = [replace(before[0], expires=now + self._window)]
            kept = [old for old in before if old.expires is None or now <= old.expires]
            self._tables[table_id] = (newest, *kept)

"""The cloud: keeps tables and answers jobs on them.

This module names neither the encoder nor the secret side of blinding, and needs neither.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ompd.crypto import Identity
from ompd.errors import ContextMismatchError, ReplayError, TooLargeError, VersionError
from ompd.roles.party import Party
from ompd.roles.stored import HardenedStored, PaperStored, SealedStored, Stored
from ompd.search import ballots
from ompd.search.verdicts import Ballots
from ompd.wire import (
    HardenedJob,
    HardenedUpload,
    Header,
    Kind,
    PaperJob,
    PaperUpload,
    Receipt,
    SealedJob,
    SealedUpload,
)

#: Tables of one hospital.
_MOST_TABLES = 1024

_UPLOADS: dict[Kind, type[PaperUpload | HardenedUpload | SealedUpload]] = {
    Kind.PAPER_UPLOAD: PaperUpload,
    Kind.HARDENED_UPLOAD: HardenedUpload,
    Kind.SEALED_UPLOAD: SealedUpload,
}
_JOBS: dict[Kind, type[PaperJob | HardenedJob | SealedJob]] = {
    Kind.PAPER_JOB: PaperJob,
    Kind.HARDENED_JOB: HardenedJob,
    Kind.SEALED_JOB: SealedJob,
}


@dataclass(frozen=True, slots=True, repr=False)
class _Version:
    """One version of a table, its upload, whether it was asked, and when it stops answering."""

    owner: str
    version: int
    stored: Stored
    upload: Header
    receipt: bytes
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
        answering until the hospital, once it has the receipt, asks the new one. An upload that is
        here already is acknowledged again, also if the hospital gave it another time, and changes
        nothing.

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
        if (receipt := self._acknowledged(header)) is not None:
            return receipt
        body = self._open(frame, _UPLOADS[header.kind])
        with self._lock:
            self._check_succession(body.table_id, body.version, header.sender)
        stored = self._stored(body)
        receipt = self._receipt(header, body.table_id, body.version, stored.k)
        added = _Version(header.sender, body.version, stored, header, receipt)
        with self._lock:
            self._check_succession(body.table_id, body.version, header.sender)
            before = self._living(self._tables.get(body.table_id, ()))
            # The hospital asks the version whose receipt it has: the last one asked or, if that
            # has yet to begin, the one before this. Others came to nothing.
            asked = [old for old in before if old.asked]
            kept = [old for old in before if old is before[0] or old in asked]
            self._tables[body.table_id] = (added, *kept)
        return receipt

    def answer(self, job: bytes) -> bytes:
        """Answer a job frame with a verdict frame, or with sums of buckets.

        The same frame, byte for byte, gets the same answer again as long as it is fresh and the
        answer is kept; nothing is computed for it.

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
            If the frame is not authentic, fresh and well-formed, or was received before and its
            answer is not kept.
        """
        try:
            frame = self._authenticate(job, *_JOBS)
        except ReplayError:
            if (given := self._again(job, *_JOBS)) is not None:
                return given
            raise
        header = frame.header
        body = self._open(frame, _JOBS[header.kind])
        table = self._find(body.table_id, body.version, header.sender)
        if not isinstance(body, table.stored.job):
            raise ContextMismatchError("job: is of another profile than the table")
        run = table.stored.prepare(body)
        self._claim(frame)
        self._retire(body.table_id, body.version)
        answer = self._send(header.sender, run(), nonce=header.nonce, sequence=header.sequence)
        return self._answered(header, answer)

    def refuse(self, job: bytes) -> bytes:
        """Answer a job that `answer` did not accept with a frame that tells no reason.

        Raises
        ------
        OmpdError
            If the frame is not authentic and fresh, or was received before.
        """
        return self._refuse(job, *_JOBS)

    def _acknowledged(self, header: Header) -> bytes | None:
        """Return a receipt for an upload that is stored already, also one with another time."""
        with self._lock:
            tables = list(self._tables.items())
        for table_id, versions in tables:
            for each in self._living(versions):
                if each.upload == header:
                    return each.receipt
                if _untimed(each.upload) == _untimed(header):
                    return self._receipt(header, table_id, each.version, each.stored.k)
        return None

    def _receipt(self, header: Header, table_id: bytes, version: int, k: int) -> bytes:
        body = Receipt(table_id, version, k)
        return self._send(header.sender, body, nonce=header.nonce, sequence=header.sequence)

    def _stored(self, body: PaperUpload | HardenedUpload | SealedUpload) -> Stored:
        if isinstance(body, PaperUpload):
            return PaperStored.of(body, self._ballots)
        if isinstance(body, HardenedUpload):
            return HardenedStored.of(body, self._ballots)
        return SealedStored.of(body)

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


def _untimed(header: Header) -> Header:
    """What an upload that is sent again has in common with the first: all but the time."""
    return msgspec.structs.replace(header, timestamp=0)

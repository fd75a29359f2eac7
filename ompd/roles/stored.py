"""The cloud's side of a stored table, per profile.

Nothing here names the encoder or the secret side of blinding, and nothing needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ompd.errors import (
    FramingError,
    NeighborsError,
    NonCanonicalError,
    ParameterError,
    TooLargeError,
)
from ompd.sealed.layout import Layout
from ompd.sealed.server import answer, check_layout, check_request
from ompd.search import LimbTable, WordTable, check_k, choose_k
from ompd.search.conversion import Modulus
from ompd.search.verdicts import Ballots
from ompd.wire import (
    MAX_K,
    Body,
    HardenedJob,
    HardenedUpload,
    PaperJob,
    PaperUpload,
    SealedAnswer,
    SealedJob,
    SealedUpload,
    Verdict,
    check_below,
    sums_cap,
    unpack_limbs,
    verdict_rows,
)

I64 = npt.NDArray[np.int64]


class Stored(Protocol):
    """A table that the cloud can answer jobs on."""

    @property
    def job(self) -> type[Body]:
        """Type of the jobs that this table answers."""

    @property
    def k(self) -> int:
        """Neighbours that vote; 0 where the hospital counts votes itself."""

    def prepare(self, body: Any) -> Callable[[], Body]:
        """Check a job, and return what answers it.

        Raises
        ------
        FramingError, RangeError
        """


@dataclass(frozen=True, slots=True, repr=False)
class PaperStored:
    """Instances blinded by big primes, and the K that votes."""

    table: LimbTable
    modulus: Modulus
    k: int
    ballots: Ballots

    @classmethod
    def of(cls, body: PaperUpload, ballots: Ballots) -> PaperStored:
        """Check an upload and index its instances.

        Raises
        ------
        ParameterError, RangeError, NeighborsError, LabelError, TableError, FramingError
        """
        modulus = _modulus(body)
        width = 8 * body.coordinates * body.limbs
        limbs = _words(body.values, width)
        limbs = limbs.reshape(-1, body.coordinates, body.limbs)
        labels = _labels(body.labels, len(limbs))
        check_below(limbs, modulus)
        _check_open_k(body.k, len(limbs))
        table = LimbTable(limbs, labels, body.classes)
        return cls(table, Modulus.of(modulus, body.limbs), body.k or choose_k(table), ballots)

    @property
    def job(self) -> type[Body]:
        """Type of the jobs that this table answers."""
        return PaperJob

    def prepare(self, body: PaperJob) -> Callable[[], Verdict]:
        """Check blinded queries, and return what finds their neighbours."""
        _check_verdict(body.rows, self.table.classes)
        _, coordinates, limbs = self.table.limbs.shape
        modulus = self.modulus.value
        points = unpack_limbs(body.points, modulus, body.rows * coordinates)
        tokens = unpack_limbs(body.tokens, modulus, body.rows, least=1)
        points = points.reshape(-1, coordinates, limbs)

        def search() -> Verdict:
            found = self.ballots(self.table, points, tokens, self.modulus, self.k)
            return _verdict(body, self.k, *found)

        return search


@dataclass(frozen=True, slots=True, repr=False)
class HardenedStored:
    """Instances on the ring of integers modulo 2**64, and the K that votes."""

    table: WordTable
    k: int
    ballots: Ballots

    @classmethod
    def of(cls, body: HardenedUpload, ballots: Ballots) -> HardenedStored:
        """Check an upload and index its instances.

        Raises
        ------
        NeighborsError, LabelError, TableError, FramingError
        """
        values = _words(body.values, 8 * body.coordinates)
        values = values.reshape(-1, body.coordinates)
        labels = _labels(body.labels, len(values))
        _check_open_k(body.k, len(values))
        table = WordTable.of(values, labels, body.classes)
        return cls(table, body.k or choose_k(table.table), ballots)

    @property
    def job(self) -> type[Body]:
        """Type of the jobs that this table answers."""
        return HardenedJob

    def prepare(self, body: HardenedJob) -> Callable[[], Verdict]:
        """Check queries on the ring, and return what finds their neighbours."""
        _check_verdict(body.rows, self.table.table.classes)
        coordinates = len(self.table.origin)
        if len(body.points) != 8 * body.rows * coordinates:
            raise FramingError(f"points: expected {8 * body.rows * coordinates} bytes")
        values = np.frombuffer(body.points, dtype="<u8").astype(np.uint64, copy=False)
        points = self.table.queries(values.reshape(-1, coordinates))

        def search() -> Verdict:
            return _verdict(
                body, self.k, *self.ballots(self.table.table, points, None, None, self.k)
            )

        return search


@dataclass(frozen=True, slots=True, repr=False)
class SealedStored:
    """Encrypted buckets."""

    layout: Layout
    buckets: bytes

    @classmethod
    def of(cls, body: SealedUpload) -> SealedStored:
        """Check an upload.

        Raises
        ------
        ParameterError, FramingError, TooLargeError
        """
        layout = Layout(
            buckets=body.chunks * body.chunk,
            bucket_bytes=body.bucket_bytes,
            chunks=body.chunks,
            chunk=body.chunk,
            fetches=body.fetches,
            # The hospital's own affair; only that there are windows shows in `fetches`.
            window=int(body.fetches > 0),
        )
        check_layout(layout, len(body.buckets))
        if layout.answer_bytes > sums_cap(layout.table_bytes):
            raise TooLargeError("layout: one answer would be above the cap of this table")
        return cls(layout, body.buckets)

    @property
    def job(self) -> type[Body]:
        """Type of the jobs that this table answers."""
        return SealedJob

    @property
    def k(self) -> int:
        """The hospital counts votes itself."""
        return 0

    def prepare(self, body: SealedJob) -> Callable[[], SealedAnswer]:
        """Check a request, and return what answers it."""
        if body.whole:
            if body.request:
                raise FramingError("request: expected none with the whole table")
            return lambda: SealedAnswer(body.table_id, body.version, self.buckets)
        queries = check_request(self.layout, body.request)
        if queries * self.layout.answer_bytes > sums_cap(self.layout.table_bytes):
            raise TooLargeError("request: its answer would be above the cap of this table")

        def combine() -> SealedAnswer:
            sums = answer(self.buckets, self.layout, body.request)
            return SealedAnswer(body.table_id, body.version, sums)

        return combine


def _check_verdict(rows: int, classes: int) -> None:
    """Refuse at once what could not be answered in one frame."""
    if rows > verdict_rows(classes):
        raise TooLargeError(f"rows: a verdict on {rows} queries would be above the cap")


def _verdict(body: PaperJob | HardenedJob, k: int, codes: I64, votes: I64) -> Verdict:
    return Verdict(
        body.table_id,
        body.version,
        k,
        codes.astype("<u2").tobytes(),
        votes.astype("<u2").tobytes(),
    )


def _modulus(body: PaperUpload) -> int:
    modulus = int.from_bytes(body.modulus, "little")
    if not body.modulus or body.modulus[-1] == 0:
        raise NonCanonicalError("modulus: expected no leading zero bytes")
    if modulus % 2 == 0 or -(-modulus.bit_length() // 64) != body.limbs:
        raise ParameterError(f"modulus: expected an odd number of {body.limbs} limbs")
    return modulus


def _words(data: bytes, width: int) -> npt.NDArray[np.uint64]:
    if len(data) % width:
        raise FramingError(f"values: expected a multiple of {width} bytes")
    return np.frombuffer(data, dtype="<u8").astype(np.uint64, copy=False)


def _labels(data: bytes, rows: int) -> I64:
    if len(data) != 2 * rows:
        raise FramingError(f"labels: expected {rows} codes")
    return np.frombuffer(data, dtype="<u2").astype(np.int64)


def _check_open_k(k: int, rows: int) -> None:
    if k:
        check_k(k, min(rows, MAX_K))
    elif rows < 2:
        raise NeighborsError("k: expected two instances or more to choose it by leave-one-out")

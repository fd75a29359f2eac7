"""Profile `hardened`: coarse integers under a signed permutation and shifts modulo 2**64.

The cloud still sees all distances; noise, if asked for, bounds what they tell.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ompd.blind import HardenedKey
from ompd.roles.retrieval.contract import I64, Neighbours, TableRef, read_verdict
from ompd.wire import (
    MAX_BATCH,
    Body,
    HardenedJob,
    HardenedUpload,
    Kind,
    Verdict,
    content_cap,
    verdict_bytes,
    verdict_rows,
)


@dataclass(frozen=True, slots=True, repr=False)
class HardenedRetrieval:
    """A table of ring values; the cloud searches it and votes.

    Parameters
    ----------
    place : TableRef
    key : HardenedKey
    classes : int
    """

    place: TableRef
    key: HardenedKey
    classes: int

    @classmethod
    def build(
        cls, place: TableRef, key: HardenedKey, vectors: I64, labels: I64, *, classes: int, k: int
    ) -> tuple[HardenedRetrieval, HardenedUpload]:
        """Blind the instances.

        Parameters
        ----------
        place : TableRef
        key : HardenedKey
        vectors : int64 array of shape (N, coordinates)
            As they go into the table: with noise, if there is any.
        labels : int64 array of shape (N,)
        classes, k : int
        """
        upload = HardenedUpload(
            table_id=place.table_id,
            version=place.version,
            coordinates=vectors.shape[1],
            classes=classes,
            k=k,
            labels=labels.astype("<u2").tobytes(),
            values=key.blind(vectors).astype("<u8", copy=False).tobytes(),
        )
        return cls(place, key, classes), upload

    @staticmethod
    def upload_bytes(rows: int, coordinates: int) -> int:
        """Length of the upload of so many instances, to within a KiB."""
        return rows * (8 * coordinates + 2)

    @property
    def answer(self) -> type[Body]:
        """Type of the body that answers a job."""
        return Verdict

    @property
    def most(self) -> int:
        """Most queries in one job."""
        job = content_cap(Kind.HARDENED_JOB) // (8 * self.key.coordinates)
        return min(MAX_BATCH, job, verdict_rows(self.classes))

    def answer_bytes(self, rows: int) -> int:
        """Bytes of numbers in the answer to a job of so many queries."""
        return rows * verdict_bytes(self.classes)

    @property
    def room(self) -> int:
        """Nothing is used up."""
        return sys.maxsize

    def job(self, vectors: I64, members: Sequence[int]) -> tuple[HardenedJob, None]:
        """Blind queries as the table was."""
        points = self.key.blind(vectors).astype("<u8", copy=False).tobytes()
        return HardenedJob(self.place.table_id, self.place.version, len(vectors), points), None

    def window(self, context: None) -> None:
        """Each is read by itself."""

    def abandon(self, context: None) -> None:
        """Nothing was used up."""

    def read(self, body: Verdict, context: None, rows: int, k: int) -> Neighbours:
        """Read the cloud's votes."""
        return read_verdict(body, rows, k, self.classes)

"""Profile `paper`: the published blinding by big primes.

Gives no confidentiality against the cloud; `ompd audit` shows it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ompd.blind import PADDING, PaperKey, blind_queries, blind_table
from ompd.params import PAPER
from ompd.roles.retrieval.contract import I64, Neighbours, TableRef, read_verdict
from ompd.wire import (
    MAX_BATCH,
    Body,
    Kind,
    PaperJob,
    PaperUpload,
    Verdict,
    content_cap,
    pack_limbs,
    verdict_bytes,
    verdict_rows,
)


@dataclass(frozen=True, slots=True, repr=False)
class PaperRetrieval:
    """A blinded table; the cloud searches it and votes.

    Parameters
    ----------
    place : TableRef
    key : PaperKey
    classes : int
    """

    place: TableRef
    key: PaperKey
    classes: int

    @classmethod
    def build(
        cls, place: TableRef, vectors: I64, labels: I64, *, classes: int, k: int, largest: int
    ) -> tuple[PaperRetrieval, PaperUpload]:
        """Blind the instances under a fresh key.

        Parameters
        ----------
        place : TableRef
        vectors : int64 array of shape (N, coordinates)
            From 0 to `largest`.
        labels : int64 array of shape (N,)
        classes : int
        k : int
            0 leaves the choice to the cloud.
        largest : int

        Raises
        ------
        OverflowParameterError
            If the blinded values would not fit the parameters.
        """
        coordinates = vectors.shape[1] + PADDING
        key = PaperKey.generate(PAPER, coordinates, largest)
        upload = PaperUpload(
            table_id=place.table_id,
            version=place.version,
            modulus=key.modulus.to_bytes(-(-key.modulus.bit_length() // 8), "little"),
            coordinates=coordinates,
            limbs=PAPER.limbs,
            classes=classes,
            k=k,
            labels=labels.astype("<u2").tobytes(),
            values=blind_table(key, vectors).astype("<u8", copy=False).tobytes(),
        )
        return cls(place, key, classes), upload

    @staticmethod
    def upload_bytes(rows: int, coordinates: int) -> int:
        """Length of the upload of so many instances, to within a KiB."""
        return rows * ((coordinates + PADDING) * PAPER.limbs * 8 + 2)

    @property
    def answer(self) -> type[Body]:
        """Type of the body that answers a job."""
        return Verdict

    @property
    def most(self) -> int:
        """Most queries in one job."""
        row = 8 * PAPER.limbs * (self.key.coordinates + 1)
        return min(MAX_BATCH, content_cap(Kind.PAPER_JOB) // row, verdict_rows(self.classes))

    def answer_bytes(self, rows: int) -> int:
        """Bytes of numbers in the answer to a job of so many queries."""
        return rows * verdict_bytes(self.classes)

    @property
    def room(self) -> int:
        """Nothing is used up."""
        return sys.maxsize

    def job(self, vectors: I64, members: Sequence[int]) -> tuple[PaperJob, None]:
        """Blind queries, each with a scalar of its own."""
        blinded = blind_queries(self.key, vectors)
        modulus = self.key.modulus
        return PaperJob(
            table_id=self.place.table_id,
            version=self.place.version,
            rows=len(vectors),
            points=pack_limbs(blinded.points, modulus),
            tokens=pack_limbs(blinded.tokens, modulus),
        ), None

    def window(self, context: None) -> None:
        """Each is read by itself."""

    def abandon(self, context: None) -> None:
        """Nothing was used up."""

    def read(self, body: Verdict, context: None, rows: int, k: int) -> Neighbours:
        """Read the cloud's votes."""
        return read_verdict(body, rows, k, self.classes)

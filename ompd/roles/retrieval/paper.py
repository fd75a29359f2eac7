"""Profile `paper`: the published blinding by big primes.

Gives no confidentiality against the cloud; `ompd audit` shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ompd.arrays import I64, U64, Progress
from ompd.blind import PADDING, PaperKey, blind_queries, blind_table
from ompd.datasets import Dataset
from ompd.params import PAPER
from ompd.roles.retrieval.contract import Edit, Made, TableRef, Way
from ompd.roles.retrieval.voted import Voted, change_fields
from ompd.roles.spool import Place, temporary
from ompd.roles.stages import CHOSEN, HIDDEN, Stages
from ompd.roles.training import Plan, rules, train
from ompd.roles.uploads import Pieces
from ompd.wire import (
    MAX_BATCH,
    Kind,
    PaperChange,
    PaperJob,
    PaperUpload,
    content_cap,
    pack_limbs,
    verdict_rows,
)


@dataclass(frozen=True, slots=True, repr=False)
class PaperRetrieval(Voted):
    """A blinded table; the cloud searches it and votes.

    Parameters
    ----------
    ref : TableRef
    key : PaperKey
    classes : int
    """

    profile = "paper"
    upload = PaperUpload
    job_type = PaperJob
    padding = PADDING

    ref: TableRef
    key: PaperKey
    classes: int

    @classmethod
    def make(
        cls, records: Dataset, plan: Plan, ref: TableRef, stages: Stages, place: Place
    ) -> Made:
        """Train and blind; a K that is not known is left to the cloud."""
        trained = train(records, plan, stages)
        k = trained.k or 0
        rule, open_rule = rules(trained.table, k, plan, stages.until(CHOSEN))
        retrieval, upload = cls.build(
            ref,
            trained.vectors,
            trained.labels,
            classes=trained.classes,
            k=k,
            largest=trained.encoder.largest,
            place=place,
            progress=stages.until(HIDDEN),
        )
        return Made(trained.filling, trained.encoder, k, retrieval, upload, rule, open_rule)

    @classmethod
    def build(
        cls,
        ref: TableRef,
        vectors: I64,
        labels: I64,
        *,
        classes: int,
        k: int,
        largest: int,
        place: Place = temporary,
        progress: Progress | None = None,
    ) -> tuple[PaperRetrieval, Pieces]:
        """Blind the instances under a fresh key.

        Parameters
        ----------
        ref : TableRef
        vectors : int64 array of shape (N, coordinates)
            From 0 to `largest`.
        labels : int64 array of shape (N,)
        classes : int
        k : int
            0 leaves the choice to the cloud.
        largest : int
        place : callable
            Where the upload waits.
        progress : callable, optional
            Called with the finished share from 0 to 1.

        Raises
        ------
        OverflowParameterError
            If the blinded values would not fit the parameters.
        StoreError
            If the upload cannot be written.
        """
        coordinates = vectors.shape[1] + PADDING
        key = PaperKey.generate(PAPER, coordinates, largest)
        head = PaperUpload(
            table_id=ref.table_id,
            version=ref.version,
            modulus=key.modulus.to_bytes(-(-key.modulus.bit_length() // 8), "little"),
            coordinates=coordinates,
            limbs=PAPER.limbs,
            classes=classes,
            k=k,
            rows=len(vectors),
            first=0,
            labels=b"",
            values=b"",
        )

        def fill(first: int, last: int) -> U64:
            return blind_table(key, vectors[first:last]).astype("<u8", copy=False)

        width = 8 * coordinates * PAPER.limbs
        pieces = Pieces.make(place, head, len(vectors), width, labels, fill, progress)
        return cls(ref, key, classes), pieces

    def edited(self, edit: Edit, ref: TableRef) -> tuple[PaperRetrieval, PaperChange]:
        """Hide added instances as those before."""
        values = blind_table(self.key, edit.vectors)
        body = PaperChange(
            table_id=ref.table_id,
            version=ref.version,
            base=self.ref.version,
            **change_fields(edit, values),
        )
        return self.at(ref), body

    def at(self, ref: TableRef) -> PaperRetrieval:
        """Return the same table as another version: the key stays."""
        return replace(self, ref=ref)

    def save(self, folder: Path) -> bytes:
        """Return the key."""
        return self.key.to_bytes()

    @classmethod
    def restored(cls, ref: TableRef, classes: int, folder: Path, kept: bytes) -> PaperRetrieval:
        """Return the table of a key."""
        return cls(ref, PaperKey.from_bytes(PAPER, kept), classes)

    @property
    def most(self) -> int:
        """Most queries in one job."""
        row = 8 * PAPER.limbs * (self.key.coordinates + 1)
        return min(MAX_BATCH, content_cap(Kind.PAPER_JOB) // row, verdict_rows(self.classes))

    def job(self, vectors: I64, members: Sequence[int], way: Way) -> tuple[PaperJob, None]:
        """Blind queries, each with a scalar of its own."""
        blinded = blind_queries(self.key, vectors)
        modulus = self.key.modulus
        return PaperJob(
            table_id=self.ref.table_id,
            version=self.ref.version,
            rows=len(vectors),
            points=pack_limbs(blinded.points, modulus),
            tokens=pack_limbs(blinded.tokens, modulus),
        ), None

"""Profile `sealed`: encrypted buckets of which the cloud does not learn which are asked for."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ompd.arrays import I64, Progress
from ompd.datasets import Dataset
from ompd.encode import EvidenceEncoder, Filling, scale_features
from ompd.errors import HintStateError, TooLargeError, WindowExhaustedError
from ompd.params import PAPER
from ompd.roles.retrieval.contract import Edit, Made, Neighbours, Retrieval, TableRef, Way
from ompd.roles.spool import Place, temporary
from ompd.roles.stages import CHOSEN, HIDDEN, Stages
from ompd.roles.training import Plan, Trained, rules, train
from ompd.roles.uploads import Pieces
from ompd.sealed import Change, Layout, SealedTable, Ticket, whole_is_cheaper
from ompd.search import choose_k
from ompd.search.decision import OpenRule, Rule
from ompd.threads import default_threads, part_of
from ompd.wire import (
    MAX_BATCH,
    Kind,
    SealedAnswer,
    SealedJob,
    SealedUpload,
    content_cap,
)

#: Stands for a K that is not chosen yet; the size hardly depends on it.
_LIKELY_K = 9


@dataclass(frozen=True, slots=True, repr=False)
class SealedRetrieval(Retrieval):
    """A sealed table; the hospital searches the buckets that it fetches, and votes itself.

    Parameters
    ----------
    ref : TableRef
    table : SealedTable
    classes : int
    """

    profile = "sealed"
    upload = SealedUpload
    job_type = SealedJob
    answer = SealedAnswer
    edits_at_once = True

    ref: TableRef
    table: SealedTable
    classes: int

    @classmethod
    def make(
        cls, records: Dataset, plan: Plan, ref: TableRef, stages: Stages, place: Place
    ) -> Made:
        """Train and seal."""
        trained = train(records, plan, stages)
        k, rule, open_rule = _decided(trained, plan, stages.until(CHOSEN))
        retrieval, upload = cls.build(
            ref,
            trained.vectors,
            trained.labels,
            classes=trained.classes,
            k=k,
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
        place: Place = temporary,
        progress: Progress | None = None,
    ) -> tuple[SealedRetrieval, Pieces]:
        """Cut the instances into buckets and encrypt them under a fresh key.

        Parameters
        ----------
        ref : TableRef
            Bound into every bucket.
        vectors : int64 array of shape (N, coordinates)
            From 0 to below 2**62.
        labels : int64 array of shape (N,)
        classes, k : int
        place : callable
            Where the upload waits.
        progress : callable, optional
            Called with the finished share from 0 to 1.

        Raises
        ------
        StoreError
            If the upload cannot be written.
        """
        table, buckets = SealedTable.build(
            vectors, labels, classes, k, context=_context(ref), changes=True, progress=progress,
            threads=default_threads(),
        )  # fmt: skip
        layout = table.layout
        head = SealedUpload(
            table_id=ref.table_id,
            version=ref.version,
            bucket_bytes=layout.bucket_bytes,
            chunks=layout.chunks,
            chunk=layout.chunk,
            fetches=layout.fetches,
            first=0,
            buckets=b"",
        )
        pieces = Pieces.make(
            place, head, layout.buckets, layout.bucket_bytes, None,
            lambda first, last: buckets[first:last],
        )  # fmt: skip
        return cls(ref, table, classes), pieces

    @classmethod
    def check_size(cls, records: Dataset, method: str, k: int | None) -> None:
        """Refuse records whose table could not be had as a whole, which takes one frame."""
        cap = content_cap(Kind.SEALED_ANSWER)
        size = _upload_bytes(records, method, k, cap)
        if size > cap:
            raise TooLargeError(
                f"instances: {len(records)} rows would make a table of {size >> 20} MiB, "
                f"expected at most {cap >> 20}"
            )

    def save(self, folder: Path) -> bytes:
        """Put the table into a folder; its hints follow with `close`."""
        # An earlier try may have gone no further, or left something behind which is no table.
        if not self.table.saved:
            shutil.rmtree(folder, ignore_errors=True)
            self.table.save(folder)
        return b""

    @classmethod
    def restored(cls, ref: TableRef, classes: int, folder: Path, kept: bytes) -> SealedRetrieval:
        """Open a table's folder; hints that cannot be trusted are given up."""
        try:
            table = SealedTable.open(folder)
        except HintStateError:
            table = SealedTable.open(folder, fresh=True)
        return cls(ref, table, classes)

    @property
    def most(self) -> int:
        """Most queries in one job: what is too much for hints goes by the whole table."""
        return MAX_BATCH

    def answer_bytes(self, rows: int, context: Ticket | None) -> int:
        """Bytes of numbers in the answer to a job; none if the job was never made."""
        return context.answer_bytes if context else 0

    @property
    def edition(self) -> int:
        """Version that the last change made, of which the cloud was not told."""
        return max(self.ref.version, self.table.edits.edition)

    @property
    def room(self) -> int:
        """Queries that the hints of this window are enough for."""
        return self.table.remaining

    @property
    def due(self) -> bool:
        """Whether a new window should be made now, to be there before this one ends."""
        return self.table.due

    def way(self, rows: int) -> Way:
        """Tell how a job should be asked: by what is cheaper, or all that is left."""
        if whole_is_cheaper(self.table.layout, rows):
            return Way.FREE
        return Way.WHOLE if self.table.prefers_whole(rows) else Way.SHARED

    def job(self, vectors: I64, members: Sequence[int], way: Way) -> tuple[SealedJob, Ticket]:
        """Use up hints and ask for buckets, or ask for the whole table."""
        if way is Way.SHARED:
            # Unless lost answers ended the window just now.
            with contextlib.suppress(WindowExhaustedError):
                request, ticket = self.table.ask(vectors, members)
                return SealedJob(self.ref.table_id, self.ref.version, False, request), ticket
        ticket = self.table.ask_whole(vectors, renews=way is not Way.FREE)
        # A table that has no windows is asked for by an empty request.
        whole = self.table.layout.fetches > 0
        return SealedJob(self.ref.table_id, self.ref.version, whole, b""), ticket

    def window(self, context: Ticket) -> object | None:
        """Return the hints that the job used; None if it asked for the whole table."""
        return context.asked and context.asked.hints

    def abandon(self, context: Ticket) -> None:
        """Let the buckets be asked for again; the hints stay used up."""
        self.table.abandon(context)

    def read(self, body: SealedAnswer, context: Ticket, rows: int, k: int) -> Neighbours:
        """Open the buckets, find the nearest instances and count their votes."""
        found = self.table.read(context, body.buckets, threads=default_threads())
        votes = np.zeros((rows, self.classes), dtype=np.int64)
        np.add.at(votes, (np.arange(rows)[:, np.newaxis], found.labels), 1)
        codes = _winners(votes, found.distances, found.labels)
        return Neighbours(codes, votes, found.certified, found.answered)

    def whole(self) -> tuple[SealedJob, int]:
        """Ask for all buckets."""
        job = SealedJob(self.ref.table_id, self.ref.version, True, b"")
        return job, self.table.layout.table_bytes

    def await_window(self) -> None:
        """Reckon with a new window soon."""
        self.table.await_window()

    def renew(self, body: SealedAnswer) -> None:
        """Make the hints of a new window."""
        self.table.renew(body.buckets, threads=default_threads())

    @property
    def crowded(self) -> bool:
        """Whether changes should be merged into a new version."""
        return self.table.crowded

    def edited(self, edit: Edit, ref: TableRef) -> tuple[SealedRetrieval, None]:
        """Change the table at the hospital alone; it stays the cloud's old version."""
        change = Change(
            edit.removed, edit.relabelled, edit.codes, edit.first, edit.vectors, edit.labels
        )
        self.table.edit(change, ref.version)
        return self, None

    def merged(self, body: SealedAnswer) -> tuple[I64, I64]:
        """Return vectors and labels of the table with all changes, in the order of its rows."""
        return self.table.merged(body.buckets)

    def discard(self) -> None:
        """End the table, whose folder was removed, without putting hints there."""
        self.table.discard()

    def close(self) -> None:
        """Put the hints back into the folder that the table is kept in, if it is."""
        self.table.close()


def _decided(
    trained: Trained, plan: Plan, progress: Progress
) -> tuple[int, Rule | None, OpenRule | None]:
    """Choose K, and learn the rule, in one table that is not needed for longer."""
    table = trained.table(part_of(progress, 0, 0.6))
    k = trained.k or choose_k(table)
    progress(0.8)
    return k, *rules(lambda told: table, k, plan, part_of(progress, 0.8, 1))


def _upload_bytes(records: Dataset, method: str, k: int | None, cap: int) -> int:
    """Bytes of the buckets of these records, with every feature counting.

    One that turns out to have no weight would make them a little fewer.
    """
    rows = len(records)
    features, classes = len(records.schema.features), len(records.schema.classes)
    neighbors = k or min(rows, _LIKELY_K)
    if method == "evidence":
        coordinates, largest = EvidenceEncoder.shape(classes)
        bits = coordinates * largest.bit_length()
        return _table_bytes(rows, coordinates, bits, classes, neighbors)
    widest = features * (PAPER.feature_bits + 1)
    size = _table_bytes(rows, features, widest, classes, neighbors)
    if size > cap:
        # Only then are the records looked at, which takes a while.
        size = _table_bytes(rows, features, _feature_bits(records), classes, neighbors)
    return size


def _table_bytes(rows: int, coordinates: int, vector_bits: int, classes: int, k: int) -> int:
    """Length of a table of so many instances whose vectors take so many bits."""
    row_bits = vector_bits + (classes - 1).bit_length() + (rows - 1).bit_length()
    return Layout.choose(rows, coordinates, row_bits, k).table_bytes


def _feature_bits(records: Dataset) -> int:
    """Bits that a sealed row needs for its prefix sums.

    A prefix sum is written as what it adds to the one before, in multiples of what all of these are
    multiples of: the weight, which is not known yet, times the scaled feature's own step.
    """
    filling = Filling.learn(records.schema, records.features)
    features, _ = filling.fill(records.features)
    scaled = scale_features(features, filling.inner, PAPER.feature_bits)
    above = scaled - scaled.min(axis=0)
    steps = np.maximum(1, np.gcd.reduce(above, axis=0))
    return sum(int(most).bit_length() for most in (above.max(axis=0) // steps))


def _context(ref: TableRef) -> bytes:
    return ref.table_id + ref.version.to_bytes(8, "little")


def _winners(votes: I64, distances: I64, labels: I64) -> I64:
    """Most frequent class per query, as `ompd.search.vote` decides."""
    winners: I64 = votes.argmax(axis=1)
    tied = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1
    for query in np.flatnonzero(tied):
        own = votes[query]
        # Python's integers: a sum of distances can pass 64 bits.
        sums = {
            int(code): sum(map(int, distances[query][labels[query] == code]))
            for code in np.flatnonzero(own == own.max())
        }
        winners[query] = min(sums, key=lambda code: (sums[code], code))
    return winners

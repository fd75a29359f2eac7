"""What the hospital remembers of the vectors: boxes of buckets, and four bits per coordinate.

The buckets are the leaves of a balanced kd tree. Of every row the hospital keeps in which
sixteenth of its bucket's box each coordinate lies (a vector approximation, after Weber, Schek and
Blott, VLDB 1998), from which come a lower and an upper bound of the distance to any query. Boxes
alone would do too, but many more buckets would have to be fetched: a box of 9 dimensions says
little about where in it the rows are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from ompd._kernels.retrieval_boxes import (
    LANES,
    box_rows,
    candidates,
    fetches_needed,
    split_buckets,
)
from ompd._kernels.retrieval_whole import rank_all
from ompd._kernels.splits import box_boxes
from ompd.arrays import I32, I64, U8, U16, frozen
from ompd.confidential import Confidential
from ompd.threads import run_ranges

_HEAD_BITS = 16
#: Bits of the rows that count for nothing, where there are none.
NONE_GONE: U8 = frozen(np.empty((0, 0), dtype=np.uint8))


@dataclass(frozen=True, repr=False, eq=False, slots=True)
class Ranking(Confidential):
    """Buckets that may hold one of the K nearest rows, the most promising one first.

    Attributes
    ----------
    buckets : int64 array of shape (c,)
    bounds : int64 array of shape (c,)
        No row of the bucket is nearer, in units of heads.
    excess : int
        What every distance has on top, because the query lies outside the table's range.
    """

    buckets: I64
    bounds: I64
    excess: int


class Rankings(NamedTuple):
    """The best ranked buckets of q queries.

    Attributes
    ----------
    buckets : int32 array of shape (q, most)
    counts : int64 array of shape (q,)
        How many of them there are.
    others : int64 array of shape (q,)
        The smallest bound of all other buckets that may matter, in units of heads, or 2**62.
    excess : int64 array of shape (q,)
        As in `Ranking`.
    """

    buckets: I32
    counts: I64
    others: I64
    excess: I64

    def __repr__(self) -> str:
        return f"<Rankings for {len(self.counts)} queries>"


class Needs(NamedTuple):
    """How many buckets sampled queries need, int64 arrays of shape (s,).

    Attributes
    ----------
    exact : of the best ranked, to have the exact distances of the K nearest
    proven : of the best ranked, to prove it
    wanted : all that might hold one of the K nearest
    """

    exact: I64
    proven: I64
    wanted: I64


@dataclass(frozen=True, repr=False, eq=False, slots=True)
class Partition(Confidential):
    """Boxes and cells of N rows of m coordinates in B buckets.

    Attributes
    ----------
    lows : int64 array of shape (m,)
        The table's lowest values.
    spans : int64 array of shape (m,)
        Its highest values, less the lowest.
    shift : int
        A head is a value less the lowest, shifted right so far.
    rows : int
    boxes : uint16 array of shape (groups of 32, m, 2, 32)
    above : uint16 array of shape (groups of 1024, m, 2, 32)
    cells : uint8 array of shape (B, (m + 1) // 2, most rows of a bucket)
    """

    lows: I64
    spans: I64
    shift: int
    rows: int
    boxes: U16
    above: U16
    cells: U8

    def __post_init__(self) -> None:
        for name in ("lows", "spans", "boxes", "above", "cells"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @property
    def buckets(self) -> int:
        """B."""
        return len(self.cells)

    @property
    def blur(self) -> int:
        """By so much, in units of heads, a distance of heads may be off."""
        return len(self.lows) if self.shift else 0

    @property
    def nbytes(self) -> int:
        """Bytes of boxes and cells."""
        return self.boxes.nbytes + self.above.nbytes + self.cells.nbytes

    @classmethod
    def build(
        cls, vectors: I64, buckets: int, k: int, samples: I64, threads: int
    ) -> tuple[Self, I64, Needs]:
        """Cut the vectors into buckets and measure how many a query needs.

        Parameters
        ----------
        vectors : int64 array of shape (N, m)
            From 0 below 2**62.
        buckets : int
            From 1 to N.
        k : int
        samples : int64 array of shape (s,)
            Rows that serve as queries; each finds itself and is not counted as a neighbour.
        threads : int

        Returns
        -------
        partition : Partition
        order : int64 array of shape (N,)
            The rows in tree order.
        needs : Needs
        """
        rows, columns = vectors.shape
        lows = vectors.min(axis=0)
        spans = vectors.max(axis=0) - lows
        shift = max(0, int(spans.max()).bit_length() - _HEAD_BITS)
        heads = ((vectors - lows) >> shift).astype(np.uint16)
        order = np.arange(rows)
        split_buckets(heads, order, buckets, 0, buckets)
        groups = -(-buckets // LANES)
        boxes = _far_boxes(groups, columns)
        above = _far_boxes(-(-groups // LANES), columns)
        cells = np.zeros((buckets, (columns + 1) // 2, -(-rows // buckets)), dtype=np.uint8)
        # A group's lanes share a cache line, but no two threads write the same lane.
        run_ranges(
            lambda first, last: box_rows(heads, order, boxes, cells, first, last),
            buckets,
            threads,
            64,
        )
        box_boxes(boxes, above)
        partition = cls(lows, spans, shift, rows, boxes, above, cells)
        needs = Needs(*(np.zeros(len(samples), dtype=np.int64) for _ in Needs._fields))
        neighbors = min(k + 1, rows)
        run_ranges(
            lambda first, last: fetches_needed(
                above, boxes, cells, NONE_GONE, order, vectors, heads, shift, partition.blur,
                samples, neighbors, *needs, first, last,
            ),
            len(samples),
            threads,
            16,
        )  # fmt: skip
        return partition, order, needs

    def __repr__(self) -> str:
        return f"<Partition of {self.buckets} buckets>"

    def rank(self, query: I64, k: int, gone: U8 = NONE_GONE) -> Ranking:
        """Rank the buckets for a query, int64 of shape (m,).

        A bucket is left out only if none of its rows can be among the K nearest. Rows whose bit is
        set in `gone`, uint8 of shape (B, (most rows of a bucket + 7) // 8), count for nothing.
        """
        offset = query - self.lows
        inside = np.clip(offset, 0, self.spans)
        excess = int(np.abs(offset - inside).sum())
        heads = (inside >> self.shift).astype(np.int32)
        # On either side of the comparison.
        slack = 2 * self.blur
        found, _, bounds = candidates(
            self.above, self.boxes, self.cells, gone, self.rows, heads, k, slack
        )
        return Ranking(found, bounds, excess)

    def rank_all(self, queries: I64, k: int, most: int, gone: U8 = NONE_GONE) -> Rankings:
        """Rank the buckets for queries, int64 of shape (q, m), as `rank` does for each."""
        count = len(queries)
        ranked = Rankings(
            np.empty((count, most), dtype=np.int32),
            *(np.empty(count, dtype=np.int64) for _ in range(3)),
        )
        rank_all(
            self.above, self.boxes, self.cells, gone, self.rows, self.lows, self.spans, self.shift,
            2 * self.blur, k, frozen(queries), *ranked,
        )  # fmt: skip
        return ranked

    def least_distance(self, bound: int, excess: int) -> int:
        """No row is nearer than this if heads keep it `bound` away."""
        return (max(0, bound - self.blur) << self.shift) + excess

    def least_distances(self, bounds: I64, excess: I64) -> I64:
        """As `least_distance`, for many bounds; no matter what, where one is no bucket's."""
        least: I64 = (np.maximum(0, bounds - self.blur) << self.shift) + excess
        return least


def _far_boxes(groups: int, columns: int) -> U16:
    boxes = np.zeros((groups, columns, 2, LANES), dtype=np.uint16)
    boxes[:, :, 0] = 0xFFFF
    return boxes

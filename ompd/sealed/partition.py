"""What the hospital remembers of the vectors: boxes of leaves, and six bits per coordinate.

The buckets are the last nodes of a balanced kd tree, and so many of them as hold 64 rows are a
leaf. Of every row the hospital keeps in which 64th of its leaf's box each coordinate lies (a
vector approximation, after Weber, Schek and Blott, VLDB 1998), from which come a lower and an upper
bound of the distance to any query. Boxes alone would do too, but many more buckets would have to be
fetched: a box of 9 dimensions says little about where in it the rows are.

That no other bucket can hold one of the K nearest rows is certain only beyond the K-th smallest
upper bound. The K-th distance itself lies near the middle between the K-th lower and the K-th
upper bound, so buckets beyond `reach` of that way are not asked for: what they cost would be wasted
nearly always. Whether it was is known when the distances are there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from ompd._kernels.retrieval_boxes import (
    LANES,
    box_rows,
    candidates,
    fetches_needed,
    middle_bucket,
    split_buckets,
)
from ompd._kernels.retrieval_whole import rank_all
from ompd._kernels.splits import box_boxes, split_once
from ompd.arrays import I32, I64, U8, U16, Progress, frozen
from ompd.confidential import Confidential
from ompd.threads import part_of, run_halves, run_ranges

_HEAD_BITS = 16
#: Bits of the rows that count for nothing, where there are none.
NONE_GONE: U8 = frozen(np.empty(0, dtype=np.uint8))
# Rows of a leaf, if buckets have fewer.
_LEAF = 64
# Rows of parts that are split by one call; no more, so that it can be interrupted.
_PART = 1 << 16
# Samples that are measured between two reports of progress.
_MEASURED = 128
# The whole way to the K-th upper bound.
_ALL = 256
# Share of the sampled queries whose proof `reach` leaves possible.
_REACHED = 0.998


@dataclass(frozen=True, repr=False, eq=False, slots=True)
class Ranking(Confidential):
    """Buckets that may hold one of the K nearest rows, the most promising one first.

    Attributes
    ----------
    buckets : int64 array of shape (c,)
    bounds : int64 array of shape (c,)
        No row of the bucket is nearer, in units of heads.
    likely : int
        So many, the first ones, are worth asking for.
    excess : int
        What every distance has on top, because the query lies outside the table's range.
    """

    buckets: I64
    bounds: I64
    likely: int
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
    wanted : all that are likely to hold one of the K nearest
        If these are not enough, `exact` or `proven` is the number of all buckets.
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
    rows, buckets : int
        N and B.
    reach : int
        Which buckets are likely: those with bounds up to so many 256ths of the way from the K-th
        smallest lower bound of a row to the K-th smallest upper bound.
    boxes : uint16 array of shape (groups of 32 leaves, m, 2, 32)
    above : uint16 array of shape (groups of 1024 leaves, m, 2, 32)
    cells : uint8 array of shape (leaves, m, bytes)
    """

    lows: I64
    spans: I64
    shift: int
    rows: int
    buckets: int
    reach: int
    boxes: U16
    above: U16
    cells: U8

    def __post_init__(self) -> None:
        for name in ("lows", "spans", "boxes", "above", "cells"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @property
    def _per(self) -> int:
        return leaf_buckets(self.rows, self.buckets)

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
        cls,
        vectors: I64,
        buckets: int,
        k: int,
        samples: I64,
        threads: int,
        progress: Progress | None = None,
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
        progress : callable, optional
            Called with the finished share from 0 to 1, which only grows.

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
        per = leaf_buckets(rows, buckets)
        _split(heads, order, buckets, per, threads, part_of(progress, 0, 0.6))
        leaves = -(-buckets // per)
        groups = -(-leaves // LANES)
        boxes = _far_boxes(groups, columns)
        above = _far_boxes(-(-groups // LANES), columns)
        cells = np.zeros((leaves, columns, leaf_bytes(rows, buckets)), dtype=np.uint8)
        # A group's lanes share a cache line, but no two threads write the same lane.
        run_ranges(
            lambda first, last: box_rows(heads, order, boxes, cells, buckets, per, first, last),
            leaves,
            threads,
            64,
        )
        box_boxes(boxes, above)
        partition = cls(lows, spans, shift, rows, buckets, _ALL, boxes, above, cells)
        measured = part_of(progress, 0.7, 0.85)
        measured(0)
        shares, _ = partition._measure(order, vectors, heads, samples, k, threads, measured)
        if len(samples):
            reach = int(np.quantile(shares, _REACHED, method="inverted_cdf"))
            partition = replace(partition, reach=reach)
        measured = part_of(progress, 0.85, 1)
        _, needs = partition._measure(order, vectors, heads, samples, k, threads, measured)
        return partition, order, needs

    def _measure(
        self,
        order: I64,
        vectors: I64,
        heads: U16,
        samples: I64,
        k: int,
        threads: int,
        report: Progress,
    ) -> tuple[I64, Needs]:
        """Which `reach` the samples' proofs need, and how many buckets with the present one."""
        shares = np.zeros(len(samples), dtype=np.int64)
        needs = Needs(*(np.zeros(len(samples), dtype=np.int64) for _ in Needs._fields))
        neighbors = min(k + 1, self.rows)
        for start in range(0, len(samples), _MEASURED):
            run_ranges(
                lambda first, last, start=start: fetches_needed(  # type: ignore[misc]
                    self.above, self.boxes, self.cells, NONE_GONE, self.buckets, self._per, order,
                    vectors, heads, self.shift, self.blur, samples, neighbors, self.reach, shares,
                    *needs, start + first, start + last,
                ),
                min(_MEASURED, len(samples) - start),
                threads,
                16,
            )  # fmt: skip
            report(min(1.0, (start + _MEASURED) / len(samples)))
        return shares, needs

    def __repr__(self) -> str:
        return f"<Partition of {self.buckets} buckets>"

    def rank(self, query: I64, k: int, gone: U8 = NONE_GONE) -> Ranking:
        """Rank the buckets for a query, int64 of shape (m,).

        A bucket is left out only if none of its rows can be among the K nearest. Rows whose bit is
        set in `gone`, uint8 of shape ((N + 7) // 8,) in tree order, count for nothing.
        """
        offset = query - self.lows
        inside = np.clip(offset, 0, self.spans)
        excess = int(np.abs(offset - inside).sum())
        heads = (inside >> self.shift).astype(np.int32)
        # On either side of the comparison.
        slack = 2 * self.blur
        found, bounds, likely, _, _ = candidates(
            self.above, self.boxes, self.cells, gone, self.buckets, self._per, self.rows, heads,
            k, slack, self.reach,
        )  # fmt: skip
        return Ranking(found, bounds, likely, excess)

    def rank_all(self, queries: I64, k: int, most: int, gone: U8 = NONE_GONE) -> Rankings:
        """Rank the buckets for queries, int64 of shape (q, m), as `rank` does for each."""
        count = len(queries)
        ranked = Rankings(
            np.empty((count, most), dtype=np.int32),
            *(np.empty(count, dtype=np.int64) for _ in range(3)),
        )
        rank_all(
            self.above, self.boxes, self.cells, gone, self.buckets, self._per, self.rows, self.lows,
            self.spans, self.shift, 2 * self.blur, k, self.reach, frozen(queries), *ranked,
        )  # fmt: skip
        return ranked

    def least_distance(self, bound: int, excess: int) -> int:
        """No row is nearer than this if heads keep it `bound` away."""
        return (max(0, bound - self.blur) << self.shift) + excess

    def least_distances(self, bounds: I64, excess: I64) -> I64:
        """As `least_distance`, for many bounds; no matter what, where one is no bucket's."""
        least: I64 = (np.maximum(0, bounds - self.blur) << self.shift) + excess
        return least


def _split(heads: U16, order: I64, buckets: int, per: int, threads: int, report: Progress) -> None:
    """Reorder rows, of which `order` has the numbers, so that each bucket's follow one another."""
    rows = len(order)

    def halve(first: int, last: int) -> int:
        middle: int = middle_bucket(first, last, per)
        start, split, stop = (bucket * rows // buckets for bucket in (first, middle, last))
        spare, keys = np.empty((2, stop - start), np.int64)
        split_once(heads, order, start, stop, split, spare, keys)
        return middle

    def finish(first: int, last: int) -> None:
        split_buckets(heads, order, buckets, per, first, last)

    most = max(1, min(_PART, rows // (4 * threads)) * buckets // rows)
    run_halves(halve, finish, buckets, most, threads, report)


def leaf_buckets(rows: int, buckets: int) -> int:
    """Buckets of a leaf, a power of two: as many as hold 64 rows, or one."""
    most = max(1, _LEAF * buckets // rows)
    return 1 << (most.bit_length() - 1)


def leaf_bytes(rows: int, buckets: int) -> int:
    """Bytes of a leaf's cells, for each column: six bits for each of its rows."""
    most = -(-rows * min(buckets, leaf_buckets(rows, buckets)) // buckets)
    return 3 * -(-most // 4)


def _far_boxes(groups: int, columns: int) -> U16:
    boxes = np.zeros((groups, columns, 2, LANES), dtype=np.uint16)
    boxes[:, :, 0] = 0xFFFF
    return boxes

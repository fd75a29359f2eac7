"""A table cut into parts that are searched apart: which of them to ask, and what all found.

Parts are runs of leaves of the table's index, so that rows near each other are together. Round one
asks for each query the part whose box is nearest, its home; the K-th distance found there bounds
the answer, and round two asks every other part whose box is not farther than that. Not farther, and
not only nearer: a row of equal distance and smaller number comes first. A home with fewer than K
rows bounds nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np

from ompd._kernels.boxes import box_bounds, head_limits, merge_rows
from ompd._kernels.lanes import LANES
from ompd._kernels.splits import middle_of
from ompd._kernels.tally import most_frequent
from ompd.arrays import I64, U64, Bools, frozen
from ompd.errors import ParameterError, TableError
from ompd.search.index import Index
from ompd.search.table import check_vectors
from ompd.threads import default_threads, run_ranges

#: Fewest queries worth a second thread.
_SMALLEST_PART = 1024
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)
_LAST = np.iinfo(np.int64).max
#: What an empty part has as its bound.
_NEVER = _LAST


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Boxes:
    """What the heads of each part span.

    Parameters
    ----------
    index : Index
        Of the whole table; of its rows, those that were appended since belong to no part.
    low, high : int64 array of shape (parts, c)
        Least and largest head of each kept coordinate.
    edges : int64 array of shape (parts + 1,)
        Where each part begins among the positions of the index, and the end.
    """

    index: Index
    low: I64
    high: I64
    edges: I64

    @classmethod
    def cut(cls, index: Index, parts: int) -> Self:
        """Cut a table where its index did: the largest part in two, until there are as many.

        None has more than about twice as many rows as another; with few rows, some have none.

        Raises
        ------
        ParameterError
            If there is to be no part.
        """
        if parts < 1:
            raise ParameterError("parts: expected a positive integer")
        columns = len(index.kept)
        edges = _edges(len(index.rows), parts)
        leaves = -(-edges // LANES)
        low = np.zeros((parts, columns), np.int64)
        high = np.zeros((parts, columns), np.int64)
        boxes = index.leaf_boxes.reshape(-1, columns, 2, LANES) if columns else index.leaf_boxes
        for part in range(parts if columns else 0):
            some = np.arange(leaves[part], leaves[part + 1])
            if len(some):
                block, lane = some // LANES, some % LANES
                low[part] = boxes[block, :, 0, lane].min(axis=0)
                high[part] = boxes[block, :, 1, lane].max(axis=0)
        return cls(index, frozen(low), frozen(high), frozen(edges))

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self.low)

    def __repr__(self) -> str:
        return f"<Boxes of {len(self)} parts>"

    def rows(self, part: int) -> I64:
        """Return the rows of a part, rising, so that its ties are the table's."""
        some = self.index.rows[self.edges[part] : self.edges[part + 1]]
        return np.sort(some.astype(np.int64))

    def bounds(self, queries: U64, *, threads: int | None = None) -> I64:
        """Return sums of head distances below which no row of a part can be.

        Parameters
        ----------
        queries : uint64 array of shape (q, m, L)
            At the table's scale.
        threads : int, optional

        Returns
        -------
        int64 array of shape (q, parts)

        Raises
        ------
        TableError
            If queries do not fit the table.
        """
        check_vectors("queries", queries)
        if queries.shape[1:] != self.index.floor.shape:
            raise TableError(f"queries: expected vectors of shape {self.index.floor.shape}")
        bounds = np.empty((len(queries), len(self)), np.int64)
        values, index = frozen(queries), self.index

        def task(first: int, last: int) -> None:
            box_bounds(
                values, index.kept, index.bits, index.base, self.low, self.high, bounds, first, last
            )

        run_ranges(task, len(queries), threads or default_threads(), _SMALLEST_PART)
        bounds[:, self._empty] = _NEVER
        return bounds

    def reachable(self, bounds: I64, within: U64) -> Bools:
        """Tell which parts may hold a row at most so far away.

        Parameters
        ----------
        bounds : int64 array of shape (q, parts)
        within : uint64 array of shape (q, L + 1)

        Returns
        -------
        bool array of shape (q, parts)
        """
        limits = np.empty(len(within), np.int64)
        lost = len(self.index.kept) if self.index.bits else 0
        head_limits(frozen(within), self.index.bits, lost, limits)
        found: Bools = (bounds <= limits[:, np.newaxis]) & ~self._empty
        return found

    @property
    def _empty(self) -> Bools:
        empty: Bools = self.edges[1:] == self.edges[:-1]
        return empty


class Asked(NamedTuple):
    """What a part is asked.

    Attributes
    ----------
    part : int
    numbers : int64 array of shape (n,)
        Which queries.
    within : uint64 array of shape (n, L + 1), optional
        How far away a row of interest is at most.
    """

    part: int
    numbers: I64
    within: U64 | None


Found = tuple[I64, U64, I64]
Ask = Callable[[Sequence[Asked]], Iterable[Found]]


class Nearest:
    """The K nearest of all rows that were added, by (distance, row).

    Parameters
    ----------
    queries, k : int
    limbs : int
        Of a distance: one more than a coordinate has.

    Attributes
    ----------
    distances : uint64 array of shape (queries, k, limbs)
        All ones where there are fewer than k rows.
    rows : int64 array of shape (queries, k)
        The largest integer where there are fewer.
    """

    def __init__(self, queries: int, k: int, limbs: int) -> None:
        self.distances: U64 = np.full((queries, k, limbs), _ONES)
        self.rows: I64 = np.full((queries, k), _LAST)

    def add(self, numbers: I64, distances: U64, rows: I64) -> None:
        """Take what a search in some rows found, which no other search was about.

        Parameters
        ----------
        numbers : int64 array of shape (n,)
            Which query each line is about.
        distances : uint64 array of shape (n, c, limbs)
        rows : int64 array of shape (n, c)
            As `compute` returns them, with the whole table's numbers; -1 stays.
        """
        merge_rows(frozen(numbers), frozen(distances), frozen(rows), self.distances, self.rows)

    @property
    def farthest(self) -> U64:
        """The K-th distances, of shape (queries, limbs)."""
        return np.ascontiguousarray(self.distances[:, -1])

    def ballots(self, labels: I64, classes: int) -> tuple[I64, I64]:
        """Return what `ompd.search.ballots` does, once all are found.

        Parameters
        ----------
        labels : int64 array of shape (N,)
            Codes of the whole table's rows.
        classes : int
        """
        queries, k = self.rows.shape
        voting = np.ascontiguousarray(labels[self.rows.reshape(-1)])
        places = np.arange(queries * k, dtype=np.int64).reshape(queries, k)
        codes = np.empty(queries, np.int64)
        most_frequent(frozen(self.distances), frozen(places), k, frozen(voting), classes, codes)
        columns = voting + classes * np.repeat(np.arange(queries), k)
        votes = np.bincount(columns, minlength=queries * classes)
        return codes, votes.reshape(queries, classes).astype(np.int64, copy=False)


def search_parts(boxes: Boxes, ask: Ask, queries: U64, found: Nearest) -> I64:
    """Add to what was found the nearest rows of all parts, exactly, in two rounds.

    Parameters
    ----------
    boxes : Boxes
    ask : callable
        Gets some `Asked`, and returns for each of them what `compute` finds in that part, as
        `Nearest.add` takes it: with the table's numbers of rows, and -1 where the part has fewer.
    queries : uint64 array of shape (q, m, L)
        At the table's scale.
    found : Nearest
        May hold rows that belong to no part.

    Returns
    -------
    int64 array of shape (q,)
        How many parts were asked for each query.
    """
    count = len(queries)
    if not count:
        return np.zeros(0, np.int64)
    bounds = boxes.bounds(queries)
    home = bounds.argmin(axis=1)
    places = np.argsort(home, kind="stable")
    edges = np.searchsorted(home[places], np.arange(len(boxes) + 1))
    first = [
        Asked(part, places[start:end], None)
        for part, (start, end) in enumerate(pairwise(edges.tolist()))
        if start < end
    ]
    for told in ask(first):
        found.add(*told)
    within = found.farthest
    reachable = boxes.reachable(bounds, within)
    reachable[np.arange(count), home] = False
    second = []
    for part in np.flatnonzero(reachable.any(axis=0)).tolist():
        numbers = np.flatnonzero(reachable[:, part])
        second.append(Asked(part, numbers, np.ascontiguousarray(within[numbers])))
    if second:
        for told in ask(second):
            found.add(*told)
    asked: I64 = 1 + reachable.sum(axis=1)
    return asked


def _edges(count: int, parts: int) -> I64:
    """Positions where parts begin, and the end."""
    runs = [(-count, 0, count)]
    while len(runs) < parts and -runs[0][0] > LANES:
        _, first, last = heapq.heappop(runs)
        middle = int(middle_of(first, last))
        for start, stop in ((first, middle), (middle, last)):
            heapq.heappush(runs, (start - stop, start, stop))
    return np.array(
        [*sorted(first for _, first, _ in runs), *[count] * (parts + 1 - len(runs))], np.int64
    )

"""Class codes of blinded queries: the search and the vote of the cloud in one step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ompd._kernels.classify import UNDECIDED, classify_rows
from ompd._kernels.lanes import LANES
from ompd.errors import NeighborsError, TableError
from ompd.search.conversion import Modulus, convert
from ompd.search.engine import compute
from ompd.search.index import I64, U64
from ompd.search.table import LimbTable, check_vectors
from ompd.search.vote import vote
from ompd.threads import default_threads, run_ranges

Classify = Callable[..., I64]

#: Fewest queries worth a second thread: with 512 two threads are 1.1 to 1.3 times as fast as one on
#: 10^3 to 10^5 rows, with 256 sometimes slower.
_SMALLEST_PART = 256
#: More classes than this leave too many votes open, and the kernel keeps K rows of each.
_MOST_CLASSES = 16
#: Neighbours that are held at a time, so that a large batch with a large K does not take memory
#: without bound.
_MOST_NEIGHBOURS = 1 << 20


def classify(
    table: LimbTable,
    points: U64,
    tokens: U64,
    modulus: Modulus,
    k: int,
    *,
    threads: int | None = None,
) -> I64:
    """Return ``vote(table, *compute(table, convert(points, tokens, modulus), k))``, but faster.

    Most votes are decided by the heads: the limbs of the table are read only for those that are
    close, and the padding of the queries is not even converted.

    Parameters
    ----------
    table : LimbTable
    points : uint64 array of shape (q, m, L)
        Queries as sent.
    tokens : uint64 array of shape (q, L)
    modulus : Modulus
        Of L limbs; `points` and `tokens` are below it.
    k : int
        From 1 to the number of live rows.
    threads : int, optional
        Default: all processors. The result does not depend on it.

    Returns
    -------
    int64 array of shape (q,)

    Raises
    ------
    TableError
        If the queries do not fit the table.
    NeighborsError
        If there are fewer than k instances.
    """
    check_vectors("points", points)
    _, coordinates, width = table.limbs.shape
    count = len(points)
    if points.shape[1:] != (coordinates, width) or modulus.limbs.shape != (width,):
        raise TableError(f"points: expected vectors of shape {(coordinates, width)}")
    if tokens.dtype != np.uint64 or tokens.shape != (count, width) or not tokens.flags.c_contiguous:
        raise TableError(f"tokens: expected {count} tokens of {width} limbs")
    if not isinstance(k, (int, np.integer)) or not 1 <= k <= table.live:
        raise NeighborsError(f"k: expected an integer from 1 to {table.live}")
    threads = threads or default_threads()
    index = table.index
    codes = np.full(count, UNDECIDED, np.int64)

    def task(first: int, last: int) -> None:
        classify_rows(
            table.limbs, points, tokens, modulus.square, modulus.limbs, modulus.inverse,
            index.heads, index.leaf_boxes, index.group_boxes, index.rows, index.base, index.kept,
            index.bits, index.tail_heads, index.hidden, table.labels, table.classes, k, first,
            last, codes,
        )  # fmt: skip

    if k < LANES and table.classes <= _MOST_CLASSES and not len(index.strays):
        run_ranges(task, count, threads, _SMALLEST_PART)
    left = np.flatnonzero(codes == UNDECIDED)
    part = max(1, _MOST_NEIGHBOURS // k)
    for first in range(0, len(left), part):
        some = left[first : first + part]
        queries = convert(points[some], tokens[some], modulus, threads=threads)
        codes[some] = vote(table, *compute(table, queries, k, threads=threads))
    return codes

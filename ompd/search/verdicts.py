"""Class codes of blinded queries: the search and the vote of the cloud in one step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ompd._kernels.classify import UNDECIDED, classify_rows
from ompd._kernels.lanes import LANES
from ompd.arrays import I64, U64, frozen
from ompd.errors import NeighborsError, TableError
from ompd.search.conversion import Modulus, convert
from ompd.search.engine import compute
from ompd.search.table import LimbTable, check_vectors
from ompd.search.vote import tally, vote
from ompd.threads import default_threads, run_ranges

Ballots = Callable[..., tuple[I64, I64]]

#: Fewest queries worth a second thread: with 512 two threads are 1.1 to 1.3 times as fast as one on
#: 10^3 to 10^5 rows, with 256 sometimes slower.
_SMALLEST_PART = 256
#: More classes than this leave too many votes open, and the kernel keeps K rows of each.
_MOST_CLASSES = 16
#: Neighbours that are held at a time, so that a large batch with a large K does not take memory
#: without bound.
_MOST_NEIGHBOURS = 1 << 20
_NO_VOTES = np.empty((0, 0), np.int64)
_NO_TOKENS = frozen(np.empty((0, 0), np.uint64))
#: Stands for the constants of a modulus where nothing is converted.
_UNSCALED = (frozen(np.empty(0, np.uint64)), frozen(np.empty(0, np.uint64)), np.uint64(0))


def classify(
    table: LimbTable,
    points: U64,
    tokens: U64 | None,
    modulus: Modulus | None,
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
    tokens : uint64 array of shape (q, L), optional
        Without tokens the queries are at the table's scale already.
    modulus : Modulus, optional
        Of L limbs; `points` and `tokens` are below it. Given with `tokens` only.
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
    return _decide(table, points, tokens, modulus, k, threads, _NO_VOTES)


def ballots(
    table: LimbTable,
    points: U64,
    tokens: U64 | None,
    modulus: Modulus | None,
    k: int,
    *,
    threads: int | None = None,
) -> tuple[I64, I64]:
    """Return class codes as `classify` does, and how many neighbours voted for each class.

    Counts are also read from the heads where these settle them, which is for fewer queries than
    have a settled winner.

    Parameters
    ----------
    table, points, tokens, modulus, k, threads
        As for `classify`.

    Returns
    -------
    codes : int64 array of shape (q,)
    votes : int64 array of shape (q, classes)
        ``tally(table, rows)`` of the exact neighbours; each row sums to k.

    Raises
    ------
    TableError, NeighborsError
    """
    votes = np.zeros((len(points), table.classes), np.int64)
    return _decide(table, points, tokens, modulus, k, threads, votes), votes


def _decide(
    table: LimbTable,
    points: U64,
    tokens: U64 | None,
    modulus: Modulus | None,
    k: int,
    threads: int | None,
    votes: I64,
) -> I64:
    """Class codes; `votes` is filled if it has rows."""
    _check(table, points, tokens, modulus)
    if not isinstance(k, (int, np.integer)) or not 1 <= k <= table.live:
        raise NeighborsError(f"k: expected an integer from 1 to {table.live}")
    threads = threads or default_threads()
    count = len(points)
    index = table.index
    codes = np.full(count, UNDECIDED, np.int64)
    scale = _UNSCALED if modulus is None else (modulus.square, modulus.limbs, modulus.inverse)
    points = frozen(points)
    sent = _NO_TOKENS if tokens is None else frozen(tokens)

    def task(first: int, last: int) -> None:
        classify_rows(
            table.limbs, points, sent, *scale, index.heads, index.leaf_boxes, index.group_boxes,
            index.rows, index.base, index.kept, index.bits, index.tail_heads, index.hidden,
            table.labels, table.classes, k, first, last, codes, votes,
        )  # fmt: skip

    if k < LANES and table.classes <= _MOST_CLASSES and not len(index.strays):
        run_ranges(task, count, threads, _SMALLEST_PART)
    left = np.flatnonzero(codes == UNDECIDED)
    part = max(1, _MOST_NEIGHBOURS // k)
    for first in range(0, len(left), part):
        some = left[first : first + part]
        queries = points[some]
        if tokens is not None and modulus is not None:
            queries = convert(queries, tokens[some], modulus, threads=threads)
        distances, rows = compute(table, queries, k, threads=threads)
        codes[some] = vote(table, distances, rows)
        if len(votes):
            votes[some] = tally(table, rows)
    return codes


def _check(table: LimbTable, points: U64, tokens: U64 | None, modulus: Modulus | None) -> None:
    check_vectors("points", points)
    _, coordinates, width = table.limbs.shape
    if points.shape[1:] != (coordinates, width):
        raise TableError(f"points: expected vectors of shape {(coordinates, width)}")
    if (tokens is None) != (modulus is None):
        raise TableError("tokens, modulus: expected both or neither")
    if modulus is not None and modulus.limbs.shape != (width,):
        raise TableError(f"modulus: expected {width} limbs")
    if tokens is not None and (
        tokens.dtype != np.uint64
        or tokens.shape != (len(points), width)
        or not tokens.flags.c_contiguous
    ):
        raise TableError(f"tokens: expected {len(points)} tokens of {width} limbs")

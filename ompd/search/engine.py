"""The exact K nearest rows of a limb table."""

from __future__ import annotations

import numpy as np

from ompd._kernels.nearest import search_rows
from ompd.arrays import I64, U64, frozen
from ompd.errors import NeighborsError, TableError
from ompd.search.table import LimbTable, check_vectors
from ompd.threads import default_threads, run_ranges

#: Fewest queries worth a second thread.
_SMALLEST_PART = 256
_NONE = frozen(np.empty(0, np.int64))
_UNBOUNDED = frozen(np.empty((0, 1), np.uint64))


def check_k(k: object, rows: int) -> int:
    """Return `k` if it is an odd integer from 1 to `rows`.

    Raises
    ------
    NeighborsError
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise NeighborsError(f"k: expected an odd integer, got {type(k).__name__}")
    if not 1 <= k <= rows or k % 2 == 0:
        raise NeighborsError(f"k: expected an odd integer from 1 to {rows}, got {int(k)}")
    return int(k)


def compute(
    table: LimbTable,
    queries: U64,
    k: int,
    *,
    exclude: I64 | None = None,
    within: U64 | None = None,
    threads: int | None = None,
) -> tuple[U64, I64]:
    """Find the k nearest instances of every query, exactly.

    Parameters
    ----------
    table : LimbTable
        Only candidates are read from its limbs.
    queries : uint64 array of shape (q, m, L)
        At the table's scale.
    k : int
        From 1 to the number of live rows (less one with `exclude`); even values are allowed
        here, since a vote is not the only use of neighbours.
    exclude : int64 array of shape (q,), optional
        One row per query to leave out, or -1.
    within : uint64 array of shape (q, L + 1), optional
        Little-endian limbs of the largest distance of each query that is of interest; what is
        farther is passed over and not found.
    threads : int, optional
        Default: all processors. The result does not depend on it.

    Returns
    -------
    distances : uint64 array of shape (q, k, L + 1)
        Little-endian limbs of the L1 distances.
    rows : int64 array of shape (q, k)
        Ordered by (distance, row). Where fewer than k rows are `within`, -1 stands behind them,
        and limbs of all ones as distance.

    Raises
    ------
    TableError
        If queries, `exclude` or `within` do not fit the table.
    NeighborsError
        If there are fewer than k instances.
    """
    check_vectors("queries", queries)
    if queries.shape[1:] != table.limbs.shape[1:]:
        raise TableError(
            f"queries: expected vectors of shape {table.limbs.shape[1:]}, got {queries.shape[1:]}"
        )
    available = table.live
    if exclude is not None and len(queries):
        _check_exclude(exclude, len(queries), len(table))
        available -= int(exclude.max() >= 0)
    if within is not None:
        _check_within(within, len(queries), table.limbs.shape[2] + 1)
    if not isinstance(k, (int, np.integer)) or not 1 <= k <= available:
        raise NeighborsError(f"k: expected an integer from 1 to {available}")
    limbs, index, queries = table.limbs, table.index, frozen(queries)
    count = queries.shape[0]
    distances = np.empty((count, k, limbs.shape[2] + 1), np.uint64)
    rows = np.empty((count, k), np.int64)
    absent = _NONE if exclude is None else frozen(exclude)
    bounds = _UNBOUNDED if within is None else frozen(within)
    threads = threads or default_threads()

    def task(first: int, last: int) -> None:
        search_rows(
            limbs, queries, index.heads, index.leaf_boxes, index.group_boxes, index.rows,
            index.base, index.kept, index.bits, index.tail_heads, index.strays, index.hidden,
            absent, bounds, first, last, distances, rows,
        )  # fmt: skip

    if count < 2 * _SMALLEST_PART:
        task(0, count)
    else:
        run_ranges(task, count, threads, _SMALLEST_PART)
    return distances, rows


def _check_exclude(exclude: I64, queries: int, rows: int) -> None:
    if exclude.dtype != np.int64 or exclude.shape != (queries,):
        raise TableError(f"exclude: expected {queries} int64 rows")
    if exclude.min() < -1 or exclude.max() >= rows:
        raise TableError(f"exclude: expected rows from -1 to {rows - 1}")


def _check_within(within: U64, queries: int, limbs: int) -> None:
    if within.dtype != np.uint64 or within.shape != (queries, limbs):
        raise TableError(f"within: expected uint64 limbs of shape {(queries, limbs)}")
    if not within.flags.c_contiguous:
        raise TableError("within: expected a C-contiguous array")

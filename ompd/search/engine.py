"""Exact top-k."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ompd._kernels.scan import scan
from ompd.errors import NeighborsError, TableError
from ompd.search.table import Labels, Limbs, LimbTable, check_vectors


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
    queries: Limbs,
    k: int,
    exclude: npt.NDArray[np.int64] | None = None,
) -> tuple[Limbs, Labels]:
    """Find the k nearest instances of every query, exactly.

    Parameters
    ----------
    table : LimbTable
    queries : uint64 array of shape (q, m, L)
        At the table's scale.
    k : int
        From 1 to N (N - 1 with `exclude`); even values are allowed here, since a vote is not
        the only use of neighbours.
    exclude : int64 array of shape (q,), optional
        One row per query to leave out, or -1.

    Returns
    -------
    distances : uint64 array of shape (q, k, L + 1)
        Little-endian limbs of the L1 distances.
    rows : int64 array of shape (q, k)
        Ordered by (distance, row).

    Raises
    ------
    TableError
        If the queries do not have the table's shape.
    NeighborsError
        If there are fewer than k instances.
    """
    check_vectors("queries", queries)
    if queries.shape[1:] != table.limbs.shape[1:]:
        raise TableError(
            f"queries: expected vectors of shape {table.limbs.shape[1:]}, got {queries.shape[1:]}"
        )
    available = len(table) - (exclude is not None)
    if not 1 <= k <= available:
        raise NeighborsError(f"k: expected an integer from 1 to {available}, got {k}")
    count = queries.shape[0]
    if exclude is None:
        exclude = np.full(count, -1, dtype=np.int64)
    distances = np.empty((count, k, queries.shape[2] + 1), dtype=np.uint64)
    rows = np.empty((count, k), dtype=np.int64)
    scan(table.limbs, queries, exclude, distances, rows)
    return distances, rows

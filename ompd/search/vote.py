"""Majority vote among neighbours."""

from __future__ import annotations

import numpy as np

from ompd._kernels.tally import most_frequent
from ompd.arrays import I64, U64, frozen
from ompd.errors import NeighborsError, TableError
from ompd.search.table import LimbTable


def vote(table: LimbTable, distances: U64, rows: I64, k: int | None = None) -> I64:
    """Return the most frequent class code among the first k neighbours of every query.

    Parameters
    ----------
    table : LimbTable
    distances : uint64 array of shape (q, K, L + 1)
    rows : int64 array of shape (q, K)
        As returned by `compute`.
    k : int, optional
        At most K; all by default.

    Returns
    -------
    int64 array of shape (q,)
        Ties go to the class with the smaller summed distance, then to the smaller code.

    Raises
    ------
    TableError
        If the arrays are not what `compute` returns for this table.
    NeighborsError
        If k is not from 1 to K.
    """
    k = _check(table, rows, k)
    shape = (*rows.shape, table.limbs.shape[2] + 1)
    if distances.dtype != np.uint64 or distances.shape != shape:
        raise TableError("distances: expected the result of a search in this table")
    codes = np.empty(len(rows), dtype=np.int64)
    most_frequent(frozen(distances), frozen(rows), k, table.labels, table.classes, codes)
    return codes


def tally(table: LimbTable, rows: I64, k: int | None = None) -> I64:
    """Count the votes of the first k neighbours of every query by class.

    Parameters
    ----------
    table : LimbTable
    rows : int64 array of shape (q, K)
        As returned by `compute`.
    k : int, optional
        At most K; all by default.

    Returns
    -------
    int64 array of shape (q, classes)
        Each row sums to k.

    Raises
    ------
    TableError, NeighborsError
        As `vote`.
    """
    k = _check(table, rows, k)
    codes = table.labels[rows[:, :k]] + table.classes * np.arange(len(rows))[:, np.newaxis]
    counts = np.bincount(codes.reshape(-1), minlength=len(rows) * table.classes)
    return counts.reshape(len(rows), table.classes).astype(np.int64, copy=False)


def _check(table: LimbTable, rows: I64, k: int | None) -> int:
    if rows.ndim != 2 or rows.dtype != np.int64:
        raise TableError("rows: expected the result of a search in this table")
    k = rows.shape[1] if k is None else k
    if not 1 <= k <= rows.shape[1]:
        raise NeighborsError(f"k: expected an integer from 1 to {rows.shape[1]}, got {k}")
    if rows.size and (rows.min() < 0 or rows.max() >= len(table)):
        raise TableError("rows: expected rows of this table")
    return k

"""Nearest hits and misses for Relief."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ompd.arrays import I64, U16, U64, Bools
from ompd.errors import LabelError, TableError
from ompd.search.engine import compute
from ompd.search.table import LimbTable, check_vectors

#: Vectors that are searched for between two reports of progress.
_PART = 1 << 14
#: Share of the time after which equal vectors are known.
_SORTED = 0.05
#: Share of the time of one class after which its rows are indexed.
_INDEXED = 0.05


def _groups(limbs: U64, report: Callable[[float], None]) -> I64:
    """Number of the distinct vector that each row holds."""
    flat = limbs.reshape(limbs.shape[0], -1)
    order = np.arange(len(flat))
    # As one lexicographic sort, which nothing could interrupt for seconds.
    for column in range(flat.shape[1]):
        order = order[np.argsort(_narrow(flat[:, column])[order], kind="stable")]
        report((column + 1) / flat.shape[1])
    changes = np.zeros(len(flat), np.int64)
    changes[1:] = np.any(flat[order[1:]] != flat[order[:-1]], axis=1)
    numbers = np.empty(len(flat), np.int64)
    numbers[order] = np.cumsum(changes)
    return numbers


def _narrow(values: U64) -> U16 | U64:
    """Return values in the same order; 16 bits sort much faster, where they are enough."""
    low = values.min()
    return (values - low).astype(np.uint16) if values.max() - low < 1 << 16 else values


def nearest_hit_miss(
    limbs: U64,
    labels: I64,
    classes: int,
    *,
    rows: I64 | None = None,
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> I64:
    """Find for each of the rows the nearest other row of each class, by (distance, row).

    Equal vectors are searched once: within a class they stand behind their first row, so that
    thousands of duplicates cost no more than one.

    Parameters
    ----------
    limbs : ndarray of uint64, shape (N, n, L)
        The instances, usually plain integers with L = 1.
    labels : ndarray of int64, shape (N,)
        Class code of every row, from 0 to classes - 1.
    classes : int
        Number of classes.
    rows : ndarray of int64, shape (m,), optional
        Numbers of the rows whose neighbours are wanted; all by default. Only these are searched
        for, among all rows.
    threads : int, optional
        Default: all processors. The result does not depend on it.
    progress : callable, optional
        Called with the finished share in (0, 1].

    Returns
    -------
    ndarray of int64, shape (m, classes)
        Column labels[rows[i]] of row i is its nearest hit, the others its nearest misses; -1 where
        the class has no other row.

    Raises
    ------
    TableError, LabelError
        If the arrays have another type or shape, or a code or row is out of range.
    """
    check_vectors("limbs", limbs)
    if labels.dtype != np.int64 or labels.shape != limbs.shape[:1]:
        raise LabelError(f"labels: expected {len(limbs)} int64 codes")
    if len(labels) and (labels.min() < 0 or labels.max() >= classes):
        raise LabelError(f"labels: expected codes from 0 to {classes - 1}")
    if rows is None:
        rows = np.arange(len(limbs))
    if rows.dtype != np.int64 or rows.ndim != 1:
        raise TableError("rows: expected int64 numbers of rows")
    if not len(rows):
        return np.empty((0, classes), np.int64)
    if rows.min() < 0 or rows.max() >= len(limbs):
        raise TableError(f"rows: expected numbers from 0 to {len(limbs) - 1}")

    def report(stage: float) -> None:
        if progress is not None:
            progress(stage)

    numbers = _groups(limbs, lambda share: report(_SORTED * share))
    count = int(numbers.max()) + 1
    found = np.full((len(limbs), classes), -1, np.int64)
    # Any row of a group stands for its vector as a query.
    sample = np.empty(count, np.int64)
    sample[numbers] = np.arange(len(limbs))
    asked = np.zeros(count, np.bool_)
    asked[numbers[rows]] = True

    def searched(share: float) -> None:
        report(_SORTED + (1 - _SORTED) * (code + share) / classes)

    for code in range(classes):
        members = np.flatnonzero(labels == code)
        if len(members):
            _nearest_of_class(
                limbs, labels, code, members, numbers, sample, asked, found, threads, searched
            )  # fmt: skip
        searched(1.0)
    return found[rows]


def _nearest_of_class(
    limbs: U64,
    labels: I64,
    code: int,
    members: I64,
    numbers: I64,
    sample: I64,
    asked: Bools,
    found: I64,
    threads: int | None,
    report: Callable[[float], None],
) -> None:
    """Fill column `code` of `found`, for the rows whose vectors are asked for."""
    vectors, first, sizes = np.unique(numbers[members], return_index=True, return_counts=True)
    # First and second row of each vector within the class; members ascend, and so do both.
    leader = np.full(len(sample), -1, np.int64)
    leader[vectors] = members[first]
    size = np.zeros(len(sample), np.int64)
    size[vectors] = sizes
    follower = np.full(len(sample), -1, np.int64)
    behind = members[members != leader[numbers[members]]][::-1]
    follower[numbers[behind]] = behind
    # Leaders in ascending order: the index breaks ties by their row, as demanded.
    leaders = np.sort(leader[vectors])
    place = np.full(len(limbs), -1, np.int64)
    place[leaders] = np.arange(len(leaders))
    answer = np.full(len(sample), -1, np.int64)
    wanted = np.flatnonzero(asked & (size < 2))
    exclude = np.where(size[wanted] == 1, place[leader[wanted]], -1)
    if len(leaders) == 1:
        wanted, exclude = wanted[exclude < 0], exclude[exclude < 0]
    if len(wanted):
        table = LimbTable(
            np.ascontiguousarray(limbs[leaders]),
            np.zeros(len(leaders), dtype=np.int64),
            1,
            progress=lambda share: report(_INDEXED * share),
        )
        for start in range(0, len(wanted), _PART):
            part = slice(start, start + _PART)
            queries = np.ascontiguousarray(limbs[sample[wanted[part]]])
            _, rows = compute(table, queries, 1, exclude=exclude[part], threads=threads)
            answer[wanted[part]] = leaders[rows[:, 0]]
            report(_INDEXED + (1 - _INDEXED) * min(1.0, (start + _PART) / len(wanted)))
    own = labels == code
    # Another class finds an equal vector first; the class itself its follower or, if it leads,
    # the next row; only a vector that is alone in its class has to be searched for.
    found[:, code] = np.where(size[numbers] > 0, leader[numbers], answer[numbers])
    alone = own & (size[numbers] == 1)
    found[alone, code] = answer[numbers[alone]]
    leads = own & (size[numbers] > 1) & (leader[numbers] == np.arange(len(limbs)))
    found[leads, code] = follower[numbers[leads]]

"""What has changed in a table since it was sealed: kept by the hospital alone, until it is merged.

Removed rows stay in the buckets that the cloud has, and count for nothing: neither for the bound of
the K-th distance by which buckets are ranked, nor in the search. Added rows are searched beside
what was fetched, all of them, so that a proof that no other bucket has a nearer row is one for both
together. New labels take the place of those in the buckets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from ompd._kernels.retrieval_whole import search_rows
from ompd.arrays import I32, I64, U8, frozen
from ompd.confidential import Confidential
from ompd.errors import (
    FeatureError,
    LabelError,
    NeighborsError,
    OverflowParameterError,
    ParameterError,
)
from ompd.sealed.build import VALUE_BITS, Secret
from ompd.sealed.partition import NONE_GONE

_NO_ROWS: I64 = frozen(np.empty(0, dtype=np.int64))

# Changed rows that are always few, and the share of all that are many; each added one costs every
# query some nanoseconds.
_FEW = 1024
_SHARE = 32
# Seconds that a removed row may stay at the cloud, where somebody does what is due.
_LONGEST = 86_400.0

#: Gives where each row of the table is in the tree.
Ranks = Callable[[], I32]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Change(Confidential):
    """Rows removed, relabelled and added, in this order.

    Attributes
    ----------
    removed : int64 array of shape (r,)
        Distinct numbers of rows that are there, rising.
    relabelled, codes : int64 array of shape (c,)
        Distinct numbers of rows that stay, rising, and their new classes.
    first : int
        Number of the first added row; above all that were given.
    vectors, labels : int64 arrays of shape (a, m) and (a,)
        Of the added rows.
    """

    removed: I64
    relabelled: I64
    codes: I64
    first: int
    vectors: I64
    labels: I64


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Edits(Confidential):
    """All changes of a table so far, as one.

    Attributes
    ----------
    edition : int
        Names the last change; 0 if there is none.
    since : float
        When the first removal was made, in seconds since the epoch; 0 if there is none.
    removed : int64 array of shape (r,)
        Rows of the sealed table, rising.
    gone : uint8 array of shape ((N + 7) // 8,) or (0,)
        The same as bits, in the order of the tree.
    relabelled, codes : int64 arrays of shape (c,)
        Rows of the sealed table, rising, and their classes.
    vectors : int64 array of shape (m, a)
        Added rows, a column each.
    labels, rows : int64 arrays of shape (a,)
        Their classes and numbers, the latter rising.
    """

    edition: int = 0
    since: float = 0.0
    removed: I64 = field(default_factory=lambda: _NO_ROWS)
    gone: U8 = field(default_factory=lambda: NONE_GONE)
    relabelled: I64 = field(default_factory=lambda: _NO_ROWS)
    codes: I64 = field(default_factory=lambda: _NO_ROWS)
    vectors: I64 = field(default_factory=lambda: frozen(np.empty((0, 0), dtype=np.int64)))
    labels: I64 = field(default_factory=lambda: _NO_ROWS)
    rows: I64 = field(default_factory=lambda: _NO_ROWS)

    def __post_init__(self) -> None:
        for name in ARRAYS:
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def __repr__(self) -> str:
        return f"<Edits of {self.changed} rows>"

    @property
    def changed(self) -> int:
        """How many rows differ from the sealed table."""
        return len(self.removed) + len(self.relabelled) + len(self.rows)

    def crowded(self, rows: int, now: float) -> bool:
        """Whether a table of so many rows should be merged: it changed much, or a day ago.

        Until then the cloud keeps removed rows, though nothing that it could read.
        """
        return self.changed > max(_FEW, rows // _SHARE) or 0 < self.since <= now - _LONGEST

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(self, name).nbytes for name in ARRAYS)

    def after(self, change: Change, edition: int, secret: Secret, ranks: Ranks) -> Self:
        """Return the edits with one more change.

        Raises
        ------
        ParameterError
            If a row is not there, is named twice, or has a number that was given.
        FeatureError, OverflowParameterError
            If added vectors have another shape, are out of range, or a distance could reach 2**63.
        LabelError
            If a class is out of range.
        NeighborsError
            If fewer than K rows would be left.
        """
        self._check_rows(change.removed, secret.rows)
        self._check_rows(change.relabelled, secret.rows)
        if np.isin(change.relabelled, change.removed).any():
            raise ParameterError("relabelled: expected rows that stay")
        _check_added(change, secret)
        last = max(secret.rows - 1, int(self.rows[-1]) if len(self.rows) else 0)
        if len(change.labels) and change.first <= last:
            raise ParameterError("first: expected a number that no row has")
        since, removed, stays = self.since, self.removed, ~np.isin(self.rows, change.removed)
        count = secret.rows - len(removed) + len(self.rows) - len(change.removed)
        if count + len(change.labels) < secret.k:
            raise NeighborsError(f"removed: expected at least {secret.k} rows that are left")
        gone = self.gone
        if len(own := change.removed[change.removed < secret.rows]):
            gone = gone.copy() if gone.size else np.zeros((secret.rows + 7) // 8, dtype=np.uint8)
            places = ranks()[own]
            np.bitwise_or.at(gone, places >> 3, np.uint8(1) << (places & 7).astype(np.uint8))
            removed = np.sort(np.concatenate([removed, own]))
            since = since or time.time()
        rows, labels, vectors = self.rows[stays], self.labels[stays].copy(), self.vectors
        columns = change.vectors.shape[1]
        vectors = vectors[:, stays] if len(vectors) else np.empty((columns, 0), dtype=np.int64)
        inner = change.relabelled < secret.rows
        labels[np.searchsorted(rows, change.relabelled[~inner])] = change.codes[~inner]
        relabelled = np.concatenate([self.relabelled, change.relabelled[inner]])
        codes = np.concatenate([self.codes, change.codes[inner]])
        # Of two labels of one row the later one holds; rows that are gone need none.
        relabelled, order = np.unique(relabelled[::-1], return_index=True)
        codes, kept = codes[::-1][order], ~np.isin(relabelled, removed)
        numbers = np.arange(change.first, change.first + len(change.labels), dtype=np.int64)
        return replace(
            self,
            edition=edition,
            since=since,
            removed=removed,
            gone=gone,
            relabelled=relabelled[kept],
            codes=codes[kept],
            vectors=np.concatenate([vectors, change.vectors.T], axis=1),
            labels=np.concatenate([labels, change.labels]),
            rows=np.concatenate([rows, numbers]),
        )

    def _check_rows(self, rows: I64, total: int) -> None:
        inner = rows < total
        there = np.isin(rows[~inner], self.rows).all()
        if (
            (len(rows) and rows[0] < 0)
            or (np.diff(rows) <= 0).any()
            or not there
            or np.isin(rows[inner], self.removed).any()
        ):
            raise ParameterError("rows: expected numbers of rows that are there, rising")

    def join(self, queries: I64, distances: I64, labels: I64, rows: I64) -> None:
        """Put added rows among the nearest that were found, and new labels in place of old ones.

        Parameters
        ----------
        queries : int64 array of shape (q, m)
        distances, labels, rows : int64 arrays of shape (q, K)
            By (distance, row); changed in place.
        """
        if len(self.rows):
            search_rows(
                self.vectors, self.labels, self.rows, frozen(queries), distances, labels, rows
            )
        if len(self.relabelled):
            spots = np.searchsorted(self.relabelled, rows).clip(max=len(self.relabelled) - 1)
            found = self.relabelled[spots] == rows
            labels[found] = self.codes[spots[found]]

    def merged(self, vectors: I64, labels: I64, rows: I64) -> tuple[I64, I64]:
        """Return the table that all changes make of the rows of the sealed one.

        Parameters
        ----------
        vectors, labels, rows : int64 arrays of shape (N, m), (N,) and (N,)
            Of the sealed table, in any order; they are overwritten.

        Returns
        -------
        vectors, labels : int64 arrays of shape (n, m) and (n,)
            What is left, in the order of their numbers.
        """
        order = np.empty(len(rows), dtype=np.int64)
        order[rows] = np.arange(len(rows))
        labels = labels[order]
        labels[self.relabelled] = self.codes
        left = np.ones(len(rows), dtype=np.bool_)
        left[self.removed] = False
        added = self.vectors.T if len(self.rows) else np.empty((0, vectors.shape[1]), np.int64)
        table = np.empty((int(left.sum()) + len(added), vectors.shape[1]), dtype=np.int64)
        np.take(vectors, order[left], axis=0, out=table[: len(table) - len(added)])
        table[len(table) - len(added) :] = added
        return table, np.concatenate([labels[left], self.labels])


#: The arrays of edits.
ARRAYS = ("removed", "gone", "relabelled", "codes", "vectors", "labels", "rows")


def _check_added(change: Change, secret: Secret) -> None:
    columns = len(secret.code.bases)
    vectors, labels = change.vectors, change.labels
    if vectors.shape != (len(labels), columns):
        raise FeatureError(f"vectors: expected an int64 array of shape (a, {columns})")
    if vectors.size and (vectors.min() < 0 or int(vectors.max()).bit_length() > VALUE_BITS):
        raise FeatureError(f"vectors: expected values from 0 below 2**{VALUE_BITS}")
    if vectors.size and columns * int(vectors.max()) >= 1 << 63:
        raise OverflowParameterError("vectors: a distance could reach 2**63")
    for codes in (labels, change.codes):
        if codes.size and not 0 <= codes.min() <= codes.max() < secret.classes:
            raise LabelError(f"labels: expected codes from 0 below {secret.classes}")

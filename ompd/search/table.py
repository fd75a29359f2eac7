"""The instances that a search runs over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field, replace
from typing import Any, Self

import numpy as np

from ompd.arrays import I64, U64, Progress, frozen
from ompd.errors import LabelError, TableError
from ompd.params import MAX_CLASSES
from ompd.search.index import Index, build_index
from ompd.search.room import MemoryRoom, Room
from ompd.search.tail import append_rows, remove_rows

#: Rows that are scanned without an index cost every query; above this share of all, and this
#: number, to index them is worth its time.
_MOST_SCANNED = 16
_FEW_SCANNED = 1024


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LimbTable:
    """Instances as limb vectors, with an opaque class code each, and their index.

    Immutable: `extended`, `without` and `relabelled` return new tables that share the big arrays.

    Parameters
    ----------
    limbs : uint64 array of shape (N, m, L)
        Little-endian 64-bit limbs of m non-negative coordinates per instance; may be a
        read-only memory map.
    labels : int64 array of shape (N,)
        Codes from 0 to classes - 1.
    classes : int
        At most 65536.
    index : Index, optional
        Index of exactly these rows, if there is one already.
    room : Room, optional
        Where the limbs lie, if rows can be put behind them.
    progress : callable, optional
        Called with the finished share, in (0, 1], of making an index.

    Raises
    ------
    TableError
        If the array has another type or shape, or there are no instances.
    LabelError
        If a code is outside its range.
    """

    limbs: U64
    labels: I64
    classes: int
    index: Index = field(default=None)  # type: ignore[assignment]
    room: Room | None = None
    progress: InitVar[Progress | None] = None

    def __post_init__(self, progress: Progress | None) -> None:
        check_vectors("limbs", self.limbs)
        if len(self.limbs) < 1:
            raise TableError("limbs: expected at least one instance")
        if type(self.classes) is not int or not 1 <= self.classes <= MAX_CLASSES:
            raise LabelError(f"classes: expected an integer from 1 to {MAX_CLASSES}")
        _check_labels(self.labels, len(self.limbs), self.classes)
        for name in ("limbs", "labels"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        if self.index is None:
            object.__setattr__(self, "index", build_index(self.limbs, progress=progress))

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor: arrays that were pickled or copied are not read-only.
        return type(self), (self.limbs, self.labels, self.classes, self.index)

    def __len__(self) -> int:
        """Return the number of rows, removed ones included."""
        return int(self.limbs.shape[0])

    def __repr__(self) -> str:
        rows, coordinates, limbs = self.limbs.shape
        return f"<LimbTable {rows} x {coordinates} x {limbs} limbs, {self.classes} classes>"

    @property
    def live(self) -> int:
        """Number of rows that a search can find."""
        return len(self) - self.index.removed

    @property
    def removed(self) -> I64:
        """Numbers of the rows that no search finds any more, rising."""
        return np.flatnonzero(self.index.is_removed(np.arange(len(self))))

    @property
    def scanned(self) -> int:
        """Number of rows that every search reads, since they came after the index was built."""
        return len(self) - len(self.index.rows)

    @property
    def is_slow(self) -> bool:
        """Whether `reindexed` would make searches much faster."""
        many = self.scanned > max(_FEW_SCANNED, len(self) // _MOST_SCANNED)
        return many or len(self.index.strays) > 0

    @classmethod
    def from_prefix_sums(
        cls, prefix_sums: I64, labels: I64, classes: int, *, progress: Progress | None = None
    ) -> Self:
        """Make an unblinded table: every non-negative prefix sum is one limb."""
        return cls(limbs_of(prefix_sums), labels, classes, progress=progress)

    def check_rows(self, limbs: U64, labels: I64) -> None:
        """Refuse rows that cannot be appended.

        Raises
        ------
        TableError, LabelError
        """
        check_vectors("limbs", limbs)
        if limbs.shape[1:] != self.limbs.shape[1:]:
            raise TableError(
                f"limbs: expected vectors of shape {self.limbs.shape[1:]}, got {limbs.shape[1:]}"
            )
        if len(limbs) < 1:
            raise TableError("limbs: expected at least one instance")
        _check_labels(labels, len(limbs), self.classes)

    def extended(self, limbs: U64, labels: I64, *, whole: U64 | None = None) -> Self:
        """Return a table with rows appended, which are scanned and not indexed.

        They are put behind this table's own where there is room. Else all are copied, once for
        many changes.

        Parameters
        ----------
        limbs : uint64 array of shape (count, m, L)
        labels : int64 array of shape (count,)
        whole : uint64 array of shape (N + count, m, L), optional
            Old and new rows in one array, if it exists already.

        Raises
        ------
        TableError, LabelError
            If the rows do not fit the table.
        """
        self.check_rows(limbs, labels)
        room = self.room
        if whole is None and room is not None:
            whole = room.grown(len(self), limbs)
        if whole is None:
            copy = MemoryRoom.copied(self.limbs, len(limbs))
            whole = copy.grown(len(self), limbs)
            assert whole is not None  # noqa: S101  (there is room for just these)
            room = copy
        index = append_rows(self.index, whole, len(self))
        return replace(
            self,
            limbs=whole,
            labels=np.concatenate([self.labels, labels]),
            index=index,
            room=room,
        )

    def without(self, rows: I64) -> Self:
        """Return a table that hides rows; the others keep their numbers.

        Raises
        ------
        TableError
            If a row does not exist, was removed before, is named twice or is the last one left.
        """
        rows = np.asarray(rows)
        self._check_present(rows)
        if len(rows) >= self.live:
            raise TableError("rows: expected at least one row to be left")
        return replace(self, index=remove_rows(self.index, rows.astype(np.int64), len(self)))

    def relabelled(self, rows: I64, codes: I64) -> Self:
        """Return a table in which rows have other classes.

        Parameters
        ----------
        rows, codes : int64 array of shape (count,)
            Distinct rows that are still there.

        Raises
        ------
        TableError, LabelError
        """
        self._check_present(rows)
        _check_labels(codes, len(rows), self.classes)
        labels = self.labels.copy()
        labels[rows] = codes
        return replace(self, labels=labels)

    def reindexed(self, *, progress: Callable[[float], None] | None = None) -> Self:
        """Return a table whose appended rows are indexed like all others.

        Its index has nothing of removed rows, and does not read them.
        """
        gone = self.removed
        index = build_index(self.limbs, gone=gone, progress=progress)
        if len(gone):
            index = remove_rows(index, gone, len(self))
        return replace(self, index=index)

    def moved(self, room: Room, limbs: U64) -> Self:
        """Return the same table with equal rows in another place."""
        return replace(self, limbs=limbs, room=room)

    def _check_present(self, rows: I64) -> None:
        if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "iu" or rows.ndim != 1:
            raise TableError("rows: expected an array of integers")
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise TableError(f"rows: expected numbers from 0 to {len(self) - 1}")
        if len(np.unique(rows)) != len(rows) or self.index.is_removed(rows).any():
            raise TableError("rows: expected each row once, and only rows that are still there")


def limbs_of(prefix_sums: I64) -> U64:
    """Return non-negative integers of shape (m, n) as limb vectors of shape (m, n, 1)."""
    return np.ascontiguousarray(prefix_sums).view(np.uint64)[:, :, np.newaxis]


def check_vectors(name: str, vectors: U64) -> None:
    """Refuse an array that is not C-contiguous uint64 of shape (count, m >= 1, L >= 1).

    Raises
    ------
    TableError
    """
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.uint64:
        raise TableError(f"{name}: expected a uint64 array")
    if vectors.ndim != 3 or 0 in vectors.shape[1:] or not vectors.flags.c_contiguous:
        raise TableError(
            f"{name}: expected a C-contiguous array of shape (rows, coordinates, limbs), "
            f"got {vectors.shape}"
        )


def _check_labels(labels: I64, rows: int, classes: int) -> None:
    if (
        not isinstance(labels, np.ndarray)
        or labels.dtype != np.int64
        or labels.shape != (rows,)
        or not labels.flags.c_contiguous
    ):
        raise LabelError(f"labels: expected {rows} int64 codes")
    if rows and (labels.min() < 0 or labels.max() >= classes):
        raise LabelError(f"labels: expected codes from 0 to {classes - 1}")

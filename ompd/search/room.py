"""Where the limbs of a table lie that may grow."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np

from ompd.arrays import I64, U64, frozen

#: Room for another eighth of the rows is left behind a table that is copied, so that a row is
#: copied eight times at most however the table grows. Memory that nobody wrote to takes no space.
_SPARE = 8
_LEAST_SPARE = 1024


class Room(Protocol):
    """Rows that versions of a table share, and what lies behind them.

    A version sees only its own rows, which are not written to, other than by `erase`.

    Attributes
    ----------
    blank : int64 array
        Rows that were or shall be erased, rising.
    pending : bool
        Whether some of them are yet to be erased.
    """

    blank: I64
    pending: bool

    def seen(self, rows: int) -> U64:
        """Return the first rows, read-only."""

    def grown(self, first: int, limbs: U64) -> U64 | None:
        """Put rows behind the first `first` ones and return all, read-only.

        None if they do not fit here, or if others were put there before.
        """

    def cut(self, rows: int) -> None:
        """Give up all rows from this number on, which no version has."""

    def will_erase(self, rows: I64) -> None:
        """Let rows be `blank` from now on."""

    def erase(self) -> None:
        """Overwrite the `blank` rows with zeros; no search reads them any more."""


def spare_rows(rows: int) -> int:
    """Return for how many rows there should be room where so many are."""
    return rows + max(rows // _SPARE, _LEAST_SPARE)


class MemoryRoom:
    """Room in memory; see `Room`.

    Parameters
    ----------
    values : uint64 array of shape (capacity, m, L)
        C-contiguous and writable; nobody else writes to it.
    rows : int
        How many of them are filled.
    """

    def __init__(self, values: U64, rows: int) -> None:
        self._values = values
        self._rows = rows
        self.blank: I64 = np.empty(0, np.int64)
        self.pending = False
        self._lock = threading.Lock()

    @classmethod
    def copied(cls, limbs: U64, more: int = 0) -> MemoryRoom:
        """Copy rows to where there is room for `more`, and some to spare."""
        rows = len(limbs)
        values = np.empty((spare_rows(rows + more), *limbs.shape[1:]), np.uint64)
        values[:rows] = limbs
        return cls(values, rows)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    def seen(self, rows: int) -> U64:
        """Return the first rows, read-only."""
        return frozen(self._values[:rows])

    def grown(self, first: int, limbs: U64) -> U64 | None:
        """Put rows behind the first `first` ones and return all, read-only."""
        last = first + len(limbs)
        with self._lock:
            if first != self._rows or last > len(self._values):
                return None
            self._values[first:last] = limbs
            self._rows = last
        return self.seen(last)

    def cut(self, rows: int) -> None:
        """Give up all rows from this number on, which no version has."""
        with self._lock:
            if rows < self._rows:
                self._values[rows : self._rows] = 0
                self._rows = rows

    def will_erase(self, rows: I64) -> None:
        """Let rows be `blank` from now on."""
        self.blank, self.pending = np.union1d(self.blank, rows), True

    def erase(self) -> None:
        """Overwrite the `blank` rows with zeros; no search reads them any more."""
        self._values[self.blank] = 0
        self.pending = False

"""Room for the rows of a table in its file of limbs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ompd.arrays import BLOCK_ROWS, I64, U64, map_values
from ompd.errors import TableError
from ompd.files import overwrite, refusing, write_behind

#: No rows.
NOBODY: I64 = np.empty(0, np.int64)


class FileRoom:
    """Room behind the rows of a mapped file; see `ompd.search.Room`.

    Parameters
    ----------
    path : Path
    shape : tuple of int
        Rows, coordinates and limbs.
    blocks : tuple of bytes
        Digests of the rows' blocks, of which those of full blocks are used.
    blank : int64 array
        Rows that hold zeros, or shall, rising.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int, int], blocks: tuple[bytes, ...], blank: I64
    ) -> None:
        self._path = path
        self._rows, *self._row = shape
        self._full = list(blocks[: self._rows // BLOCK_ROWS])
        self.blank = blank
        self.pending = False
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Of the file."""
        return self._path.name

    def seen(self, rows: int) -> U64:
        """Return the first rows, mapped.

        Raises
        ------
        TableError
            If the file cannot be mapped, or has not so many.
        """
        shape = (rows, *self._row)
        return map_values(self._path, shape, np.uint64, name="limbs", error=TableError)

    def grown(self, first: int, limbs: U64) -> U64:
        """Put rows behind the first `first` ones, durably, and return all, mapped.

        Raises
        ------
        TableError
            If others were put there before, or the file system refuses.
        """
        with self._lock:
            if first != self._rows:
                raise TableError("limbs: other rows were appended to the same ones")
            added = np.ascontiguousarray(limbs, dtype="<u8")
            with refusing(TableError, "limbs"):
                # Whatever a writer that died left behind the last row is overwritten.
                write_behind(self._path, first * self._width, added.data)
            whole = self.seen(first + len(limbs))
            self._rows = len(whole)
            for block in range(len(self._full), self._rows // BLOCK_ROWS):
                self._full.append(self._digest(whole, block))
            return whole

    def cut(self, rows: int) -> None:
        """Give up all rows from this number on, which no version has; others replace them."""
        with self._lock:
            if rows < self._rows:
                self._rows = rows
                # The file keeps them: after an error at the very end, the disk may name them.
                del self._full[rows // BLOCK_ROWS :]

    def blocks(self, values: U64) -> tuple[bytes, ...]:
        """Return the digests of the blocks of a version's rows, with zeros where there shall be."""
        full = len(values) // BLOCK_ROWS
        last = (self._digest(values, full),) if len(values) % BLOCK_ROWS else ()
        return (*self._full[:full], *last)

    def will_erase(self, rows: I64) -> None:
        """Let rows be zeros in `blocks` and `blank` from now on; `erase` makes it true."""
        values = self.seen(self._rows)
        with self._lock:
            self.blank, self.pending = np.union1d(self.blank, rows), True
            for block in np.unique(rows // BLOCK_ROWS).tolist():
                if block < len(self._full):
                    self._full[block] = self._digest(values, block)

    def erase(self) -> None:
        """Overwrite the `blank` rows with zeros, durably; no search reads them any more.

        Raises
        ------
        TableError
            If the file system refuses; another try may follow.
        """
        values = self.seen(self._rows)
        rows = self.blank[self.blank < self._rows].tolist()
        left = [row for row in rows if values[row].any()]
        if left:
            with refusing(TableError, "limbs"):
                overwrite(self._path, _runs(left, self._width))
        self.pending = False

    @property
    def _width(self) -> int:
        return 8 * self._row[0] * self._row[1]

    def _digest(self, values: U64, block: int) -> bytes:
        start = block * BLOCK_ROWS
        part = values[start : start + BLOCK_ROWS]
        first, last = np.searchsorted(self.blank, [start, start + len(part)])
        if first < last:
            part = part.copy()
            part[self.blank[first:last] - start] = 0
        return hashlib.sha256(part.data).digest()


def _runs(rows: list[int], width: int) -> Iterator[tuple[int, bytes]]:
    """Offsets, and zeros for as many rows as follow one another from there."""
    first = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or rows[place] != rows[place - 1] + 1 or place - first == _MOST:
            yield rows[first] * width, bytes((place - first) * width)
            first = place


#: Rows that are overwritten at a time, so that memory stays bounded.
_MOST = 4096

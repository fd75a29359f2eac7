"""What is brought to workers: whole tables by their files, parts of tables by their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ompd.arrays import I64, U8, U64
from ompd.errors import StoreError
from ompd.files import refusing
from ompd.sealed.layout import Layout
from ompd.stores.tables.limb_index import read_index
from ompd.wire import Kind

#: Bytes that are on their way at a time to one worker.
_PIECE = 16 << 20

#: Calls a method of one worker and returns what that does; `UnreachableError` if it is gone.
Call = Callable[..., Any]


class Copy(Protocol):
    """Something that workers hold.

    Attributes
    ----------
    nbytes : int
        That it takes there.
    copies : int
        How many workers are to hold it.
    """

    @property
    def nbytes(self) -> int:
        """See above."""

    @property
    def copies(self) -> int:
        """See above."""

    def send(self, key: str, call: Call) -> None:
        """Bring it to one worker, under a key.

        Raises
        ------
        UnreachableError
            If the worker is gone, or cannot take it.
        StoreError
            If it cannot be read.
        """


@dataclass(frozen=True, slots=True, repr=False)
class TableCopy:
    """A whole table as its files are.

    Parameters
    ----------
    kind : Kind
        Of the frame that brought it.
    folder : Path
    index : str
        Name of its index in that.
    nbytes, copies : int
    """

    kind: Kind
    folder: Path
    index: str
    nbytes: int
    copies: int

    def send(self, key: str, call: Call) -> None:
        """Let a worker map the files; one that does not see them gets its own."""
        with refusing(StoreError, "index"):
            data = (self.folder / self.index).read_bytes()
        digest = hashlib.sha256(data).digest()
        if call("open", key, self.kind, str(self.folder), self.index, digest):
            return
        for name in (_values(self.folder, self.index), self.index):
            size = _size(self.folder / name)
            for first, last in _pieces(size, _PIECE):
                piece = np.fromfile(self.folder / name, np.uint8, last - first, offset=first)
                call("receive", key, name, first, piece)
        if not call("open", key, self.kind, "", self.index, digest):
            raise StoreError("worker: cannot keep a copy of the table")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PartCopy:
    """Some rows of a table, indexed by whoever gets them.

    Parameters
    ----------
    limbs : uint64 array of shape (N, m, L)
        Of the whole table.
    rows : int64 array
        Those of the part, rising.
    copies : int
    """

    limbs: U64
    rows: I64
    copies: int

    @property
    def nbytes(self) -> int:
        """With an index."""
        return part_bytes(len(self.rows), *self.limbs.shape[1:])

    def send(self, key: str, call: Call) -> None:
        """Send the rows, and let them be indexed."""
        shape = (len(self.rows), *self.limbs.shape[1:])
        most = max(1, _PIECE // (8 * shape[1] * shape[2]))
        for first, last in _pieces(len(self.rows), most):
            call("hold", key, shape, first, np.ascontiguousarray(self.limbs[self.rows[first:last]]))
        call("finish", key)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ChunksCopy:
    """The buckets of some chunks of a sealed table.

    Parameters
    ----------
    layout : Layout
        Of the whole table.
    buckets : uint8 array of shape (buckets, bucket_bytes)
        Likewise.
    first, last : int
        Which chunks.
    copies : int
    """

    layout: Layout
    buckets: U8
    first: int
    last: int
    copies: int

    @property
    def nbytes(self) -> int:
        """Of the buckets."""
        return (self.last - self.first) * self.layout.chunk * self.layout.bucket_bytes

    def send(self, key: str, call: Call) -> None:
        """Send the buckets."""
        start = self.first * self.layout.chunk * self.layout.bucket_bytes
        flat = self.buckets.reshape(-1)[start : start + self.nbytes]
        for first, last in _pieces(len(flat), _PIECE):
            piece = np.ascontiguousarray(flat[first:last])
            call("keep_chunks", key, self.layout, self.first, len(flat), first, piece)


def part_bytes(rows: int, coordinates: int, limbs: int) -> int:
    """Bytes that rows take with labels and index: heads, boxes and numbers."""
    return rows * (8 * coordinates * limbs + 8 + 2 * coordinates + coordinates // 4 + 8)


def _pieces(size: int, most: int) -> Iterator[tuple[int, int]]:
    """Return the ends of pieces that cover ``range(size)``, at least one."""
    for first in range(0, max(1, size), most):
        yield first, min(size, first + most)


def _values(folder: Path, index: str) -> str:
    """Return the name of the file of values that an index is about."""
    if (folder / "buckets").exists():
        return "buckets"
    return read_index(folder, index)[0].limb_file


def _size(path: Path) -> int:
    with refusing(StoreError, path.name):
        return path.stat().st_size
    raise AssertionError  # pragma: no cover  (`refusing` swallows nothing)

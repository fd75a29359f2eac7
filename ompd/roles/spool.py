"""Rows on their way to a cloud, in a file: made once, read as often as they are sent."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ompd.arrays import I64, Array, Progress
from ompd.confidential import Confidential
from ompd.errors import StoreError
from ompd.files import refusing, write_all

#: Bytes of values and labels in one piece of an upload, or one row if that has more. While a cloud
#: verifies or decrypts one, for some milliseconds, it answers nobody.
PIECE_BYTES = 2 << 20

#: Opens a new file for the rows of one table, and returns its descriptor.
Place = Callable[[], int]


class Shape(NamedTuple):
    """What a spool's file is made of: pieces, each its labels and then its values.

    Attributes
    ----------
    rows : int
    width : int
        Bytes of values per row.
    label_bytes : int
        Bytes of a row's label: 2, or 0 where rows have none.
    step : int
        Rows of every piece but the last.
    """

    rows: int
    width: int
    label_bytes: int
    step: int

    @classmethod
    def of(cls, rows: int, width: int, label_bytes: int) -> Shape:
        """Cut rows into pieces."""
        return cls(rows, width, label_bytes, max(1, PIECE_BYTES // (width + label_bytes)))

    @property
    def pieces(self) -> int:
        """How many there are."""
        return -(-self.rows // self.step)

    def range(self, piece: int) -> tuple[int, int]:
        """Return the first row of a piece and the one behind its last."""
        first = piece * self.step
        return first, min(self.rows, first + self.step)


class Spool(Confidential):
    """The rows of one upload.

    Parameters
    ----------
    descriptor : int
        Of the open file; closed with the spool.
    shape : Shape
    digests : tuple of bytes
        SHA-256 of each piece.

    Attributes
    ----------
    have : int
        Rows that the cloud had when it was last heard of.
    """

    __slots__ = ("__weakref__", "_close", "_descriptor", "_lock", "digests", "have", "shape")

    def __init__(self, descriptor: int, shape: Shape, digests: tuple[bytes, ...]) -> None:
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)
        self._lock = threading.Lock()
        self.shape = shape
        self.digests = digests
        self.have = 0

    @classmethod
    def make(
        cls,
        place: Place,
        rows: int,
        width: int,
        labels: I64 | None,
        fill: Callable[[int, int], Array],
        progress: Progress | None = None,
    ) -> Spool:
        """Write rows, piece by piece.

        Parameters
        ----------
        place : callable
        rows, width : int
            Number of rows, and bytes of the values of one.
        labels : int64 array of shape (rows,), optional
            Written as little-endian uint16.
        fill : callable
            ``fill(first, last)`` returns the values of these rows, C-contiguous and little-endian.
        progress : callable, optional
            Called with the finished share from 0 to 1.

        Raises
        ------
        StoreError
            If the file system refuses.
        """
        shape = Shape.of(rows, width, 0 if labels is None else 2)
        digests = []
        with refusing(StoreError, "upload"):
            descriptor = place()
        try:
            for piece in range(shape.pieces):
                first, last = shape.range(piece)
                codes = b"" if labels is None else labels[first:last].astype("<u2").tobytes()
                values = fill(first, last).reshape(-1).view(np.uint8).data
                digest = hashlib.sha256(codes)
                digest.update(values)
                digests.append(digest.digest())
                with refusing(StoreError, "upload"):
                    write_all(descriptor, memoryview(codes))
                    write_all(descriptor, values)
                if progress is not None:
                    progress(last / rows)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, shape, tuple(digests))

    @classmethod
    def open(cls, file: Path, shape: Shape, digests: tuple[bytes, ...]) -> Spool:
        """Open rows that an earlier process wrote.

        Raises
        ------
        StoreError
            If the file is missing, or of another length.
        """
        with refusing(StoreError, "upload"):
            descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        spool = cls(descriptor, shape, digests)
        size = shape.rows * (shape.width + shape.label_bytes)
        if os.fstat(descriptor).st_size != size or len(digests) != shape.pieces:
            spool.close()
            raise StoreError("upload: what waits is cut short")
        return spool

    def sync(self) -> None:
        """Let the rows outlive a failing power supply.

        Raises
        ------
        StoreError
        """
        with refusing(StoreError, "upload"):
            os.fsync(self._descriptor)

    def read(self, piece: int) -> tuple[int, bytes, bytes]:
        """Return the number of the first row of a piece, its labels and its values.

        Raises
        ------
        StoreError
            If they are not what was written, or cannot be read.
        """
        shape = self.shape
        first, last = shape.range(piece)
        size = shape.width + shape.label_bytes
        with self._lock, refusing(StoreError, "upload"):
            if not self._close.alive:
                raise StoreError("upload: does not wait any more")
            data = _read_all(self._descriptor, (last - first) * size, first * size)
        if hashlib.sha256(data).digest() != self.digests[piece]:
            raise StoreError("upload: what waits was damaged on disk; publish the disease anew")
        split = (last - first) * shape.label_bytes
        return first, data[:split], data[split:]

    def close(self) -> None:
        """Give up the file; one without a name is gone then."""
        with self._lock:
            self._close()

    def __repr__(self) -> str:
        return f"<Spool of {self.shape.pieces} pieces>"


def temporary() -> int:
    """Open a file that has no name.

    Raises
    ------
    OSError
    """
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    return descriptor


def _read_all(descriptor: int, size: int, place: int) -> bytes:
    parts = []
    # By place, which a forked process has no part in; one call may return less.
    while size and (part := os.pread(descriptor, size, place)):
        parts.append(part)
        size, place = size - len(part), place + len(part)
    return b"".join(parts)

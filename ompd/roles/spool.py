"""Rows on their way to a cloud, in a file: made once, read as often as they are sent."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import IO, NamedTuple

import numpy as np

from ompd.arrays import I64, Array, Progress
from ompd.confidential import Confidential
from ompd.errors import StoreError
from ompd.files import refusing

#: Bytes of values and labels in one piece of an upload, or one row if that has more.
PIECE_BYTES = 8 << 20

#: Opens a file of its own for the rows of one table.
Place = Callable[[], IO[bytes]]


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

    Attributes
    ----------
    shape : Shape
    digests : tuple of bytes
        SHA-256 of each piece.
    """

    __slots__ = ("__weakref__", "_close", "_file", "_lock", "digests", "shape")

    def __init__(self, file: IO[bytes], shape: Shape, digests: tuple[bytes, ...]) -> None:
        self._file = file
        self._close = weakref.finalize(self, file.close)
        self._lock = threading.Lock()
        self.shape = shape
        self.digests = digests

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
            If the file system refuses; nothing is left of the file then.
        """
        shape = Shape.of(rows, width, 0 if labels is None else 2)
        digests = []
        with refusing(StoreError, "upload"):
            file = place()
        try:
            for piece in range(shape.pieces):
                first, last = shape.range(piece)
                codes = b"" if labels is None else labels[first:last].astype("<u2").tobytes()
                values = fill(first, last).reshape(-1).view(np.uint8).data
                digest = hashlib.sha256(codes)
                digest.update(values)
                digests.append(digest.digest())
                with refusing(StoreError, "upload"):
                    file.write(codes)
                    file.write(values)
                if progress is not None:
                    progress(last / rows)
            with refusing(StoreError, "upload"):
                file.flush()
        except BaseException:
            file.close()
            raise
        return cls(file, shape, tuple(digests))

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
            if self._file.closed:
                raise StoreError("upload: does not wait any more")
            self._file.seek(first * size)
            data = self._file.read((last - first) * size)
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


def temporary() -> IO[bytes]:
    """Open a file without a name; one piece is held in memory instead."""
    return tempfile.SpooledTemporaryFile(max_size=PIECE_BYTES)

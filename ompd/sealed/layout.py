"""The public shape of a sealed table: all that the cloud knows of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ompd.errors import FramingError, ParameterError

#: Offsets in a request: uint8 or uint16, as `Layout.offset_type` says.
Offsets = npt.NDArray[Any]
#: Primary hints per bucket of a chunk. A bucket is in none of them with probability
#: (1 - 1/C)**(20 C) < e**-20 < 2**-28, and is then not found.
COVER = 20
#: Tables of at most so many rows are sent whole.
WHOLE_ROWS = 1024

# Buckets are padded to whole cache lines.
_LINE_BYTES = 64
_TAG_BYTES = 16
# What a fetch costs, for choosing between layouts: bytes per second that one thread combines and
# that a line of 320 Mbit/s carries, seconds per opened bucket.
_XOR_BYTES = 5e9
_LINE_RATE = 4e7
_OPEN_SECONDS = 2e-6
# Seconds per bucket of a chunk that the search for a hint takes.
_FIND_SECONDS = 2e-8
# Buckets that a query wants, before they are measured: in so many buckets lie the K nearest rows if
# a bucket has K, and the number falls like this power of what a bucket has. It fetches a multiple.
_TYPICAL_WANTED = 13.0
_WANTED_FALLS = 0.36
_FETCHED = 1.8
# Of so many buckets of a chunk one is asked for in a window, on average, and at least so many are.
_SHARE = 16
_LEAST_LOAD = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """The public numbers of one sealed table.

    They follow from the whole table: `bucket_bytes` tells how many rows it has and how fine its
    values are, `fetches` and `window` how crowded its vectors lie.

    Attributes
    ----------
    buckets : int
        Number of encrypted buckets, `chunks` times `chunk`.
    bucket_bytes : int
        Bytes of every bucket, a multiple of 64, tag included.
    chunks, chunk : int
        A request names one bucket in each of `chunks` runs of `chunk` buckets, a power of two up
        to 65536.
    fetches : int
        Buckets asked for per query; 0 means that the whole table is sent.
    window : int
        Queries that one set of hints serves; 0, meaning any number, for a whole table.

    Raises
    ------
    ParameterError
        If the numbers contradict one another.
    """

    buckets: int
    bucket_bytes: int
    chunks: int
    chunk: int
    fetches: int
    window: int

    def __post_init__(self) -> None:
        for name in ("buckets", "bucket_bytes", "chunks", "chunk", "fetches", "window"):
            value = getattr(self, name)
            least = 0 if name in {"fetches", "window"} else 1
            if type(value) is not int or not least <= value < 1 << 40:
                raise ParameterError(f"{name}: expected an integer from {least} below 2**40")
        if self.buckets != self.chunks * self.chunk:
            raise ParameterError("buckets: expected chunks times chunk")
        if self.chunk > 1 << 16 or self.chunk & (self.chunk - 1):
            raise ParameterError("chunk: expected a power of two up to 65536")
        if self.bucket_bytes % _LINE_BYTES:
            raise ParameterError(f"bucket_bytes: expected a multiple of {_LINE_BYTES}")
        if (self.fetches == 0) != (self.window == 0):
            raise ParameterError("window: expected 0 for a whole table, and only there")
        if self.fetches == 0 and self.buckets != 1:
            raise ParameterError("buckets: expected 1 for a whole table")

    @property
    def offset_type(self) -> np.dtype[Any]:
        """Type of one offset in a request, little-endian."""
        return np.dtype("u1" if self.chunk <= 1 << 8 else "<u2")

    @property
    def table_bytes(self) -> int:
        """Bytes of all buckets."""
        return self.buckets * self.bucket_bytes

    @property
    def request_bytes(self) -> int:
        """Bytes sent for one query; 0 for a whole table."""
        return self.fetches * self.chunks * self.offset_type.itemsize

    @property
    def answer_bytes(self) -> int:
        """Bytes received for one query; a whole table comes once for a batch."""
        return self.fetches * self.bucket_bytes if self.fetches else self.table_bytes

    def queries_in(self, request_bytes: int) -> int:
        """Return how many queries a request of this length holds.

        Raises
        ------
        FramingError
            If it is empty or no whole number of queries.
        """
        if self.fetches == 0:
            if request_bytes:
                raise FramingError(f"request: expected no bytes, got {request_bytes}")
            return 0
        count, rest = divmod(request_bytes, self.request_bytes)
        if rest or not count:
            raise FramingError(
                f"request: expected a multiple of {self.request_bytes} bytes, got {request_bytes}"
            )
        return count

    @classmethod
    def choose(cls, rows: int, columns: int, row_bits: int, neighbors: int) -> Self:
        """Return the layout that takes the hospital and the cloud least, in time and in memory.

        Up to 1024 rows the table is one bucket that is always sent whole. Above, rows per bucket
        (8 to 1024) and buckets per chunk are tried in powers of two, and the product of two costs
        is smallest: the seconds of a query (XORs at the cloud, bytes on a line of 320 Mbit/s,
        opening at the hospital, and the query's share of a window: streaming and opening the table,
        combining hints), and the square of the bytes that the hospital holds, since these are what
        it wants to be rid of. `fetches` and `window` are first guesses that `SealedTable.build`
        replaces by measured ones.

        Parameters
        ----------
        rows : int
            From 1.
        columns, row_bits : int
            Coordinates of a row, and the bits of its encoding.
        neighbors : int
            K; the fetched buckets of one query must hold so many rows.

        Raises
        ------
        ParameterError
            If there are no rows.
        """
        if rows < 1:
            raise ParameterError("rows: expected a positive number")
        if rows <= max(WHOLE_ROWS, 4 * neighbors):
            return cls(1, padded_bytes(rows * row_bits), 1, 1, 0, 0)
        best: tuple[float, Self] | None = None
        for rows_log in range(3, 11):
            bucket_rows = 1 << rows_log
            if bucket_rows * 8 < neighbors or bucket_rows * 64 > rows:
                continue
            wanted = _TYPICAL_WANTED * (neighbors / bucket_rows) ** _WANTED_FALLS
            for chunk_log in range(5, 17):
                chunk = 1 << chunk_log
                chunks = -(-rows // (bucket_rows * chunk))
                if chunks < 4:
                    break
                bucket_bytes = padded_bytes(-(-rows // (chunks * chunk)) * row_bits)
                layout = cls(
                    chunks * chunk, bucket_bytes, chunks, chunk, math.ceil(_FETCHED * wanted),
                    window_of(chunks, chunk, wanted),
                )  # fmt: skip
                cost = layout.seconds() * layout.resident_bytes(rows, columns) ** 2
                if best is None or cost < best[0]:
                    best = cost, layout
        if best is None:
            return cls(1, padded_bytes(rows * row_bits), 1, 1, 0, 0)
        return best[1]

    def seconds(self) -> float:
        """Estimated seconds of one query, all parties and the share of a window's hints."""
        if self.fetches == 0:
            return self.table_bytes / _LINE_RATE
        hints = COVER * self.chunk + self.chunks * backups_per_chunk(self.chunk)
        online = (
            self.fetches * (self.chunks * self.bucket_bytes / _XOR_BYTES + _OPEN_SECONDS)
            + self.fetches * self.chunk * _FIND_SECONDS
            + (self.request_bytes + self.answer_bytes) / _LINE_RATE
        )
        window = (
            hints * self.chunks * self.bucket_bytes / _XOR_BYTES
            + self.table_bytes / _LINE_RATE
            + self.buckets * _OPEN_SECONDS
        )
        return online + window / self.window

    def resident_bytes(self, rows: int, columns: int) -> int:
        """Bytes that the hospital keeps in memory: boxes, cells, what is known of places, hints."""
        size = self.offset_type.itemsize
        slots = self.chunks * backups_per_chunk(self.chunk)
        return (
            rows * columns * 6 // 8
            + max(1, rows // 64) * columns * 4
            + self.buckets * 18
            + COVER * self.chunk * (self.bucket_bytes + 12)
            + slots * (2 * self.bucket_bytes + size + 9)
        )


def padded_bytes(bits: int) -> int:
    """Bytes of a bucket with so many bits of rows."""
    plain = -(-bits // 8)
    return -(-(plain + _TAG_BYTES) // _LINE_BYTES) * _LINE_BYTES


def _load(chunk: int) -> int:
    return min(max(1, chunk // 2), max(_LEAST_LOAD, chunk // _SHARE))


def backups_per_chunk(chunk: int) -> int:
    """Backup hints of each chunk: the mean load of a window, 4.5 standard deviations and two.

    Which buckets are wanted is spread like random draws, so a chunk runs out in a window with
    probability below 10**-5; then a bucket is not asked for.
    """
    load = _load(chunk)
    return min(chunk, load + math.isqrt(81 * load // 4) + 2)


def slots_ahead(layout: Layout, left: int) -> int:
    """Backup hints of a chunk that so many more queries take: the mean and three deviations."""
    load = -(-_load(layout.chunk) * left // layout.window)
    return load + 3 * math.isqrt(load)


def window_of(chunks: int, chunk: int, wanted: float) -> int:
    """Queries of a window if each asks for `wanted` buckets on average."""
    return max(1, int(chunks * _load(chunk) / wanted))

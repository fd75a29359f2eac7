"""How rows are written into buckets: as few bits as the whole table needs, the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from ompd._kernels.retrieval_rows import column_ranges, keep_nearest, pack
from ompd._kernels.retrieval_whole import search_all, unpack_all
from ompd.arrays import I32, I64, U8, U64, Bools, frozen
from ompd.confidential import Confidential
from ompd.threads import run_ranges

#: Distance of a neighbour that was not found.
NOWHERE = (1 << 63) - 1


@dataclass(frozen=True, repr=False, eq=False, slots=True)
class RowCode(Confidential):
    """Fields of a row: m coordinates, label, row number, each of fixed width.

    A coordinate is written as a multiple of the table's step above the table's lowest value.
    Prefix sums grow by multiples of a weight, so the difference from the coordinate before often
    needs half the bits; each column takes what is shorter.

    Attributes
    ----------
    bases, steps : int64 array of shape (m,)
    widths : int64 array of shape (m + 2,)
        Bits, 0 to 62.
    relative : bool array of shape (m,)
        Whether the difference from the coordinate before is written.
    """

    bases: I64
    steps: I64
    widths: I64
    relative: Bools

    def __post_init__(self) -> None:
        for name in ("bases", "steps", "widths", "relative"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @classmethod
    def fit(cls, vectors: I64, classes: int) -> Self:
        """Return the shortest code for int64 vectors (N, m) from 0 below 2**62, N >= 1."""
        columns = vectors.shape[1]
        lows, highs, steps = (np.empty((2, columns), dtype=np.int64) for _ in range(3))
        column_ranges(vectors, lows, highs, steps)
        steps = np.maximum(steps, 1)
        counts = ((highs - lows) // steps).tolist()
        bits = np.array([[count.bit_length() for count in kind] for kind in counts], np.int64)
        bits = bits.reshape(2, columns)
        relative = bits[1] < bits[0]
        chosen = (relative.astype(np.int64), np.arange(columns))
        ends = [(classes - 1).bit_length(), (len(vectors) - 1).bit_length()]
        widths = np.append(bits[chosen], ends).astype(np.int64)
        return cls(lows[chosen], steps[chosen], widths, relative)

    @property
    def row_bits(self) -> int:
        """Bits of one row."""
        return int(self.widths.sum())

    def __repr__(self) -> str:
        return f"<RowCode of {self.row_bits} bits>"

    def write(
        self, vectors: I64, labels: I64, order: I64, places: I32, words: U64,
        threads: int,
    ) -> None:  # fmt: skip
        """Write each bucket's rows, which stand in tree order, to words[places], all 0."""

        def work(first: int, last: int) -> None:
            pack(
                vectors, labels, order, places, self.bases, self.steps, self.widths,
                self.relative, words, first, last,
            )  # fmt: skip

        run_ranges(work, len(places), threads, 64)

    def nearest(
        self, words: U64, chosen: I64, firsts: I64, counts: I64, query: I64, k: int, gone: U8
    ) -> tuple[I64, I64, I64]:
        """Find the k nearest rows in the buckets words[chosen].

        They hold `counts` rows, in tree order from `firsts`; those whose bit is set in `gone` count
        for nothing.

        Returns
        -------
        (distances, labels, rows), int64 arrays of shape (k,)
            By (distance, row); `NOWHERE` behind the last row found.
        """
        distances = np.full(k, NOWHERE, dtype=np.int64)
        labels = np.zeros(k, dtype=np.int64)
        rows = np.full(k, -1, dtype=np.int64)
        keep_nearest(
            words, chosen, firsts, counts, gone, self.bases, self.steps, self.widths, self.relative,
            query, distances, labels, rows,
        )  # fmt: skip
        return distances, labels, rows

    def nearest_of_all(
        self, words: U64, places: I32, total: int, queries: I64, picked: I32, counts: I64,
        distances: I64, labels: I64, rows: I64, gone: U8,
    ) -> None:  # fmt: skip
        """Find the nearest rows of many queries, each in its buckets picked[query, :counts[query]].

        Parameters
        ----------
        words : uint64 array of shape (B, words)
        places : int32 array of shape (B,)
            Where each bucket of the tree is in `words`.
        total : int
            Rows of all buckets.
        queries : int64 array of shape (q, m)
        picked : int32 array of shape (q, most)
        counts : int64 array of shape (q,)
        distances, labels, rows : int64 arrays of shape (q, k)
            Overwritten as by `nearest`; `distances` starts with `NOWHERE`.
        gone : uint8 array of shape ((total + 7) // 8,) or (0,)
            Bits of rows that count for nothing, in tree order.
        """
        search_all(
            words, places, gone, total, self.bases, self.steps, self.widths, self.relative,
            queries, picked, counts, distances, labels, rows,
        )  # fmt: skip

    def read_all(self, words: U64, places: I32, total: int) -> tuple[I64, I64, I64]:
        """Return all rows of a table, in tree order: vectors (N, m), labels and numbers (N,)."""
        vectors = np.empty((total, len(self.bases)), dtype=np.int64)
        labels, rows = np.empty((2, total), dtype=np.int64)
        unpack_all(
            frozen(words), places, total, self.bases, self.steps, self.widths, self.relative,
            vectors, labels, rows,
        )  # fmt: skip
        return vectors, labels, rows

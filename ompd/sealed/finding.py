"""The search for hints that contain a bucket, when their offsets have to be drawn first."""

from __future__ import annotations

import numpy as np

from ompd._kernels.retrieval import blocks_ahead, find_hints
from ompd.arrays import I32, I64, U8
from ompd.crypto.streams import BlockStream
from ompd.sealed.layout import Layout, Offsets
from ompd.sealed.offsets import blocks_each, encrypted, vectors_of

# Hints that are looked at at a time, in so many times the buckets of a chunk: all but one search in
# seven end with the first.
_LOOKED = 2


def find(
    stream: BlockStream,
    layout: Layout,
    numbers: I32,
    patched: I32,
    places: I64,
    count: int,
    starts: I64,
    fresh: Offsets,
) -> tuple[I64, Offsets]:
    """Find the first hint from each start, cyclically, that contains a place.

    Parameters
    ----------
    stream : BlockStream
    layout : Layout
    numbers, patched : int32 arrays of shape (primary hints,)
        As those of `Hints`.
    places : int64 array of shape (fetches,)
    count : int
        So many of the places, the first ones, replace the hint that they find: by `fresh`, with the
        place in its chunk.
    starts : int64 array of shape (fetches,)
    fresh : offsets of shape (fetches, chunks)

    Returns
    -------
    hints : int64 array of shape (fetches,)
        -1 where none has the place.
    vectors : offsets of shape (fetches, chunks)
        Those of the hints, no matter what where there is none.
    """
    size = layout.offset_type.itemsize
    fetches, total = len(places), len(numbers)
    hints, earlier = np.empty((2, fetches), dtype=np.int64)
    turns = np.full(total, -1, dtype=np.int64)

    span = min(_LOOKED * layout.chunk, total)
    starts = starts.copy()

    def search(first: int, last: int, drawn: U8, left: int) -> int:
        return int(
            find_hints(
                places, count, starts, layout.chunk, size, drawn, first, last, left, patched, fresh,
                turns, hints, earlier,
            )
        )  # fmt: skip

    def ahead(first: int, last: int) -> U8:
        plain = np.empty((last - first, span, 2), dtype=np.uint64)
        blocks_ahead(places, starts, layout.chunk, size, blocks_each(layout), numbers, first, plain)
        return encrypted(stream, plain.reshape(-1, 2)).reshape(last - first, span, -1)

    drawn = ahead(0, fetches)
    first = search(0, fetches, drawn, total)
    while first < fetches:
        left, here = total, first
        while here == first:
            left -= span
            starts[here] = (starts[here] + span) % total
            here = search(first, first + 1, ahead(first, first + 1), left)
        first = search(here, fetches, drawn[here:], total)
    vectors = vectors_of(
        stream, numbers[hints].astype(np.int64), patched[hints].astype(np.int64), layout
    )
    again = np.flatnonzero(earlier >= 0)
    vectors[again] = fresh[earlier[again]]
    own = places[earlier[again]]
    vectors[again, own // layout.chunk] = own % layout.chunk
    return hints, vectors

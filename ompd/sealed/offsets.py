"""Uniform offsets: from the operating system, or once more from a key; what they add up to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from ompd._kernels.retrieval import add_parities
from ompd.arrays import I64, U8, U64
from ompd.crypto.streams import BLOCK_BYTES, BlockStream
from ompd.sealed.layout import Layout, Offsets
from ompd.threads import run_ranges

Combine = Callable[[Layout, U64, Offsets, I64, int], U64]
_elsewhere: ContextVar[Combine | None] = ContextVar("ompd_combine", default=None)
# Bytes of table that one pass over the vectors reads: a common second-level cache.
_BLOCK_BYTES = 1 << 20


def random_offsets(vectors: int, layout: Layout) -> Offsets:
    """Draw uniform offsets, of shape (vectors, chunks), from the operating system."""
    size = layout.offset_type.itemsize
    drawn = np.frombuffer(bytearray(os.urandom(size * vectors * layout.chunks)), layout.offset_type)
    return _below(drawn, layout).reshape(vectors, layout.chunks)


def blocks_each(layout: Layout) -> int:
    """Blocks that one vector of offsets takes."""
    return -(-layout.chunks * layout.offset_type.itemsize // BLOCK_BYTES)


def drawn_offsets(stream: BlockStream, slots: I64, layout: Layout) -> Offsets:
    """Draw the offsets of slots once more, of shape (len(slots), chunks)."""
    each = blocks_each(layout)
    numbers = slots[:, np.newaxis] * each + np.arange(each)
    drawn = blocks(stream, numbers.reshape(-1)).reshape(-1).view(layout.offset_type)
    drawn = drawn.reshape(len(slots), -1)[:, : layout.chunks]
    return _below(np.ascontiguousarray(drawn), layout)


def vectors_of(stream: BlockStream, numbers: I64, patched: I64, layout: Layout) -> Offsets:
    """Draw the offsets of hints once more, of shape (len(numbers), chunks).

    Parameters
    ----------
    stream : BlockStream
    numbers, patched : int64 arrays of shape (count,)
        As those of `Hints`.
    layout : Layout
    """
    vectors = drawn_offsets(stream, numbers, layout)
    there = np.flatnonzero(patched >= 0)
    vectors[there, patched[there] // layout.chunk] = patched[there] % layout.chunk
    return vectors


def blocks(stream: BlockStream, numbers: I64) -> U8:
    """Draw the blocks of these numbers, uint8 of shape (count, 16)."""
    plain = np.zeros((len(numbers), 2), dtype="<u8")
    plain[:, 0] = numbers
    return encrypted(stream, plain)


def encrypted(stream: BlockStream, plain: U64) -> U8:
    """Draw the blocks of numbers that are blocks already, uint64 of shape (count, 2)."""
    drawn = np.empty(plain.nbytes + BLOCK_BYTES - 1, dtype=np.uint8)
    stream.draw(plain.reshape(-1).view(np.uint8).data, drawn.data)
    return drawn[: plain.nbytes].reshape(-1, BLOCK_BYTES)


def _below(drawn: Offsets, layout: Layout) -> Offsets:
    # Exactly uniform, as a chunk is a power of two.
    np.bitwise_and(drawn, layout.offset_type.type(layout.chunk - 1), out=drawn)
    return drawn


def combined(layout: Layout, words: U64, offsets: Offsets, own: I64, threads: int) -> U64:
    """XOR a table's buckets, uint64 of shape (buckets, words), at every vector of offsets.

    Chunk own[vector] is left out, where it is not -1. See also `combining`.
    """
    elsewhere = _elsewhere.get()
    return (elsewhere or combined_here)(layout, words, offsets, own, threads)


@contextmanager
def combining(combine: Combine) -> Iterator[None]:
    """Let something else do what `combined` does, here and in what is called from here."""
    token = _elsewhere.set(combine)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def combined_here(layout: Layout, words: U64, offsets: Offsets, own: I64, threads: int) -> U64:
    """As `combined`, in this process."""
    parities = np.zeros((len(offsets), words.shape[1]), dtype=np.uint64)
    block = max(1, _BLOCK_BYTES // (layout.chunk * layout.bucket_bytes))

    def work(first: int, last: int) -> None:
        add_parities(words, layout.chunk, offsets, own, parities, block, first, last)

    run_ranges(work, len(offsets), threads, 256)
    return parities

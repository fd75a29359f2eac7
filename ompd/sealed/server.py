"""The cloud's part: XORs of encrypted buckets. It holds no secret and learns none.

It imports neither the hospital's side nor any cryptography.
"""

from __future__ import annotations

import numpy as np

from ompd._kernels.retrieval import gather
from ompd.arrays import U8, U64, frozen
from ompd.errors import FramingError, RangeError
from ompd.sealed.layout import Layout, Offsets
from ompd.threads import run_ranges

Ciphertexts = bytes | memoryview | U8


def check_layout(layout: Layout, length: int) -> None:
    """Refuse ciphertexts whose number of bytes is not what the layout says.

    Raises
    ------
    FramingError
        If the length is another.
    """
    if length != layout.table_bytes:
        raise FramingError(f"ciphertexts: expected {layout.table_bytes} bytes, got {length}")


def check_request(layout: Layout, request: bytes) -> int:
    """Return how many queries a request holds, without reserving memory for an answer.

    Parameters
    ----------
    layout : Layout
    request : bytes
        For each query and fetch one offset per chunk, of `layout.offset_type`; empty for a whole
        table.

    Returns
    -------
    int
        0 for a whole table.

    Raises
    ------
    FramingError
        If the request is empty or no whole number of queries.
    RangeError
        If an offset is not below `chunk`.
    """
    queries = layout.queries_in(len(request))
    if queries and int(np.frombuffer(request, dtype=layout.offset_type).max()) >= layout.chunk:
        raise RangeError(f"request: expected offsets below {layout.chunk}")
    return queries


def answer(
    ciphertexts: Ciphertexts, layout: Layout, request: bytes, *, threads: int | None = None
) -> bytes:
    """Combine the buckets that a request names.

    Parameters
    ----------
    ciphertexts : bytes-like of layout.table_bytes
        As uploaded; a mapped file will do.
    layout : Layout
    request : bytes
        As `check_request` takes it, which is called first.
    threads : int, optional
        1 by default.

    Returns
    -------
    bytes
        One XOR of `chunks` buckets per fetch, in order; the table itself for a whole table.

    Raises
    ------
    FramingError
        If the request or the ciphertexts have another length.
    RangeError
        If an offset is not below `chunk`.
    """
    table = np.frombuffer(ciphertexts, dtype=np.uint8)
    check_layout(layout, table.size)
    check_request(layout, request)
    if layout.fetches == 0:
        return table.tobytes()
    return sums(table, layout, vectors(layout, request), threads=threads).tobytes()


def vectors(layout: Layout, request: bytes) -> Offsets:
    """Return the offsets of a request that was checked, of shape (queries * fetches, chunks)."""
    return np.frombuffer(request, dtype=layout.offset_type).reshape(-1, layout.chunks)


def sums(
    ciphertexts: U8, layout: Layout, offsets: Offsets, *, first: int = 0, threads: int | None = None
) -> U64:
    """XOR one bucket of each chunk for every vector, or of some chunks.

    Sums of all chunks are the XOR of those of some chunks and those of the others.

    Parameters
    ----------
    ciphertexts : uint8 array
        The buckets of the chunks that are summed up.
    layout : Layout
        Of the whole table.
    offsets : offsets of shape (n, chunks)
        Below `layout.chunk`; a column for each chunk that is here.
    first : int, default 0
        Number of the first of these chunks.
    threads : int, optional
        1 by default.

    Returns
    -------
    uint64 array of shape (n, words)

    Raises
    ------
    FramingError
        If there are not as many buckets as these chunks have.
    """
    chunks = offsets.shape[1]
    expected = chunks * layout.chunk * layout.bucket_bytes
    if ciphertexts.size != expected or not 0 <= first <= layout.chunks - chunks:
        raise FramingError(f"ciphertexts: expected {expected} bytes, got {ciphertexts.size}")
    words = frozen(ciphertexts.reshape(-1).view(np.uint64)).reshape(chunks * layout.chunk, -1)
    columns = frozen(offsets)
    found = np.empty((len(columns), words.shape[1]), dtype=np.uint64)

    def work(start: int, stop: int) -> None:
        gather(words, layout.chunk, columns, found, start, stop)

    run_ranges(work, len(found), threads or 1)
    return found

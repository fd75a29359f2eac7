"""The cloud's part: XORs of encrypted buckets. It holds no secret and learns none.

It imports neither the hospital's side nor any cryptography.
"""

from __future__ import annotations

import numpy as np

from ompd._kernels.retrieval import gather
from ompd.arrays import U8, frozen
from ompd.errors import FramingError, RangeError
from ompd.sealed.layout import Layout
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
    queries = check_request(layout, request)
    if layout.fetches == 0:
        return table.tobytes()
    offsets = frozen(np.frombuffer(request, dtype=layout.offset_type)).reshape(-1, layout.chunks)
    words = frozen(table.view(np.uint64)).reshape(layout.buckets, -1)
    answers = np.empty((queries * layout.fetches, words.shape[1]), dtype=np.uint64)

    def work(first: int, last: int) -> None:
        gather(words, layout.chunk, offsets, answers, first, last)

    run_ranges(work, len(answers), threads or 1)
    return answers.tobytes()

"""What the two profiles with blinded tables have in common."""

from __future__ import annotations

import numpy as np

from ompd.arrays import I64, U64
from ompd.errors import FramingError, NeighborsError, TooLargeError
from ompd.search import check_k
from ompd.wire import MAX_K, HardenedJob, PaperJob, Verdict, verdict_rows


def check_verdict(rows: int, classes: int) -> None:
    """Refuse at once what could not be answered in one frame.

    Raises
    ------
    TooLargeError
    """
    if rows > verdict_rows(classes):
        raise TooLargeError(f"rows: a verdict on {rows} queries would be above the cap")


def verdict(body: PaperJob | HardenedJob, k: int, codes: I64, votes: I64) -> Verdict:
    """Return class codes and votes as the answer to a job."""
    return Verdict(
        body.table_id,
        body.version,
        k,
        codes.astype("<u2").tobytes(),
        votes.astype("<u2").tobytes(),
    )


def words(data: bytes, width: int) -> U64:
    """Return uploaded values as 64-bit words, where they are whole rows of `width` bytes.

    Raises
    ------
    FramingError
    """
    if len(data) % width:
        raise FramingError(f"values: expected a multiple of {width} bytes")
    return np.frombuffer(data, dtype="<u8").astype(np.uint64, copy=False)


def labels_of(data: bytes, rows: int) -> I64:
    """Return uploaded class codes, one per row.

    Raises
    ------
    FramingError
    """
    if len(data) != 2 * rows:
        raise FramingError(f"labels: expected {rows} codes")
    return np.frombuffer(data, dtype="<u2").astype(np.int64)


def check_open_k(k: int, rows: int) -> None:
    """Refuse a K, or leaving its choice open, that the rows do not allow.

    Raises
    ------
    NeighborsError
    """
    if k:
        check_k(k, min(rows, MAX_K))
    elif rows < 2:
        raise NeighborsError("k: expected two instances or more to choose it by leave-one-out")

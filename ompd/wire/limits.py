"""How much fits into a frame."""

from __future__ import annotations

from ompd.errors import TooLargeError
from ompd.wire.kinds import CAPS, Kind

#: What a frame and its body hold besides long lists of numbers, generously.
_OVERHEAD = 1 << 20
#: What header, envelope, signature and small fields take at most.
_FRAMING = 4 << 10
_MOST_SUMS = 16 << 20


def content_cap(kind: Kind) -> int:
    """Most bytes of numbers that fit into a frame of this kind."""
    return CAPS[kind] - _OVERHEAD


def answer_cap(content: int) -> int:
    """Length that no frame with so many bytes of numbers is above."""
    return content + _FRAMING


def check_answer_size(size: int, content: int) -> None:
    """Refuse a frame that is longer than one with so many bytes of numbers can be.

    Raises
    ------
    TooLargeError
    """
    if size > (cap := answer_cap(content)):
        raise TooLargeError(f"frame: expected an answer of at most {cap} bytes")


def verdict_bytes(classes: int) -> int:
    """Bytes of numbers in a verdict, per query."""
    return 2 + 2 * classes


def verdict_rows(classes: int) -> int:
    """Most queries whose verdict fits into a frame."""
    return content_cap(Kind.VERDICT) // verdict_bytes(classes)


def sums_cap(table_bytes: int) -> int:
    """Most bytes of sums of buckets that one answer on a table of this size may hold.

    A request is short and its answer long, so what one frame may cost is bounded here: by 16 MiB
    or, if that is more, by the table, which can be had as a whole for no more.
    """
    return min(content_cap(Kind.SEALED_ANSWER), max(_MOST_SUMS, table_bytes))

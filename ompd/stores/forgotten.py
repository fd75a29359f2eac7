"""Times of frames that are no longer remembered."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Self

import msgspec

from ompd.errors import StoreError

#: Ranges kept apart. More are joined, which refuses a little more and never less.
_MOST = 16
#: Ranges that are as near as this, in milliseconds, are one.
_NEAR = 60_000


class Forgotten:
    """Ranges of time of which a memory has let frames go.

    A frame of such a time may have been received before, and is refused whatever the clock says.
    What a clock that ran ahead let go of lies in ranges of its own: the time between is free, so
    that nothing is refused once the clock is right again.

    Parameters
    ----------
    ranges : iterable of (first, last)
        In milliseconds since the epoch, both included.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int) -> None:
        """Add a range."""
        joined: list[tuple[int, int]] = []
        for start, end in sorted([*self._ranges, (first, last)]):
            if joined and start <= joined[-1][1] + _NEAR:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        if len(joined) > _MOST:
            gaps = [after[0] - before[1] for before, after in pairwise(joined)]
            place = gaps.index(min(gaps))
            joined[place : place + 2] = [(joined[place][0], joined[place + 1][1])]
        self._ranges = joined

    def until(self, timestamp: int) -> int | None:
        """Return the end of the range that a time lies in; None if it is free."""
        for first, last in self._ranges:
            if first <= timestamp <= last:
                return last
        return None

    def to_bytes(self) -> bytes:
        """Return the ranges for storage."""
        return msgspec.msgpack.encode(self._ranges)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Restore what `to_bytes` returned.

        Raises
        ------
        StoreError
            If the bytes are damaged.
        """
        try:
            return cls(msgspec.msgpack.decode(encoded, type=list[tuple[int, int]]))
        except msgspec.MsgspecError:
            problem = "replay memory: its state is damaged"
        raise StoreError(problem)

"""Memory of accepted frames within the freshness window."""

from __future__ import annotations

import heapq
import threading

from ompd.errors import ExpiredError, ReplayError, TooLargeError
from ompd.wire import Header

#: Frames remembered at once; beyond that a party refuses rather than forgets.
CAPACITY = 1_000_000


class ReplayGuard:
    """Accepts every authentic frame at most once, and only while it is fresh.

    Parameters
    ----------
    window : float
        Seconds that a timestamp may lie in the past or future.
    capacity : int
        Frames remembered at once.

    Notes
    -----
    A frame older than the window is refused by its timestamp, so nothing older need be
    remembered. The memory is the process's own: after a restart, frames of the last window could
    be played again.
    """

    def __init__(self, window: float, capacity: int = CAPACITY) -> None:
        self.window = window
        self._capacity = capacity
        self._seen: set[tuple[str, int, bytes, int]] = set()
        self._expiry: list[tuple[float, tuple[str, int, bytes, int]]] = []
        self._now = float("-inf")
        self._lock = threading.Lock()

    def check_time(self, header: Header, now: float) -> None:
        """Refuse a timestamp outside the window around `now` (seconds since the epoch).

        Raises
        ------
        ExpiredError
        """
        if abs(header.timestamp / 1000 - now) > self.window:
            raise ExpiredError(f"frame: expected a timestamp within {self.window:g} s of now")

    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing.

        Raises
        ------
        ReplayError
        """
        with self._lock:
            self._refuse_seen(_key(header))

    def claim(self, header: Header, now: float) -> None:
        """Remember a frame as received; of several threads with the same frame one succeeds.

        Raises
        ------
        ReplayError
            If it was claimed before.
        ExpiredError
            If it has become too old since `check_time`; its memory may be gone by then.
        TooLargeError
            If too many frames are fresh at the same time.
        """
        key = _key(header)
        with self._lock:
            # Never backwards, whatever the clock does: what was forgotten stays refused.
            self._now = max(self._now, now)
            if header.timestamp / 1000 + self.window < self._now:
                raise ExpiredError(f"frame: expected a timestamp within {self.window:g} s of now")
            while self._expiry and self._expiry[0][0] < self._now:
                self._seen.discard(heapq.heappop(self._expiry)[1])
            self._refuse_seen(key)
            if len(self._seen) >= self._capacity:
                raise TooLargeError("frame: too many frames within the freshness window")
            self._seen.add(key)
            heapq.heappush(self._expiry, (header.timestamp / 1000 + self.window, key))

    def _refuse_seen(self, key: tuple[str, int, bytes, int]) -> None:
        if key in self._seen:
            raise ReplayError("frame: was received before")


def _key(header: Header) -> tuple[str, int, bytes, int]:
    return header.sender, int(header.kind), header.nonce, header.sequence

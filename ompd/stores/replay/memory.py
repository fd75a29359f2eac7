"""Accepted frames and their answers in the memory of one process."""

from __future__ import annotations

import heapq
import threading
from collections import OrderedDict
from collections.abc import Sequence

from ompd.errors import FrameError
from ompd.stores.forgotten import Forgotten
from ompd.stores.replay.guard import (
    CAPACITY,
    FIRST,
    OUTBOX_ANSWERS,
    OUTBOX_BYTES,
    FrameGuard,
    digest_of,
    full,
    let_go,
    replayed,
)
from ompd.wire import Header


class ReplayGuard(FrameGuard):
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
    remembered. The times of what was forgotten are, so that a clock set back revives nothing; see
    `DurableReplayGuard`. The memory is the process's own: after a restart, frames of the last
    window could be played again. `DurableReplayGuard` remembers them.
    """

    def __init__(self, window: float, capacity: int = CAPACITY) -> None:
        super().__init__(window)
        self._capacity = capacity
        self._seen: dict[bytes, bytes] = {}
        self._expiry: list[tuple[int, bytes]] = []
        self._latest = FIRST
        self._forgotten = Forgotten()
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing."""
        with self._lock:
            seen = digest_of(header) in self._seen
        if seen:
            raise replayed()

    def claim_many(
        self, claims: Sequence[tuple[Header, bytes]], now: float
    ) -> list[FrameError | None]:
        """Claim frames one after the other; of several threads with the same one, one succeeds."""
        before, after = self._bounds(now)
        with self._lock:
            old = []
            while self._expiry and self._expiry[0][0] < before:
                old.append(heapq.heappop(self._expiry))
            self._forget(old)
            return [
                self._outdated(header, now) or self._claim(header, now, content, after)
                for header, content in claims
            ]

    def _claim(self, header: Header, now: float, content: bytes, after: int) -> FrameError | None:
        if (until := self._forgotten.until(header.timestamp)) is not None:
            return let_go(until, now)
        key = digest_of(header)
        if key in self._seen:
            return replayed()
        if len(self._seen) >= self._capacity and self._latest > after:
            # Of a clock that was ahead; they would stay until it is there again.
            self._forget([entry for entry in self._expiry if entry[0] > after])
            self._expiry = [entry for entry in self._expiry if entry[0] <= after]
            heapq.heapify(self._expiry)
            self._latest = after
        if len(self._seen) >= self._capacity:
            return full()
        self._seen[key] = content
        self._latest = max(self._latest, header.timestamp)
        heapq.heappush(self._expiry, (header.timestamp, key))
        return None

    def keep_many(self, answers: Sequence[tuple[Header, bytes]]) -> None:
        """Remember answers to claimed frames until their freshness ends, if there is room."""
        with self._lock:
            for header, answer in answers:
                key = digest_of(header)
                if key not in self._seen or len(answer) > OUTBOX_BYTES // 4:
                    continue
                self._drop(key)
                self._answers[key] = answer
                self._held += len(answer)
                while self._held > OUTBOX_BYTES or len(self._answers) > OUTBOX_ANSWERS:
                    self._drop(next(iter(self._answers)))

    def answer(self, header: Header, content: bytes) -> bytes | None:
        """Return the answer to a claimed frame; None if there is none yet, or no longer."""
        key = digest_of(header)
        with self._lock:
            if self._seen.get(key, content) != content:
                raise replayed()
            return self._answers.get(key)

    def _forget(self, entries: list[tuple[int, bytes]]) -> None:
        for _, key in entries:
            del self._seen[key]
            self._drop(key)
        if entries:
            self._forgotten.add(min(entries)[0], max(entries)[0])

    def _drop(self, key: bytes) -> None:
        self._held -= len(self._answers.pop(key, b""))

"""Sessions of a party that asks, and how far it has counted in each."""

from __future__ import annotations

import os
import secrets
import threading


class Sessions:
    """A random session with each other party, and how many requests it has had.

    One per party, so that neither the number nor the count tells one of them of another. A forked
    process draws its own: what both counted on would be taken for a replay.
    """

    def __init__(self) -> None:
        self._begin()

    def next(self, other: str) -> tuple[bytes, int]:
        """Return session and sequence of the next request."""
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            session, last = self._last.get(other, (secrets.token_bytes(16), -1))
            self._last[other] = session, last + 1
            return session, last + 1

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._last: dict[str, tuple[bytes, int]] = {}

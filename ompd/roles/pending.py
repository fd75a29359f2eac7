"""Requests that await an answer."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from ompd.errors import ContextMismatchError, TooLargeError
from ompd.wire import Header

T = TypeVar("T")
#: Requests open at once.
CAPACITY = 100_000


class Pending(Generic[T]):
    """Contexts of open requests, found again by the answer's peer, nonce and sequence.

    Parameters
    ----------
    lifetime : float
        Seconds after which an unanswered request is forgotten.
    capacity : int
    """

    def __init__(self, lifetime: float, capacity: int = CAPACITY) -> None:
        self._lifetime = lifetime
        self._capacity = capacity
        # Insertion order is expiry order, since every request lives equally long.
        self._open: dict[tuple[str, bytes, int], tuple[float, T]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, peer: str, nonce: bytes, sequence: int, context: T, now: float) -> None:
        """Remember a request.

        Raises
        ------
        TooLargeError
            If too many are open.
        """
        with self._lock:
            self._forget_old(now)
            if len(self._open) >= self._capacity:
                raise TooLargeError(f"requests: expected at most {self._capacity} open at once")
            self._open[peer, nonce, sequence] = (now + self._lifetime, context)

    def contexts(self, now: float) -> list[T]:
        """Return the contexts of all open requests."""
        with self._lock:
            self._forget_old(now)
            return [context for _, context in self._open.values()]

    def find(self, answer: Header, now: float) -> T:
        """Return the context that an answer belongs to; it stays open.

        Raises
        ------
        ContextMismatchError
            If no request to that peer is open under this nonce and sequence.
        """
        with self._lock:
            self._forget_old(now)
            found = self._open.get((answer.sender, answer.nonce, answer.sequence))
        if found is None:
            raise ContextMismatchError("frame: expected the answer to an open request")
        return found[1]

    def close(self, peer: str, nonce: bytes, sequence: int) -> None:
        """Forget a request.

        Raises
        ------
        ContextMismatchError
            If another thread closed it first.
        """
        with self._lock:
            found = self._open.pop((peer, nonce, sequence), None)
        if found is None:
            raise ContextMismatchError("frame: expected the answer to an open request")

    def _forget_old(self, now: float) -> None:
        while self._open:
            oldest = next(iter(self._open))
            if self._open[oldest][0] >= now:
                break
            del self._open[oldest]

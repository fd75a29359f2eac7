"""Queries that this process has taken up and that have no kept answer yet."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ompd.errors import ReplayError
from ompd.wire import Header

#: Sender, nonce and sequence of a query.
_Key = tuple[str, bytes, int]


class Underway:
    """Tells queries that somebody works on from those that nobody will answer. For several threads.

    A query is added before it is claimed and removed after its answer is kept, so one that is
    claimed and neither here nor answered was left by another process.
    """

    def __init__(self) -> None:
        self._keys: set[_Key] = set()
        self._lock = threading.Lock()

    def add(self, header: Header) -> None:
        """Add a query.

        Raises
        ------
        ReplayError
            If it is here already: as a copy in the same batch, or in another thread's.
        """
        key = _key(header)
        with self._lock:
            if key in self._keys:
                raise ReplayError("frame: was received before")
            self._keys.add(key)

    def remove(self, headers: Iterable[Header]) -> None:
        """Remove queries."""
        with self._lock:
            self._keys.difference_update(map(_key, headers))

    def __contains__(self, header: Header) -> bool:
        with self._lock:
            return _key(header) in self._keys


def _key(header: Header) -> _Key:
    return header.sender, header.nonce, header.sequence

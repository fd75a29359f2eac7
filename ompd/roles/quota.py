"""What one user may take of what all users share."""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass, field

from ompd.errors import ParameterError, QuotaError
from ompd.roles.pending import CAPACITY
from ompd.roles.retrieval import TableRef
from ompd.wire import MAX_BATCH


@dataclass(slots=True, repr=False)
class _Window:
    """What each user has taken of one table's hints."""

    version: int
    room: int
    taken: Counter[str] = field(default_factory=Counter)


class Quota:
    """Bounds what a user takes of a window of hints, and how much of theirs is open at once.

    Parameters
    ----------
    share : float
        Above 0, up to 1. Of the queries of a window that other users have not taken, one user may
        take this share, so that some are always left to others. What is above it, or comes when a
        window is spent, has the whole table sent and a new window begun; below 1, one user has one
        such job at a time. The same share bounds the queries that one user may have open of all
        that may be open.

    Raises
    ------
    ParameterError
    """

    def __init__(self, share: float) -> None:
        if not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise ParameterError("share: expected a number above 0, up to 1")
        self._share = share
        self._lock = threading.Lock()
        self._windows: dict[bytes, _Window] = {}
        self._frames: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._wholes: Counter[str] = Counter()

    def take(self, user: str, rows: int) -> None:
        """Count a query of so many rows as open, or refuse it.

        Raises
        ------
        QuotaError
        """
        with self._lock:
            if self._frames[user] >= math.ceil(self._share * CAPACITY):
                raise QuotaError("query: its user has too many open")
            if self._rows[user] + rows > MAX_BATCH:
                raise QuotaError(f"query: expected at most {MAX_BATCH} rows of one user open")
            self._frames[user] += 1
            self._rows[user] += rows

    def end(self, user: str, rows: int) -> None:
        """Count a query as no longer open."""
        with self._lock:
            self._frames[user] -= 1
            self._rows[user] -= rows
            if self._frames[user] <= 0:
                del self._frames[user], self._rows[user]

    def take_hints(self, user: str, rows: int, ref: TableRef, room: int) -> bool:
        """Count a query among those that use hints up, unless it is above its user's share.

        Parameters
        ----------
        user : str
        rows : int
        ref : TableRef
            Of the table that is asked.
        room : int
            Rows that its window still serves.
        """
        with self._lock:
            window = self._windows.get(ref.table_id)
            # Within a window its room only shrinks.
            if window is None or window.version != ref.version or room > window.room:
                window = self._windows[ref.table_id] = _Window(ref.version, room)
            window.room = room
            before = window.taken[user]
            if before + rows > math.ceil(self._share * (before + room)):
                return False
            window.taken[user] += rows
            window.room -= rows
            return True

    def untake_hints(self, user: str, rows: int, ref: TableRef) -> None:
        """Forget a query that came to nothing before it used hints up."""
        with self._lock:
            window = self._windows.get(ref.table_id)
            if window is not None and window.version == ref.version:
                window.taken[user] = max(0, window.taken[user] - rows)
                window.room += rows

    def may_take_whole(self, user: str) -> bool:
        """Tell whether a user may have a whole table sent in place of hints."""
        with self._lock:
            return self._share == 1 or not self._wholes[user]

    def take_whole(self, user: str) -> None:
        """Count a job that has a whole table sent for a user."""
        with self._lock:
            self._wholes[user] += 1

    def end_whole(self, user: str) -> None:
        """Count such a job as over."""
        with self._lock:
            self._wholes[user] -= 1
            if self._wholes[user] <= 0:
                del self._wholes[user]

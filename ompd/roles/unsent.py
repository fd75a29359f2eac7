"""Reports that are made and have not left yet."""

from __future__ import annotations

import threading
from typing import NamedTuple

from ompd.roles.reports import Reports

#: A job: its cloud and its nonce.
Key = tuple[str, bytes]


class Kept(NamedTuple):
    """The reports on one job.

    Attributes
    ----------
    expires : float
        Until when they are fresh.
    answer_bytes : int
        Bytes of numbers in the answer to the job, should it come after all.
    reports : Reports
    """

    expires: float
    answer_bytes: int
    reports: Reports


class Unsent:
    """Reports that no call has returned, by their job. For several threads."""

    def __init__(self) -> None:
        # Insertion order is expiry order, since all are fresh equally long.
        self._kept: dict[Key, Kept] = {}
        self._lock = threading.Lock()

    def keep(self, key: Key, kept: Kept) -> None:
        """Keep the reports on a job."""
        with self._lock:
            self._kept[key] = kept

    def find(self, key: Key) -> Kept | None:
        """Return what is kept on a job; it stays."""
        with self._lock:
            return self._kept.get(key)

    def take(self, key: Key) -> Reports | None:
        """Return the reports on a job, which are not kept any longer; None if there are none."""
        with self._lock:
            kept = self._kept.pop(key, None)
        return None if kept is None else kept.reports

    def take_all(self, now: float) -> Reports:
        """Return all reports that are still fresh."""
        with self._lock:
            kept, self._kept = self._kept, {}
        reports = Reports()
        for each in kept.values():
            if each.expires >= now:
                reports.add(each.reports)
        return reports

    def forget_old(self, now: float) -> None:
        """Let go of what nobody would accept any more."""
        with self._lock:
            while self._kept:
                oldest = next(iter(self._kept))
                if self._kept[oldest].expires >= now:
                    break
                del self._kept[oldest]

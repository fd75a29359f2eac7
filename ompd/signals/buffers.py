"""Samples of a stream that are needed for windows that are still open."""

from __future__ import annotations

import numpy as np

from ompd.signals.windows import MARGIN, PERIOD, Floats, Samples

#: Most samples of one stream that wait: some hundred times as many as a sensor sends.
MOST_SAMPLES = 4_000_000


class Buffer:
    """What waits of one stream.

    Parameters
    ----------
    times, values : (n,) array, optional
        What waits already.
    """

    def __init__(self, times: Floats | None = None, values: Floats | None = None) -> None:
        self._times = np.empty(0) if times is None else times
        self._values = np.empty(0) if values is None else values
        self._fresh: list[tuple[Floats, Floats]] = []
        self._size = self._times.size

    def add(self, times: Floats, values: Floats) -> int:
        """Take samples in any order; returns how many were left out, since there are too many."""
        room = max(0, MOST_SAMPLES - self._size)
        if times.size and room:
            self._fresh.append((times[:room], values[:room]))
            self._size += min(room, times.size)
        return max(0, times.size - room)

    def arrays(self) -> tuple[Floats, Floats]:
        """Return times and values, sorted by both."""
        if self._fresh:
            times = np.concatenate([self._times, *(times for times, _ in self._fresh)])
            values = np.concatenate([self._values, *(values for _, values in self._fresh)])
            order = np.lexsort((values, times))
            self._times, self._values = times[order], values[order]
            self._fresh.clear()
        return self._times, self._values

    def next_window(self, window: int) -> int | None:
        """Return the number of the first window from this one on that has a sample."""
        times, _ = self.arrays()
        place = int(np.searchsorted(times, window * PERIOD))
        return None if place == times.size else int(times[place] // PERIOD)

    def samples(self, window: int) -> Samples:
        """Return what came of a window and its margins."""
        times, values = self.arrays()
        start = window * PERIOD - MARGIN
        end = (window + 1) * PERIOD + MARGIN
        first, last = np.searchsorted(times, (start, end))
        return Samples(times[first:last] - start, values[first:last])

    def forget(self, window: int) -> None:
        """Forget what no window from this one on needs."""
        times, values = self.arrays()
        first = int(np.searchsorted(times, window * PERIOD - MARGIN))
        self._times, self._values = times[first:].copy(), values[first:].copy()
        self._size = self._times.size

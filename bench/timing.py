"""Fair timing of alternatives on a noisy machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def medians(
    alternatives: dict[str, Callable[[], Any]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds per call of every alternative.

    Each is called once unmeasured, so that compilation and page faults stay outside; after that
    the alternatives take turns, so that a busy moment of the machine hits all of them. With
    `time.process_time` as clock, what others do on it hardly counts.
    """
    for run in alternatives.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(rounds):
        for name, run in alternatives.items():
            start = clock()
            run()
            times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}

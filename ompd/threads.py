"""Threads for kernels that release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from itertools import pairwise


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # Keyed by process id: threads do not survive a fork.
    return ThreadPoolExecutor(threads, thread_name_prefix="ompd")


def run_ranges(
    task: Callable[[int, int], None], count: int, threads: int, smallest: int = 1
) -> None:
    """Call ``task(first, last)`` on ranges that cover ``range(count)``.

    Parameters
    ----------
    task : callable
        Kernel call that releases the interpreter lock and writes to disjoint places.
    count : int
        Number of items.
    threads : int
        At most so many at a time; 1 stays on the calling thread.
    smallest : int, default 1
        Fewest items that are worth a thread.
    """
    parts = min(threads, max(1, count // max(1, smallest)))
    if parts <= 1:
        task(0, count)
        return
    # Four ranges a thread even out unequal work.
    helpers = parts - 1
    parts = min(4 * parts, max(parts, count // max(1, smallest)))
    edges = [count * part // parts for part in range(parts + 1)]
    ranges = iter(list(pairwise(edges)))

    def work() -> None:
        for first, last in ranges:
            task(first, last)

    # The calling thread works too, and does everything if the others wake up too late.
    others = [_pool(threads, os.getpid()).submit(work) for _ in range(helpers)]
    try:
        work()
    finally:
        started = [other for other in others if not other.cancel()]
        wait(started)
    for other in started:
        other.result()


def default_threads() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""Threads for kernels that release the interpreter lock, and how many there may be.

No result depends on their number.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import pairwise

from ompd.errors import ParameterError

#: Says how many threads there may be where a caller does not.
VARIABLE = "OMPD_THREADS"
_given: ContextVar[int | None] = ContextVar("ompd_threads", default=None)


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
    except BaseException:
        # Whoever interrupts waits for what is begun, and not for all that is left.
        for _ in ranges:
            pass
        raise
    finally:
        started = [other for other in others if not other.cancel()]
        wait(started)
    for other in started:
        other.result()


def run_halves(
    halve: Callable[[int, int], int],
    finish: Callable[[int, int], None],
    count: int,
    most: int,
    threads: int,
    report: Callable[[float], None],
) -> None:
    """Halve ``range(count)`` level by level until parts are small, then finish each of them.

    One kernel that does all levels at once could be interrupted only at its end.

    Parameters
    ----------
    halve : callable
        ``halve(first, last)`` works on a part and returns where it is split.
    finish : callable
        ``finish(first, last)`` works on a part that is not halved any more.
    count : int
    most : int
        Parts of more than so many items, at least 1, are halved.
    threads : int
        At most so many parts at a time.
    report : callable
        Called with the finished share from 0 to 1, on the calling thread only.
    """
    caller = threading.get_ident()
    parts = [(0, count)] if count else []
    # Of uneven halves there may be one level more.
    levels = max(1, (max(0, count - 1) // most).bit_length())
    level = 0
    while (halved := _halved(parts, halve, most, threads)) != parts:
        parts = halved
        level += 1
        report(0.5 * min(1.0, level / levels))
    finished: list[None] = []

    def end(first: int, last: int) -> None:
        for part in parts[first:last]:
            finish(*part)
            finished.append(None)
            if threading.get_ident() == caller:
                report(0.5 + 0.5 * len(finished) / len(parts))

    run_ranges(end, len(parts), threads)


def _halved(
    parts: list[tuple[int, int]], halve: Callable[[int, int], int], most: int, threads: int
) -> list[tuple[int, int]]:
    middles = [last for _, last in parts]

    def task(first: int, last: int) -> None:
        for number in range(first, last):
            start, stop = parts[number]
            if stop - start > most:
                middles[number] = halve(start, stop)

    run_ranges(task, len(parts), threads)
    return list(pairwise(sorted({0, *middles, *(last for _, last in parts)})))


def default_threads() -> int:
    """Return how many threads there may be.

    What `at_most` says, else the environment variable ``OMPD_THREADS``, else the number of
    processors that this process may use.

    Raises
    ------
    ParameterError
        If the variable is no positive integer.
    """
    given = _given.get()
    if given is not None:
        return given
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return processors()
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ParameterError(f"{VARIABLE}: expected a positive integer")
    return int(text)


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def part_of(
    progress: Callable[[float], None] | None, first: float, last: float
) -> Callable[[float], None]:
    """Return what a part of some work reports its share to: from one share of all to another."""
    return lambda share: None if progress is None else progress(first + (last - first) * share)


@contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Let what is called here use so many threads; None leaves it as it is.

    Parameters
    ----------
    threads : int or None
        Negative as in scikit-learn: -1 for all processors, -2 for all but one.

    Raises
    ------
    ParameterError
        If it is no integer, or 0.
    """
    if threads is None:
        yield
        return
    if isinstance(threads, bool) or not hasattr(threads, "__index__") or not int(threads):
        raise ParameterError("threads: expected a positive integer, -1 for all, or None")
    number = int(threads)
    token = _given.set(number if number > 0 else max(1, processors() + 1 + number))
    try:
        yield
    finally:
        _given.reset(token)

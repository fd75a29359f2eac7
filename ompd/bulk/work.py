"""Parts of a table, worked on by several threads, for as long as nobody interrupts."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

from ompd.roles import Diagnoses

Part = tuple[int, int]
#: Seconds between looks at what is done.
_LOOK = 0.1


def in_parts(
    work: Callable[[int, int], Diagnoses],
    rows: int,
    size: Callable[[], int],
    threads: int,
    advance: Callable[[int], None],
) -> dict[Part, Diagnoses]:
    """Call ``work(first, last)`` on ranges that cover ``range(rows)``, and gather what it returns.

    All of it happens in other threads, while this one waits: an interruption (Ctrl-C) meets no
    half-done step. What is under way then is finished, and what is not begun is left out. Another
    interruption ends the waiting as well.

    Parameters
    ----------
    work : callable
    rows : int
        In all.
    size : callable
        Returns how many the next part is to have.
    threads : int
    advance : callable
        Called with the number of rows that are done, whenever there are more.

    Returns
    -------
    dict of (first, last) to Diagnoses

    Raises
    ------
    Exception
        The first that `work` raises; no part is begun after it.
    KeyboardInterrupt
        If it comes twice, or before anything has begun.
    """
    begun = 0
    found: dict[Part, Diagnoses] = {}
    failures: list[BaseException] = []
    lock = threading.Lock()
    stop = threading.Event()
    over = threading.Event()
    working = max(1, threads)

    def run() -> None:
        nonlocal begun, working
        try:
            while not stop.is_set():
                with lock:
                    part = begun, min(begun + size(), rows)
                    begun = part[1]
                if part[0] == rows:
                    break
                found[part] = work(*part)
        except BaseException as error:  # it is raised where it can be caught
            stop.set()
            failures.append(error)
        with lock:
            working -= 1
            if not working:
                over.set()

    # What holds for this thread, such as how many threads there may be, holds there too.
    workers = [
        threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
        for _ in range(working)
    ]
    told = 0

    def watch() -> None:
        nonlocal told
        while True:
            try:
                # Not by joining threads: one whose joining is interrupted counts as ended (3.11).
                while not over.wait(_LOOK):
                    done = sum(last - first for first, last in list(found))
                    advance(done - told)
                    told = done
                break
            except KeyboardInterrupt:
                if stop.is_set():
                    raise
                stop.set()

    try:
        for worker in workers:
            worker.start()
        watch()
    except BaseException:
        # An interruption may come between any two statements, those of `watch` as well.
        stop.set()
        raise
    advance(sum(last - first for first, last in found) - told)
    if failures:
        raise failures[0]
    return found

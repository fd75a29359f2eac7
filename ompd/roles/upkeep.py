"""What a cloud does by itself: it ends versions of tables when their time is over, and erases rows.

A thread of its own sleeps until something is due and ends when nothing is. All that it needs is on
the versions themselves, so that it goes on after a restart.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from ompd.errors import OmpdError
from ompd.stores.tables import Tables, Version

_LOGGER = logging.getLogger("ompd.party")
#: Seconds until what failed, or waits for a job, is tried again, and the longest sleep: clocks may
#: be set while it lasts.
_AGAIN = 1.0
_LONGEST = 30.0


class Upkeep:
    """The upkeep of one cloud's tables.

    Parameters
    ----------
    tables : Tables
    now : callable
        The cloud's clock.
    lock : Lock
        Held by whoever lets the place keep versions.
    """

    def __init__(self, tables: Tables, now: Callable[[], float], lock: threading.Lock) -> None:
        self._tables = tables
        self._now = now
        self._lock = lock
        self._jobs: Counter[tuple[bytes, int]] = Counter()
        self._changing: dict[bytes, threading.Lock] = {}
        self._guard = threading.Lock()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._again = False
        self._closed = False
        # The thread does not keep a cloud alive that nobody uses any more.
        weakref.finalize(self, self._woken.set)

    @contextlib.contextmanager
    def running(self, table_id: bytes, version: int) -> Iterator[None]:
        """Keep the rows of a version, which a job is looked up and answered with, from erasing."""
        with self._guard:
            self._jobs[table_id, version] += 1
        try:
            yield
        finally:
            with self._guard:
                self._jobs[table_id, version] -= 1
                if not self._jobs[table_id, version]:
                    del self._jobs[table_id, version]

    @contextlib.contextmanager
    def changing(self, table_id: bytes) -> Iterator[None]:
        """Let nobody else change a table, or erase rows of it."""
        with self._guard:
            lock = self._changing.setdefault(table_id, threading.Lock())
        with lock:
            yield

    def living(self, versions: tuple[Version, ...]) -> tuple[Version, ...]:
        """Return the versions whose time is not over."""
        now = self._now()
        return tuple(each for each in versions if each.expires is None or now <= each.expires)

    def tidy(self) -> None:
        """Remove all versions whose time is over, and erase the rows that no version has any more.

        Raises
        ------
        StoreError
            If the place refuses; another try may follow.
        """
        self._again = False
        for table_id in self._tables.kept():
            with self.changing(table_id):
                self._tidy(table_id)

    def plan(self, *, soon: bool = False) -> None:
        """Let the thread look what is due, and when; with `soon`, do what can be done at once."""
        with self._guard:
            self._again = self._again or soon
            if self._closed:
                return
            if self._thread is None or not self._thread.is_alive():  # as after a fork
                reference, woken = weakref.ref(self), self._woken
                self._thread = threading.Thread(
                    target=_keep_up, args=(reference, woken), name="ompd-upkeep", daemon=True
                )
                self._thread.start()
            else:
                self._woken.set()

    def close(self) -> None:
        """End the thread, once what it does is done."""
        with self._guard:
            self._closed = True
            thread = self._thread
        self._woken.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def step(self) -> float | None:
        """Do what is due; return how many seconds nothing is, or None if nothing ever is."""
        with self._guard:
            due = self._due()
            if due is None or self._closed:
                self._thread = None
                return None
            if due > 0:
                return min(due, _LONGEST)
        try:
            self.tidy()
        except OmpdError as error:
            _LOGGER.warning("tables cannot be tidied, which is tried again: %s", error)
            self._again = True
            return _AGAIN
        return _AGAIN if self._again else 0.0

    def _due(self) -> float | None:
        """Seconds until something is due, if anything is."""
        if self._again:
            return 0.0
        ends = [
            each.expires
            for versions in self._tables.kept().values()
            for each in versions
            if each.expires is not None
        ]
        # A version answers until its last moment.
        return max(0.0, min(ends) - self._now() + 0.001) if ends else None

    def _tidy(self, table_id: bytes) -> None:
        with self._lock:
            versions = self._tables.versions(table_id)
            living = self.living(versions)
            with self._guard:
                asked = {version for table, version in self._jobs if table == table_id}
            if asked - {each.version for each in living}:
                # What such a job still reads must not change.
                self._again = True
                return
            if living != versions:
                self._tables.keep(table_id, living)
        tended = {each.version: each for each in self._tables.tended(table_id)}
        if not tended:
            return
        try:
            with self._lock:
                now = tuple(
                    replace(each, stored=new.stored, index=new.index)
                    if (new := tended.get(each.version)) is not None and new.home == each.home
                    else each
                    for each in self._tables.versions(table_id)
                )
                self._tables.keep(table_id, now)
        except BaseException:
            for each in tended.values():
                self._tables.discard(each)
            raise
        self._tables.erase(table_id)


def _keep_up(reference: weakref.ref[Upkeep], woken: threading.Event) -> None:
    while True:
        upkeep = reference()
        delay = None if upkeep is None else upkeep.step()
        if delay is None:
            return
        del upkeep
        woken.wait(delay)
        woken.clear()

"""What a cloud does by itself: it ends versions of tables when their time is over, and erases rows.

A thread of its own sleeps until something is due and ends when nothing is. All that it needs is on
the versions themselves, so that it goes on after a restart.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ompd.errors import OmpdError
from ompd.roles.post import UPLOAD_WINDOW
from ompd.stores.tables import Tables, Version

_LOGGER = logging.getLogger("ompd.party")
#: Seconds until what waits for a job, or failed, is tried again, twice as many after every failure
#: more; and the longest sleep: clocks may be set while it lasts.
_AGAIN = 1.0
_LONGEST = 30.0


@dataclass(slots=True, eq=False)
class _Changing:
    """Who changes a table, one after the other."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class Upkeep:
    """The upkeep of one cloud's tables.

    Parameters
    ----------
    tables : Tables
    now : callable
        The cloud's clock.
    lock : Lock
        Held by whoever lets the place keep versions.
    window : float
        How many seconds a version may go on once it is to end.
    """

    def __init__(
        self,
        tables: Tables,
        now: Callable[[], float],
        lock: threading.Lock,
        window: float,
    ) -> None:
        self._tables = tables
        self._now = now
        self._lock = lock
        self._window = window
        self._failures = 0
        self._jobs: Counter[tuple[bytes, int]] = Counter()
        # Locks of tables that are changed just now, or are to be, and by how many.
        self._changing: dict[bytes, _Changing] = {}
        self._again = False
        self._closed = False
        self.begin()
        _all.add(self)

    def begin(self) -> None:
        """Begin without a thread, as in a process that was forked: locks may be held there."""
        self._guard = threading.Lock()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
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
            found = self._changing.setdefault(table_id, _Changing())
            found.users += 1
        try:
            with found.lock:
                yield
        finally:
            with self._guard:
                found.users -= 1
                if not found.users:
                    # Anybody may name a table that there is not.
                    del self._changing[table_id]

    def living(self, versions: tuple[Version, ...]) -> tuple[Version, ...]:
        """Return the versions whose time is not over."""
        now = self._now()
        return tuple(each for each in versions if each.expires is None or now <= each.expires)

    def tidy(self) -> None:
        """Remove all versions whose time is over, and erase the rows that no version has any more.

        Raises
        ------
        StoreError
            If the place refuses something, when all others are done; another try may follow.
        """
        with self._guard:
            self._again = False
        problem: OmpdError | None = None
        for table_id in self._tables.kept():
            try:
                with self.changing(table_id):
                    self._tidy(table_id)
            except OmpdError as error:
                # It must not keep the rows of other tables.
                problem = problem or error
        if self._tables.littered:
            self._tables.sweep()
        if problem is not None:
            raise problem

    def plan(self, *, soon: bool = False) -> None:
        """Let the thread look what is due, and when; with `soon`, do what can be done at once."""
        with self._guard:
            self._again = self._again or soon
            if self._closed:
                return
            if self._thread is None or not self._thread.is_alive():
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
        except Exception as error:
            # Whatever it is, what is due must not be forgotten. Of an error that is not one of this
            # library the text could hold what is in the tables.
            reason = str(error) if isinstance(error, OmpdError) else type(error).__name__
            _LOGGER.warning("tables cannot be tidied, which is tried again: %s", reason)
            self._again = True
            self._failures += 1
            return float(min(_LONGEST, _AGAIN * 2 ** min(self._failures - 1, 10)))
        self._failures = 0
        return _AGAIN if self._again else 0.0

    def _due(self) -> float | None:
        """Seconds until something is due, if anything is."""
        if self._again or self._tables.littered:
            return 0.0
        versions = [each for found in self._tables.kept().values() for each in found]
        if tuple(versions) != self._timely(tuple(versions)):
            return 0.0
        ends = [each.expires for each in versions if each.expires is not None]
        # A version answers until its last moment.
        return max(0.0, min(ends) - self._now() + 0.001) if ends else None

    def _timely(self, versions: tuple[Version, ...]) -> tuple[Version, ...]:
        """Let no version end later than it may: the clock may have been set back."""
        now = self._now()
        return tuple(
            replace(each, expires=latest)
            if each.expires is not None
            and each.expires > (latest := now + longest(each, self._window)) + 1
            else each
            for each in versions
        )

    def _tidy(self, table_id: bytes) -> None:
        with self._lock:
            versions = self._tables.versions(table_id)
            living = self._timely(self.living(versions))
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


def longest(version: Version, window: float) -> float:
    """Seconds that a version may go on once it is to end."""
    # What ends a table stays longer than an upload of it may still be under way.
    return 2 * UPLOAD_WINDOW if version.withdrawn else window


def _keep_up(reference: weakref.ref[Upkeep], woken: threading.Event) -> None:
    while True:
        upkeep = reference()
        delay = None if upkeep is None else upkeep.step()
        if delay is None:
            return
        del upkeep
        woken.wait(delay)
        woken.clear()


_all: weakref.WeakSet[Upkeep] = weakref.WeakSet()


def _after_fork() -> None:
    for upkeep in list(_all):
        upkeep.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

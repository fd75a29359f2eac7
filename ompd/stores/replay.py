"""Memory of accepted frames within the freshness window, in the process or in a file."""

from __future__ import annotations

import hashlib
import heapq
import math
import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from typing import Self

import msgspec

from ompd.errors import (
    ExpiredError,
    FrameError,
    ParameterError,
    ReplayError,
    StoreError,
    TooLargeError,
)
from ompd.stores.database import Database
from ompd.wire import Header

#: Frames remembered at once; beyond that a party refuses rather than forgets.
CAPACITY = 1_000_000
#: Forgotten per claim at most; more than one, so that memory shrinks, and few, so that no frame
#: pays for the thousands before it.
_FORGET_AT_ONCE = 64


class FrameGuard(ABC):
    """What a party asks before it accepts a frame.

    Parameters
    ----------
    window : float
        Seconds that a timestamp may lie in the past or future.
    """

    def __init__(self, window: float) -> None:
        self.window = window

    def check_time(self, header: Header, now: float) -> None:
        """Refuse a timestamp outside the window around `now` (seconds since the epoch).

        Raises
        ------
        ExpiredError
        """
        if abs(header.timestamp / 1000 - now) > self.window:
            raise self._expired()

    @abstractmethod
    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing.

        Raises
        ------
        ReplayError
        """

    @abstractmethod
    def claim(self, header: Header, now: float) -> None:
        """Remember a frame as received; of several claims of the same frame one succeeds.

        Raises
        ------
        ReplayError
            If it was claimed before.
        ExpiredError
            If it has become too old since `check_time`; its memory may be gone by then.
        TooLargeError
            If too many frames are fresh at the same time.
        """

    def _expired(self) -> ExpiredError:
        return ExpiredError(f"frame: expected a timestamp within {self.window:g} s of now")


class ReplayGuard(FrameGuard):
    """Accepts every authentic frame at most once, and only while it is fresh.

    Parameters
    ----------
    window : float
        Seconds that a timestamp may lie in the past or future.
    capacity : int
        Frames remembered at once.

    Notes
    -----
    A frame older than the window is refused by its timestamp, so nothing older need be
    remembered. The memory is the process's own: after a restart, frames of the last window could
    be played again. `DurableReplayGuard` remembers them.
    """

    def __init__(self, window: float, capacity: int = CAPACITY) -> None:
        super().__init__(window)
        self._capacity = capacity
        self._seen: set[tuple[str, int, bytes, int]] = set()
        self._expiry: list[tuple[float, tuple[str, int, bytes, int]]] = []
        self._now = float("-inf")
        self._lock = threading.Lock()

    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing."""
        with self._lock:
            self._refuse_seen(_key(header))

    def claim(self, header: Header, now: float) -> None:
        """Remember a frame as received; of several threads with the same frame one succeeds."""
        key = _key(header)
        with self._lock:
            # Never backwards, whatever the clock does: what was forgotten stays refused.
            self._now = max(self._now, now)
            if header.timestamp / 1000 + self.window < self._now:
                raise self._expired()
            while self._expiry and self._expiry[0][0] < self._now:
                self._seen.discard(heapq.heappop(self._expiry)[1])
            self._refuse_seen(key)
            if len(self._seen) >= self._capacity:
                raise _full()
            self._seen.add(key)
            heapq.heappush(self._expiry, (header.timestamp / 1000 + self.window, key))

    def _refuse_seen(self, key: tuple[str, int, bytes, int]) -> None:
        if key in self._seen:
            raise _replayed()


class DurableReplayGuard(FrameGuard):
    """A `ReplayGuard` whose memory is a file, shared by threads and processes.

    Parameters
    ----------
    path : path
        SQLite file; created if missing, with mode 0600. Two more appear beside it while it is
        open. It must lie on a local file system.
    window : float
        Seconds that a timestamp may lie in the past or future. Whoever uses a file together uses
        the same window; it may be another than last time.
    capacity : int
        Frames remembered at once.
    power_safe : bool, default True
        Whether every claim waits for the disk. Without it, claims of the last moments may be lost
        when the machine loses power; they survive the end of the process either way.

    Raises
    ------
    StoreError
        If the file is damaged, foreign, writable by others, or locked for ten seconds.
    VersionError
        If it was written by a newer version of this library.
    ParameterError
        If window or capacity is not positive.

    Notes
    -----
    The file has a digest and a timestamp of each frame, and does not tell who sent it. The latest
    time that any claim has seen is stored too, so a clock set back, even across a restart, does
    not revive a frame whose memory is gone.
    """

    _SCHEMA = (
        "CREATE TABLE frames (digest BLOB PRIMARY KEY, timestamp INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX frames_by_age ON frames (timestamp)",
        "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), window REAL NOT NULL, "
        "clock REAL NOT NULL, floor REAL NOT NULL, count INTEGER NOT NULL)",
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        window: float,
        capacity: int = CAPACITY,
        *,
        power_safe: bool = True,
    ) -> None:
        super().__init__(window)
        if not 0 < window < math.inf:
            raise ParameterError("window: expected a positive number of seconds")
        if type(capacity) is not int or capacity < 1:
            raise ParameterError("capacity: expected a positive number of frames")
        self._capacity = capacity
        self._database = Database(
            path, application=0x4F4D5047, version=1, schema=self._SCHEMA, power_safe=power_safe
        )
        try:
            self._adopt_window()
        except BaseException:
            self.close()
            raise

    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing."""
        query = "SELECT 1 FROM frames WHERE digest = ?"
        with self._database.reading() as connection:
            seen = connection.execute(query, (_digest(header),)).fetchone()
        if seen:
            raise _replayed()

    def claim(self, header: Header, now: float) -> None:
        """Remember a frame; of several threads and processes with the same one, one succeeds."""
        if not math.isfinite(now):
            # It would be remembered, and everything refused for ever.
            raise ParameterError("now: expected a finite number of seconds")
        seconds = header.timestamp / 1000
        refusal: FrameError | None = None
        with self._database.writing() as connection:
            window, clock, floor, count = self._state(connection)
            if window != self.window:
                raise StoreError("window: another process uses this file with another window")
            clock = max(clock, now)
            # Below the floor lies what an earlier, shorter window has forgotten.
            if seconds + self.window < clock or seconds < floor:
                refusal = self._expired()
            else:
                count -= self._forget(connection, clock, count)
                added = 0
                if count < self._capacity:
                    added = connection.execute(
                        "INSERT OR IGNORE INTO frames VALUES (?, ?)",
                        (_digest(header), header.timestamp),
                    ).rowcount
                    refusal = None if added else _replayed()
                else:
                    refusal = _replayed() if self._knows(connection, header) else _full()
                count += added
            connection.execute("UPDATE state SET clock = ?, count = ?", (clock, count))
        # Only here, so that the clock is kept in any case.
        if refusal is not None:
            raise refusal

    def close(self) -> None:
        """Close the file; the guard cannot be used any more."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Frames remembered, some of which may have expired since."""
        with self._database.reading() as connection:
            return int(self._state(connection)[3])

    def __repr__(self) -> str:
        return f"<DurableReplayGuard with a window of {self.window:g} s>"

    def _adopt_window(self) -> None:
        with self._database.writing() as connection:
            found = connection.execute("SELECT window, clock, floor FROM state").fetchone()
            if found is None:
                connection.execute(
                    "INSERT INTO state VALUES (1, ?, ?, ?, 0)", (self.window, -math.inf, -math.inf)
                )
            elif found[0] != self.window:
                old, clock, floor, _ = self._state(connection)
                connection.execute(
                    "UPDATE state SET window = ?, floor = ?", (self.window, max(floor, clock - old))
                )

    @staticmethod
    def _state(connection: sqlite3.Connection) -> tuple[float, float, float, int]:
        row = connection.execute("SELECT window, clock, floor, count FROM state").fetchone()
        if row is None or [type(value) for value in row] != [float, float, float, int]:
            raise StoreError("replay memory: its state is damaged")
        window, clock, floor, count = row
        return window, clock, floor, count

    @staticmethod
    def _knows(connection: sqlite3.Connection, header: Header) -> bool:
        query = "SELECT 1 FROM frames WHERE digest = ?"
        return connection.execute(query, (_digest(header),)).fetchone() is not None

    def _forget(self, connection: sqlite3.Connection, clock: float, count: int) -> int:
        """Remove frames that their timestamp refuses by now; returns how many."""
        # A millisecond late rather than early: timestamps are whole milliseconds, the clock's
        # floating-point number is not.
        bound = min(math.floor((clock - self.window) * 1000) - 1, 2**63 - 1)
        removed = 0
        while True:
            batch = connection.execute(
                "DELETE FROM frames WHERE digest IN (SELECT digest FROM frames "
                "WHERE timestamp < ? ORDER BY timestamp LIMIT ?)",
                (max(bound, -(2**63)), _FORGET_AT_ONCE),
            ).rowcount
            removed += batch
            if batch < _FORGET_AT_ONCE or count - removed < self._capacity:
                return removed


def _key(header: Header) -> tuple[str, int, bytes, int]:
    return header.sender, int(header.kind), header.nonce, header.sequence


def _digest(header: Header) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(_key(header))).digest()


def _replayed() -> ReplayError:
    return ReplayError("frame: was received before")


def _full() -> TooLargeError:
    return TooLargeError("frame: too many frames within the freshness window")

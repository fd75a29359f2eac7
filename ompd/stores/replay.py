"""Memory of accepted frames and their answers within the freshness window."""

from __future__ import annotations

import hashlib
import heapq
import math
import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
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
from ompd.stores.forgotten import Forgotten
from ompd.wire import Header

#: Frames remembered at once; beyond that a party refuses rather than forgets.
CAPACITY = 1_000_000
#: Answers kept at once, in bytes and number; beyond that the oldest go. A single one above a
#: quarter is not kept.
OUTBOX_BYTES = 64 << 20
OUTBOX_ANSWERS = 100_000
#: Forgotten per claim at most; more than one, so that memory shrinks, and few, so that no frame
#: pays for the thousands before it.
_FORGET_AT_ONCE = 64
# What a SQLite integer holds.
_FIRST, _LAST = -(2**63), 2**63 - 1


class FrameGuard(ABC):
    """What a party asks before it accepts a frame.

    Parameters
    ----------
    window : float
        Seconds that a timestamp may lie in the past or future.
    """

    def __init__(self, window: float) -> None:
        self.window = window

    def check_time(self, header: Header, now: float, oldest: float | None = None) -> None:
        """Refuse a timestamp outside the window around `now` (seconds since the epoch).

        Parameters
        ----------
        header : Header
        now : float
        oldest : float, optional
            Seconds that it may lie in the past; the window's by default.

        Raises
        ------
        ExpiredError
        """
        age = now - header.timestamp / 1000
        if -age > self.window or (oldest is None and age > self.window):
            raise self._expired()
        if oldest is not None and age > oldest:
            raise ExpiredError(f"frame: expected a timestamp of the last {oldest:g} s")

    @abstractmethod
    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing.

        Raises
        ------
        ReplayError
        """

    @abstractmethod
    def claim(self, header: Header, now: float, content: bytes = b"") -> None:
        """Remember a frame as received; of several claims of the same frame one succeeds.

        Parameters
        ----------
        header : Header
        now : float
        content : bytes
            Digest of all of the frame, if it may be answered again; see `answer`.

        Raises
        ------
        ReplayError
            If it was claimed before.
        ExpiredError
            If it has become too old since `check_time`, or is of a time whose frames are no longer
            remembered because the clock was ahead.
        TooLargeError
            If too many frames are fresh at the same time.
        """

    @abstractmethod
    def keep(self, header: Header, answer: bytes) -> None:
        """Remember the answer to a claimed frame until its freshness ends, if there is room."""

    @abstractmethod
    def answer(self, header: Header, content: bytes) -> bytes | None:
        """Return the answer to a claimed frame; None if there is none yet, or no longer.

        Raises
        ------
        ReplayError
            If the frame that was claimed under this header had another content.
        """

    def _check_claim(self, header: Header, now: float) -> None:
        if not math.isfinite(now):
            # It would be remembered, and everything refused for ever.
            raise ParameterError("now: expected a finite number of seconds")
        if header.timestamp / 1000 + self.window < now:
            raise self._expired()

    def _expired(self) -> ExpiredError:
        return ExpiredError(f"frame: expected a timestamp within {self.window:g} s of now")

    def _bounds(self, now: float) -> tuple[int, int]:
        """Whole milliseconds before and after which no frame is fresh."""
        # One late rather than early: the clock's floating-point number is no whole millisecond.
        before = math.floor((now - self.window) * 1000) - 1
        after = math.ceil((now + self.window) * 1000) + 1
        return max(before, _FIRST), min(after, _LAST)


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
    remembered. The times of what was forgotten are, so that a clock set back revives nothing; see
    `DurableReplayGuard`. The memory is the process's own: after a restart, frames of the last
    window could be played again. `DurableReplayGuard` remembers them.
    """

    def __init__(self, window: float, capacity: int = CAPACITY) -> None:
        super().__init__(window)
        self._capacity = capacity
        self._seen: dict[bytes, bytes] = {}
        self._expiry: list[tuple[int, bytes]] = []
        self._latest = _FIRST
        self._forgotten = Forgotten()
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._held = 0
        self._lock = threading.Lock()

    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing."""
        with self._lock:
            self._refuse_seen(_digest(header))

    def claim(self, header: Header, now: float, content: bytes = b"") -> None:
        """Remember a frame as received; of several threads with the same frame one succeeds."""
        self._check_claim(header, now)
        key = _digest(header)
        before, after = self._bounds(now)
        with self._lock:
            old = []
            while self._expiry and self._expiry[0][0] < before:
                old.append(heapq.heappop(self._expiry))
            self._forget(old)
            if (until := self._forgotten.until(header.timestamp)) is not None:
                raise _let_go(until, now)
            self._refuse_seen(key)
            if len(self._seen) >= self._capacity and self._latest > after:
                # Of a clock that was ahead; they would stay until it is there again.
                self._forget([entry for entry in self._expiry if entry[0] > after])
                self._expiry = [entry for entry in self._expiry if entry[0] <= after]
                heapq.heapify(self._expiry)
                self._latest = after
            if len(self._seen) >= self._capacity:
                raise _full()
            self._seen[key] = content
            self._latest = max(self._latest, header.timestamp)
            heapq.heappush(self._expiry, (header.timestamp, key))

    def keep(self, header: Header, answer: bytes) -> None:
        """Remember the answer to a claimed frame until its freshness ends, if there is room."""
        key = _digest(header)
        with self._lock:
            if key not in self._seen or len(answer) > OUTBOX_BYTES // 4:
                return
            self._drop(key)
            self._answers[key] = answer
            self._held += len(answer)
            while self._held > OUTBOX_BYTES or len(self._answers) > OUTBOX_ANSWERS:
                self._drop(next(iter(self._answers)))

    def answer(self, header: Header, content: bytes) -> bytes | None:
        """Return the answer to a claimed frame; None if there is none yet, or no longer."""
        key = _digest(header)
        with self._lock:
            if self._seen.get(key, content) != content:
                raise _replayed()
            return self._answers.get(key)

    def _forget(self, entries: list[tuple[int, bytes]]) -> None:
        for _, key in entries:
            del self._seen[key]
            self._drop(key)
        if entries:
            self._forgotten.add(min(entries)[0], max(entries)[0])

    def _drop(self, key: bytes) -> None:
        self._held -= len(self._answers.pop(key, b""))

    def _refuse_seen(self, key: bytes) -> None:
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
        If it was written by another version of this library.
    ParameterError
        If window or capacity is not positive.

    Notes
    -----
    The file has digests and a timestamp of each frame, which do not tell who sent it, and answers
    as they were sent: sealed, under a header that says to whom. Answers of the last moments may be
    lost when the machine loses power; whoever waits for one then asks anew.

    **A clock that was wrong.** The times of frames that were forgotten are stored, so a clock set
    back, even across a restart, does not revive one. A clock that ran ahead and is right again is
    no obstacle where frames of the present were never let go of: at once after a jump of more
    than the window, except for what was received within a window before it. A clock that was
    ahead by less than it was wrong for has let go of frames of the time to come: until then frames
    are refused with `ExpiredError`, which says for how long. Wait, or give this party new keys,
    which open no old frame, and a new file. A file that is removed alone lets old frames in.
    """

    _SCHEMA = (
        "CREATE TABLE frames (digest BLOB PRIMARY KEY, timestamp INTEGER NOT NULL, "
        "content BLOB NOT NULL) WITHOUT ROWID",
        "CREATE INDEX frames_by_age ON frames (timestamp)",
        # Numbers grow, so that the oldest answer has the least.
        "CREATE TABLE answers (number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, "
        "timestamp INTEGER NOT NULL, answer BLOB NOT NULL)",
        "CREATE INDEX answers_by_age ON answers (timestamp)",
        "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), window REAL NOT NULL, "
        "forgotten BLOB NOT NULL, count INTEGER NOT NULL, answers INTEGER NOT NULL, "
        "held INTEGER NOT NULL)",
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
            path, application=0x4F4D5047, version=2, schema=self._SCHEMA, power_safe=power_safe
        )
        try:
            self._adopt_window()
        except BaseException:
            self.close()
            raise

    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing."""
        with self._database.reading() as connection:
            seen = _content(connection, _digest(header)) is not None
        if seen:
            raise _replayed()

    def claim(self, header: Header, now: float, content: bytes = b"") -> None:
        """Remember a frame; of several threads and processes with the same one, one succeeds."""
        self._check_claim(header, now)
        digest = _digest(header)
        before, after = self._bounds(now)
        refusal: FrameError | None = None
        with self._database.writing() as connection:
            window, forgotten, count = self._state(connection)
            if window != self.window:
                raise StoreError("window: another process uses this file with another window")
            count -= self._forget(connection, forgotten, before, count)
            until = forgotten.until(header.timestamp)
            if until is not None:
                refusal = _let_go(until, now)
            elif _content(connection, digest) is not None:
                refusal = _replayed()
            else:
                if count >= self._capacity:
                    # Of a clock that was ahead; they would stay until it is there again.
                    count -= _remove(connection, forgotten, "timestamp > ?", after)
                if count < self._capacity:
                    connection.execute(
                        "INSERT INTO frames VALUES (?, ?, ?)", (digest, header.timestamp, content)
                    )
                    count += 1
                else:
                    refusal = _full()
            connection.execute(
                "UPDATE state SET forgotten = ?, count = ?", (forgotten.to_bytes(), count)
            )
        # Only here, so that what was forgotten is kept in any case.
        if refusal is not None:
            raise refusal

    def keep(self, header: Header, answer: bytes) -> None:
        """Remember the answer to a claimed frame until its freshness ends, if there is room."""
        if len(answer) > OUTBOX_BYTES // 4:
            return
        digest = _digest(header)
        with self._database.writing(power_safe=False) as connection:
            if _content(connection, digest) is None:
                return
            _drop_answers(connection, "digest = ?", digest)
            connection.execute(
                "INSERT INTO answers (digest, timestamp, answer) VALUES (?, ?, ?)",
                (digest, header.timestamp, answer),
            )
            connection.execute(
                "UPDATE state SET answers = answers + 1, held = held + ?", (len(answer),)
            )
            while True:
                answers, held = connection.execute("SELECT answers, held FROM state").fetchone()
                if held <= OUTBOX_BYTES and answers <= OUTBOX_ANSWERS:
                    break
                _drop_answers(connection, "number = (SELECT min(number) FROM answers)")

    def answer(self, header: Header, content: bytes) -> bytes | None:
        """Return the answer to a claimed frame; None if there is none yet, or no longer."""
        digest = _digest(header)
        query = (
            "SELECT content, answer FROM frames LEFT JOIN answers USING (digest) WHERE digest = ?"
        )
        with self._database.reading() as connection:
            found = connection.execute(query, (digest,)).fetchone()
        if found is None:
            return None
        if found[0] != content:
            raise _replayed()
        return None if found[1] is None else bytes(found[1])

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
            return self._state(connection)[2]

    def __repr__(self) -> str:
        return f"<DurableReplayGuard with a window of {self.window:g} s>"

    def _adopt_window(self) -> None:
        with self._database.writing() as connection:
            nothing = Forgotten().to_bytes()
            connection.execute(
                "INSERT OR IGNORE INTO state VALUES (1, ?, ?, 0, 0, 0)", (self.window, nothing)
            )
            connection.execute("UPDATE state SET window = ?", (self.window,))

    @staticmethod
    def _state(connection: sqlite3.Connection) -> tuple[float, Forgotten, int]:
        row = connection.execute("SELECT window, forgotten, count FROM state").fetchone()
        if row is None or [type(value) for value in row] != [float, bytes, int]:
            raise StoreError("replay memory: its state is damaged")
        window, forgotten, count = row
        return window, Forgotten.from_bytes(forgotten), count

    def _forget(
        self, connection: sqlite3.Connection, forgotten: Forgotten, bound: int, count: int
    ) -> int:
        """Remove frames that their timestamp refuses by now; returns how many."""
        removed = 0
        while True:
            (last,) = connection.execute(
                "SELECT max(timestamp) FROM (SELECT timestamp FROM frames WHERE timestamp < ? "
                "ORDER BY timestamp LIMIT ?)",
                (bound, _FORGET_AT_ONCE),
            ).fetchone()
            if last is None:
                return removed
            removed += _remove(connection, forgotten, "timestamp <= ?", last)
            if count - removed < self._capacity:
                return removed


def _remove(
    connection: sqlite3.Connection, forgotten: Forgotten, condition: str, bound: int
) -> int:
    """Forget frames and their answers; returns how many."""
    # The conditions are this module's own.
    first, last = connection.execute(
        f"SELECT min(timestamp), max(timestamp) FROM frames WHERE {condition}",  # noqa: S608
        (bound,),
    ).fetchone()
    if first is None:
        return 0
    forgotten.add(first, last)
    _drop_answers(connection, condition, bound)
    return connection.execute(f"DELETE FROM frames WHERE {condition}", (bound,)).rowcount  # noqa: S608


def _drop_answers(connection: sqlite3.Connection, condition: str, *values: bytes | int) -> None:
    answers, held = connection.execute(
        f"SELECT count(*), coalesce(sum(length(answer)), 0) FROM answers WHERE {condition}",  # noqa: S608
        values,
    ).fetchone()
    if answers:
        connection.execute(f"DELETE FROM answers WHERE {condition}", values)  # noqa: S608
        connection.execute(
            "UPDATE state SET answers = answers - ?, held = held - ?", (answers, held)
        )


def _content(connection: sqlite3.Connection, digest: bytes) -> bytes | None:
    query = "SELECT content FROM frames WHERE digest = ?"
    found = connection.execute(query, (digest,)).fetchone()
    return None if found is None else bytes(found[0])


def _digest(header: Header) -> bytes:
    named = header.sender, int(header.kind), header.nonce, header.sequence
    return hashlib.sha256(msgspec.msgpack.encode(named)).digest()


def _replayed() -> ReplayError:
    return ReplayError("frame: was received before")


def _let_go(until: int, now: float) -> ExpiredError:
    return ExpiredError(
        "frame: is of a time whose frames are no longer remembered, since this party's clock was "
        f"ahead; new frames are accepted in {max(0, math.ceil(until / 1000 - now))} s"
    )


def _full() -> TooLargeError:
    return TooLargeError("frame: too many frames within the freshness window")

"""Accepted frames and their answers in a file, between processes and restarts."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Sequence
from typing import Self

from ompd.errors import FrameError, ParameterError, StoreError
from ompd.stores.database import Database
from ompd.stores.forgotten import Forgotten
from ompd.stores.replay.guard import (
    CAPACITY,
    FORGET_AT_ONCE,
    FORGET_PER_CLAIM,
    OUTBOX_ANSWERS,
    OUTBOX_BYTES,
    FrameGuard,
    digest_of,
    full,
    let_go,
    replayed,
)
from ompd.wire import Header

_ANSWER = "SELECT content, answer FROM frames LEFT JOIN answers USING (digest) WHERE digest = ?"
#: In the header of the file.
APPLICATION = 0x4F4D5047


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
        If it was written by a newer version of this library. One of an older version is brought up.
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
        self._database = self._opened(path, power_safe=power_safe)
        try:
            self._adopt_window()
        except BaseException:
            self.close()
            raise

    @classmethod
    def _opened(cls, path: str | os.PathLike[str], *, power_safe: bool) -> Database:
        return Database(
            path, application=APPLICATION, version=2, schema=cls._SCHEMA,
            steps={1: cls._add_answers}, power_safe=power_safe,
        )  # fmt: skip

    @classmethod
    def let_go(cls, path: str | os.PathLike[str], now: float) -> None:
        """Let a memory refuse all frames that were sent until now.

        For one that was put back, which does not know what was accepted since.

        Parameters
        ----------
        path : path
        now : float
            Seconds since the epoch. Clocks of others may be ahead by a window.

        Raises
        ------
        StoreError, VersionError
        """
        with (
            contextlib.closing(cls._opened(path, power_safe=True)) as database,
            database.writing() as connection,
        ):
            window, forgotten, _ = cls._state(connection)
            forgotten.add(0, math.ceil((now + window) * 1000))
            connection.execute("UPDATE state SET forgotten = ?", (forgotten.to_bytes(),))

    def check_new(self, header: Header) -> None:
        """Refuse a frame that was claimed before; changes nothing."""
        with self._database.reading() as connection:
            seen = _content(connection, digest_of(header)) is not None
        if seen:
            raise replayed()

    def claim_many(
        self, claims: Sequence[tuple[Header, bytes]], now: float
    ) -> list[FrameError | None]:
        """Claim frames one after the other, with one wait for the disk.

        Of several threads and processes with the same frame, one succeeds.
        """
        before, after = self._bounds(now)
        verdicts = []
        with self._database.writing() as connection:
            window, forgotten, count = self._state(connection)
            if window != self.window:
                raise StoreError("window: another process uses this file with another window")
            count -= self._forget(connection, forgotten, before, count, len(claims))
            for header, content in claims:
                verdict = self._outdated(header, now) or self._claimable(
                    connection, forgotten, header, now
                )
                if verdict is None and count >= self._capacity:
                    # Of a clock that was ahead; they would stay until it is there again.
                    count -= _remove(connection, forgotten, "timestamp > ?", after)
                    verdict = full() if count >= self._capacity else None
                if verdict is None:
                    connection.execute(
                        "INSERT INTO frames VALUES (?, ?, ?)",
                        (digest_of(header), header.timestamp, content),
                    )
                    count += 1
                verdicts.append(verdict)
            connection.execute(
                "UPDATE state SET forgotten = ?, count = ?", (forgotten.to_bytes(), count)
            )
        return verdicts

    @staticmethod
    def _claimable(
        connection: sqlite3.Connection, forgotten: Forgotten, header: Header, now: float
    ) -> FrameError | None:
        if (until := forgotten.until(header.timestamp)) is not None:
            return let_go(until, now)
        return None if _content(connection, digest_of(header)) is None else replayed()

    def keep_many(self, answers: Sequence[tuple[Header, bytes]]) -> None:
        """Remember answers to claimed frames until their freshness ends, if there is room."""
        with self._database.writing(power_safe=False) as connection:
            kept, held = connection.execute("SELECT answers, held FROM state").fetchone()
            for header, answer in answers:
                digest = digest_of(header)
                if len(answer) > OUTBOX_BYTES // 4:
                    continue
                found = connection.execute(_ANSWER, (digest,)).fetchone()
                if found is None:
                    continue
                if found[1] is not None:
                    connection.execute("DELETE FROM answers WHERE digest = ?", (digest,))
                    kept, held = kept - 1, held - len(found[1])
                connection.execute(
                    "INSERT INTO answers (digest, timestamp, answer) VALUES (?, ?, ?)",
                    (digest, header.timestamp, answer),
                )
                kept, held = kept + 1, held + len(answer)
                while held > OUTBOX_BYTES or kept > OUTBOX_ANSWERS:
                    oldest, length = connection.execute(
                        "SELECT min(number), length(answer) FROM answers"
                    ).fetchone()
                    connection.execute("DELETE FROM answers WHERE number = ?", (oldest,))
                    kept, held = kept - 1, held - length
            connection.execute("UPDATE state SET answers = ?, held = ?", (kept, held))

    def answer(self, header: Header, content: bytes) -> bytes | None:
        """Return the answer to a claimed frame; None if there is none yet, or no longer."""
        digest = digest_of(header)
        with self._database.reading() as connection:
            found = connection.execute(_ANSWER, (digest,)).fetchone()
        if found is None:
            return None
        if found[0] != content:
            raise replayed()
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

    @classmethod
    def _add_answers(cls, connection: sqlite3.Connection) -> None:
        """Make a memory of version 1, which had none, one of version 2."""
        frames = connection.execute("SELECT digest, timestamp, x'' FROM frames").fetchall()
        states = connection.execute("SELECT window, clock, floor, count FROM state").fetchall()
        connection.execute("DROP TABLE frames")
        connection.execute("DROP TABLE state")
        for statement in cls._SCHEMA:
            connection.execute(statement)
        connection.executemany("INSERT INTO frames VALUES (?, ?, ?)", frames)
        for window, clock, floor, count in states:
            # What it refused was all before a moment, in seconds.
            until = max(floor, clock - window)
            ranges = [(0, math.ceil(until * 1000))] if 0 <= until < math.inf else []
            forgotten = Forgotten(ranges).to_bytes()
            connection.execute(
                "INSERT INTO state VALUES (1, ?, ?, ?, 0, 0)", (window, forgotten, count)
            )

    @staticmethod
    def _state(connection: sqlite3.Connection) -> tuple[float, Forgotten, int]:
        row = connection.execute("SELECT window, forgotten, count FROM state").fetchone()
        if row is None or [type(value) for value in row] != [float, bytes, int]:
            raise StoreError("replay memory: its state is damaged")
        window, forgotten, count = row
        return window, Forgotten.from_bytes(forgotten), count

    def _forget(
        self,
        connection: sqlite3.Connection,
        forgotten: Forgotten,
        bound: int,
        count: int,
        wanted: int,
    ) -> int:
        """Remove frames that their timestamp refuses by now, for others; returns how many."""
        at_once = max(FORGET_AT_ONCE, FORGET_PER_CLAIM * wanted)
        removed = 0
        while True:
            (last,) = connection.execute(
                "SELECT max(timestamp) FROM (SELECT timestamp FROM frames WHERE timestamp < ? "
                "ORDER BY timestamp LIMIT ?)",
                (bound, at_once),
            ).fetchone()
            if last is None:
                return removed
            removed += _remove(connection, forgotten, "timestamp <= ?", last)
            if count - removed + wanted <= self._capacity:
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

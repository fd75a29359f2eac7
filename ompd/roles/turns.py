"""Jobs that await a cloud's answer, and whose turn it is to be read.

Answers to one window of a sealed table are read in the order in which hints were used, since what
an early query fetched completes the hints of later ones. An answer that comes before its turn is
kept. It waits until those before it have come, for at most `patience` seconds from when they were
asked for; then they are given up, as they are at once where too much is kept. All other jobs have
a line of their own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ompd.arrays import I64
from ompd.errors import ContextMismatchError, TooLargeError
from ompd.roles.pending import CAPACITY
from ompd.roles.publication import Published
from ompd.roles.retrieval import Neighbours
from ompd.wire import Header

#: Bytes of answers that wait in one line for their turn.
MOST_KEPT = 256 << 20


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Request:
    """One user's query, accepted.

    Attributes
    ----------
    header : Header
    reply_key : bytes
    rows : int
    filled : int64 array of shape (rows,)
        How many values of each row were missing.
    """

    header: Header
    reply_key: bytes
    rows: int
    filled: I64

    @property
    def user(self) -> str:
        """Who asks."""
        return self.header.sender


@dataclass(slots=True, repr=False, eq=False)
class OpenJob:
    """What a job's answer is needed for, in the order of the job's rows.

    Parameters
    ----------
    cloud : str
    nonce : bytes
    table : Published
    requests : list of Request
    context : object
        For `table.retrieval.read`.
    window : object or None
        Jobs of one window are read in order.
    payer : str or None
        Who has this whole table out of those that one user may.
    """

    cloud: str
    nonce: bytes
    table: Published
    requests: list[Request]
    context: Any = None
    window: object | None = None
    payer: str | None = None
    expires: float = 0.0
    started: float = field(default_factory=time.monotonic)
    # What came and how many bytes it takes; whether a thread waits for it to be read.
    answered: bool = False
    body: Any = None
    size: int = 0
    awaited: bool = False
    over: bool = False
    found: Neighbours | None = None

    @property
    def rows(self) -> int:
        """Rows of all queries."""
        return sum(request.rows for request in self.requests)

    @property
    def answer_bytes(self) -> int:
        """Bytes of numbers in its answer."""
        return self.table.retrieval.answer_bytes(self.rows, self.context)


class Done(NamedTuple):
    """A job that is over: what was found, or None where there is no answer."""

    job: OpenJob
    found: Neighbours | None


@dataclass(slots=True, repr=False, eq=False)
class _Line:
    jobs: deque[OpenJob] = field(default_factory=deque)
    changed: threading.Condition = field(default_factory=threading.Condition)


class Turns:
    """All open jobs of a hospital. For several threads.

    Parameters
    ----------
    lifetime, patience : float
        Seconds after which a job without an answer is over; and after which it is, if others wait
        for it.
    read : callable
        Reads `OpenJob.body`; None where there is no answer. Called for one job of a line at a time.
    abandon : callable
        Gives up a job that was not read.
    """

    def __init__(
        self,
        lifetime: float,
        patience: float,
        read: Callable[[OpenJob], Neighbours | None],
        abandon: Callable[[OpenJob], None],
    ) -> None:
        self._lifetime = lifetime
        self._patience = patience
        self._read = read
        self._abandon = abandon
        # Insertion order is expiry order, since every job lives equally long.
        self._open: dict[tuple[str, bytes], tuple[OpenJob, _Line]] = {}
        # By the identity of the window, which the jobs in the line keep alive.
        self._lines: dict[int, _Line] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def check_room(self) -> None:
        """Refuse another job if too many are open.

        Raises
        ------
        TooLargeError
        """
        if len(self._open) >= CAPACITY:
            raise TooLargeError(f"requests: expected at most {CAPACITY} open at once")

    def add(self, job: OpenJob, now: float) -> None:
        """Put a job at the end of its line."""
        job.expires = now + self._lifetime
        with self._lock:
            line = _Line()
            if job.window is not None:
                line = self._lines.setdefault(id(job.window), line)
            self._open[job.cloud, job.nonce] = job, line
            line.jobs.append(job)

    def find(self, cloud: str, nonce: bytes) -> OpenJob:
        """Return the open job that an answer with this nonce belongs to.

        Raises
        ------
        ContextMismatchError
            If there is none.
        """
        return self._find(cloud, nonce)[0]

    def answer(self, job: OpenJob, body: Any, size: int, now: float) -> list[Done]:
        """Take an answer and return the jobs that are over by it: none, if it is not its turn.

        Raises
        ------
        ContextMismatchError
            If the job is over or has an answer.
        """
        line = self._accept(job, body, size, awaited=False)
        return self._advance(line, now)

    def wait(self, job: OpenJob, body: Any, size: int, now: float) -> list[Done]:
        """Take an answer and return when the job is over: it, and others that are over by it.

        Raises
        ------
        ContextMismatchError
            If the job is over or has an answer.
        """
        line = self._accept(job, body, size, awaited=True)
        done = self._advance(line, now)
        with line.changed:
            while not job.over:
                rest = line.jobs[0].started + self._patience - time.monotonic()
                if rest > 0:
                    line.changed.wait(rest)
                done += self._advance(line, now)
        return [Done(job, job.found), *done]

    def fail(self, job: OpenJob, now: float) -> list[Done]:
        """Give up a job whose answer will not come; return it and those that waited for it.

        Raises
        ------
        ContextMismatchError
            If the job is over or has an answer.
        """
        _, line = self._find(job.cloud, job.nonce)
        with line.changed:
            if job.answered or job.over:
                raise ContextMismatchError("job: expected one that is open and has no answer")
            self._close(line, job, None)
            self._abandon(job)
        return [Done(job, None), *self._advance(line, now)]

    def overdue(self, now: float) -> list[Done]:
        """Give up what is overdue; return it and what waited for it."""
        with self._lock:
            lines = list({id(line): line for _, line in self._open.values()}.values())
        return [done for line in lines for done in self._advance(line, now)]

    def expired(self, now: float) -> list[Done]:
        """Give up the jobs that no answer can be accepted for; return them and what waited."""
        done: list[Done] = []
        while True:
            with self._lock:
                oldest = next(iter(self._open.values()), None)
            if oldest is None or oldest[0].expires >= now:
                return done
            done += self._advance(oldest[1], now)

    def _find(self, cloud: str, nonce: bytes) -> tuple[OpenJob, _Line]:
        with self._lock:
            found = self._open.get((cloud, nonce))
        if found is None:
            raise ContextMismatchError("frame: expected the answer to an open request")
        return found

    def _accept(self, job: OpenJob, body: Any, size: int, *, awaited: bool) -> _Line:
        _, line = self._find(job.cloud, job.nonce)
        with line.changed:
            if job.answered or job.over:
                raise ContextMismatchError("frame: expected the first answer to an open request")
            job.answered, job.body, job.size, job.awaited = True, body, size, awaited
        return line

    def _advance(self, line: _Line, now: float) -> list[Done]:
        """Read as far as it is somebody's turn; returns what no other thread waits for."""
        done: list[Done] = []
        with line.changed:
            while line.jobs:
                job = line.jobs[0]
                found = None
                if job.answered:
                    found = self._read(job)
                elif job.expires < now or self._holds_up(line):
                    self._abandon(job)
                else:
                    break
                self._close(line, job, found)
                if not job.awaited:
                    done.append(Done(job, found))
            line.changed.notify_all()
        return done

    def _holds_up(self, line: _Line) -> bool:
        """Tell whether others have waited for the first job long enough."""
        with self._lock:
            kept = [job.size for job in line.jobs if job.answered]
        late = time.monotonic() >= line.jobs[0].started + self._patience
        return bool(kept) and (late or sum(kept) > MOST_KEPT)

    def _close(self, line: _Line, job: OpenJob, found: Neighbours | None) -> None:
        job.over, job.found, job.body = True, found, None
        with self._lock:
            line.jobs.remove(job)
            del self._open[job.cloud, job.nonce]
            if not line.jobs and job.window is not None:
                del self._lines[id(job.window)]
        line.changed.notify_all()

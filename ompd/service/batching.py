"""Continuous batching: when a batch is over, whatever waits is the next one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ompd.errors import BusyError, OmpdError, QuotaError, ReplayError, SignatureError, StoreError
from ompd.roles import Hospital
from ompd.roles.batches import Batch, JobFrame, Opened, OpenedQuery
from ompd.roles.party import FRESHNESS_WINDOW
from ompd.roles.reports import Reports
from ompd.service.crew import Crew
from ompd.service.fair import FairQueue, Room
from ompd.service.journal import Journal, Scribe, Settled
from ompd.service.metrics import Outcome
from ompd.wire import Frame, Kind

#: What names a query and its report: user, nonce and sequence.
Key = tuple[str, bytes, int]

#: Queries of a batch, and their bytes.
CAP = 256
_BATCH_BYTES = 4 << 20
#: Queries that may be open at a time, and their bytes.
ROOM = 4096
_ROOM_BYTES = 128 << 20
#: Seconds between looks at reports that nobody waited for.
_LOOK = 0.5
#: Seconds after which nothing is answered any more: its frame is not fresh then.
_LONGEST = FRESHNESS_WINDOW
#: Seconds after which to try again what the quota or the disk did not let through.
_LATER = 2


class Ask(Protocol):
    """Takes a job to a cloud and returns its answer."""

    async def __call__(self, cloud: str, frame: bytes, longest: int) -> bytes:
        """Raise an `OmpdError` where there is none; no answer has more than `longest` bytes."""


@dataclass(slots=True, eq=False, repr=False)
class _Waiting:
    key: Key
    query: bytes
    # None: nobody gets an answer to this.
    answer: asyncio.Future[bytes | None]
    since: float
    opened: OpenedQuery | None = None

    @property
    def disease(self) -> str:
        return "" if self.opened is None else self.opened.disease

    def settle(self, answer: bytes | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: BusyError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            # Whoever waited may be gone.
            self.answer.exception()


class _Table:
    """What waits for one table, and the task that asks its cloud."""

    def __init__(self) -> None:
        self.queue: FairQueue[_Waiting] = FairQueue()
        self.task: asyncio.Task[None] | None = None


class Batching:
    """Answers queries of a hospital's users, for one event loop.

    Queries are opened in batches, then wait for their table: each is asked one job after the other,
    so that one cloud that is slow or away holds up no other's. What is claimed is answered, if only
    by saying that there is no answer.

    Parameters
    ----------
    hospital : Hospital
    ask : Ask
    crew : Crew
        Where the hospital works.
    journal : Journal
    share : float
        What one user may have of the room for open queries.
    room : int
        Queries that may be open.
    """

    def __init__(
        self,
        hospital: Hospital,
        ask: Ask,
        crew: Crew,
        journal: Journal,
        *,
        share: float = 0.5,
        room: int = ROOM,
    ) -> None:
        self._hospital = hospital
        self._ask = ask
        self._crew = crew
        self._journal = journal
        self._scribe = Scribe(journal, crew)
        self._room = Room(room, _ROOM_BYTES, share)
        self._queue: FairQueue[_Waiting] = FairQueue()
        self._arrived = asyncio.Event()
        self._open: dict[Key, _Waiting] = {}
        self._tables: dict[str, _Table] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        """Count the queries that are open."""
        return len(self._room)

    async def answer(self, query: bytes) -> bytes | None:
        """Answer one query frame; the same frame again, also meanwhile, gets the same answer.

        Returns
        -------
        bytes or None
            A report or refusal; None where nobody gets an answer: strangers, and replays.

        Raises
        ------
        BusyError
            If the query was not accepted and may be later.
        """
        try:
            header = Frame.decode(query, Kind.QUERY).header
        except OmpdError:
            return None
        key = header.sender, header.nonce, header.sequence
        waiting = self._open.get(key)
        if waiting is None or waiting.query != query:
            if self._closed:
                raise BusyError("hospital: is about to stop", _LATER)
            waiting = self._enter(key, query)
        # Others may wait for the same one.
        return await asyncio.shield(waiting.answer)

    def _enter(self, key: Key, query: bytes) -> _Waiting:
        user = key[0]
        try:
            self._room.enter(user, len(query))
        except BusyError:
            self._journal.metrics.asked("busy")
            raise
        future = asyncio.get_running_loop().create_future()
        waiting = _Waiting(key, query, future, time.monotonic())
        self._open.setdefault(key, waiting)

        def leave(_: object) -> None:
            self._room.leave(user, len(query))
            if self._open.get(key) is waiting:
                del self._open[key]

        future.add_done_callback(leave)
        self._queue.put(user, waiting, len(query))
        self._arrived.set()
        return waiting

    async def run(self) -> None:
        """Work until it is cancelled."""
        beside = [asyncio.ensure_future(each) for each in (self._look(), self._scribe.run())]
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while batch := self._queue.take(CAP, _BATCH_BYTES):
                    await self._open_batch(batch)
        finally:
            for task in (*beside, *self._tasks):
                task.cancel()

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, and wait for what was accepted, but not for longer."""
        self._closed = True
        end = time.monotonic() + seconds
        while self._open or self._tasks:
            left: set[asyncio.Future[Any]] = {each.answer for each in self._open.values()}
            left |= self._tasks
            done, _ = await asyncio.wait(left, timeout=max(0.0, end - time.monotonic()))
            if not done:
                break
        await self._crew.do(self._scribe.flush)

    async def _open_batch(self, batch: list[_Waiting]) -> None:
        """Read queries, and let each wait for its table."""
        metrics = self._journal.metrics
        metrics.waiting.set(len(self._queue))
        queries = [each.query for each in batch]
        try:
            with metrics.timed("forward"):
                opened, made = await self._crew.do(self._open_all, queries, set(self._tables))
        except Exception as error:
            self._give_up(batch, error)
            return
        for place, query in opened.queries.items():
            waiting = batch[place]
            waiting.opened = query
            table = self._tables.setdefault(query.disease, _Table())
            if made is None:
                table.queue.put(query.user, waiting, len(waiting.query))
            if table.task is None:
                table.task = self._start(self._ask_table(query.disease, table, batch, made))
        self._refuse([(batch[place], error) for place, error in opened.refused.items()])

    def _open_all(self, queries: list[bytes], busy: set[str]) -> tuple[Opened, Batch | None]:
        """Read queries; one that nobody is before is made a job by the same thread."""
        opened = self._hospital.open_batch(queries)
        if len(queries) > 1 or not opened.queries or opened.queries[0].disease in busy:
            return opened, None
        return opened, self._hospital.forward_opened([opened.queries[0]])

    async def _ask_table(
        self, disease: str, table: _Table, first: list[_Waiting], made: Batch | None
    ) -> None:
        """Ask for what waits for a table, until nothing does; before that what was made of one."""
        try:
            if made is not None:
                await self._ask_jobs(first, made)
            while batch := table.queue.take(CAP, _BATCH_BYTES):
                await self._ask_batch(batch)
        finally:
            table.task = None
            del self._tables[disease]

    async def _ask_batch(self, batch: list[_Waiting]) -> None:
        queries = [waiting.opened for waiting in batch]
        try:
            made = await self._crew.do(self._hospital.forward_opened, queries)
        except Exception as error:
            self._give_up(batch, error)
        else:
            await self._ask_jobs(batch, made)

    async def _ask_jobs(self, batch: list[_Waiting], made: Batch) -> None:
        metrics = self._journal.metrics
        metrics.batches.observe(len(batch))
        for waiting in batch:
            metrics.took("wait", time.monotonic() - waiting.since)
        self._refuse([(batch[place], error) for place, error in made.refused.items()])
        for job in made.jobs:
            answer = None
            metrics.open_jobs.inc()
            try:
                with metrics.timed("cloud"):
                    answer = await self._ask(job.cloud, job.frame, job.longest)
            except Exception as error:
                self._journal.trouble("a job has no answer", error, cloud=job.cloud)
            finally:
                metrics.open_jobs.dec()
            # Before the next job, which is the larger for it: making both at once is no faster.
            await self._report(job, [batch[place] for place in job.places], answer)

    async def _report(self, job: JobFrame, members: list[_Waiting], answer: bytes | None) -> None:
        try:
            outcome, reports = await self._crew.do(self._reports, job.frame, answer)
            self._hand_out(reports)
            self._tell(members, outcome)
        except Exception as error:
            self._give_up(members, error)

    def _reports(self, job: bytes, answer: bytes | None) -> tuple[Outcome, Reports]:
        reports = None
        with self._journal.metrics.timed("report"):
            if answer is not None:
                with contextlib.suppress(OmpdError):
                    reports = self._hospital.report_batch(answer)
            outcome: Outcome = "failed" if reports is None else "answered"
            if reports is None:
                # No answer, or one that is none of the cloud's: it will not get better.
                with contextlib.suppress(OmpdError):
                    reports = self._hospital.fail(job)
        return outcome, Reports() if reports is None else reports

    def _hand_out(self, reports: Reports) -> None:
        for report in reports:
            header = Frame.decode(report, Kind.REPORT).header
            waiting = self._open.get((header.recipient, header.nonce, header.sequence))
            if waiting is not None:
                waiting.settle(report)
        for user in reports.refused:
            for waiting in [each for key, each in self._open.items() if key[0] == user]:
                waiting.settle(None)

    async def _look(self) -> None:
        """Hand out what was given up meanwhile."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                self._hand_out(await self._crew.do(self._hospital.collect))
            except Exception as error:
                self._journal.trouble("reports cannot be collected", error)
            late = time.monotonic() - _LONGEST
            for waiting in [each for each in self._open.values() if each.since < late]:
                waiting.settle(None)

    def _give_up(self, members: Sequence[_Waiting], error: Exception) -> None:
        """Go on after what should not happen; on another try users learn what became of theirs."""
        self._journal.trouble("queries failed", error, count=len(members))
        for waiting in members:
            waiting.fail(BusyError("hospital: could not do it", _LATER))

    def _refuse(self, refused: list[tuple[_Waiting, OmpdError]]) -> None:
        """Answer those that were not forwarded, while others are."""
        if refused:
            self._start(self._settle(refused))

    async def _settle(self, refused: list[tuple[_Waiting, OmpdError]]) -> None:
        for waiting, error in refused:
            try:
                outcome, answer = await self._crew.do(self._refusal, waiting.query, error)
            except Exception as trouble:
                self._give_up([waiting], trouble)
                continue
            if isinstance(answer, BusyError):
                waiting.fail(answer)
            else:
                waiting.settle(answer)
            if answer is not None:
                self._tell([waiting], outcome)

    def _tell(self, members: Sequence[_Waiting], outcome: Outcome) -> None:
        """Count what is settled, and let the audit log tell of it: nobody waits for that."""
        settled = [Settled(each.key[0], each.disease, outcome) for each in members]
        self._scribe.note(*self._journal.counted(settled))

    def _refusal(self, query: bytes, error: OmpdError) -> tuple[Outcome, bytes | BusyError | None]:
        """Return what a query gets that was not forwarded."""
        try:
            if isinstance(error, (QuotaError, StoreError)):
                # Nothing was claimed, and that may pass: the same frame may come again.
                raise error
            if isinstance(error, ReplayError):
                return "repeated", self._hospital.settle(query)
            if not isinstance(error, SignatureError):
                return "refused", self._hospital.refuse(query)
        except (QuotaError, StoreError) as trouble:
            return "busy", BusyError(str(trouble), _LATER)
        except OmpdError:
            # Not from its sender, or known before.
            pass
        return "refused", None

    def _start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

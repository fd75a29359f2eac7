"""The cloud's app: jobs on one table one after the other, and uploads that hold up none of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response

from ompd.crypto import PublicIdentity
from ompd.crypto.identity import MAX_PUBLIC_IDENTITY_BYTES
from ompd.errors import OmpdError, ReplayError, StoreError
from ompd.roles.cloud import Cloud
from ompd.roles.jobs import JOBS, OpenedJob
from ompd.service.acquaintance import meet_again, renew_prekey
from ompd.service.answers import Busy, octets
from ompd.service.application import Application, route
from ompd.service.crew import Crew
from ompd.service.intake import Intake, Received, read_body
from ompd.service.journal import Journal, Scribe
from ompd.service.metrics import Done
from ompd.service.ranges import FileAnswer, LongAnswers
from ompd.service.turns import Turns
from ompd.stores.audit_lines import Event
from ompd.wire import Header, Kind

#: What `Cloud.store` takes.
_STORED = tuple(kind for kind in Kind if kind.lasting and kind.senders == ("hospital",))
#: Threads that answer jobs, on as many tables; computing has its own.
_THREADS = 4
#: Jobs (True) and uploads (False) that may be here at a time; others are told to come again.
_MOST = {True: 256, False: 32}
#: Seconds after which that is worth a try; later, where the disk refuses or an index takes long.
_SOON, _LATER = 1, 5
#: Seconds that a connection waits for its answer, less than those between may let it be silent.
_LONGEST = 30.0
#: Bytes that take longer than a change of threads.
_LONG = 1 << 18
#: Seconds between looks at the cloud's own short-lived key.
_KEYS = 600.0


class CloudServer:
    """A cloud behind HTTP.

    Parameters
    ----------
    cloud : Cloud
        On tables and with a memory of frames that outlive the process; no other process has them.
    answers : Path
        Folder for long answers.
    journal : Journal

    Attributes
    ----------
    app : Application
    """

    def __init__(self, cloud: Cloud, answers: Path, journal: Journal) -> None:
        self._cloud = cloud
        self._journal = journal
        self._long = LongAnswers(answers, cloud.window)
        kept = () if cloud.keeping is None else (Kind.KEEPING_REQUEST,)
        self._intake = Intake(cloud.check_header, *JOBS, *_STORED, *kept)
        self._answering = Crew("ompd-answers", _THREADS)
        # These are long, and hold up no jobs. The index of one table none of another's pieces.
        self._whole = Crew("ompd-whole", 1)
        self._uploading = Crew("ompd-uploads", 2)
        self._writing = Crew("ompd-writing", 1)
        self._turns = Turns()
        # Jobs that are worked on, by digest: the same frame again waits for the same answer.
        self._working: dict[bytes, asyncio.Task[bytes]] = {}
        # Jobs that are, and uploads.
        self._count = {True: 0, False: 0}
        # Whether the disk refused when it was used last.
        self._failing = False
        self._scribe = Scribe(journal, self._writing)
        self.app = Application(
            [
                route("POST", "/v1/frames", self._frames),
                route("GET", "/v1/identity", self._identity),
                route("POST", "/v1/identity", self._meet),
                route("GET", "/health/live", self._live),
                route("GET", "/health/ready", self._ready),
            ],
            self._life,
            refused=journal.metrics.strangers.inc,
        )

    def status(self) -> dict[str, object]:
        """Return what ``/status`` tells."""
        return {
            "party": self._cloud.id,
            "role": "cloud",
            "ready": not self._failing,
            "tables": len(self._cloud.tables.kept()),
            "jobs": self._count[True],
            "uploads": self._count[False],
            "bytes": self._intake.held,
        }

    @contextlib.asynccontextmanager
    async def _life(self) -> AsyncIterator[None]:
        duties = [asyncio.ensure_future(each) for each in (self._keep_key(), self._scribe.run())]
        try:
            yield
            # Those who asked may not have waited.
            await asyncio.gather(*self._working.values(), return_exceptions=True)
        finally:
            for duty in duties:
                duty.cancel()
            await asyncio.gather(*duties, return_exceptions=True)
            for crew in (self._answering, self._whole, self._uploading, self._writing):
                crew.close()
            self._scribe.flush()

    # --- endpoints

    async def _identity(self, _: Request) -> Response:
        return octets(self._cloud.public.to_bytes())

    async def _meet(self, request: Request) -> Response:
        """Take up the short-lived key of a hospital, to which answers are encrypted."""
        encoded = await read_body(request, MAX_PUBLIC_IDENTITY_BYTES)
        party = PublicIdentity.from_bytes(encoded).id
        await self._writing.do(meet_again, self._cloud.directory, party, encoded)
        return Response()

    async def _live(self, _: Request) -> Response:
        return Response()

    async def _ready(self, _: Request) -> Response:
        return Response(status_code=503 if self._failing else 200)

    async def _frames(self, request: Request) -> Response:
        async with self._intake.frame(request) as received:
            digest = await _digest(received.data)
            try:
                answer = await self._answer(digest, received)
                self._failing = False
            except StoreError as error:
                # Nothing came of it, and the same may be sent again.
                self._failing = True
                self._journal.trouble("the disk refused", error)
                raise Busy(_LATER) from None
            return octets(answer) if isinstance(answer, bytes) else FileAnswer(request, answer)

    # --- what they do

    async def _answer(self, digest: bytes, received: Received) -> bytes | BinaryIO:
        """Return the answer to a frame, which is worked on once, however often it comes."""
        work = self._working.get(digest)
        if work is None:
            if (file := self._long.open(digest)) is not None:
                return file
            kind = received.header.kind
            is_job = kind in JOBS or kind == Kind.KEEPING_REQUEST
            if self._count[is_job] >= _MOST[is_job]:
                raise Busy(_SOON)
            self._count[is_job] += 1
            work = asyncio.ensure_future(
                self._keeping(received)
                if kind == Kind.KEEPING_REQUEST
                else self._job(digest, received)
                if is_job
                else self._upload(received)
            )
            self._working[digest] = work
            work.add_done_callback(functools.partial(self._done, digest, is_job))
        try:
            # Whoever is gone meanwhile may ask again.
            answer = await asyncio.wait_for(asyncio.shield(work), _LONGEST)
        except TimeoutError:
            raise Busy(_LATER) from None
        return self._long.open(digest) or answer

    def _done(self, digest: bytes, is_job: bool, work: asyncio.Task[bytes]) -> None:
        self._count[is_job] -= 1
        del self._working[digest]
        # Nobody may be there to be told.
        if not work.cancelled():
            work.exception()

    async def _job(self, digest: bytes, received: Received) -> bytes:
        job = received.data
        about = ""
        with self._journal.metrics.timed("answer"):
            try:
                loop = asyncio.get_running_loop()
                opened, answer = await self._answering.do(self._open, job, loop)
                if isinstance(opened, bytes):
                    answer, outcome = opened, "repeated"
                else:
                    about, outcome = opened.table.hex(), "answered"
                    if answer is None:
                        answer = await self._answer_opened(digest, opened)
            except ReplayError:
                # Claimed, not answered, and not worked on: a process before was killed.
                answer, outcome = await self._answering.do(self._cloud.settle, job), "refused"
            except OmpdError:
                answer, outcome = await self._answering.do(self._cloud.refuse, job), "refused"
        self._note(received.header, about, outcome)
        return answer

    def _open(
        self, job: bytes, loop: asyncio.AbstractEventLoop
    ) -> tuple[OpenedJob | bytes, bytes | None]:
        """Open a job, or find its answer; where its table is free, answer it by the same thread."""
        opened = self._cloud.open_job(job)
        if isinstance(opened, bytes) or opened.is_whole or not self._turns.take(opened.table):
            return opened, None
        try:
            return opened, opened.answer()
        finally:
            loop.call_soon_threadsafe(self._turns.leave, opened.table)

    async def _answer_opened(self, digest: bytes, opened: OpenedJob) -> bytes:
        if opened.is_whole:
            return await self._whole.do(self._answer_whole, digest, opened)
        await self._turns.wait(opened.table)
        try:
            return await self._answering.do(opened.answer)
        finally:
            self._turns.leave(opened.table)

    def _answer_whole(self, digest: bytes, opened: OpenedJob) -> bytes:
        # Not in the memory of frames as well, which all claims wait for.
        answer = opened.answer(keep=False)
        try:
            self._long.put(digest, answer)
        except StoreError as error:
            # It can be sent once, if not in parts.
            self._journal.trouble("a long answer cannot be kept", error)
        return answer

    async def _keeping(self, received: Received) -> bytes:
        keeping = self._cloud.keeping
        assert keeping is not None  # noqa: S101  (else no such frame is read)
        with self._journal.metrics.timed("answer"):
            answer = await self._answering.do(keeping.answer_or_refuse, received.data)
        self._note(received.header, "", "answered")
        return answer

    async def _upload(self, received: Received) -> bytes:
        done: Done = "failed"
        try:
            with self._journal.metrics.timed("store"):
                receipt = await self._uploading.do(self._cloud.store, received.data)
            done = "done"
        finally:
            self._journal.metrics.uploaded(done)
        self._note(received.header, "", "stored")
        return receipt

    # --- duties

    def _note(self, header: Header, about: str, outcome: str) -> None:
        """Let the audit log tell of an authentic frame."""
        self._scribe.note(Event(time.time(), header.sender, header.kind.words, about, outcome))

    async def _keep_key(self) -> None:
        """Have a short-lived key that is valid for a while."""
        while True:
            try:
                if await self._writing.do(renew_prekey, self._cloud):
                    self._journal.event("rotate", "", "done")
            except OmpdError as error:
                self._journal.trouble("a short-lived key cannot be made", error)
            await asyncio.sleep(_KEYS)


async def _digest(data: bytes) -> bytes:
    """Return the SHA-256 of a frame; of a long one, without holding up others."""
    if len(data) < _LONG:
        return hashlib.sha256(data).digest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).digest())

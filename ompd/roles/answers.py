"""A cloud's answers become reports, in the order of their jobs."""

from __future__ import annotations

import logging
import math
from dataclasses import fields
from typing import Any

from ompd.errors import (
    BucketAuthError,
    ContextMismatchError,
    OmpdError,
    ParameterError,
    RefusedError,
)
from ompd.roles.clerk import Letter
from ompd.roles.post import Post
from ompd.roles.publication import check_ref
from ompd.roles.quota import Quota
from ompd.roles.reports import Reports, answered, longest, unanswered
from ompd.roles.retrieval import PROFILES, Neighbours, TableRef
from ompd.roles.turns import Done, OpenJob, Request, Turns
from ompd.roles.underway import Underway
from ompd.roles.unsent import Kept, Unsent
from ompd.wire import KIND_OF, Frame, Header, Kind, Refusal, check_answer_size

_LOGGER = logging.getLogger("ompd.hospital")
# Silent unless the application asks for it.
_LOGGER.addHandler(logging.NullHandler())
#: Seconds that an answer waits for the answers to earlier jobs.
PATIENCE = 10.0
# Jobs are over after this share of the time that a user waits, so that there is time to tell.
_SHARE = 0.75
_FOUND = tuple(each.name for each in fields(Neighbours))
#: What can come back for a job.
_BODIES: list[Any] = [Refusal, *(each.answer for each in PROFILES.values())]
_ANSWERS = {KIND_OF[body]: body for body in _BODIES}
_JOBS = tuple(KIND_OF[each.job_type] for each in PROFILES.values())


class Answers:
    """The jobs that wait for an answer, and the reports that wait for somebody to send them.

    For several threads.

    Parameters
    ----------
    post : Post
    quota : Quota
        Told of every query that is over.
    patience : float
        As for `Hospital`.

    Raises
    ------
    ParameterError
        If the patience is no number of seconds.
    """

    def __init__(self, post: Post, quota: Quota, patience: float) -> None:
        check_patience(patience)
        self._post = post
        self._quota = quota
        self._turns = Turns(_SHARE * post.window, patience, _read, _give_up)
        self._unsent = Unsent()
        self._underway = Underway()

    def __len__(self) -> int:
        """Count the jobs that wait."""
        return len(self._turns)

    def check_room(self) -> None:
        """Refuse another job if too many are open.

        Raises
        ------
        TooLargeError
        """
        self._turns.check_room()

    def take(self, request: Request) -> None:
        """Take up a query, before it is claimed.

        Raises
        ------
        ReplayError, QuotaError
        """
        self._underway.add(request.header)
        try:
            self._quota.take(request.user, request.rows)
        except OmpdError:
            self._underway.remove([request.header])
            raise

    def untake(self, request: Request) -> None:
        """Forget a query that was not claimed."""
        self._quota.end(request.user, request.rows)
        self._underway.remove([request.header])

    def settle(self, query: bytes) -> bytes | None:
        """As `Hospital.settle`."""
        frame = self._post.claimed(query, Kind.QUERY, Kind.BLIND_QUERY, Kind.BLIND_KEY)
        # In this order: once it is not under way any more, its report is kept.
        return None if frame.header in self._underway else self._post.settle(frame)

    def sweep(self) -> None:
        """Give up the jobs that no answer can be accepted for."""
        self._keep(self._turns.expired(self._post.now()))

    def expect(self, job: OpenJob) -> None:
        """Wait for the answer to a job."""
        self._turns.add(job, self._post.now())

    def give_up(self, job: OpenJob) -> None:
        """Wait no longer for the answer to a job; `collect` has the reports on it."""
        self._keep(self._turns.fail(job, self._post.now()))

    def end(self, job: OpenJob) -> None:
        """Tell the users of a job that was not made; `collect` has the reports on it."""
        self._keep([Done(job, None)])

    def report(self, verdict: bytes) -> bytes:
        """As `Hospital.report`."""
        frame = self._post.authenticate(verdict, *_ANSWERS, admit=self._expected)
        key = frame.header.sender, frame.header.nonce
        kept = self._unsent.find(key)
        if kept is not None and len(kept.reports) == 1:
            self._post.claim(frame)
            # Unless another thread collects them just now.
            if ready := self._unsent.take(key):
                return ready[0]
        job = self._open_job(frame)
        if len(job.requests) != 1:
            raise ContextMismatchError("verdict: answers a batch, which report_batch reads")
        body = self._accepted(frame, job)
        if body is None:
            own, *others = self._turns.fail(job, self._post.now())
        else:
            own, *others = self._turns.wait(job, body, len(verdict), self._post.now())
        self._keep(others)
        reports = self._reports(own)
        for error in reports.refused.values():
            raise error
        return reports[0]

    def report_batch(self, verdict: bytes) -> Reports:
        """As `Hospital.report_batch`."""
        frame = self._post.authenticate(verdict, *_ANSWERS, admit=self._expected)
        key = frame.header.sender, frame.header.nonce
        if self._unsent.find(key) is not None:
            self._post.claim(frame)
            return (self._unsent.take(key) or Reports()).add(self.collect())
        job = self._open_job(frame)
        body = self._accepted(frame, job)
        if body is None:
            done = self._turns.fail(job, self._post.now())
        else:
            done = self._turns.answer(job, body, len(verdict), self._post.now())
        return self._ready(done)

    def fail(self, job: bytes) -> Reports:
        """As `Hospital.fail`."""
        header = Frame.decode(job, *_JOBS).header
        key = header.recipient, header.nonce
        if (kept := self._unsent.take(key)) is not None:
            return kept.add(self.collect())
        return self._ready(self._turns.fail(self._turns.find(*key), self._post.now()))

    def collect(self) -> Reports:
        """As `Hospital.collect`."""
        now = self._post.now()
        self._keep(self._turns.overdue(now))
        return self._unsent.take_all(now)

    def _ready(self, done: list[Done]) -> Reports:
        """Return the reports on these jobs, and those that were kept."""
        reports = Reports()
        for one in done:
            reports.add(self._reports(one))
        return reports.add(self.collect())

    def _expected(self, header: Header, size: int) -> None:
        """Refuse what answers no job, or is longer than its answer, before it is read."""
        key = header.sender, header.nonce
        if (kept := self._unsent.find(key)) is not None:
            content = kept.answer_bytes
        else:
            content = self._turns.find(*key).answer_bytes
        check_answer_size(size, content)

    def _open_job(self, frame: Frame) -> OpenJob:
        self.sweep()
        return self._turns.find(frame.header.sender, frame.header.nonce)

    def _accepted(self, frame: Frame, job: OpenJob) -> Any:
        """Use an answer up, whatever is in it; returns what is to be read, if that is anything.

        An answer is tried once, so that nothing can be probed.
        """
        self._post.claim(frame)
        expected: Any = job.table.retrieval.answer
        try:
            body = self._post.open(frame, _ANSWERS[frame.header.kind])
            if frame.header.kind == Kind.REFUSAL:
                raise RefusedError("verdict: the cloud did not accept the job")
            if not isinstance(body, expected):
                raise ContextMismatchError("verdict: is of another profile than the job")
            check_ref(TableRef(body.table_id, body.version), job.table.ref)
        except OmpdError as error:
            _log(job, error)
            return None
        return body

    def _reports(self, done: Done) -> Reports:
        """Make one report per query of a job that is over; called once for every job."""
        job, found = done
        if job.payer is not None:
            self._quota.end_whole(job.payer)
        for request in job.requests:
            self._quota.end(request.user, request.rows)
        try:
            return self._sealed(job, found)
        finally:
            self._underway.remove(request.header for request in job.requests)

    def _sealed(self, job: OpenJob, found: Neighbours | None) -> Reports:
        reports = Reports()
        letters: list[tuple[Request, Letter]] = []
        first = 0
        for request in job.requests:
            rows = slice(first, first + request.rows)
            first += request.rows
            try:
                letters.append((request, self._report_on(job, request, found, rows)))
            except OmpdError as error:
                # Revoked since it asked, or the registry cannot be read; the other users of the job
                # get their reports.
                reports.refused[request.user] = error
        kept = []
        frames = self._post.send_many([letter for _, letter in letters])
        for (request, _), frame in zip(letters, frames, strict=True):
            if isinstance(frame, OmpdError):
                reports.refused[request.user] = frame
            else:
                reports.append(frame)
                kept.append((request.header, frame))
        self._post.answered_many(kept)
        return reports

    def _report_on(
        self, job: OpenJob, request: Request, found: Neighbours | None, rows: slice
    ) -> Letter:
        part = None
        if found is not None and found.answered[rows].all():
            part = Neighbours(*(getattr(found, name)[rows] for name in _FOUND))
        body = unanswered(job.table) if part is None else answered(job.table, part, request.filled)
        return self._post.letter(
            request.user,
            body,
            nonce=request.header.nonce,
            sequence=request.header.sequence,
            encrypt_to=request.reply_key,
            pad_to=longest(job.table, request.rows),
        )

    def _keep(self, done: list[Done]) -> None:
        """Keep the reports of jobs that are over until somebody asks for them."""
        now = self._post.now()
        self._unsent.forget_old(now)
        for job, found in done:
            kept = Kept(now + self._post.window, job.answer_bytes, self._reports(Done(job, found)))
            self._unsent.keep((job.cloud, job.nonce), kept)


def check_patience(patience: float) -> None:
    """Refuse what is no number of seconds.

    Raises
    ------
    ParameterError
    """
    if not 0 <= patience < math.inf:
        raise ParameterError("patience: expected a number of seconds from 0")


def _read(job: OpenJob) -> Neighbours | None:
    """Read an answer whose turn it is."""
    try:
        found = job.table.retrieval.read(job.body, job.context, job.rows, job.table.k)
    except OmpdError as error:
        _log(job, error)
        return None
    if not found.answered.all():
        _log(job, BucketAuthError("answer: sums are wrong, or too few came"))
    return found


def _give_up(job: OpenJob) -> None:
    """No answer will be read, so what was asked for may be asked for again."""
    try:
        job.table.retrieval.abandon(job.context)
    except OmpdError as error:
        # The table was closed meanwhile.
        _log(job, error)


def _log(job: OpenJob, error: OmpdError) -> None:
    """Tell the hospital, which has no other way to learn it, why users get no answer."""
    _LOGGER.warning("cloud %s: no answer to %d queries: %s", job.cloud, len(job.requests), error)

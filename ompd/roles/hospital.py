"""The hospital: owns the records, publishes tables of them, and answers users."""

from __future__ import annotations

from ompd.errors import ContextMismatchError, OmpdError, RefusedError
from ompd.roles.forwarder import Batch, Forwarder, JobFrame, log_failure
from ompd.roles.publisher import check_ref
from ompd.roles.reports import Reports
from ompd.roles.retrieval import TableRef
from ompd.roles.turns import Done, OpenJob
from ompd.wire import Frame, Header, Kind, Refusal, SealedAnswer, Verdict, check_answer_size

__all__ = ["Batch", "Hospital", "JobFrame"]


class Hospital(Forwarder):
    """Publishes tables, forwards queries and turns the cloud's answers into reports.

    `Forwarder` and `Publisher` say which parameters it takes.
    """

    def report(self, verdict: bytes) -> bytes:
        """Turn the cloud's answer to a single query into a report frame for the user.

        Answers to a sealed table are read in the order of its jobs. Where earlier ones have not
        come, this waits for other threads to hand them in, until those jobs are `patience` seconds
        old; they are given up then, and `collect` has the reports on them.

        Returns
        -------
        bytes
            Whatever the cloud answered, a report of the usual length. Only its user can tell
            whether there is a diagnosis in it; for the hospital, the log says why not.

        Raises
        ------
        ContextMismatchError
            If the job was a batch.
        UnknownKeyError
            If the user was revoked or has expired meanwhile; nobody gets this report.
        OmpdError
            If the frame is not an authentic, fresh answer to an open job.
        """
        frame = self._authenticate(verdict, *_ANSWERS, admit=self._expected)
        key = frame.header.sender, frame.header.nonce
        kept = self._unsent.find(key)
        if kept is not None and len(kept.reports) == 1:
            self._claim(frame)
            # Unless another thread collects them just now.
            if ready := self._unsent.take(key):
                return ready[0]
        job = self._open_job(frame)
        if len(job.requests) != 1:
            raise ContextMismatchError("verdict: answers a batch, which report_batch reads")
        body = self._accepted(frame, job)
        if body is None:
            own, *others = self._forwarded.fail(job, self._clock())
        else:
            own, *others = self._forwarded.wait(job, body, len(verdict), self._clock())
        self._keep(others)
        reports = self._reports(own)
        for error in reports.refused.values():
            raise error
        return reports[0]

    def report_batch(self, verdict: bytes) -> Reports:
        """Turn the cloud's answer to a job into reports, as soon as it is its turn; never waits.

        Returns
        -------
        Reports
            All report frames that are ready, in the order of their jobs: one per query of this job,
            in the order of the queries that were not refused, unless its turn is yet to come; those
            of later jobs whose turn it is by this answer; and what `collect` would return. A
            frame's header names its user. A user who was revoked meanwhile gets none.

        Raises
        ------
        OmpdError
            If the frame is not an authentic, fresh answer to an open job.
        """
        frame = self._authenticate(verdict, *_ANSWERS, admit=self._expected)
        key = frame.header.sender, frame.header.nonce
        if self._unsent.find(key) is not None:
            self._claim(frame)
            return (self._unsent.take(key) or Reports()).add(self.collect())
        job = self._open_job(frame)
        body = self._accepted(frame, job)
        if body is None:
            done = self._forwarded.fail(job, self._clock())
        else:
            done = self._forwarded.answer(job, body, len(verdict), self._clock())
        return self._ready(done)

    def fail(self, job: bytes) -> Reports:
        """Give up a job that the cloud will not answer, so that nobody waits for it.

        Parameters
        ----------
        job : bytes
            The frame that was made for the cloud.

        Returns
        -------
        Reports
            All report frames that are ready, as from `report_batch`; first one per query of the
            job that tells its user, and nobody else, that there is no answer.

        Raises
        ------
        ContextMismatchError
            If the job is over or was answered.
        FrameError
            If it is no frame of a job.
        """
        header = Frame.decode(job, *_JOBS).header
        key = header.recipient, header.nonce
        if (kept := self._unsent.take(key)) is not None:
            return kept.add(self.collect())
        return self._ready(self._forwarded.fail(self._forwarded.find(*key), self._clock()))

    def collect(self) -> Reports:
        """Return the report frames that are ready and that no other call has returned.

        These are of jobs that were given up, since no answer came in time, and of answers that
        waited for others. A server calls it now and then, so that no user waits in vain.
        """
        now = self._clock()
        self._keep(self._forwarded.overdue(now))
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
            job = self._forwarded.find(*key)
            content = job.table.retrieval.answer_bytes(job.rows)
        check_answer_size(size, content)

    def _open_job(self, frame: Frame) -> OpenJob:
        self._keep(self._forwarded.expired(self._clock()))
        return self._forwarded.find(frame.header.sender, frame.header.nonce)

    def _accepted(self, frame: Frame, job: OpenJob) -> Verdict | SealedAnswer | None:
        """Use an answer up, whatever is in it; returns what is to be read, if that is anything.

        An answer is tried once, so that nothing can be probed.
        """
        self._claim(frame)
        try:
            body = self._open(frame, _ANSWERS[frame.header.kind])
            if isinstance(body, Refusal):
                raise RefusedError("verdict: the cloud did not accept the job")
            if not isinstance(body, job.table.retrieval.answer):
                raise ContextMismatchError("verdict: is of another profile than the job")
            check_ref(TableRef(body.table_id, body.version), job.table.place)
        except OmpdError as error:
            log_failure(job, error)
            return None
        return body


#: What can come back for a job.
_ANSWERS: dict[Kind, type[Verdict] | type[SealedAnswer] | type[Refusal]] = {
    Kind.VERDICT: Verdict,
    Kind.SEALED_ANSWER: SealedAnswer,
    Kind.REFUSAL: Refusal,
}
_JOBS = (Kind.SEALED_JOB, Kind.PAPER_JOB, Kind.HARDENED_JOB)

"""The hospital: owns the records, publishes tables of them, and answers users."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ompd.crypto import Identity
from ompd.roles.answers import PATIENCE, Answers, check_patience
from ompd.roles.batches import Batch, JobFrame, Opened, OpenedQuery
from ompd.roles.editor import Editor
from ompd.roles.merges import Merges
from ompd.roles.queries import Queries
from ompd.roles.quota import Quota
from ompd.roles.reports import Reports
from ompd.roles.uploads import Upload
from ompd.roles.windows import Due, Windows
from ompd.wire import Frame, Kind, disease_name

__all__ = ["Batch", "Due", "Hospital", "JobFrame"]

#: What users send.
_REQUESTS = (Kind.QUERY, Kind.BLIND_QUERY, Kind.BLIND_KEY)


class Hospital(Editor):
    """Publishes tables, forwards queries and turns the cloud's answers into reports.

    Parameters
    ----------
    identity : Identity
    profile : {"blind", "sealed", "hardened", "paper"}
        What its tables tell the cloud. `blind`: there is no cloud, and the hospital does not see
        what it is asked. `sealed`, the default: nothing but sizes and times. `hardened`: all
        distances, of coarse and, with `epsilon`, noisy vectors. `paper`: everything; it is for
        study of the published scheme.
    epsilon : float, optional
        Noise for the tables and queries of `hardened`: how well two patients at the median
        distance may be told apart by their vectors.
    ledger : BudgetLedger, optional
        What has been released of each record, and by the queries of each user; goes with `epsilon`.
    state : path, optional
        Folder for what outlives the process, with keys in the clear; made if it is missing. Damage
        to a disease in it is a `StoreWarning`, see `damaged`. OPERATING.md says what is kept.
    patience : float
        Seconds that an answer of a sealed table waits for those to earlier jobs; then the earlier
        jobs are given up.
    share : float, default 0.5
        Above 0, up to 1: how much one user may take of a window of hints that others have left,
        and of the queries that may be open at once. 1 where one user asks for many people.
    **options
        Directory, replays, clock and window as for `Party`.

    Raises
    ------
    ParameterError
        If there is no such profile, or epsilon and ledger do not belong to it or together.
    StoreError
        If the state cannot be used; from every method but `close` in a process that was forked.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        patience: float = PATIENCE,
        share: float = 0.5,
        **options: Any,
    ) -> None:
        # Before the state folder is opened, which takes hints off the disk.
        quota = Quota(share)
        check_patience(patience)
        super().__init__(identity, **options)
        self._answers = Answers(self._post, quota, patience)
        self._queries = Queries(self._post, self._shelf, quota, self._answers)
        self._windows = Windows(self._post)
        self._merges = Merges(self._post, self._shelf, self._changes, self._windows)

    @property
    def open_jobs(self) -> int:
        """How many jobs wait for their answer."""
        return len(self._answers)

    def remaining(self, disease: str) -> int | None:
        """Return how many queries the table can answer before `renew`; None for any number.

        Raises
        ------
        UnknownDiseaseError, StoreError
            If no table is asked under this name, or it is `damaged`.
        """
        room = self._shelf.find(disease).retrieval.room
        return None if room == sys.maxsize else room

    def renew(self, disease: str) -> bytes:
        """Ask the cloud for the whole sealed table, to make the hints of a new window from it.

        The frame is for `Cloud.answer`, whose answer is for `renewed`. Publishing the disease anew
        does as well, and needs no download.

        Raises
        ------
        UnknownDiseaseError, StoreError
            If no table is asked under this name, or it is `damaged`.
        ParameterError
            If the disease's table is of another profile.
        """
        disease = disease_name(disease)
        return self._windows.request(disease, self._shelf.find(disease), "renew")

    def renewed(self, answer: bytes) -> None:
        """Make the hints of a new window; what is on its way in the old one still counts.

        Raises
        ------
        BucketAuthError
            If a bucket is not the one that was stored; nothing changes then.
        RefusedError
            If the cloud did not accept the request; that request is over.
        OmpdError
            If the frame is not an authentic, fresh answer to `renew`.
        """
        self._windows.renew(answer)

    def merge(self, disease: str) -> bytes:
        """Ask the cloud for the whole sealed table, to make a version of it with all changes.

        The frame is for `Cloud.answer`, whose answer is for `merged`. Until then added rows are
        kept by the hospital alone, and removed ones by the cloud, encrypted.

        Raises
        ------
        UnknownDiseaseError, StoreError, ParameterError
            As `renew`.
        """
        return self._merges.request(disease_name(disease))

    def merged(self, answer: bytes) -> Upload:
        """Make the next version of a sealed table, of the present one and its changes.

        Nothing is trained, and records are not needed. The version has a fresh key and a new
        window. It is asked once it is delivered; queries go on meanwhile, changes wait for that.
        Rows of a table that was published without ids are numbered anew, in their order.

        Raises
        ------
        BucketAuthError
            If a bucket is not the one that was stored.
        ContextMismatchError
            If the answer is not one to `merge`, or the table was published anew meanwhile.
        RefusedError
            If the cloud did not accept the request; that request is over.
        ParameterError
            If an upload of the disease waits for its receipt.
        OmpdError
            If the frame is not authentic and fresh, or the state cannot be used.
        """
        return self._merges.upload(answer)

    def due(self) -> list[Due]:
        """Return what should be done now beside answering: new windows, merges, lost changes.

        A server calls it every few seconds, with a thread to do what is due. Windows are due before
        they end, by how many queries came in the last minutes; merges when a thirtieth of a table
        has changed, or a row was removed a day ago. Changes whose receipts did not come within an
        eighth of a window are due to be sent again, in all profiles: half a window after a removal
        the cloud does not answer for what was before. What was begun is not due for a while.
        """
        return self._merges.due()

    def forward(self, query: bytes) -> bytes:
        """Turn a user's query frame into a job frame for the cloud.

        Raises
        ------
        UnknownDiseaseError
            If no table is published for the disease.
        SchemaError
            If its user made it by another schema than the disease's.
        FeatureError, DomainError
            If the features do not fit the disease's schema.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        batch = self._queries.forward([query])
        if batch.refused:
            raise batch.refused[0]
        return batch.jobs[0].frame

    def forward_batch(self, queries: Sequence[bytes]) -> Batch:
        """Turn query frames of many users into one job frame per disease, more if it is full.

        One signature covers each job, and the queries' signatures are verified together. A bad
        query is refused by itself and does not hold up the others.
        """
        return self._queries.forward(queries)

    def open_batch(self, queries: Sequence[bytes]) -> Opened:
        """Do what `forward_batch` begins with: verify, decrypt and check queries of many users.

        Nothing is claimed and nothing counted. A server learns here which table each query is for,
        and lets it wait for its turn there.
        """
        return self._queries.open(queries)

    def forward_opened(self, queries: Sequence[OpenedQuery]) -> Batch:
        """Do the rest of `forward_batch`, for queries of `open_batch` in any order and number."""
        return self._queries.forward_opened(queries)

    def answer(self, frame: bytes) -> bytes:
        """Answer a user's frame that no cloud has a part in: `User.enrol`, or a blind query.

        Returns
        -------
        bytes
            A receipt for `User.enrolled`, or a report for `User.read`.

        Raises
        ------
        UnknownDiseaseError
            If no blind model is published for the disease.
        OutdatedError
            If the query is of another model than is asked.
        UnenrolledError
            If its user did not enrol the key that it is encrypted with.
        AllowanceError
            If the user would be told of more rows than `publish` said.
        TooLargeError
            If it has more rows than the catalogue says.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        return self._blind.answer(frame)

    def left(self, user: str, disease: str) -> int:
        """Return how many more rows a user may be told of a blind model.

        Raises
        ------
        UnknownDiseaseError, StoreError
        """
        return self._blind.left(user, disease_name(disease))

    def refuse(self, query: bytes) -> bytes:
        """Answer a query that `forward` did not accept.

        The frame tells no reason, but for those that its user can know: that the query was made by
        another schema or blind model than the disease's, which everybody can see from `catalogue`,
        with a key that was not enrolled, or after all answers that one user gets.

        Raises
        ------
        OmpdError
            If the frame is not authentic and fresh, or was received before: strangers and
            replays get no answer at all.
        """
        return self._post.refuse(query, *_REQUESTS, code=self._refusal_code)

    def _refusal_code(self, frame: Frame) -> int:
        asks = frame.header.kind == Kind.QUERY
        return (self._queries if asks else self._blind).refusal_code(frame)

    def answered(self, query: bytes) -> bytes | None:
        """Return again what a query was answered with, if that was lost on the way to its user.

        For a query that `forward` refuses with `ReplayError`. Nothing is asked, charged or used up.
        None if there is no report or refusal yet, or it is not kept any more.

        Raises
        ------
        ContextMismatchError
            If the query was not accepted or refused before.
        ReplayError
            If it is not the frame that was, byte for byte.
        OmpdError
            If its freshness has ended, or its sender is not known any more.
        """
        return self._post.again(query, *_REQUESTS)

    def settle(self, query: bytes) -> bytes | None:
        """As `answered`, and refuse a query that was claimed and that nobody will answer.

        Such as one that was on its way when an earlier process of this hospital was killed: its
        user is told, by the same refusal however often the query comes again, and asks anew. For
        where no other process answers with the same `replays`.

        Returns
        -------
        bytes or None
            The report or refusal; None while the query is open here.

        Raises
        ------
        OmpdError
            As `answered`.
        """
        return self._answers.settle(query)

    def report(self, verdict: bytes) -> bytes:
        """Turn the cloud's answer to a single query into a report frame for the user.

        Answers to a sealed table are read in the order of its jobs. Where earlier ones have not
        come, this waits for other threads to hand them in, until those jobs are `patience` seconds
        old; they are given up then, and `collect` has the reports on them. Whatever the cloud
        answered, the report has the usual length: only its user can tell whether there is a
        diagnosis in it; for the hospital, the log says why not.

        Raises
        ------
        ContextMismatchError
            If the job was a batch.
        UnknownKeyError
            If the user was revoked or has expired meanwhile; nobody gets this report.
        OmpdError
            If the frame is not an authentic, fresh answer to an open job.
        """
        return self._answers.report(verdict)

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
        return self._answers.report_batch(verdict)

    def fail(self, job: bytes) -> Reports:
        """Give up a job that the cloud will not answer, by its frame, so that nobody waits for it.

        Returns what `report_batch` does; first one report per query of the job that tells its
        user, and nobody else, that there is no answer.

        Raises
        ------
        ContextMismatchError
            If the job is over or was answered.
        FrameError
            If it is no frame of a job.
        """
        return self._answers.fail(job)

    def collect(self) -> Reports:
        """Return the report frames that are ready and that no other call has returned.

        These are of jobs that were given up, since no answer came in time, and of answers that
        waited for others. A server calls it now and then, so that no user waits in vain.
        """
        return self._answers.collect()

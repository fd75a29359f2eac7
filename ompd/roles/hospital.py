"""The hospital: owns the records, publishes tables of them, and answers users."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ompd.crypto import Identity
from ompd.params import Profile
from ompd.roles.answers import PATIENCE, Answers
from ompd.roles.intake import Instances, checked
from ompd.roles.party import Party
from ompd.roles.publication import Published
from ompd.roles.queries import Batch, JobFrame, Queries
from ompd.roles.quota import Quota
from ompd.roles.reports import Reports
from ompd.roles.retrieval import TableRef
from ompd.roles.shelf import Shelf
from ompd.roles.stages import Stages
from ompd.roles.windows import Windows
from ompd.schema import Schema
from ompd.stores import BudgetLedger
from ompd.wire import Kind, Receipt, disease_name

__all__ = ["Batch", "Hospital", "JobFrame"]


class Hospital(Party):
    """Publishes tables, forwards queries and turns the cloud's answers into reports.

    Parameters
    ----------
    identity : Identity
    profile : {"sealed", "hardened", "paper"}
        What its tables tell the cloud. `sealed`, the default: nothing but sizes and times.
        `hardened`: all distances, of coarse and, with `epsilon`, noisy vectors. `paper`:
        everything; it is for study of the published scheme.
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

    role = "hospital"

    def __init__(
        self,
        identity: Identity,
        *,
        profile: str = "sealed",
        epsilon: float | None = None,
        ledger: BudgetLedger | None = None,
        state: str | os.PathLike[str] | None = None,
        patience: float = PATIENCE,
        share: float = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(identity, **options)
        quota = Quota(share)
        self._answers = Answers(self._post, quota, patience)
        # Last, since it takes hints off the disk: what else is refused must leave them there.
        window = self._post.window if options.get("replays") is None else None
        self._shelf = Shelf(profile, epsilon, ledger, state, window)
        self._post.gate = self._shelf.check
        if self._shelf.frames is not None:
            self._post.replays = self._shelf.frames
        self._queries = Queries(self._post, self._shelf, quota, self._answers)
        self._windows = Windows(self._post)

    @property
    def profile(self) -> Profile:
        """What its tables tell the cloud."""
        return self._shelf.profile

    @property
    def diseases(self) -> dict[str, Schema]:
        """Diseases that can be asked about, and what each expects of a feature vector."""
        return {disease: table.encoder.schema for disease, table in self._shelf.tables.items()}

    @property
    def tables(self) -> dict[str, Published]:
        """The tables that are asked, by disease, with keys and what was learned from records."""
        return self._shelf.tables

    @property
    def open_jobs(self) -> int:
        """How many jobs wait for their answer."""
        return len(self._answers)

    @property
    def damaged(self) -> dict[str, str]:
        """Diseases whose state in the folder cannot be used, and why.

        They answer no queries until they are published anew, with `retrain` if they are `hardened`.
        A disease whose name was lost as well goes by the name of its file.
        """
        return self._shelf.damaged

    def publish(
        self,
        disease: str,
        instances: Instances,
        *,
        cloud: str,
        k: int | None = None,
        advice: Mapping[str, str] | None = None,
        method: str = "relief-mw",
        priors: str = "equal",
        decision: str | None = None,
        retrain: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> bytes:
        """Train a table, hide it as the profile says, and make its upload, for `Cloud.store`.

        The table is asked from `confirm` on. Until then the version before goes on answering, so
        that neither a lost upload nor a slow cloud interrupts anything.

        In `sealed` and `paper` each version is trained anew, under a fresh key. In `hardened` it
        keeps the encoder, step, K, scale of the noise and keys of the version before: a record
        that was in that one comes out as the same bytes, which tells the cloud that it stayed and
        nothing more. What is new are records that came, went or changed. Each record's release
        with noise is charged to it in the ledger, once.

        Parameters
        ----------
        disease : str
        instances : Instances
            Records of this disease; none of the query's person should be among them.
        cloud : str
            Id of a cloud this hospital has met.
        k : int, optional
            Neighbours that vote. By default it is chosen by leave-one-out: by the cloud, on the
            blinded table, in the profile `paper`, else by the hospital.
        advice : mapping of class name to text, optional
            What a user gets besides the label.
        method : {"relief-mw", "evidence"}
            How features become vectors. `relief-mw`: as published. `evidence`: learned scores; it
            needs scikit-learn.
        priors : {"equal", "training"}
            Which shares the classes have among those who ask: all the same, or those of the
            instances. Probabilities are calibrated to these.
        decision : {"probability", "majority"}, optional
            Whether a label is the class of highest calibrated probability, or as published that
            of most votes, whose shares are then the probabilities. By default the latter only for
            `relief-mw` in the profile `paper`.
        retrain : bool
            Whether a `hardened` table is trained anew, under fresh keys, as after many changes it
            should be. It is one more release of every record: some of them together give nearly
            all cells without noise, and with noise each costs every record another epsilon.
        progress : callable, optional
            Called with the finished share from 0 to 1, which only grows: training, choice of K,
            hiding (with the hints of a sealed table), and sealing of the frame.

        Raises
        ------
        FeatureError, DomainError, LabelError, TrainingError
            If the instances cannot train a table.
        NeighborsError
            If k is even or out of range.
        ParameterError
            If the disease is no text of 1 to 255 characters, an advice is too long, there is no
            such method, priors or decision, or schema, method or epsilon are not those of the
            `hardened` version before, and `retrain` is not asked for.
        PrivacyParameterError, OverflowParameterError
            If epsilon means nothing for these instances, or blinded they do not fit the profile.
        BudgetExceededError, StoreError
            If a record's budget does not allow its release, or ledger or state cannot be used.
        BackendUnavailableError
            If the method needs a package that is not installed.
        UnknownKeyError
            If the cloud is unknown.
        TooLargeError
            If the table would be above the cap of one frame, or there are more than 4096 features
            (4094 in `paper`). Nothing is trained then.
        """
        self._shelf.check()
        disease = disease_name(disease)
        records = checked(instances)
        plan = self._shelf.plan(disease, records, method, k, priors, decision)
        self.directory.get(cloud)
        return self._shelf.publish(
            self._post, disease, records, plan, cloud, advice or {}, Stages(progress), retrain
        )

    def resend(self, disease: str) -> bytes:
        """Make the upload that waits for its receipt once more, with the present time.

        For an upload that was lost or took longer than a day. Nothing is trained. The cloud
        acknowledges it also if it has it already. Until `confirm` the table is kept in memory only.

        Raises
        ------
        UnknownDiseaseError, UnknownKeyError
            If no upload of this disease waits for a receipt, or its cloud is not known any more.
        """
        return self._shelf.awaited(disease).sent(self._post)

    def confirm(self, receipt: bytes) -> None:
        """Ask a published table from now on, since the cloud has it.

        Raises
        ------
        ContextMismatchError
            If the receipt is for no upload that waits for one.
        NeighborsError
            If the cloud chose a K that is not possible.
        OmpdError
            If the frame is not authentic, fresh and well-formed.
        """
        frame = self._post.authenticate(receipt, Kind.RECEIPT)
        body = self._post.open(frame, Receipt)
        self._shelf.confirm(TableRef(body.table_id, body.version), frame.header.sender, body.k)

    def close(self) -> None:
        """Put the hints of sealed tables back into the state folder; the hospital ends here.

        After a crash instead, tables open without hints, and `renew` makes new ones. In a process
        that was forked from the hospital's own, nothing happens.

        Raises
        ------
        HintStateError
            If the folder cannot be written. It stays locked, and closing may be tried again.
        """
        self._shelf.close()

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
        return self._windows.request(self._shelf.find(disease))

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

    def forward(self, query: bytes) -> bytes:
        """Turn a user's query frame into a job frame for the cloud.

        Raises
        ------
        UnknownDiseaseError
            If no table is published for the disease.
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

    def refuse(self, query: bytes) -> bytes:
        """Answer a query that `forward` did not accept with a frame that tells no reason.

        Raises
        ------
        OmpdError
            If the frame is not authentic and fresh, or was received before: strangers and
            replays get no answer at all.
        """
        return self._post.refuse(query, Kind.QUERY)

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
        return self._post.again(query, Kind.QUERY)

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

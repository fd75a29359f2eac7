"""The part of the hospital that turns queries into jobs for a cloud."""

from __future__ import annotations

import logging
import math
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from ompd.arrays import F64, I64
from ompd.crypto import Identity, check_envelope_key
from ompd.errors import (
    BucketAuthError,
    DowngradeError,
    FeatureError,
    OmpdError,
    ParameterError,
    TooLargeError,
    WindowExhaustedError,
)
from ompd.params import weaker
from ompd.roles.publication import Published
from ompd.roles.publisher import Publisher
from ompd.roles.quota import Quota
from ompd.roles.reports import Reports, answered, longest, most_rows, unanswered
from ompd.roles.retrieval import Neighbours
from ompd.roles.turns import Done, OpenJob, Request, Turns
from ompd.roles.unsent import Kept, Unsent
from ompd.schema import Schema
from ompd.wire import Frame, Kind, Query

_LOGGER = logging.getLogger("ompd.hospital")
# Silent unless the application asks for it.
_LOGGER.addHandler(logging.NullHandler())
#: Seconds that an answer waits for the answers to earlier jobs.
PATIENCE = 10.0
# Jobs are over after this share of the time that a user waits, so that there is time to tell.
_SHARE = 0.75
_FOUND = tuple(each.name for each in fields(Neighbours))


class _Member(NamedTuple):
    """A query of a batch: its place in the input and what it asks."""

    place: int
    frame: Frame
    request: Request
    features: F64


class JobFrame(NamedTuple):
    """A job of a batch.

    Attributes
    ----------
    frame : bytes
    cloud : str
        Id of the cloud that it is for.
    places : tuple of int
        Which queries of the input are in it, in order.
    """

    frame: bytes
    cloud: str
    places: tuple[int, ...]

    def __repr__(self) -> str:
        return f"<JobFrame of {len(self.places)} queries>"


@dataclass(frozen=True, slots=True, repr=False)
class Batch:
    """What became of many queries.

    Attributes
    ----------
    jobs : list of JobFrame
        One per disease asked for; several where one would be above its cap.
    refused : dict of int to OmpdError
        Why a query was refused, by its place in the input. The others are in the jobs.
    """

    jobs: list[JobFrame]
    refused: dict[int, OmpdError]


class Forwarder(Publisher):
    """Publishes tables and forwards queries.

    Parameters
    ----------
    identity : Identity
    patience : float
        Seconds that an answer of a sealed table waits for those to earlier jobs; then the earlier
        jobs are given up.
    share : float, default 0.5
        Above 0, up to 1: how much one user may take of a window of hints that others have left,
        and of the queries that may be open at once. 1 where one user asks for many people.
    **options
        As for `Publisher`.
    """

    def __init__(
        self, identity: Identity, *, patience: float = PATIENCE, share: float = 0.5, **options: Any
    ) -> None:
        # Refused, if at all, before a state folder is opened.
        self._quota = Quota(share)
        if not 0 <= patience < math.inf:
            raise ParameterError("patience: expected a number of seconds from 0")
        super().__init__(identity, **options)
        self._forwarded = Turns(_SHARE * self._window, patience, self._read_answer, _give_up)
        self._unsent = Unsent()
        # Hints are used in the order in which jobs line up.
        self._asking = threading.Lock()

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
        batch = self.forward_batch([query])
        if batch.refused:
            raise batch.refused[0]
        return batch.jobs[0].frame

    def forward_batch(self, queries: Sequence[bytes]) -> Batch:
        """Turn query frames of many users into one job frame per disease, more if it is full.

        One signature covers each job, and the queries' signatures are verified together. A bad
        query is refused by itself and does not hold up the others.

        Parameters
        ----------
        queries : sequence of bytes

        Returns
        -------
        Batch
        """
        refused: dict[int, OmpdError] = {}
        accepted: dict[int, tuple[Published, list[_Member]]] = {}
        for place, frame in self._authenticate_many(queries, Kind.QUERY, refused).items():
            try:
                table, request, features = self._read_query(frame)
            except OmpdError as error:
                refused[place] = error
                continue
            group = accepted.setdefault(id(table), (table, []))
            group[1].append(_Member(place, frame, request, features))
        jobs = [
            job
            for table, members in accepted.values()
            for part in _within_cap(table, members)
            if (job := self._job(table, part, refused)) is not None
        ]
        return Batch(jobs, refused)

    def _read_query(self, frame: Frame) -> tuple[Published, Request, F64]:
        """Decrypt and check one authentic query; changes nothing."""
        body = self._open(frame, Query)
        table = self._table(body.disease)
        check_envelope_key(body.reply_key)
        if weaker(table.profile, body.least_profile):
            raise DowngradeError(f"query: its user demands the profile {body.least_profile}")
        features = _features(body, table.encoder.schema)
        if body.rows > (most := most_rows(table)):
            raise TooLargeError(f"features: expected at most {most} rows for this disease")
        request = Request(frame.header, body.reply_key, body.rows)
        return table, request, features

    def _job(
        self, table: Published, members: list[_Member], refused: dict[int, OmpdError]
    ) -> JobFrame | None:
        """Claim the queries on one table and make their job, if any is left."""
        self._keep(self._forwarded.expired(self._clock()))
        with self._asking:
            try:
                # A cloud that was revoked meanwhile must not use up the queries.
                self.directory.get(table.cloud)
                self._forwarded.check_room()
            except OmpdError as error:
                refused |= {member.place: error for member in members}
                return None
            accepted: dict[int, Request] = {}
            vectors = []
            room = table.retrieval.room
            for member in members:
                try:
                    if member.request.rows > room:
                        raise WindowExhaustedError(
                            f"hints: expected enough for {member.request.rows} queries, {room} are "
                            "left in this window"
                        )
                    encoded = self._admitted(table, member, room)
                except OmpdError as error:
                    refused[member.place] = error
                    continue
                room -= member.request.rows
                accepted[member.place] = member.request
                vectors.append(encoded)
            if not accepted:
                return None
            requests = list(accepted.values())
            job = OpenJob(table.cloud, secrets.token_bytes(16), table, requests)
            try:
                body, job.context = table.retrieval.job(
                    np.concatenate(vectors), [request.rows for request in requests]
                )
                job.window = table.retrieval.window(job.context)
            except OmpdError as error:
                # Lost answers ended the window meanwhile. The queries are used up.
                self._keep([Done(job, None)])
                refused |= dict.fromkeys(accepted, error)
                return None
            self._forwarded.add(job, self._clock())
        try:
            frame = self._send(table.cloud, body, nonce=job.nonce, sequence=0)
        except OmpdError as error:
            # The cloud was revoked meanwhile. Queries of other diseases go on.
            self._keep(self._forwarded.fail(job, self._clock()))
            refused |= dict.fromkeys(accepted, error)
            return None
        return JobFrame(frame, table.cloud, tuple(accepted))

    def _admitted(self, table: Published, member: _Member, room: int) -> I64:
        """Count a query for its user, encode it, and mark it as used."""
        request = member.request
        self._quota.take(request.user, request.rows, table.place, room)
        try:
            encoded = self._released(table, member)
            self._claim(member.frame)
        except OmpdError:
            self._quota.untake(request.user, request.rows, table.place)
            raise
        return encoded

    def _released(self, table: Published, member: _Member) -> I64:
        """Encode a query and, if the table has noise, charge its user and add it."""
        vectors = table.encoder.encode(member.features)
        if table.noise is None or table.epsilon is None or self._ledger is None:
            return vectors
        user = member.request.user
        owners = [user] * len(vectors)
        # Before the noise is released, and for all rows or none.
        digests = table.noise.query_digests(vectors, owners)
        self._ledger.spend_all(user, digests, table.epsilon)
        return table.noise.queries(vectors, owners)

    def refuse(self, query: bytes) -> bytes:
        """Answer a query that `forward` did not accept with a frame that tells no reason.

        Raises
        ------
        OmpdError
            If the frame is not authentic and fresh, or was received before: strangers and
            replays get no answer at all.
        """
        return self._refuse(query, Kind.QUERY)

    def answered(self, query: bytes) -> bytes | None:
        """Return again what a query was answered with, if that was lost on the way to its user.

        For a query that `forward` refuses with `ReplayError`. Nothing is asked, charged or used up.

        Returns
        -------
        bytes or None
            The report or refusal; None if there is none yet, or it is not kept any more.

        Raises
        ------
        ContextMismatchError
            If the query was not accepted or refused before.
        ReplayError
            If it is not the frame that was, byte for byte.
        OmpdError
            If its freshness has ended, or its sender is not known any more.
        """
        return self._again(query, Kind.QUERY)

    def _read_answer(self, job: OpenJob) -> Neighbours | None:
        """Read an answer whose turn it is."""
        try:
            found = job.table.retrieval.read(job.body, job.context, job.rows, job.table.k)
        except OmpdError as error:
            log_failure(job, error)
            return None
        if not found.answered.all():
            log_failure(job, BucketAuthError("answer: sums are wrong, or too few came"))
        return found

    def _reports(self, done: Done) -> Reports:
        """Make one report per query of a job that is over; called once for every job."""
        job, found = done
        reports = Reports()
        first = 0
        for request in job.requests:
            rows = slice(first, first + request.rows)
            first += request.rows
            self._quota.end(request.user, request.rows)
            part = None
            if found is not None and found.answered[rows].all():
                part = Neighbours(*(getattr(found, name)[rows] for name in _FOUND))
            body = unanswered(job.table) if part is None else answered(job.table, part)
            try:
                frame = self._send(
                    request.user,
                    body,
                    nonce=request.header.nonce,
                    sequence=request.header.sequence,
                    encrypt_to=request.reply_key,
                    pad_to=longest(job.table, request.rows),
                )
            except OmpdError as error:
                # Revoked since it asked, or the registry cannot be read; the other users of the job
                # get their reports.
                reports.refused[request.user] = error
                continue
            reports.append(self._answered(request.header, frame))
        return reports

    def _keep(self, done: list[Done]) -> None:
        """Keep the reports of jobs that are over until somebody asks for them."""
        now = self._clock()
        self._unsent.forget_old(now)
        for job, found in done:
            size = job.table.retrieval.answer_bytes(job.rows)
            kept = Kept(now + self._window, size, self._reports(Done(job, found)))
            self._unsent.keep((job.cloud, job.nonce), kept)


def _give_up(job: OpenJob) -> None:
    """No answer will be read, so what was asked for may be asked for again."""
    try:
        job.table.retrieval.abandon(job.context)
    except OmpdError as error:
        # The table was closed meanwhile.
        log_failure(job, error)


def log_failure(job: OpenJob, error: OmpdError) -> None:
    """Tell the hospital, which has no other way to learn it, why users get no answer."""
    _LOGGER.warning("cloud %s: no answer to %d queries: %s", job.cloud, len(job.requests), error)


def _within_cap(table: Published, members: list[_Member]) -> Iterator[list[_Member]]:
    """Split the queries on one table into parts that each fit into a job."""
    most = most_rows(table)
    part: list[_Member] = []
    rows = 0
    for member in members:
        if part and rows + member.request.rows > most:
            yield part
            part, rows = [], 0
        part.append(member)
        rows += member.request.rows
    if part:
        yield part


def _features(body: Query, schema: Schema) -> F64:
    expected = len(schema.features)
    if len(body.values) != 8 * body.rows * expected:
        raise FeatureError(f"features: expected {expected} per row")
    values = np.frombuffer(body.values, dtype="<f8").astype(np.float64)
    return schema.check(values.reshape(body.rows, expected))

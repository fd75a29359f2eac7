"""The hospital: owns the records, publishes tables of them, and answers users."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ompd.crypto import Identity, check_envelope_key
from ompd.errors import (
    ContextMismatchError,
    FeatureError,
    OmpdError,
    RefusedError,
    TooLargeError,
    WindowExhaustedError,
)
from ompd.roles.publication import Published
from ompd.roles.publisher import Publisher, check_place
from ompd.roles.retrieval import Neighbours, Place
from ompd.schema import Floats, Schema
from ompd.stores import Pending
from ompd.wire import (
    Frame,
    Kind,
    Parities,
    Query,
    Refusal,
    Report,
    Verdict,
    content_cap,
    encode_body,
)


@dataclass(frozen=True, slots=True, repr=False)
class _Request:
    """One user's query, accepted."""

    user: str
    nonce: bytes
    sequence: int
    reply_key: bytes
    rows: int


class _Member(NamedTuple):
    """A query of a batch: its place in the input and what it asks."""

    place: int
    frame: Frame
    request: _Request
    features: Floats


@dataclass(slots=True, repr=False)
class _Forwarded:
    """What a job's verdict is needed for, in the order of the job's rows."""

    table: Published
    requests: list[_Request]
    context: Any = None

    @property
    def rows(self) -> int:
        return sum(request.rows for request in self.requests)


@dataclass(frozen=True, slots=True, repr=False)
class Batch:
    """What became of many queries.

    Attributes
    ----------
    jobs : list of bytes
        One job frame per disease asked for, each for that disease's cloud; several where one
        would be above its cap.
    refused : dict of int to OmpdError
        Why a query was refused, by its place in the input. The others are in the jobs.
    """

    jobs: list[bytes]
    refused: dict[int, OmpdError]


class Hospital(Publisher):
    """Publishes tables and turns the cloud's answers into reports. See `Publisher`."""

    def __init__(self, identity: Identity, **options: Any) -> None:
        super().__init__(identity, **options)
        self._forwarded: Pending[_Forwarded] = Pending(self._window, forgotten=_give_up)

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
        return batch.jobs[0]

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

    def _read_query(self, frame: Frame) -> tuple[Published, _Request, Floats]:
        """Decrypt and check one authentic query; changes nothing."""
        body = self._open(frame, Query)
        table = self._table(body.disease)
        check_envelope_key(body.reply_key)
        features = _features(body, table.encoder.schema)
        if body.rows > (most := _most(table)):
            raise TooLargeError(f"features: expected at most {most} rows for this disease")
        header = frame.header
        request = _Request(header.sender, header.nonce, header.sequence, body.reply_key, body.rows)
        return table, request, features

    def _job(
        self, table: Published, members: list[_Member], refused: dict[int, OmpdError]
    ) -> bytes | None:
        """Claim the queries on one table and make their job, if any is left."""
        nonce = secrets.token_bytes(16)
        forwarded = _Forwarded(table, [])
        try:
            # A cloud that was revoked meanwhile must not use up the queries.
            self.directory.get(table.cloud)
            self._forwarded.add(table.cloud, nonce, 0, forwarded, self._clock())
        except OmpdError as error:
            refused |= {member.place: error for member in members}
            return None
        vectors = []
        room = table.retrieval.room
        for member in members:
            try:
                if member.request.rows > room:
                    raise WindowExhaustedError(
                        f"hints: expected enough for {member.request.rows} queries, {room} are "
                        "left in this window"
                    )
                encoded = self._released(table, member)
                self._claim(member.frame)
            except OmpdError as error:
                refused[member.place] = error
                continue
            room -= member.request.rows
            forwarded.requests.append(member.request)
            vectors.append(encoded)
        if not vectors:
            self._forwarded.close(table.cloud, nonce, 0)
            return None
        try:
            body, forwarded.context = table.retrieval.job(np.concatenate(vectors))
            return self._send(table.cloud, body, nonce=nonce, sequence=0)
        except OmpdError as error:
            # The window was used up by another thread, or the cloud revoked meanwhile. These
            # queries are used up and have to be asked anew; those of other diseases go on.
            self._forwarded.close(table.cloud, nonce, 0)
            _give_up(forwarded)
            refused |= {member.place: error for member in members if member.place not in refused}
            return None

    def _released(self, table: Published, member: _Member) -> npt.NDArray[np.int64]:
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

    def report(self, verdict: bytes) -> bytes:
        """Turn the cloud's verdict on a single query into a report frame for the user.

        Raises
        ------
        ContextMismatchError, VersionError
            If the verdict is not about the table of the job it answers, or the job was a batch.
        NeighborsError, LabelError
            If K or a class code is not possible for that table.
        RefusedError
            If the cloud did not accept the job; that job is over.
        OmpdError
            If the frame is not an authentic, fresh answer to an open job.
        """
        frame = self._authenticate(verdict, *_ANSWERS)
        if len(self._forwarded.find(frame.header, self._clock()).requests) != 1:
            raise ContextMismatchError("verdict: answers a batch, which report_batch reads")
        (report,) = self._reports(frame)
        return report

    def report_batch(self, verdict: bytes) -> list[bytes]:
        """Turn the cloud's verdict into one report frame per query of the batch.

        Returns
        -------
        list of bytes
            In the order of the queries that were not refused.

        Raises
        ------
        OmpdError
            As `report`.
        """
        return self._reports(self._authenticate(verdict, *_ANSWERS))

    def _reports(self, frame: Frame) -> list[bytes]:
        header = frame.header
        forwarded = self._forwarded.find(header, self._clock())
        if header.kind == Kind.REFUSAL:
            self._open(frame, Refusal)
            self._finish(frame)
            _give_up(forwarded)
            raise RefusedError("verdict: the cloud did not accept the job")
        table = forwarded.table
        body = self._open(frame, _ANSWERS[header.kind])
        if not isinstance(body, table.retrieval.answer):
            raise ContextMismatchError("verdict: is of another profile than the job")
        assert not isinstance(body, Refusal)  # noqa: S101  (handled above)
        check_place(Place(body.table_id, body.version), table.place)
        if isinstance(body, Parities):
            # Whatever is in it: an answer is tried once, so that nothing can be probed.
            self._finish(frame)
        found = table.retrieval.read(body, forwarded.context, forwarded.rows, table.k)
        if not isinstance(body, Parities):
            self._finish(frame)
        reports = []
        first = 0
        for request in forwarded.requests:
            rows = slice(first, first + request.rows)
            part = Neighbours(found.codes[rows], found.votes[rows], found.certified[rows])
            reports.append(self._report(request, table, part))
            first += request.rows
        return reports

    def _finish(self, frame: Frame) -> None:
        header = frame.header
        self._claim(frame)
        self._forwarded.close(header.sender, header.nonce, header.sequence)

    def _report(self, request: _Request, table: Published, found: Neighbours) -> bytes:
        assert table.rule is not None  # noqa: S101  (confirmed tables have one)
        codes, probabilities = table.rule.decide(found.votes, found.codes)
        distinct, choice = np.unique(codes, return_inverse=True)
        return self._send(
            request.user,
            Report(
                k=table.k,
                classes=table.classes,
                findings=tuple(table.findings[code] for code in distinct),
                choice=choice.astype("<u2").tobytes(),
                votes=found.votes.astype("<u2").tobytes(),
                probabilities=probabilities.astype("<f8").tobytes(),
                certified=found.certified.astype(np.uint8).tobytes(),
            ),
            nonce=request.nonce,
            sequence=request.sequence,
            seal_to=request.reply_key,
            pad_to=_longest_report(table, request.rows),
        )


#: What can come back for a job.
_ANSWERS: dict[Kind, type[Verdict] | type[Parities] | type[Refusal]] = {
    Kind.VERDICT: Verdict,
    Kind.PARITIES: Parities,
    Kind.REFUSAL: Refusal,
}


def _give_up(forwarded: _Forwarded) -> None:
    """No answer will be read, so what was asked for may be asked for again."""
    if forwarded.context is not None:
        forwarded.table.retrieval.abandon(forwarded.context)


def _most(table: Published) -> int:
    """Most rows of a job: those whose job, answer and report each fit into a frame."""
    texts = sum(len(label.encode()) + len(advice.encode()) for label, advice in table.findings)
    row = 10 * len(table.findings) + 3
    return max(1, min(table.retrieval.most, (content_cap(Kind.REPORT) - 2 * texts) // row))


def _within_cap(table: Published, members: list[_Member]) -> Iterator[list[_Member]]:
    """Split the queries on one table into parts that each fit into a job."""
    most = _most(table)
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


def _features(body: Query, schema: Schema) -> Floats:
    expected = len(schema.features)
    if len(body.values) != 8 * body.rows * expected:
        raise FeatureError(f"features: expected {expected} per row")
    values = np.frombuffer(body.values, dtype="<f8").astype(np.float64)
    return schema.check(values.reshape(body.rows, expected))


def _longest_report(table: Published, rows: int) -> int:
    """Length of the longest report on this many rows.

    All reports of a disease are padded to it, or else their length would tell the diagnosis.
    """
    cells = rows * len(table.findings)

    def length(findings: tuple[tuple[str, str], ...]) -> int:
        body = Report(
            table.k, table.classes, findings, bytes(2 * rows), bytes(2 * cells), bytes(8 * cells),
            bytes(rows),
        )  # fmt: skip
        return len(encode_body(body))

    most = min(rows, len(table.findings))
    longest = sorted(table.findings, key=lambda finding: -length((finding,)))[:most]
    return length(tuple(longest))

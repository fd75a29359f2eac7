"""The hospital: owns the records, blinds them, and answers users."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ompd.blind import PADDING, BlindingKey, blind_queries, blind_table
from ompd.crypto import Identity, check_envelope_key
from ompd.encode import Encoder, ReliefEncoder
from ompd.errors import (
    ContextMismatchError,
    FeatureError,
    FramingError,
    LabelError,
    NeighborsError,
    OmpdError,
    ParameterError,
    RefusedError,
    TooLargeError,
    UnknownDiseaseError,
    VersionError,
)
from ompd.params import profile as find_profile
from ompd.roles.party import Party
from ompd.schema import Codes, Floats, Schema
from ompd.search import check_k
from ompd.stores import Pending
from ompd.wire import (
    CAPS,
    MAX_ADVICE,
    MAX_BATCH,
    Frame,
    Job,
    Kind,
    Query,
    Refusal,
    Report,
    TableUpload,
    Verdict,
    check_text,
    encode_body,
    pack_limbs,
)


class Instances(Protocol):
    """Labelled records, for example a `Dataset`."""

    @property
    def schema(self) -> Schema:
        """Features and classes."""

    @property
    def features(self) -> Floats:
        """Shape (N, n)."""

    @property
    def labels(self) -> Codes:
        """Shape (N,)."""


@dataclass(frozen=True, slots=True, repr=False)
class _Table:
    """The hospital's side of one published table."""

    encoder: Encoder
    key: BlindingKey
    table_id: bytes
    version: int
    cloud: str
    rows: int
    k: int
    findings: tuple[tuple[str, str], ...]


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


@dataclass(frozen=True, slots=True, repr=False)
class _Forwarded:
    """What a job's verdict is needed for, in the order of the job's rows."""

    table: _Table
    requests: list[_Request]

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


class Hospital(Party):
    """Publishes blinded tables and turns verdicts into reports.

    Parameters
    ----------
    identity : Identity
    profile : str
        Name of the parameter set for its tables. There is no default: "paper" gives no
        confidentiality against the cloud, which nobody should choose without noticing.
    **options
        Directory, replays, clock and window as for `Party`.

    Raises
    ------
    ParameterError
        If there is no such profile.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        profile: str,
        **options: Any,
    ) -> None:
        super().__init__(identity, **options)
        self._parameters = find_profile(profile)
        self._tables: dict[str, _Table] = {}
        self._lock = threading.Lock()
        self._forwarded: Pending[_Forwarded] = Pending(self._window)

    @property
    def diseases(self) -> dict[str, Schema]:
        """Diseases with a published table, and what each expects of a feature vector."""
        tables = dict(self._tables)
        return {disease: table.encoder.schema for disease, table in tables.items()}

    def publish(
        self,
        disease: str,
        instances: Instances,
        *,
        cloud: str,
        k: int | None = None,
        advice: Mapping[str, str] | None = None,
    ) -> bytes:
        """Learn weights, blind the instances under a fresh key and make the upload frame.

        Publishing a disease again replaces its table by a new version at once: jobs are for
        the new version from then on, which the cloud refuses until it has stored this upload.

        Parameters
        ----------
        disease : str
        instances : Instances
            Records of this disease; none of the query's person should be among them.
        cloud : str
            Id of a cloud this hospital has met.
        k : int, optional
            Neighbours that vote; the cloud chooses on the blinded table by default.
        advice : mapping of class name to text, optional
            What a user gets besides the label.

        Returns
        -------
        bytes
            A frame for `Cloud.store`.

        Raises
        ------
        FeatureError, DomainError, LabelError, TrainingError
            If the instances cannot train a table.
        NeighborsError
            If k is even or out of range.
        ParameterError
            If the disease is no text of 1 to 255 characters, or an advice is too long.
        OverflowParameterError
            If the blinded values would not fit the profile.
        UnknownKeyError
            If the cloud is unknown.
        TooLargeError
            If the table is above the cap of one frame.
        """
        check_text("disease", disease)
        self.directory.get(cloud)
        if not all(hasattr(instances, name) for name in ("schema", "features", "labels")):
            raise ParameterError(
                "instances: expected schema, features and labels, "
                f"got {type(instances).__name__}; see Dataset.from_arrays"
            )
        schema = instances.schema
        rows = len(instances.features)
        parameters = self._parameters
        coordinates = len(schema.features) + PADDING
        size = rows * (coordinates * parameters.limbs * 8 + 2)
        if size > CAPS[Kind.TABLE] - 2**20:
            raise TooLargeError(f"instances: {rows} rows do not fit into one upload")
        if k is not None:
            k = check_k(k, rows)
        findings = _findings(schema, advice or {})
        encoder = ReliefEncoder.fit(
            schema,
            instances.features,
            instances.labels,
            weight_bits=parameters.weight_bits,
            feature_bits=parameters.feature_bits,
        )
        key = BlindingKey.generate(parameters, coordinates, encoder.largest)
        values = blind_table(key, encoder.encode(instances.features))
        with self._lock:
            old = self._tables.get(disease)
            table = _Table(
                encoder=encoder,
                key=key,
                table_id=old.table_id if old else secrets.token_bytes(16),
                version=old.version + 1 if old else 1,
                cloud=cloud,
                rows=rows,
                k=k or 0,
                findings=findings,
            )
            frame = self._send(
                cloud,
                TableUpload(
                    table_id=table.table_id,
                    version=table.version,
                    modulus=key.modulus.to_bytes(-(-key.modulus.bit_length() // 8), "little"),
                    coordinates=coordinates,
                    limbs=parameters.limbs,
                    classes=len(schema.classes),
                    k=table.k,
                    labels=np.asarray(instances.labels).astype("<u2").tobytes(),
                    values=values.astype("<u8", copy=False).tobytes(),
                ),
                nonce=secrets.token_bytes(16),
                sequence=table.version,
            )
            self._tables[disease] = table
        return frame

    def forward(self, query: bytes) -> bytes:
        """Turn a user's query frame into a blinded job frame for the cloud.

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
        accepted: dict[int, tuple[_Table, list[_Member]]] = {}
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

    def _read_query(self, frame: Frame) -> tuple[_Table, _Request, Floats]:
        """Decrypt and check one authentic query; changes nothing."""
        body = self._open(frame, Query)
        table = self._tables.get(body.disease)
        if table is None:
            raise UnknownDiseaseError("disease: no table is published under this name")
        check_envelope_key(body.reply_key)
        features = _features(body, table.encoder.schema)
        header = frame.header
        request = _Request(header.sender, header.nonce, header.sequence, body.reply_key, body.rows)
        return table, request, features

    def _job(
        self, table: _Table, members: list[_Member], refused: dict[int, OmpdError]
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
        features = []
        for member in members:
            try:
                self._claim(member.frame)
            except OmpdError as error:
                refused[member.place] = error
                continue
            forwarded.requests.append(member.request)
            features.append(member.features)
        if not features:
            self._forwarded.close(table.cloud, nonce, 0)
            return None
        sums = table.encoder.encode(np.concatenate(features))
        blinded = blind_queries(table.key, sums)
        modulus = table.key.modulus
        return self._send(
            table.cloud,
            Job(
                table_id=table.table_id,
                version=table.version,
                rows=len(sums),
                points=pack_limbs(blinded.points, modulus),
                tokens=pack_limbs(blinded.tokens, modulus),
            ),
            nonce=nonce,
            sequence=0,
        )

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
        frame = self._authenticate(verdict, Kind.VERDICT, Kind.REFUSAL)
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
        return self._reports(self._authenticate(verdict, Kind.VERDICT, Kind.REFUSAL))

    def _reports(self, frame: Frame) -> list[bytes]:
        header = frame.header
        forwarded = self._forwarded.find(header, self._clock())
        if header.kind == Kind.REFUSAL:
            self._open(frame, Refusal)
            self._claim(frame)
            self._forwarded.close(header.sender, header.nonce, header.sequence)
            raise RefusedError("verdict: the cloud did not accept the job")
        body = self._open(frame, Verdict)
        table = forwarded.table
        if body.table_id != table.table_id:
            raise ContextMismatchError("verdict: is about another table")
        if body.version != table.version:
            raise VersionError("verdict: is about another version of the table")
        k = check_k(body.k, table.rows)
        if table.k and k != table.k:
            raise NeighborsError(f"k: expected {table.k} as published, got {k}")
        if len(body.codes) != 2 * forwarded.rows:
            raise FramingError(f"verdict: expected {forwarded.rows} class codes")
        codes = np.frombuffer(body.codes, dtype="<u2")
        if codes.max() >= len(table.findings):
            raise LabelError("verdict: a class code is not one of the table's")
        self._claim(frame)
        reports = []
        first = 0
        for request in forwarded.requests:
            reports.append(self._report(request, table, k, codes[first : first + request.rows]))
            first += request.rows
        self._forwarded.close(header.sender, header.nonce, header.sequence)
        return reports

    def _report(
        self, request: _Request, table: _Table, k: int, codes: npt.NDArray[np.uint16]
    ) -> bytes:
        distinct, choice = np.unique(codes, return_inverse=True)
        return self._send(
            request.user,
            Report(
                k=k,
                findings=tuple(table.findings[code] for code in distinct),
                choice=choice.astype("<u2").tobytes(),
            ),
            nonce=request.nonce,
            sequence=request.sequence,
            seal_to=request.reply_key,
            pad_to=_longest_report(table, request.rows, k),
        )


def _within_cap(table: _Table, members: list[_Member]) -> Iterator[list[_Member]]:
    """Split the queries on one table into parts that each fit into a job."""
    limbs = table.key.parameters.limbs
    most = min(MAX_BATCH, (CAPS[Kind.JOB] - 2**20) // (8 * limbs * (table.key.coordinates + 1)))
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


def _findings(schema: Schema, advice: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(advice, Mapping):
        raise ParameterError(f"advice: expected a mapping, got {type(advice).__name__}")
    schema.codes(list(advice))  # refuses advice for classes that do not exist
    for text in advice.values():
        check_text("advice", text, least=0, most=MAX_ADVICE)
    return tuple((label, advice.get(label, "")) for label in schema.classes)


def _features(body: Query, schema: Schema) -> Floats:
    expected = len(schema.features)
    if len(body.values) != 8 * body.rows * expected:
        raise FeatureError(f"features: expected {expected} per row")
    values = np.frombuffer(body.values, dtype="<f8").astype(np.float64)
    return schema.check(values.reshape(body.rows, expected))


def _longest_report(table: _Table, rows: int, k: int) -> int:
    """Length of the longest report on this many rows.

    All reports of a disease are padded to it, or else their length would tell the diagnosis.
    """
    most = min(rows, len(table.findings))
    alone = {finding: len(encode_body(Report(k, (finding,), b""))) for finding in table.findings}
    longest = sorted(table.findings, key=lambda finding: -alone[finding])[:most]
    return len(encode_body(Report(k, tuple(longest), bytes(2 * rows))))

"""Queries become jobs for a cloud."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ompd.arrays import F64, I64
from ompd.crypto import check_envelope_key
from ompd.encode import Filling
from ompd.errors import (
    DowngradeError,
    FeatureError,
    OmpdError,
    QuotaError,
    SchemaError,
    TooLargeError,
)
from ompd.params import weaker
from ompd.roles.answers import Answers
from ompd.roles.batches import Batch, JobFrame, Opened, OpenedQuery
from ompd.roles.post import Post
from ompd.roles.publication import Published
from ompd.roles.quota import Quota
from ompd.roles.reports import most_rows
from ompd.roles.retrieval import Way
from ompd.roles.shelf import Shelf
from ompd.roles.turns import OpenJob, Request
from ompd.schema import Schema
from ompd.wire import (
    ANY_FORM,
    OUTDATED,
    Body,
    Frame,
    Kind,
    Query,
    Refusal,
    answer_cap,
    form_of,
)


class _Member(NamedTuple):
    """A query of a batch: its place in the input and what it asks."""

    place: int
    frame: Frame
    request: Request
    features: F64

    def __repr__(self) -> str:
        return f"<_Member {self.place}>"


class Queries:
    """Turns queries into jobs, each query once. For several threads.

    Parameters
    ----------
    post : Post
    shelf : Shelf
        What can be asked.
    quota : Quota
        What one user may take.
    answers : Answers
        Where jobs wait for theirs.
    """

    def __init__(self, post: Post, shelf: Shelf, quota: Quota, answers: Answers) -> None:
        self._post = post
        self._shelf = shelf
        self._quota = quota
        self._answers = answers
        # Hints are used in the order in which jobs line up.
        self._asking = threading.Lock()

    def forward(self, queries: Sequence[bytes]) -> Batch:
        """As `Hospital.forward_batch`."""
        opened = self.open(queries)
        return self._forward(opened.queries, opened.refused)

    def open(self, queries: Sequence[bytes]) -> Opened:
        """As `Hospital.open_batch`."""
        refused: dict[int, OmpdError] = {}
        frames = self._post.authenticate_many(queries, Kind.QUERY, refused)
        return Opened(self._read_queries(frames, refused), refused)

    def forward_opened(self, queries: Sequence[OpenedQuery]) -> Batch:
        """As `Hospital.forward_opened`."""
        return self._forward(dict(enumerate(queries)), {})

    def _forward(self, queries: dict[int, OpenedQuery], refused: dict[int, OmpdError]) -> Batch:
        accepted: dict[int, tuple[Published, list[_Member]]] = {}
        moved: dict[int, Frame] = {}
        for place, query in queries.items():
            try:
                if self._shelf.find(query.disease) is not query.table:
                    # It was published anew meanwhile, perhaps with another schema.
                    moved[place] = query.frame
            except OmpdError as error:
                refused[place] = error
        read = self._read_queries(moved, refused)
        for place, query in (queries | read).items():
            if place in refused:
                continue
            group = accepted.setdefault(id(query.table), (query.table, []))
            group[1].append(_Member(place, query.frame, query.request, query.features))
        jobs = [
            job
            for table, members in accepted.values()
            for part in _within_cap(table, members)
            for job in self._jobs(table, part, refused)
        ]
        return Batch(jobs, refused)

    def _read_queries(
        self, frames: dict[int, Frame], refused: dict[int, OmpdError]
    ) -> dict[int, OpenedQuery]:
        """Decrypt and check authentic queries, those on one table together; changes nothing."""
        groups: dict[int, tuple[Published, list[tuple[int, Frame, Query, F64]]]] = {}
        for place, frame in frames.items():
            try:
                body, table = self._read(frame)
                values = _values(body, table.schema)
            except OmpdError as error:
                refused[place] = error
            else:
                group = groups.setdefault(id(table), (table, []))
                group[1].append((place, frame, body, values))
        found: dict[int, OpenedQuery] = {}
        for table, read in groups.values():
            filled = _filled(table.filling, [values for _, _, _, values in read])
            for (place, frame, body, _), one in zip(read, filled, strict=True):
                if isinstance(one, OmpdError):
                    refused[place] = one
                    continue
                features, counts = one
                request = Request(frame.header, body.reply_key, body.rows, counts)
                found[place] = OpenedQuery(body.disease, table, frame, request, features)
        return found

    def _read(self, frame: Frame) -> tuple[Query, Published]:
        """Decrypt one authentic query, and check all but its features; changes nothing."""
        body = self._post.open(frame, Query)
        table = self._shelf.find(body.disease)
        if not _is_current(body, table.schema):
            raise SchemaError(
                "query: was made by another schema than the disease's; its user has to learn the "
                "catalogue anew"
            )
        check_envelope_key(body.reply_key)
        if weaker(table.profile, body.least_profile):
            raise DowngradeError(f"query: its user demands the profile {body.least_profile}")
        if body.rows > (most := most_rows(table)):
            raise TooLargeError(f"features: expected at most {most} rows for this disease")
        return body, table

    def refusal_code(self, frame: Frame) -> int:
        """Return what the user of an authentic query that was not accepted may know of that."""
        try:
            body = self._post.open(frame, Query)
            table = self._shelf.find(body.disease)
        except OmpdError:
            return Refusal().code
        # Nothing else of the query may play a part, nor anything that is not in the catalogue.
        return Refusal().code if _is_current(body, table.schema) else OUTDATED

    def _jobs(
        self, table: Published, members: list[_Member], refused: dict[int, OmpdError]
    ) -> list[JobFrame]:
        """Claim the queries on one table and make their job; two where some cannot use hints."""
        self._answers.sweep()
        made = []
        with self._asking:
            for way, part in self._ways(table, members):
                try:
                    # A cloud that was revoked meanwhile must not use up the queries.
                    self._post.directory.get(table.cloud)
                    self._answers.check_room()
                    made += self._job(table, part, way, refused)
                except OmpdError as error:
                    if way is Way.SHARED:
                        self._spare(table, part)
                    refused |= {member.place: error for member in part}
        frames = []
        for job, body, places in made:
            try:
                frame = self._post.send(table.cloud, body, nonce=job.nonce, sequence=0)
            except OmpdError as error:
                # The cloud was revoked meanwhile. Queries of other diseases go on.
                self._answers.give_up(job)
                refused |= dict.fromkeys(places, error)
            else:
                longest = answer_cap(job.answer_bytes)
                frames.append(JobFrame(frame, table.cloud, places, longest))
        return frames

    def _ways(
        self, table: Published, members: list[_Member]
    ) -> Iterator[tuple[Way, list[_Member]]]:
        """Part the queries by how they are asked; those that use hints are counted for that."""
        way = table.retrieval.way(_rows(members))
        if way is not Way.SHARED:
            yield way, members
            return
        room = table.retrieval.room
        shared, others = [], []
        for member in members:
            request = member.request
            if self._quota.take_hints(request.user, request.rows, table.ref, room):
                room -= request.rows
                shared.append(member)
            else:
                others.append(member)
        if shared:
            yield way, shared
        if others:
            cheaper = table.retrieval.way(_rows(others)) is Way.FREE
            yield (Way.FREE if cheaper else Way.WHOLE), others

    def _spare(self, table: Published, members: list[_Member]) -> None:
        """Forget that these queries use hints up."""
        for member in members:
            self._quota.untake_hints(member.request.user, member.request.rows, table.ref)

    def _job(
        self, table: Published, members: list[_Member], way: Way, refused: dict[int, OmpdError]
    ) -> list[tuple[OpenJob, Body, tuple[int, ...]]]:
        """Claim the queries and make their job, if any is left, with the queries' places."""
        if way is Way.WHOLE and self._payer(members) is None:
            raise QuotaError(
                "query: its user has taken a share of the window and waits for a new one; that or "
                "a larger share lets more through"
            )
        accepted: list[_Member] = []
        vectors = []
        for member, vector in self._admitted(table, members):
            if isinstance(vector, OmpdError):
                refused[member.place] = vector
                if way is Way.SHARED:
                    self._spare(table, [member])
            else:
                accepted.append(member)
                vectors.append(vector)
        if not accepted:
            return []
        requests = [member.request for member in accepted]
        job = OpenJob(table.cloud, secrets.token_bytes(16), table, requests)
        try:
            body, job.context = table.retrieval.job(
                np.concatenate(vectors), [request.rows for request in requests], way
            )
            job.window = table.retrieval.window(job.context)
        except OmpdError as error:
            # The table was closed meanwhile. The queries are used up.
            self._answers.end(job)
            refused |= {member.place: error for member in accepted}
            return []
        if way is Way.WHOLE and (payer := self._payer(accepted)) is not None:
            self._quota.take_whole(payer)
            job.payer = payer
        self._answers.expect(job)
        return [(job, body, tuple(member.place for member in accepted))]

    def _payer(self, members: list[_Member]) -> str | None:
        """Return who may have a whole table sent; the others' queries go with it for nothing."""
        users = (member.request.user for member in members)
        return next(filter(self._quota.may_take_whole, users), None)

    def _admitted(
        self, table: Published, members: list[_Member]
    ) -> Iterator[tuple[_Member, I64 | OmpdError]]:
        """Encode queries, count them for their users, and mark them as used, all of that at once.

        Yields what each became: its vectors, or why it was refused.
        """
        # They fit the encoder, since they were filled.
        encoded = table.encoder.encode(np.concatenate([member.features for member in members]))
        ends = np.cumsum([member.request.rows for member in members])
        taken: list[tuple[_Member, I64]] = []
        for member, vectors in zip(members, np.split(encoded, ends[:-1]), strict=True):
            try:
                self._answers.take(member.request)
            except OmpdError as error:
                yield member, error
            else:
                taken.append((member, vectors))
        released = self._released(table, taken)
        for (member, _), found in zip(taken, released, strict=True):
            if isinstance(found, OmpdError):
                self._answers.untake(member.request)
                yield member, found
        taken = [
            (member, found)
            for (member, _), found in zip(taken, released, strict=True)
            if not isinstance(found, OmpdError)
        ]
        verdicts = self._post.claim_many([member.frame for member, _ in taken])
        for (member, vectors), verdict in zip(taken, verdicts, strict=True):
            if verdict is not None:
                self._answers.untake(member.request)
            yield member, vectors if verdict is None else verdict

    def _released(
        self, table: Published, taken: list[tuple[_Member, I64]]
    ) -> list[I64 | OmpdError]:
        """Charge users for the noise of their queries and add it, if the table has any.

        Returns what each query became: its vectors, or why it was refused.
        """
        noise, ledger = table.noise, self._shelf.ledger
        if noise is None or table.epsilon is None or ledger is None:
            return [vectors for _, vectors in taken]
        owned = [(vectors, [member.request.user] * len(vectors)) for member, vectors in taken]
        charges = [
            (member.request.user, noise.query_digests(*one))
            for (member, _), one in zip(taken, owned, strict=True)
        ]
        verdicts: Sequence[OmpdError | None]
        try:
            # Before any noise is released, and for all rows of a query or none.
            verdicts = ledger.spend_many(charges, table.epsilon)
        except OmpdError as error:
            verdicts = [error] * len(taken)
        return [
            noise.queries(*one) if verdict is None else verdict
            for one, verdict in zip(owned, verdicts, strict=True)
        ]


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


def _is_current(body: Query, schema: Schema) -> bool:
    """Whether a query was made by this schema, or by none."""
    return body.form in (ANY_FORM, form_of(schema))


def _rows(members: list[_Member]) -> int:
    return sum(member.request.rows for member in members)


def _values(body: Query, schema: Schema) -> F64:
    """Return the feature vectors of a query."""
    expected = len(schema.features)
    if len(body.values) != 8 * body.rows * expected:
        raise FeatureError(f"features: expected {expected} per row")
    values = np.frombuffer(body.values, dtype="<f8").astype(np.float64)
    return values.reshape(body.rows, expected)


def _filled(filling: Filling, queries: Sequence[F64]) -> list[tuple[F64, I64] | OmpdError]:
    """Return filled feature vectors of each query, and how many values of each were missing.

    Or why it is refused.
    """
    try:
        # In one call, most of which is the same for one row and for a thousand.
        features, counts = filling.fill(np.concatenate(queries))
    except OmpdError as error:
        if len(queries) == 1:
            return [error]
        return [each for query in queries for each in _filled(filling, [query])]
    ends = np.cumsum([len(query) for query in queries])[:-1]
    return list(zip(np.split(features, ends), np.split(counts, ends), strict=True))

"""Tickets: what was asked for, and the search in what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ompd.arrays import I64, U64, Bools
from ompd.confidential import Confidential
from ompd.crypto.buckets import TAG_BYTES
from ompd.errors import FeatureError, OverflowParameterError
from ompd.sealed.build import VALUE_BITS, Secret
from ompd.sealed.hints import Hints, random_offsets
from ompd.sealed.partition import Ranking
from ompd.sealed.rows import NOWHERE

# The bound of buckets that are not there.
_FAR = 1 << 62


def check_queries(secret: Secret, queries: I64) -> None:
    """Refuse what cannot be asked of a table.

    Raises
    ------
    FeatureError
        If the queries have another type or shape, or a value is out of range.
    OverflowParameterError
        If a distance could reach 2**63.
    """
    columns = len(secret.code.bases)
    if (
        not isinstance(queries, np.ndarray)
        or queries.dtype != np.int64
        or queries.ndim != 2
        or queries.shape[1] != columns
        or not len(queries)
    ):
        raise FeatureError(f"queries: expected an int64 array of shape (q, {columns}), q >= 1")
    if queries.min() < 0 or int(queries.max()).bit_length() > VALUE_BITS:
        raise FeatureError(f"queries: expected values from 0 below 2**{VALUE_BITS}")
    if columns * int(queries.max()) >= 1 << 63:
        raise OverflowParameterError("queries: a distance could reach 2**63")


class Found(NamedTuple):
    """The K nearest rows of q queries.

    Attributes
    ----------
    distances : int64 array of shape (q, K)
        Ascending; equal distances in order of row.
    labels : int64 array of shape (q, K)
    rows : int64 array of shape (q, K)
    certified : bool array of shape (q,)
        Whether the distances are proven to be the K smallest of the whole table.
    answered : bool array of shape (q,)
        False where a sum was not that of the buckets asked for, or fewer than K rows came; the
        others of that query mean nothing then.
    """

    distances: I64
    labels: I64
    rows: I64
    certified: Bools
    answered: Bools

    def __repr__(self) -> str:
        return f"<Found for {len(self.certified)} queries>"


@dataclass(repr=False, eq=False, slots=True)
class Want(Confidential):
    """What one query needs.

    Attributes
    ----------
    query : int64 array of shape (m,)
    buckets, places : int64 arrays of shape (b,)
        The best ranked buckets, at most as many as are fetched, and where the cloud has them. Also
        those that were there before are not more than that: what is known of other queries must not
        show in this one's result.
    bounds : int64 array of shape (b,)
        No row of the bucket is nearer, in units of heads.
    other_bound : int
        The smallest bound of all other buckets that may matter, or 2**62.
    excess : int
        As in `Ranking`.
    """

    query: I64
    buckets: I64
    places: I64
    bounds: I64
    other_bound: int
    excess: int

    @classmethod
    def of(cls, secret: Secret, ranking: Ranking, query: I64) -> Want:
        """Take the best ranked buckets."""
        most = secret.layout.fetches
        buckets = ranking.buckets[:most]
        others = ranking.bounds[most:]
        return cls(
            query, buckets, secret.place_of[buckets].astype(np.int64), ranking.bounds[:most],
            int(others.min()) if others.size else _FAR, ranking.excess,
        )  # fmt: skip


@dataclass(repr=False, eq=False, slots=True)
class Ticket(Confidential):
    """A request that was sent and not yet read. It shows nothing and is not pickled."""

    secret: Secret
    hints: Hints | None
    wants: list[Want]
    records: I64
    # Which of the answers belongs to each record.
    answered: list[int]
    # Checksums of all answers.
    expected: U64
    unread: bool = field(default=True)

    def __repr__(self) -> str:
        return f"<Ticket of {len(self.wants)} queries>"

    @classmethod
    def whole(cls, secret: Secret, queries: I64) -> Ticket:
        """Ticket for the whole table, whose only bucket is 0."""
        first = np.zeros(1, dtype=np.int64)
        wants = [Want(query, first, first, first, 0, 0) for query in queries]
        nothing = np.empty((0, 2), dtype=np.int64)
        return cls(secret, None, wants, nothing, [], np.empty(0, dtype=np.uint64))

    @classmethod
    def asked(
        cls, secret: Secret, hints: Hints | None, queries: I64, members: Sequence[int], left: int
    ) -> tuple[bytes, Ticket]:
        """Ask for each query's buckets; `left` queries of the window come after these."""
        if secret.partition is None or secret.checks is None or hints is None:
            return b"", cls.whole(secret, queries)
        layout = secret.layout
        messages = random_offsets(len(queries) * layout.fetches, layout)
        answered: list[int] = []
        records, wants = [], []
        ends = set(accumulate(members))
        for index, query in enumerate(queries):
            if index in ends:
                hints.next_member()
            want = Want.of(secret, secret.partition.rank(query, secret.k), query)
            first = index * layout.fetches
            fetched = hints.ask(
                want.places,
                messages[first : first + layout.fetches],
                left + len(queries) - 1 - index,
            )
            answered += range(first, first + len(fetched))
            records.append(fetched)
            wants.append(want)
        hints.next_member()
        expected = secret.checks.expected(messages, layout.chunk)
        ticket = cls(secret, hints, wants, np.concatenate(records), answered, expected)
        return messages.tobytes(), ticket


def search(ticket: Ticket, answers: U64) -> Found:
    """Open what came and find the nearest rows of every query.

    Parameters
    ----------
    ticket : Ticket
    answers : uint64 array of shape (fetches, words)

    Raises
    ------
    BucketAuthError
        If a whole table is not authentic.
    """
    secret, hints, records = ticket.secret, ticket.hints, ticket.records
    words = answers.shape[1] - TAG_BYTES // 8
    if hints is None:
        plain = np.empty((1, words), dtype=np.uint64)
        secret.cipher.open(0, answers.view(np.uint8).data, plain.view(np.uint8).data)
        return _nearest(ticket, plain, [[0]] * len(ticket.wants), [])
    plain = np.empty((len(records), words), dtype=np.uint64)
    wrong = np.zeros(len(answers), dtype=np.bool_)
    if secret.checks:
        wrong = secret.checks.wrong(answers, ticket.expected)
    hints.receive(records, answers[ticket.answered], ~wrong[ticket.answered], secret.cipher, plain)
    # All vectors count, also those that nobody needed: the window's end must not tell them apart.
    refuted = wrong.reshape(len(ticket.wants), -1).any(axis=1)
    hints.count(len(ticket.wants), int(np.count_nonzero(refuted)))
    # Where each slot's opened bucket is; those of earlier requests are opened again.
    opened = {slot: index for index, slot in enumerate(records[:, 0].tolist()) if hints.ready(slot)}
    earlier: list[int] = []
    chosen: list[list[int]] = []
    bounds: list[int] = []
    for want in ticket.wants:
        bound = want.other_bound
        indices = []
        slots = hints.slot_of[want.places].tolist()
        for slot, least in zip(slots, want.bounds.tolist(), strict=True):
            if slot not in opened and slot >= 0 and hints.ready(slot):
                opened[slot] = len(records) + len(earlier)
                earlier.append(slot)
            index = opened.get(slot, -1)
            indices.append(index)
            if index < 0:
                bound = min(bound, least)
        chosen.append(indices)
        bounds.append(bound)
    if earlier:
        again = np.empty((len(earlier), words), dtype=np.uint64)
        for index, slot in enumerate(earlier):
            hints.open(slot, secret.cipher, again[index])
        plain = np.concatenate([plain, again])
    found = _nearest(ticket, plain, chosen, bounds)
    found.answered[refuted] = False
    found.certified[refuted] = False
    return found


def _nearest(ticket: Ticket, plain: U64, chosen: list[list[int]], bounds: list[int]) -> Found:
    secret, wants = ticket.secret, ticket.wants
    distances, labels, rows = (np.empty((len(wants), secret.k), np.int64) for _ in range(3))
    certified, answered = np.ones((2, len(wants)), dtype=np.bool_)
    for index, want in enumerate(wants):
        picked = np.array(chosen[index], dtype=np.int64)
        there = picked >= 0
        distances[index], labels[index], rows[index] = secret.code.nearest(
            plain, picked[there], secret.counts(want.buckets[there]), want.query, secret.k
        )
        farthest = int(distances[index, -1])
        answered[index] = farthest != NOWHERE
        if secret.partition:
            least = secret.partition.least_distance(bounds[index], want.excess)
            certified[index] = answered[index] and farthest <= least
    return Found(distances, labels, rows, certified, answered)

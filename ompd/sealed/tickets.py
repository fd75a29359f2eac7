"""Tickets: what was asked for, and the search in what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from ompd.arrays import I64, U64
from ompd.confidential import Confidential
from ompd.crypto.buckets import TAG_BYTES
from ompd.sealed.build import Secret
from ompd.sealed.edits import Edits
from ompd.sealed.found import Found
from ompd.sealed.hints import Hints
from ompd.sealed.offsets import random_offsets
from ompd.sealed.partition import Ranking
from ompd.sealed.rows import NOWHERE

# The bound of buckets that are not there.
_FAR = 1 << 62


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
        most = min(secret.layout.fetches, ranking.likely)
        buckets = ranking.buckets[:most]
        others = ranking.bounds[most:]
        return cls(
            query, buckets, secret.place_of[buckets].astype(np.int64), ranking.bounds[:most],
            int(others.min()) if others.size else _FAR, ranking.excess,
        )  # fmt: skip


@dataclass(repr=False, eq=False, slots=True)
class Ticket(Confidential):
    """A request that was sent and not yet read. It shows nothing and is not pickled.

    Attributes
    ----------
    secret : Secret
    edits : Edits
        As they were when it was asked.
    queries : int64 array of shape (q, m)
    asked : Asked or None
        What was asked for through hints; None if the whole table was.
    before : Hints or None
        The hints that a window made of this whole table replaces; others are newer than it.
    renews : bool
        Whether the whole table that comes is to begin a window.
    unread : bool
    """

    secret: Secret
    edits: Edits
    queries: I64
    asked: Asked | None = None
    before: Hints | None = None
    renews: bool = False
    unread: bool = field(default=True)

    def __repr__(self) -> str:
        return f"<Ticket of {len(self.queries)} queries>"

    @property
    def answer_bytes(self) -> int:
        """Length of the answer."""
        layout = self.secret.layout
        return layout.table_bytes if self.asked is None else len(self.queries) * layout.answer_bytes


@dataclass(repr=False, eq=False, slots=True)
class Asked(Confidential):
    """What was asked for through hints."""

    hints: Hints
    wants: list[Want]
    records: I64
    # Which of the answers belongs to each record.
    answered: list[int]
    # Checksums of all answers.
    expected: U64

    @classmethod
    def of(
        cls,
        secret: Secret,
        edits: Edits,
        hints: Hints,
        queries: I64,
        members: Sequence[int],
        left: int,
    ) -> tuple[bytes, Asked]:
        """Ask for each query's buckets; `left` queries of the window come after these."""
        assert secret.partition is not None  # noqa: S101  (there are hints)
        assert secret.checks is not None  # noqa: S101  (there are hints)
        layout = secret.layout
        messages = random_offsets(len(queries) * layout.fetches, layout)
        answered: list[int] = []
        records, wants = [], []
        ends = set(accumulate(members))
        for index, query in enumerate(queries):
            if index in ends:
                hints.next_member()
            want = Want.of(secret, secret.partition.rank(query, secret.k, edits.gone), query)
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
        asked = cls(hints, wants, np.concatenate(records), answered, expected)
        return messages.tobytes(), asked


def search(secret: Secret, edits: Edits, ticket: Asked, answers: U64) -> Found:
    """Open what came and find the nearest rows of every query.

    Parameters
    ----------
    secret : Secret
    edits : Edits
    ticket : Asked
    answers : uint64 array of shape (fetches, words)
    """
    hints, records = ticket.hints, ticket.records
    words = answers.shape[1] - TAG_BYTES // 8
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
    found = _nearest(secret, edits, ticket.wants, plain, chosen, bounds)
    found.answered[refuted] = False
    found.certified[refuted] = False
    return found


def _nearest(
    secret: Secret, edits: Edits, wants: list[Want], plain: U64, chosen: list[list[int]],
    bounds: list[int],
) -> Found:  # fmt: skip
    assert secret.partition is not None  # noqa: S101  (there are hints)
    distances, labels, rows = (np.empty((len(wants), secret.k), np.int64) for _ in range(3))
    for index, want in enumerate(wants):
        picked = np.array(chosen[index], dtype=np.int64)
        there = picked >= 0
        firsts, counts = secret.rows_of(want.buckets[there])
        distances[index], labels[index], rows[index] = secret.code.nearest(
            plain, picked[there], firsts, counts, want.query, secret.k, edits.gone
        )
    edits.join(np.array([want.query for want in wants]), distances, labels, rows)
    certified = np.zeros(len(wants), dtype=np.bool_)
    answered = distances[:, -1] != NOWHERE
    for index, want in enumerate(wants):
        least = secret.partition.least_distance(bounds[index], want.excess)
        certified[index] = answered[index] and int(distances[index, -1]) <= least
    return Found(distances, labels, rows, certified, answered)

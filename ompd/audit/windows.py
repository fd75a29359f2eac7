"""The hospital's side of the experiments on `sealed`: what the cloud gets in many windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ompd.arrays import I64, U8
from ompd.audit.scenes import Records
from ompd.audit.views import SealedView
from ompd.sealed import Found, Layout, SealedTable, Ticket, answer
from ompd.sealed.hints import FIELDS

#: A table this small would be sent whole, with nothing to attack; so retrieval is asked for.
_CHUNKS, _CHUNK, _FETCHES, _QUERIES = 16, 8, 4, 12
#: Rows of the table: as many records as there are, repeated or cut to this range.
_FEWEST, _MOST = 512, 4096
_K = 1


class _Reusing(SealedTable):
    """A table that does not use its hints up: the control that must be caught."""

    __slots__ = ("_before",)

    def ask(self, queries: I64, members: Sequence[int] = ()) -> tuple[bytes, Ticket]:
        """Ask as usual and remember the hints as they were."""
        self._before = {name: getattr(self._window.hints, name).copy() for name in FIELDS}
        return super().ask(queries, members)

    def read(self, ticket: Ticket, answer: bytes, *, threads: int | None = None) -> Found:
        """Read as usual and put all hints back."""
        found = super().read(ticket, answer, threads=threads)
        for name, array in self._before.items():
            getattr(self._window.hints, name)[...] = array
        return found


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SealedScene:
    """A sealed table, its ciphertexts at the cloud, and queries for it.

    Attributes
    ----------
    table : SealedTable
    stored : uint8 array of shape (buckets, bucket_bytes)
    queries : int64 array of shape (q, m)
    corners : int64 array of shape (2, m)
        Vectors of the lowest and the highest features.
    """

    table: SealedTable
    stored: U8
    queries: I64
    corners: I64

    @classmethod
    def of(cls, records: Records, *, reusing: bool = False) -> Self:
        """Seal the table of the records; `reusing` makes the broken variant."""
        encoder, schema = records.encoder, records.table.schema
        rows = int(np.clip(len(records.table), _FEWEST, _MOST))
        place = np.arange(rows) % len(records.table)
        vectors = encoder.encode(records.table.features)[place]
        per_bucket = -(-rows // (_CHUNKS * _CHUNK))
        size = -(-(per_bucket * 8 * (encoder.coordinates + 1) + 16) // 64) * 64
        layout = Layout(_CHUNKS * _CHUNK, size, _CHUNKS, _CHUNK, _FETCHES, _QUERIES)
        table, stored = (_Reusing if reusing else SealedTable).build(
            vectors, records.table.labels[place], records.classes, _K, layout=layout
        )
        queries = encoder.encode(records.queries.features)
        corners = encoder.encode(np.stack([schema.low, schema.high]))
        return cls(table, stored, queries, corners)

    def window(self, kind: str, rng: np.random.Generator) -> SealedView:
        """Ask the queries of one kind in a fresh window, and return what the cloud got.

        Parameters
        ----------
        kind : {"distinct", "repeated", "skewed", "extreme"}
            All different where there are enough; one again and again; nine in ten the same;
            lowest and highest features in turn.
        rng : Generator
            Chooses the queries.
        """
        layout = self.table.layout
        self.table.renew(self.stored)
        requests = []
        for query in self._sequence(kind, rng):
            request, ticket = self.table.ask(query[np.newaxis])
            requests.append(request)
            # The hospital reads every answer, since that is what completes its hints.
            self.table.read(ticket, answer(self.stored, layout, request))
        return SealedView(layout.chunks, layout.chunk, tuple(requests))

    def _sequence(self, kind: str, rng: np.random.Generator) -> I64:
        queries = self.queries
        if kind == "extreme":
            return self.corners[np.arange(_QUERIES) % 2]
        if kind == "distinct":
            return queries[rng.choice(len(queries), _QUERIES, replace=len(queries) < _QUERIES)]
        often = np.full(_QUERIES, rng.integers(len(queries)))
        if kind == "skewed":
            others = rng.integers(len(queries), size=_QUERIES)
            often = np.where(rng.random(_QUERIES) < 0.9, often, others)
        return queries[often]

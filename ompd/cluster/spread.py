"""Tables whose jobs are answered by workers: copies share queries, parts are asked in two rounds.

Whatever happens to workers, the answer is that of the table itself, which is at hand as well: where
nobody is left to be asked, it answers.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from ompd.arrays import I64, U64
from ompd.cluster.crew import Crew
from ompd.cluster.worker import Ask
from ompd.errors import UnreachableError
from ompd.sealed.server import check_request, vectors
from ompd.search import LimbTable, compute
from ompd.search.parts import Asked, Boxes, Found, Nearest, search_parts
from ompd.stores.tables import Changing, Job, Stored, Upload
from ompd.stores.tables.blinded import verdict
from ompd.stores.tables.sealed import SealedStored
from ompd.wire import Body, HardenedJob, PaperJob, SealedAnswer, SealedJob, Verdict

_LOGGER = logging.getLogger("ompd.cluster")
#: Fewest queries that are worth a way to another process, and that are worth another worker.
FEW, SHARE = 32, 128
#: Fewest bytes of buckets that are.
FEW_BYTES, SHARE_BYTES = 4 << 20, 16 << 20


class Spread(ABC):
    """A table that answers by workers; see `Stored`.

    Parameters
    ----------
    stored : Stored
        The same table, here.
    crew : Crew
    """

    def __init__(self, stored: Stored, crew: Crew) -> None:
        self.stored = stored
        self.crew = crew

    @property
    def upload(self) -> type[Upload]:
        """Of the bodies that bring such a table."""
        return self.stored.upload

    @property
    def job(self) -> type[Job]:
        """Of the bodies that it answers."""
        return self.stored.job

    @property
    def rows(self) -> int:
        """Instances or buckets."""
        return self.stored.rows

    @property
    def k(self) -> int:
        """Neighbours that vote."""
        return self.stored.k

    def prepare(self, body: Any) -> Callable[[], Body]:
        """Check a job, and return what answers it."""
        alone = self.stored.prepare(body)
        if not self.is_worth_it(body):
            return alone

        def answer() -> Body:
            try:
                return self.answer(body)
            except UnreachableError:
                _LOGGER.warning("no worker has the table, the cloud answers by itself")
                return alone()

        return answer

    @abstractmethod
    def is_worth_it(self, body: Any) -> bool:
        """Whether workers should be asked."""

    @abstractmethod
    def answer(self, body: Any) -> Body:
        """Answer a job that was checked.

        Raises
        ------
        UnreachableError
            If workers cannot.
        """


class Copied(Spread):
    """Copies of a blinded table, which share the queries of a job.

    Parameters
    ----------
    stored, crew
        As for `Spread`.
    key : str
        Of the copies.
    """

    stored: Changing

    def __init__(self, stored: Changing, crew: Crew, key: str) -> None:
        super().__init__(stored, crew)
        self._key = key

    def is_worth_it(self, body: PaperJob | HardenedJob) -> bool:
        """Whether there are some queries."""
        return body.rows >= FEW

    def answer(self, body: PaperJob | HardenedJob) -> Verdict:
        """Let each copy answer some of the queries."""
        edges = _edges(body.rows, SHARE, self.crew.holders(self._key))
        told = self.crew.ask(
            [
                Ask(self._key, "answer", (_some(body, first, last),), last - first)
                for first, last in pairwise(edges)
            ]
        )
        return Verdict(
            body.table_id,
            body.version,
            self.stored.k,
            b"".join(each.codes for each in told),
            b"".join(each.votes for each in told),
        )


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Rest:
    """Rows of a table that belong to no part, since they came after it was indexed.

    Parameters
    ----------
    table : LimbTable, optional
        None if there is no such row.
    rows : int64 array
        Their numbers.
    """

    table: LimbTable | None
    rows: I64

    @classmethod
    def of(cls, table: LimbTable) -> Rest:
        """Take them, but for those that were removed."""
        rows = np.arange(len(table.index.rows), len(table))
        rows = rows[~table.index.is_removed(rows)]
        if not len(rows):
            return cls(None, rows)
        limbs = np.ascontiguousarray(table.limbs[rows])
        return cls(LimbTable(limbs, np.zeros(len(rows), np.int64), 1), rows)


class Parted(Spread):
    """Parts of a blinded table, asked in two rounds.

    Parameters
    ----------
    stored, crew
        As for `Spread`.
    boxes : Boxes
    rows : sequence of int64 arrays
        Of the parts.
    keys : sequence of str
        Likewise.
    gone : str
        Names which rows are removed.
    """

    stored: Changing

    def __init__(
        self,
        stored: Changing,
        crew: Crew,
        boxes: Boxes,
        rows: Sequence[I64],
        keys: Sequence[str],
        gone: str,
    ) -> None:
        super().__init__(stored, crew)
        self._boxes = boxes
        self._keys = keys
        self._gone = gone
        self._rest = Rest.of(stored.limbs)
        self._rows = rows
        removed = stored.limbs.index.is_removed
        self._hidden = [np.flatnonzero(removed(rows)) for rows in self._rows]

    def is_worth_it(self, body: PaperJob | HardenedJob) -> bool:
        """Whether there are some queries."""
        return body.rows >= FEW

    def answer(self, body: PaperJob | HardenedJob) -> Verdict:
        """Ask the nearest part, then all that may have a nearer row."""
        table = self.stored.limbs
        stored: Any = self.stored
        found, _ = self.search(stored.queries(body), stored.k)
        return verdict(body, stored.k, *found.ballots(table.labels, table.classes))

    def search(self, queries: U64, k: int) -> tuple[Nearest, I64]:
        """Return the k nearest rows of queries at the table's scale, and how many parts were asked.

        Raises
        ------
        UnreachableError
            If a part is nowhere.
        """
        found = Nearest(len(queries), k, queries.shape[2] + 1)
        if self._rest.table is not None:
            distances, rows = compute(self._rest.table, queries, min(k, len(self._rest.rows)))
            found.add(np.arange(len(queries)), distances, self._rest.rows[rows])

        def ask(asked: Sequence[Asked]) -> list[Found]:
            shares = []
            for each in asked:
                edges = _edges(len(each.numbers), SHARE, self.crew.holders(self._keys[each.part]))
                shares += [
                    Asked(
                        each.part,
                        each.numbers[first:last],
                        None if each.within is None else each.within[first:last],
                    )
                    for first, last in pairwise(edges)
                ]
            told = self.crew.ask(
                [
                    Ask(
                        self._keys[part],
                        "nearest",
                        (self._gone, self._hidden[part], queries[numbers], k, within),
                        len(numbers),
                    )
                    for part, numbers, within in shares
                ]
            )
            return [
                (each.numbers, distances, np.where(rows < 0, -1, self._rows[each.part][rows]))
                for each, (distances, rows) in zip(shares, told, strict=True)
            ]

        asked = search_parts(self._boxes, ask, queries, found)
        return found, asked


class Summed(Spread):
    """A sealed table, of which each worker has all chunks or some.

    Parameters
    ----------
    stored, crew
        As for `Spread`.
    edges : sequence of int
        The chunks where each part begins, and their number.
    keys : sequence of str
        Of the parts.
    """

    stored: SealedStored

    def __init__(
        self, stored: SealedStored, crew: Crew, edges: Sequence[int], keys: Sequence[str]
    ) -> None:
        super().__init__(stored, crew)
        self._edges = edges
        self._keys = keys

    def is_worth_it(self, body: SealedJob) -> bool:
        """Whether there is much to be read; never for the whole table, which is only sent."""
        if body.whole:
            return False
        layout = self.stored.layout
        fetches = check_request(layout, body.request) * layout.fetches
        return fetches * layout.chunks * layout.bucket_bytes >= FEW_BYTES

    def answer(self, body: SealedJob) -> SealedAnswer:
        """XOR what all parts have, of which each copy reads for some of the fetches."""
        layout = self.stored.layout
        offsets = vectors(layout, body.request)
        shares = []
        for key, first, last in zip(self._keys, self._edges, self._edges[1:], strict=False):
            each = max(1, SHARE_BYTES // ((last - first) * layout.bucket_bytes))
            edges = _edges(len(offsets), each, self.crew.holders(key))
            columns = np.ascontiguousarray(offsets[:, first:last])
            shares += [
                (start, stop, Ask(key, "sums", (columns[start:stop],), stop - start))
                for start, stop in pairwise(edges)
            ]
        total = np.zeros((len(offsets), layout.bucket_bytes // 8), np.uint64)
        told = self.crew.ask([ask for _, _, ask in shares])
        for (start, stop, _), some in zip(shares, told, strict=True):
            total[start:stop] ^= some
        return SealedAnswer(body.table_id, body.version, total.tobytes())


def _edges(count: int, smallest: int, workers: int) -> list[int]:
    """Where the shares of so many workers begin, each of some size, and the end."""
    shares = max(1, min(workers, count // smallest))
    return [count * share // shares for share in range(shares + 1)]


def _some(body: Any, first: int, last: int) -> Any:
    """Return a job for some of the queries of one."""
    parts = {}
    for name in ("points", "tokens"):
        data = getattr(body, name, b"")
        if data:
            each = len(data) // body.rows
            parts[name] = data[first * each : last * each]
    return msgspec.structs.replace(body, rows=last - first, **parts)

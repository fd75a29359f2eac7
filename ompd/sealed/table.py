"""The hospital's side of a sealed table: build, ask, read, renew."""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from ompd._kernels.retrieval import select
from ompd.crypto.buckets import TAG_BYTES, BucketCipher
from ompd.errors import (
    BucketAuthError,
    FeatureError,
    FramingError,
    HintStateError,
    LabelError,
    NeighborsError,
    OverflowParameterError,
    ParameterError,
    TrainingError,
    WindowExhaustedError,
)
from ompd.sealed.hints import Hints, random_offsets
from ompd.sealed.layout import Layout, backups_per_chunk, padded_bytes, window_of
from ompd.sealed.partition import Needs, Partition
from ompd.sealed.rows import NOWHERE, RowCode
from ompd.sealed.server import check_layout

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Progress = Callable[[float], None]

_SAMPLES = 1000
# Shares of sampled queries that `fetches` must serve exactly, and with proof.
_EXACT_SHARE = 0.999
_PROVEN_SHARE = 0.99
_FETCH_STEP = 8
# 2**62, exclusive bound of a coordinate.
_VALUE_BITS = 62


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
    """

    distances: I64
    labels: I64
    rows: I64
    certified: NDArray[np.bool_]


@dataclass(repr=False, slots=True)
class _Want:
    """What one query of a ticket needs: buckets, their places and bounds, and the rest's bound."""

    query: I64
    buckets: I64
    places: I64
    bounds: I64
    other_bound: int
    excess: int


@dataclass(repr=False, eq=False, slots=True)
class Ticket:
    """A request that was sent and not yet read. It shows nothing and is not pickled."""

    cipher: BucketCipher
    hints: Hints | None
    wants: list[_Want]
    records: I64
    answered: list[int]
    unread: bool = field(default=True)

    def __repr__(self) -> str:
        return f"<Ticket of {len(self.wants)} queries>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ticket is not pickled")


class SealedTable:
    """A table whose encrypted buckets another party keeps.

    Made by `build`. It holds the key, what is needed to rank buckets, and the hints of one window.
    All methods may be called from several threads. A process that was forked from the one that
    holds the table is refused, as both would use the same hints.

    Attributes
    ----------
    layout : Layout
        What the cloud may know.
    classes, k : int
    """

    __slots__ = (
        "_cipher", "_code", "_hints", "_left", "_lock", "_partition", "_place_of",
        "_process", "_rows", "classes", "k", "layout",
    )  # fmt: skip

    def __init__(
        self, layout: Layout, cipher: BucketCipher, code: RowCode, rows: int, classes: int, k: int,
        partition: Partition | None, place_of: NDArray[np.int32],
    ) -> None:  # fmt: skip
        self.layout = layout
        self.classes = classes
        self.k = k
        self._cipher = cipher
        self._code = code
        self._rows = rows
        self._partition = partition
        self._place_of = place_of
        self._hints: Hints | None = None
        self._left = 0
        self._lock = threading.Lock()
        self._process = os.getpid()

    @classmethod
    def build(
        cls,
        vectors: I64,
        labels: I64,
        classes: int,
        k: int,
        *,
        context: bytes = b"",
        layout: Layout | None = None,
        progress: Progress | None = None,
        threads: int | None = None,
    ) -> tuple[Self, U8]:
        """Cut, encrypt and shuffle a table, and draw the first window's hints.

        Without `layout`, `Layout.choose` gives the size of buckets and chunks. `fetches` is then
        the smallest multiple of 8 that gives 99.9% of up to 1000 sampled rows of the table the
        exact distances of their K nearest other rows, and 99% a proof of it; `window` is what the
        slots allow if queries want as many buckets as those rows do. If a query would fetch half
        of the buckets or more, the table is sent whole.

        Parameters
        ----------
        vectors : int64 array of shape (N, m)
            From 0 below 2**62.
        labels : int64 array of shape (N,)
            Class codes from 0 below `classes`.
        classes, k : int
            Number of classes, and of neighbours from 1 to N.
        context : bytes
            What every bucket is bound to, such as id and version of the table.
        layout : Layout, optional
        progress : callable, optional
            Called with the share of the work that is done.
        threads : int, optional
            1 by default.

        Returns
        -------
        table : SealedTable
        ciphertexts : uint8 array of shape (buckets, bucket_bytes)
            To be uploaded. The table keeps no copy.

        Raises
        ------
        TrainingError
            If vectors are no int64 matrix of at least one row, or a value is out of range.
        LabelError, NeighborsError
            If a label or K is out of range.
        OverflowParameterError
            If a distance could reach 2**63.
        ParameterError
            If the layout does not suit the table.
        """
        _check_rows(vectors, labels, classes, k)
        threads = threads or 1
        report: Progress = progress or (lambda share: None)
        rows = len(vectors)
        code = RowCode.fit(vectors, classes)
        report(0.05)
        partition: Partition | None = None
        order = np.arange(rows)
        chosen = layout or Layout.choose(rows, vectors.shape[1], code.row_bits, k)
        if chosen.fetches:
            if chosen.buckets > rows:
                raise ParameterError(f"layout: expected at most {rows} buckets")
            samples = np.linspace(0, rows - 1, min(rows, _SAMPLES)).astype(np.int64)
            samples = samples if layout is None else samples[:0]
            partition, order, needs = Partition.build(vectors, chosen.buckets, k, samples, threads)
            if layout is None:
                chosen = _measured(chosen, needs, rows, code, k)
                if not chosen.fetches:
                    partition, order = None, np.arange(rows)
        report(0.5)
        if padded_bytes(-(-rows // chosen.buckets) * code.row_bits) > chosen.bucket_bytes:
            raise ParameterError("layout: bucket_bytes is too small for the rows of a bucket")
        if 0 < chosen.fetches * (rows // chosen.buckets) < k:
            raise ParameterError("layout: the fetched buckets hold fewer than K rows")
        place_of = _shuffled(chosen.buckets)
        plain_words = (chosen.bucket_bytes - TAG_BYTES) // 8
        plain = np.zeros((chosen.buckets, plain_words), dtype=np.uint64)
        code.write(vectors, labels, order, place_of, plain, threads)
        report(0.6)
        cipher = BucketCipher.generate(context)
        ciphertexts = _sealed(plain, chosen, cipher)
        report(0.8)
        table = cls(chosen, cipher, code, rows, classes, k, partition, place_of)
        table._start_window(ciphertexts, threads)
        report(1.0)
        return table, ciphertexts

    @property
    def remaining(self) -> int:
        """Queries left in this window; more than anyone asks for a whole table."""
        return self._left if self.layout.fetches else sys.maxsize

    @property
    def nbytes(self) -> int:
        """Bytes of what the hospital keeps in memory."""
        ranking = self._partition.nbytes if self._partition else 0
        hints = self._hints.nbytes if self._hints else 0
        return ranking + hints + self._place_of.nbytes

    def ask(self, queries: I64) -> tuple[bytes, Ticket]:
        """Make the request for q queries.

        Its length depends on q and the layout only, and its content on nothing: it is uniform.
        Whatever becomes of the request, the hints in it are used up.

        Parameters
        ----------
        queries : int64 array of shape (q, m)
            q >= 1, from 0 below 2**62.

        Returns
        -------
        request : bytes
            Of q * layout.request_bytes.
        ticket : Ticket
            What `read` needs.

        Raises
        ------
        FeatureError
            If the queries have another type or shape, or a value is out of range.
        OverflowParameterError
            If a distance could reach 2**63.
        WindowExhaustedError
            If the window has fewer queries left; nothing is used up then.
        HintStateError
            If this process was forked, or the table is closed.
        """
        self._check_queries(queries)
        with self._lock:
            self._check_process()
            partition = self._partition
            if partition is None:
                return b"", Ticket(self._cipher, None, self._all(queries), _no_records(), [])
            hints = self._hints
            if hints is None or len(queries) > self._left:
                raise WindowExhaustedError(
                    f"queries: expected at most {self._left} in this window, got {len(queries)}"
                )
            self._left -= len(queries)
            fetches = self.layout.fetches
            messages = random_offsets(len(queries) * fetches, self.layout)
            ticket = Ticket(self._cipher, hints, [], _no_records(), [])
            records = []
            for index, query in enumerate(queries):
                ranking = partition.rank(query, self.k)
                places = np.empty(fetches, dtype=np.int64)
                count, kept, other_bound = select(
                    ranking.buckets, ranking.bounds, self._place_of, hints.slot_of, hints.used,
                    backups_per_chunk(self.layout.chunk), self.layout.chunk, places,
                )  # fmt: skip
                first = index * fetches
                records.append(hints.ask(places[:count], messages[first : first + fetches]))
                ticket.answered += range(first, first + count)
                buckets = ranking.buckets[kept]
                ticket.wants.append(
                    _Want(
                        query, buckets, self._place_of[buckets], ranking.bounds[kept],
                        other_bound, ranking.excess,
                    )
                )  # fmt: skip
            ticket.records = np.concatenate(records)
            return messages.tobytes(), ticket

    def read(self, ticket: Ticket, answer: bytes) -> Found:
        """Open the answer to a request and find the K nearest rows. Once per ticket.

        Read tickets in the order of their requests where possible: a bucket that depends on an
        earlier unread answer is not there yet, and the result is then not certified.

        Parameters
        ----------
        ticket : Ticket
        answer : bytes
            As `server.answer` returned it.

        Raises
        ------
        FramingError
            If the answer has another length; the ticket stays unread.
        BucketAuthError
            If a bucket is not authentic. The other ones are kept, nothing is to be sent.
        HintStateError
            If the ticket was read before or is of another table, the buckets that came hold fewer
            than K rows, this process was forked, or the table is closed.
        """
        expected = len(ticket.wants) * self.layout.answer_bytes
        if not self.layout.fetches:
            expected = self.layout.table_bytes
        if len(answer) != expected:
            raise FramingError(f"answer: expected {expected} bytes, got {len(answer)}")
        with self._lock:
            self._check_process()
            if ticket.cipher is not self._cipher or not ticket.unread:
                raise HintStateError("ticket: expected an unread one of this table")
            ticket.unread = False
            words = np.frombuffer(answer, dtype=np.uint64)
            words = words.reshape(-1, self.layout.bucket_bytes // 8)
            if ticket.hints is None:
                return self._search_whole(ticket, words)
            return self._search(ticket, ticket.hints, words)

    def renew(self, ciphertexts: bytes | memoryview | U8, *, threads: int | None = None) -> None:
        """Begin a new window with fresh hints. Tickets of the old one can still be read.

        Parameters
        ----------
        ciphertexts : bytes-like
            The whole table as the cloud has it; every bucket is authenticated first.
        threads : int, optional
            1 by default.

        Raises
        ------
        FramingError
            If it has another length.
        BucketAuthError
            If a bucket is not the one that was stored; the old window goes on.
        HintStateError
            If this process was forked, or the table is closed.
        """
        table = np.frombuffer(ciphertexts, dtype=np.uint8)
        check_layout(self.layout, table.size)
        self._check_process()
        size = self.layout.bucket_bytes
        plain = memoryview(bytearray(size - TAG_BYTES))
        stored = table.data
        for place in range(self.layout.buckets):
            self._cipher.open(place, stored[place * size : (place + 1) * size], plain)
        self._start_window(table.reshape(self.layout.buckets, size), threads or 1)

    def _start_window(self, ciphertexts: U8, threads: int) -> None:
        if not self.layout.fetches:
            return
        hints = Hints.build(self.layout, ciphertexts, threads)
        with self._lock:
            self._hints = hints
            self._left = self.layout.window

    def _search(self, ticket: Ticket, hints: Hints, words: U64) -> Found:
        records = ticket.records
        plain = np.empty((len(records), words.shape[1] - TAG_BYTES // 8), dtype=np.uint64)
        bad = hints.receive(records, words[ticket.answered], ticket.cipher, plain)
        if bad:
            raise BucketAuthError(f"answer: {bad} buckets are not the ones that were stored")
        # Where the opened bucket of each slot is; those of earlier requests are opened again.
        opened = {
            slot: index for index, slot in enumerate(records[:, 0].tolist()) if hints.ready(slot)
        }
        earlier: list[tuple[int, int]] = []
        chosen: list[list[int]] = []
        bounds: list[int] = []
        for want in ticket.wants:
            bound = want.other_bound
            rows = []
            for place, slot, least in zip(
                want.places.tolist(), hints.slot_of[want.places].tolist(), want.bounds.tolist(),
                strict=True,
            ):  # fmt: skip
                if slot not in opened and hints.ready(slot):
                    opened[slot] = len(records) + len(earlier)
                    earlier.append((slot, place))
                row = opened.get(slot, -1)
                rows.append(row)
                if row < 0:
                    bound = min(bound, least)
            chosen.append(rows)
            bounds.append(bound)
        if earlier:
            again = np.empty((len(earlier), plain.shape[1]), dtype=np.uint64)
            for index, (slot, place) in enumerate(earlier):
                hints.open(slot, place, ticket.cipher, again[index])
            plain = np.concatenate([plain, again])
        return self._found(ticket.wants, plain, chosen, bounds)

    def _search_whole(self, ticket: Ticket, words: U64) -> Found:
        plain = np.empty((1, words.shape[1] - TAG_BYTES // 8), dtype=np.uint64)
        ticket.cipher.open(0, words.view(np.uint8).data, plain.view(np.uint8).data)
        return self._found(ticket.wants, plain, [[0]] * len(ticket.wants), [])

    def _found(
        self, wants: list[_Want], plain: U64, chosen: list[list[int]], bounds: list[int]
    ) -> Found:
        distances, labels, rows = (np.empty((len(wants), self.k), np.int64) for _ in range(3))
        certified = np.ones(len(wants), dtype=np.bool_)
        for index, want in enumerate(wants):
            picked = np.array(chosen[index], dtype=np.int64)
            there = picked >= 0
            buckets = want.buckets[there]
            total = self.layout.buckets
            counts = (buckets + 1) * self._rows // total - buckets * self._rows // total
            distances[index], labels[index], rows[index] = self._code.nearest(
                plain, picked[there], counts, want.query, self.k
            )
            farthest = int(distances[index, -1])
            if farthest == NOWHERE:
                raise HintStateError("ticket: too few buckets came to hold K rows")
            if self._partition:
                certified[index] = farthest <= self._partition.least_distance(
                    bounds[index], want.excess
                )
        return Found(distances, labels, rows, certified)

    def _all(self, queries: I64) -> list[_Want]:
        nothing = np.zeros(1, dtype=np.int64)
        return [_Want(query, nothing, nothing, nothing, 0, 0) for query in queries]

    def _check_queries(self, queries: I64) -> None:
        columns = len(self._code.bases)
        if (
            not isinstance(queries, np.ndarray)
            or queries.dtype != np.int64
            or queries.ndim != 2
            or queries.shape[1] != columns
            or not len(queries)
        ):
            raise FeatureError(f"queries: expected an int64 array of shape (q, {columns}), q >= 1")
        if queries.min() < 0 or int(queries.max()).bit_length() > _VALUE_BITS:
            raise FeatureError(f"queries: expected values from 0 below 2**{_VALUE_BITS}")
        if columns * int(queries.max()) >= 1 << 63:
            raise OverflowParameterError("queries: a distance could reach 2**63")

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise HintStateError("table: it belongs to the process that this one was forked from")

    def __repr__(self) -> str:
        return f"<SealedTable of {self.layout.buckets} buckets>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sealed table is not pickled")


def _check_rows(vectors: I64, labels: I64, classes: int, k: int) -> None:
    if (
        not isinstance(vectors, np.ndarray)
        or vectors.dtype != np.int64
        or vectors.ndim != 2
        or not vectors.size
    ):
        raise TrainingError("vectors: expected an int64 array of shape (N, m), N and m >= 1")
    if vectors.min() < 0 or int(vectors.max()).bit_length() > _VALUE_BITS:
        raise TrainingError(f"vectors: expected values from 0 below 2**{_VALUE_BITS}")
    if vectors.shape[1] * int(vectors.max()) >= 1 << 63:
        raise OverflowParameterError("vectors: a distance could reach 2**63")
    if (
        not isinstance(labels, np.ndarray)
        or labels.dtype != np.int64
        or labels.shape != (len(vectors),)
        or labels.min() < 0
        or labels.max() >= classes
    ):
        raise LabelError(f"labels: expected int64 codes from 0 below {classes}, one per row")
    if type(k) is not int or not 1 <= k <= len(vectors):
        raise NeighborsError(f"k: expected an integer from 1 to {len(vectors)}")


def _measured(layout: Layout, needs: Needs, rows: int, code: RowCode, k: int) -> Layout:
    most = max(
        -(-k // (rows // layout.buckets)),
        int(np.quantile(needs.exact, _EXACT_SHARE, method="inverted_cdf")),
        int(np.quantile(needs.proven, _PROVEN_SHARE, method="inverted_cdf")),
    )
    fetches = _FETCH_STEP * -(-most // _FETCH_STEP)
    if 2 * fetches >= layout.buckets:
        return Layout(1, padded_bytes(rows * code.row_bits), 1, 1, 0, 0)
    mean = float(np.minimum(needs.wanted, fetches).mean())
    return replace(
        layout, fetches=fetches, window=window_of(layout.chunks, layout.chunk, max(1.0, mean))
    )


def _shuffled(buckets: int) -> NDArray[np.int32]:
    """Draw a uniform permutation: the place of every bucket."""
    while True:
        keys = np.frombuffer(secrets.token_bytes(8 * buckets), dtype=np.uint64)
        if len(np.unique(keys)) == buckets:
            return np.argsort(keys).astype(np.int32)


def _sealed(plain: U64, layout: Layout, cipher: BucketCipher) -> U8:
    sealed = np.empty((layout.buckets, layout.bucket_bytes), dtype=np.uint8)
    source, into = plain.view(np.uint8).reshape(-1).data, sealed.reshape(-1).data
    size = layout.bucket_bytes
    short = size - TAG_BYTES
    for place in range(layout.buckets):
        cipher.seal(
            place, source[place * short : (place + 1) * short],
            into[place * size : (place + 1) * size],
        )  # fmt: skip
    return sealed


def _no_records() -> I64:
    return np.empty((0, 4), dtype=np.int64)

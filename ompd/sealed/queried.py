"""A sealed table as it is asked: requests go out, answers are read, windows follow one another."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np

from ompd.arrays import I64, U8, frozen
from ompd.confidential import Confidential
from ompd.errors import FramingError, HintStateError
from ompd.sealed.build import Secret
from ompd.sealed.edits import Edits
from ompd.sealed.found import Found, check_queries
from ompd.sealed.hints import Hints
from ompd.sealed.layout import Layout
from ompd.sealed.tickets import Asked, Ticket, search
from ompd.sealed.whole import open_all, search_whole
from ompd.sealed.window import Window


class Queried(Confidential):
    """What all users of a table share: its secret, its window, and the lock that guards them."""

    __slots__ = ("_edits", "_lock", "_open", "_process", "_secret", "_window")

    def __init__(self, secret: Secret, window: Window | None = None) -> None:
        self._secret = secret
        self._window = window or Window(secret.layout)
        self._edits = Edits()
        self._open = True
        self._lock = threading.Lock()
        self._process = os.getpid()

    @property
    def layout(self) -> Layout:
        """What the cloud may know."""
        return self._secret.layout

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._secret.classes

    @property
    def k(self) -> int:
        """Number of neighbours that `read` finds."""
        return self._secret.k

    @property
    def remaining(self) -> int:
        """Queries left in this window; more than anyone asks for a whole table.

        Requests that get no answer, or a wrong one, spoil hints until their buckets are asked for
        again. If there are more of these queries than one in 64 of the window, and more than one,
        it is 0 from then on; four answered queries make up for one.
        """
        return self._window.left if self.layout.fetches else sys.maxsize

    @property
    def due(self) -> bool:
        """Whether the table should be asked for now, so that a new window is there in time."""
        with self._lock:
            return self._window.due

    @property
    def edits(self) -> Edits:
        """What has changed since the table was sealed."""
        return self._edits

    @property
    def crowded(self) -> bool:
        """Whether it changed so much, or so long ago, that it should be sealed anew."""
        return self._edits.crowded(self._secret.rows, time.time())

    @property
    def nbytes(self) -> int:
        """Bytes of what the hospital keeps in memory."""
        hints = self._window.hints
        return self._secret.nbytes + self._edits.nbytes + (hints.nbytes if hints else 0)

    def prefers_whole(self, queries: int) -> bool:
        """Tell whether a job of so many queries should go by `ask_whole`, as is cheaper or needed.

        It depends on the layout, the number of queries and what is left of the window.
        """
        with self._lock:
            return self._window.prefers_whole(queries)

    def ask(self, queries: I64, members: Sequence[int] = ()) -> tuple[bytes, Ticket]:
        """Make the request for q queries.

        Its length depends on q and the layout only, and its content on nothing: it is uniform.
        Whatever becomes of the request, the hints in it are used up.

        Parameters
        ----------
        queries : int64 array of shape (q, m)
            q >= 1, from 0 below 2**62.
        members : sequence of int, optional
            How many of the queries, in order, each user asks; all are one user's by default. What
            one user gets never hangs on the answer to another's unless that was read before.

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
        if not self.layout.fetches:
            return b"", self.ask_whole(queries)
        check_queries(self._secret, queries)
        queries = frozen(queries)
        with self._lock:
            self._check_usable()
            window = self._window
            hints = window.take(len(queries))
            window.count(len(queries))
            request, asked = Asked.of(
                self._secret, self._edits, hints, queries, members, window.left
            )
            return request, Ticket(self._secret, self._edits, queries, asked)

    def ask_whole(self, queries: I64, *, renews: bool = False) -> Ticket:
        """Make the ticket for q queries that the whole table is to answer; no hints are used up.

        Each is searched in the buckets that it would have asked for, so that it finds the same.

        Parameters
        ----------
        queries : int64 array of shape (q, m)
            As for `ask`.
        renews : bool, default False
            Whether a new window begins with the table that comes, if none has meanwhile. One does
            in any case where this one is about to end.

        Raises
        ------
        FeatureError, OverflowParameterError, HintStateError
            As `ask`.
        """
        check_queries(self._secret, queries)
        with self._lock:
            self._check_usable()
            window = self._window
            window.count(len(queries))
            renews = bool(self.layout.fetches) and (renews or window.due)
            if renews:
                window.await_table()
            return Ticket(self._secret, self._edits, frozen(queries), None, window.hints, renews)

    def await_window(self) -> None:
        """Note that the whole table was asked for, to `renew`; none is `due` meanwhile."""
        with self._lock:
            self._window.await_table()

    def read(self, ticket: Ticket, answer: bytes, *, threads: int | None = None) -> Found:
        """Open the answer to a request and find the K nearest rows. Once per ticket.

        Read tickets of `ask` in the order of their requests: a bucket that depends on an earlier
        unread answer is not there yet, and the result is then not certified.

        Parameters
        ----------
        ticket : Ticket
        answer : bytes
            As `server.answer` returned it; the whole table for a ticket of `ask_whole`.
        threads : int, optional
            For a whole table; 1 by default.

        Raises
        ------
        FramingError
            If the answer has another length. It counts as lost, as after `abandon`: an answer is
            tried once.
        BucketAuthError
            If a whole table is not the one that was stored.
        HintStateError
            If the ticket was read before or is of another table, this process was forked, or the
            table is closed.
        """
        layout = self.layout
        with self._lock:
            self._take(ticket)
            if len(answer) != ticket.answer_bytes:
                self._lose(ticket)
                raise FramingError(
                    f"answer: expected {ticket.answer_bytes} bytes, got {len(answer)}"
                )
            if ticket.asked is not None:
                answers = np.frombuffer(answer, dtype=np.uint64)
                answers = answers.reshape(-1, layout.bucket_bytes // 8)
                try:
                    return search(self._secret, ticket.edits, ticket.asked, answers)
                finally:
                    self._window.end_if_spent()
        return self._read_whole(ticket, answer, threads or 1)

    def abandon(self, ticket: Ticket) -> None:
        """Give up a request whose answer will not come.

        Its hints stay used up; its buckets are asked for again in this window. If too many requests
        in it were not answered, the window ends; see `remaining`.

        Raises
        ------
        HintStateError
            As `read`.
        """
        with self._lock:
            self._take(ticket)
            self._lose(ticket)

    def _start_window(
        self, ciphertexts: U8, threads: int, *, replaces: Ticket | None = None
    ) -> None:
        """Make the hints of a new window, unless one was begun or is being made after `replaces`.

        A download begins one window at most, and none in place of one that is newer.
        """
        if not self.layout.fetches:
            return
        window = self._window
        with self._lock:
            self._check_usable()
            if replaces and (window.building or window.hints is not replaces.before):
                return
            window.building += 1
        try:
            hints = Hints.build(self.layout, ciphertexts, threads)
            with self._lock:
                self._check_usable()
                window.begin(hints)
        finally:
            with self._lock:
                window.building -= 1

    def _read_whole(self, ticket: Ticket, answer: bytes, threads: int) -> Found:
        secret = self._secret
        try:
            plain = open_all(secret, memoryview(answer))
        except BaseException:
            with self._lock:
                self._lose(ticket)
            raise
        found = search_whole(secret, ticket.edits, ticket.queries, plain, threads)
        del plain
        if ticket.renews:
            table = np.frombuffer(answer, dtype=np.uint8).reshape(self.layout.buckets, -1)
            # If the table is closed meanwhile, what was found is still good.
            with contextlib.suppress(HintStateError):
                self._start_window(table, threads, replaces=ticket)
        return found

    def _take(self, ticket: Ticket) -> None:
        self._check_usable()
        if ticket.secret is not self._secret or not ticket.unread:
            raise HintStateError("ticket: expected an unread one of this table")
        ticket.unread = False

    def _lose(self, ticket: Ticket) -> None:
        if ticket.asked is not None:
            ticket.asked.hints.lose(ticket.asked.records, len(ticket.queries))
            self._window.end_if_spent()
        elif ticket.renews:
            self._window.give_up_table()

    def _check_usable(self) -> None:
        if os.getpid() != self._process:
            raise HintStateError("table: it belongs to the process that this one was forked from")
        if not self._open:
            raise HintStateError("table: it is closed")

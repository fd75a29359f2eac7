"""The hospital's side of a sealed table: build, ask, read, renew, keep on disk."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ompd.arrays import I64, U8, frozen
from ompd.confidential import Confidential
from ompd.crypto.buckets import TAG_BYTES
from ompd.errors import (
    FramingError,
    HintStateError,
    WindowExhaustedError,
)
from ompd.sealed.build import Secret, seal
from ompd.sealed.folder import Folder
from ompd.sealed.hints import Hints
from ompd.sealed.layout import Layout
from ompd.sealed.server import check_layout
from ompd.sealed.tickets import Found, Ticket, check_queries, search

__all__ = ["Found", "SealedTable", "Ticket"]


class SealedTable(Confidential):
    """A table whose encrypted buckets another party keeps.

    Made by `build` or `open`. It holds the key, what is needed to rank buckets, and the hints of
    one window. All methods may be called from several threads. A process that was forked from the
    one that holds the table is refused, as both would use the same hints.

    Notes
    -----
    On disk, hints are never where they could be used twice: `open` takes them off the disk before
    the first request, `close` puts back what is left. A process that dies in between loses its
    window, not more: the table opens with `remaining` 0 and needs `renew`. `ompd.sealed.folder`
    says which old copies are noticed.
    """

    __slots__ = ("_folder", "_hints", "_left", "_lock", "_open", "_process", "_secret")

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._hints: Hints | None = None
        self._left = 0
        self._folder: Folder | None = None
        self._open = True
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
        progress: Callable[[float], None] | None = None,
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
        secret, ciphertexts = seal(
            vectors, labels, classes, k, context, layout, progress or _ignore, threads or 1
        )
        table = cls(secret)
        table._start_window(ciphertexts, threads or 1)
        if progress is not None:
            progress(1.0)
        return table, ciphertexts

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
        return self._left if self.layout.fetches else sys.maxsize

    @property
    def nbytes(self) -> int:
        """Bytes of what the hospital keeps in memory."""
        return self._secret.nbytes + (self._hints.nbytes if self._hints else 0)

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
        check_queries(self._secret, queries)
        queries = frozen(queries)
        with self._lock:
            self._check_usable()
            if self.layout.fetches:
                if self._hints is None or len(queries) > self._left:
                    raise WindowExhaustedError(
                        f"queries: expected at most {self._left} in this window, got {len(queries)}"
                    )
                self._left -= len(queries)
            return Ticket.asked(self._secret, self._hints, queries, members, self._left)

    def read(self, ticket: Ticket, answer: bytes) -> Found:
        """Open the answer to a request and find the K nearest rows. Once per ticket.

        Read tickets in the order of their requests: a bucket that depends on an earlier unread
        answer is not there yet, and the result is then not certified.

        Parameters
        ----------
        ticket : Ticket
        answer : bytes
            As `server.answer` returned it.

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
            expected = len(ticket.wants) * layout.answer_bytes
            if not layout.fetches:
                expected = layout.table_bytes
            if len(answer) != expected:
                self._lose(ticket)
                raise FramingError(f"answer: expected {expected} bytes, got {len(answer)}")
            answers = np.frombuffer(answer, dtype=np.uint64).reshape(-1, layout.bucket_bytes // 8)
            try:
                return search(ticket, answers)
            finally:
                self._end_if_spent()

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
        self._check_usable()
        size = self.layout.bucket_bytes
        plain = memoryview(bytearray(size - TAG_BYTES))
        stored = table.data
        for place in range(self.layout.buckets):
            self._secret.cipher.open(place, stored[place * size : (place + 1) * size], plain)
        self._start_window(table.reshape(-1, size), threads or 1)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Make the table durable: the key and all but the hints go to a folder of its own, now.

        The hints stay in memory until `close`.

        Parameters
        ----------
        folder : path
            Does not exist yet, or is empty; its parent exists. It is made with mode 0700.

        Raises
        ------
        HintStateError
            If the folder is in use or holds something, the table has a folder already, this
            process was forked, or the table is closed.
        """
        with self._lock:
            self._check_usable()
            if self._folder is not None:
                raise HintStateError("folder: the table has one already")
            self._folder = Folder.create(Path(folder), self._secret)

    @property
    def saved(self) -> bool:
        """Whether the table has a folder."""
        return self._folder is not None

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, fresh: bool = False) -> Self:
        """Open a saved table and take its hints off the disk.

        Without hints, as after a crash, `remaining` is 0.

        Parameters
        ----------
        folder : path
        fresh : bool, default False
            Discard the hints unread. This is the way on after a `HintStateError` that concerns
            them.

        Raises
        ------
        HintStateError
            If the folder is in use, or a file is missing, damaged or an old copy.
        """
        place, secret, hints, left = Folder.open(Path(folder), fresh=fresh)
        table = cls(secret)
        table._folder, table._hints, table._left = place, hints, left
        return table

    def close(self) -> None:
        """Put what is left of the hints into the folder, if there is one. The table ends here.

        Answers that have not come are given up. Closing twice does nothing, and nothing happens in
        a process that was forked from the one with the table.

        Raises
        ------
        HintStateError
            If the folder cannot be written. Nothing can be asked any more, but the hints are kept
            in memory and the folder locked, and closing may be tried again.
        """
        with self._lock:
            if os.getpid() != self._process:
                return
            if self._open:
                self._open = False
                if self._hints is not None:
                    self._hints.abandon()
                    self._end_if_spent()
            if self._folder is not None:
                self._folder.close(self._secret.layout, self._hints, self._left)
            self._folder, self._hints, self._left = None, None, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start_window(self, ciphertexts: U8, threads: int) -> None:
        if not self.layout.fetches:
            return
        hints = Hints.build(self.layout, ciphertexts, threads)
        with self._lock:
            self._check_usable()
            self._hints = hints
            self._left = self.layout.window

    def _take(self, ticket: Ticket) -> None:
        self._check_usable()
        if ticket.secret is not self._secret or not ticket.unread:
            raise HintStateError("ticket: expected an unread one of this table")
        ticket.unread = False

    def _lose(self, ticket: Ticket) -> None:
        if ticket.hints is not None:
            ticket.hints.lose(ticket.records, len(ticket.wants))
            self._end_if_spent()

    def _end_if_spent(self) -> None:
        if self._hints is not None and self._hints.spent:
            self._left = 0

    def _check_usable(self) -> None:
        if os.getpid() != self._process:
            raise HintStateError("table: it belongs to the process that this one was forked from")
        if not self._open:
            raise HintStateError("table: it is closed")

    def __repr__(self) -> str:
        return f"<SealedTable of {self.layout.buckets} buckets>"


def _ignore(share: float) -> None:
    pass

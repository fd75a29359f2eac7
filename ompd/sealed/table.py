"""The hospital's side of a sealed table: build, ask, read, renew, keep on disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np

from ompd.arrays import I32, I64, U8
from ompd.errors import HintStateError, ParameterError
from ompd.sealed.build import Secret, seal
from ompd.sealed.edits import Change
from ompd.sealed.folder import Folder
from ompd.sealed.layout import Layout
from ompd.sealed.queried import Queried
from ompd.sealed.server import check_layout
from ompd.sealed.whole import check_all, open_all
from ompd.sealed.window import Window

__all__ = ["SealedTable"]


class SealedTable(Queried):
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

    __slots__ = ("_editing", "_folder", "_ranks")

    def __init__(self, secret: Secret, window: Window | None = None) -> None:
        super().__init__(secret, window)
        self._folder: Folder | None = None
        # Until there is a folder that has them; None where no row can be removed.
        self._ranks: I32 | None = None
        self._editing = threading.Lock()

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
        changes: bool = False,
        progress: Callable[[float], None] | None = None,
        threads: int | None = None,
    ) -> tuple[Self, U8]:
        """Cut, encrypt and shuffle a table, and draw the first window's hints.

        Without `layout`, `Layout.choose` gives the size of buckets and chunks. `fetches` is then
        the smallest multiple of 4 that gives 99.95% of up to 1000 sampled rows of the table the
        exact distances of their K nearest other rows, and 99.6% a proof of it; `window` is what the
        slots allow if queries want as many buckets as those rows do. The table is sent whole if a
        query would fetch half of the buckets or more, or if it has up to 16384 rows and a window
        would serve fewer than 8 queries.

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
        changes : bool, default False
            Whether rows can be removed later on, which takes four bytes for each: in memory, or on
            disk once the table is saved.
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
        secret, ciphertexts, order = seal(
            vectors, labels, classes, k, context, layout, progress or _ignore, threads or 1
        )
        table = cls(secret)
        if changes:
            table._ranks = np.empty(len(order), dtype=np.int32)
            table._ranks[order] = np.arange(len(order), dtype=np.int32)
        table._start_window(ciphertexts, threads or 1)
        if progress is not None:
            progress(1.0)
        return table, ciphertexts

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
        check_all(self._secret, table.data)
        self._start_window(table.reshape(-1, self.layout.bucket_bytes), threads or 1)

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
        with self._editing, self._lock:
            self._check_usable()
            if self._folder is not None:
                raise HintStateError("folder: the table has one already")
            self._folder = Folder.create(Path(folder), self._secret, self._ranks, self._edits)
            self._ranks = None

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
        place, secret, edits, hints, left = Folder.open(Path(folder), fresh=fresh)
        table = cls(secret, Window(secret.layout, hints, left))
        table._folder, table._edits = place, edits
        return table

    @property
    def nbytes(self) -> int:
        """Bytes of what the hospital keeps in memory."""
        return super().nbytes + (0 if self._ranks is None else self._ranks.nbytes)

    def edit(self, change: Change, edition: int) -> None:
        """Remove, relabel and add rows, for all that is asked from then on.

        Durable before it is in effect, if the table is saved. The cloud is not told; queries go on.

        Parameters
        ----------
        change : Change
        edition : int
            Names the change.

        Raises
        ------
        ParameterError
            If a row is not there, is named twice, or has a number that was given; or rows cannot be
            removed.
        FeatureError, LabelError, OverflowParameterError
            If added vectors or classes are not possible.
        NeighborsError
            If fewer than K rows would be left.
        HintStateError
            If the folder cannot be read or written, this process was forked, or the table is
            closed. Nothing has changed then.
        """
        with self._editing:
            with self._lock:
                self._check_usable()
            edits = self._edits.after(change, edition, self._secret, self._find_ranks)
            if self._folder is not None:
                self._folder.edit(edits, self._edits)
            with self._lock:
                self._edits = edits

    def merged(self, ciphertexts: bytes | memoryview | U8) -> tuple[I64, I64]:
        """Return vectors (n, m) and labels (n,) of the table with all changes.

        Parameters
        ----------
        ciphertexts : bytes-like
            The whole table as the cloud has it; every bucket is authenticated first.

        Raises
        ------
        FramingError, BucketAuthError, HintStateError
            As `renew`.
        """
        table = np.frombuffer(ciphertexts, dtype=np.uint8)
        check_layout(self.layout, table.size)
        self._check_usable()
        secret = self._secret
        plain = open_all(secret, table.data)
        rows = secret.code.read_all(plain, secret.place_of, secret.rows)
        del plain
        return self._edits.merged(*rows)

    def _find_ranks(self) -> I32:
        if self._ranks is not None:
            return self._ranks
        if self._folder is None:
            raise ParameterError("removed: the table was built without changes")
        return self._folder.ranks()

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
        with self._editing, self._lock:
            if os.getpid() != self._process:
                return
            if self._open:
                self._open = False
                self._window.close()
            if self._folder is not None:
                self._folder.close(self._secret.layout, self._window.hints, self._window.left)
            self._folder = None
            self._window.clear()

    def discard(self) -> None:
        """End the table without its hints, and let whoever calls remove its folder.

        Answers that have not come are given up. Nothing happens in a process that was forked from
        the one with the table.
        """
        with self._editing, self._lock:
            if os.getpid() != self._process:
                return
            self._open = False
            self._window.close()
            if self._folder is not None:
                self._folder.release()
            self._folder = None
            self._window.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SealedTable of {self.layout.buckets} buckets>"


def _ignore(share: float) -> None:
    pass

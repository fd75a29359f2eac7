"""Uploads of which not all pieces are here yet: what is common to memory and disk."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import NamedTuple

import msgspec
import numpy as np

from ompd.arrays import U8, U16, Array
from ompd.errors import ContextMismatchError, StoreError, TooLargeError
from ompd.search import spare_rows
from ompd.stores.tables.contract import Upload, Version
from ompd.stores.tables.profiles import PROFILES
from ompd.wire import Header, SealedUpload

#: Milliseconds after which an upload that got no piece is given up: twice as long as a frame lasts.
PATIENCE = 2 * 86_400_000
#: Uploads of one hospital that may be here unfinished.
_MOST = 16
#: Pieces may be as small as they like up to so many, and have a MiB on average beyond: each costs
#: a look at all before it.
_FEW_PIECES = 256


class Staged(NamedTuple):
    """What is said of an upload, and how far it is.

    Attributes
    ----------
    header : Header
        Of the piece that came last.
    head : Upload
        A body without its rows: what all of them say.
    rows, width, have : int
        Rows in all, bytes of values per row, and rows that are here.
    pieces : int
        In which these came.
    """

    header: Header
    head: Upload
    rows: int
    width: int
    have: int
    pieces: int = 0

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return self.rows * self.width

    def moved(self, header: Header, rows: int) -> Staged:
        """Return what is true after so many more rows."""
        return self._replace(header=header, have=self.have + rows, pieces=self.pieces + 1)


class Rows(ABC):
    """Where the rows of one upload lie.

    Attributes
    ----------
    staged : Staged
    """

    staged: Staged

    @abstractmethod
    def append(self, header: Header, values: memoryview, labels: memoryview) -> None:
        """Put whole rows behind those that are here; they last if the place does.

        Raises
        ------
        StoreError
            If the place refuses. All is as before then.
        """

    @abstractmethod
    def read(self) -> tuple[U8, U16]:
        """Return all values and labels, for `Stored.of`.

        Raises
        ------
        StoreError
            If they are not what was put here.
        """

    @abstractmethod
    def drop(self) -> bool:
        """Remove the rows; tells whether nothing of them is left. May be repeated."""


class Staging(ABC):
    """All unfinished uploads of a place; for several threads.

    Parameters
    ----------
    most : int
        Bytes that the values of all unfinished uploads of one hospital may take, as they announce
        it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: dict[tuple[str, bytes], Rows] = {}
        self._lock = threading.RLock()
        # What could not be removed.
        self._left: list[Rows] = []

    @property
    def littered(self) -> bool:
        """Whether rows are still here that were to be removed and could not be."""
        return bool(self._left)

    def sweep(self) -> None:
        """Remove what could not be removed when it was to be, as far as possible."""
        with self._lock:
            self._left = [rows for rows in self._left if not rows.drop()]

    @abstractmethod
    def _begin(self, staged: Staged) -> Rows:
        """Make room for an upload of which nothing is here.

        Raises
        ------
        StoreError
        """

    def add(self, header: Header, body: Upload) -> int:
        """As `Tables.stage`."""
        piece = PROFILES[header.kind].piece(body)
        key = header.sender, body.table_id
        head = head_of(body)
        with self._lock:
            self._give_up(header.timestamp)
            found = self._rows.get(key)
            if found is not None and found.staged.header.nonce != header.nonce:
                if piece.first:
                    return 0
                found = None
            if found is None:
                if piece.first:
                    return 0
                staged = Staged(header, head, piece.rows, piece.width, 0)
                self._check_room(key, staged)
                self._drop(key)
                found = self._begin(staged)
            elif found.staged.head != head:
                raise ContextMismatchError("upload: a piece says something else than the first")
            here = found.staged.have - piece.first
            if 0 <= here < piece.count:
                _check_pieces(found.staged)
                values = memoryview(piece.values)[here * piece.width :]
                self._rows[key] = found
                try:
                    found.append(header, values, memoryview(piece.labels)[2 * here :])
                finally:
                    if not found.staged.have:
                        self._drop(key)
            return found.staged.have

    def whole(self, header: Header, body: Upload) -> Rows:
        """Return where all rows of an upload lie.

        Raises
        ------
        ContextMismatchError
            If they are not here, since another upload of the table began.
        """
        with self._lock:
            found = self._rows.get((header.sender, body.table_id))
            if (
                found is None
                or found.staged.header.nonce != header.nonce
                or found.staged.have < found.staged.rows
            ):
                raise ContextMismatchError("upload: another one of the table began meanwhile")
            return found

    def end(self, rows: Rows) -> None:
        """Remove an upload, unless another one has done so."""
        with self._lock:
            for key, found in list(self._rows.items()):
                if found is rows:
                    self._drop(key)

    def passed(self, table_id: bytes, versions: tuple[Version, ...]) -> None:
        """Remove what comes for the newest version of a table, which is here now, or an older."""
        # A damaged one is mended by what comes.
        if versions and (versions[0].stored is not None or versions[0].withdrawn):
            key = versions[0].owner, table_id
            with self._lock:
                found = self._rows.get(key)
                if found is not None and found.staged.head.version <= versions[0].version:
                    self._drop(key)

    def _drop(self, key: tuple[str, bytes]) -> None:
        rows = self._rows.pop(key, None)
        if rows is not None and not rows.drop():
            self._left.append(rows)

    def _give_up(self, now: int) -> None:
        for key, found in list(self._rows.items()):
            if found.staged.header.timestamp < now - PATIENCE:
                self._drop(key)

    def _check_room(self, key: tuple[str, bytes], staged: Staged) -> None:
        """Refuse an upload by what it announces, before it takes anything."""
        owner, _ = key
        others = [
            found.staged.size
            for other, found in self._rows.items()
            if other != key and other[0] == owner
        ]
        if len(others) >= _MOST:
            raise TooLargeError(f"upload: expected at most {_MOST} at a time")
        if sum(others) + staged.size > self._most:
            raise TooLargeError(
                f"upload: expected at most {self._most} bytes of values, with those that wait"
            )


def _check_pieces(staged: Staged) -> None:
    if staged.pieces >= _FEW_PIECES + (staged.have * staged.width >> 20):
        raise TooLargeError("upload: expected pieces of a MiB or more")


class MemoryRows(Rows):
    """Rows in memory: values where those of all rows have room, and some to spare."""

    def __init__(self, staged: Staged) -> None:
        self.staged = staged
        try:
            # What nobody wrote to takes no space.
            self.room = np.empty(spare_rows(staged.rows) * staged.width, np.uint8)
        except MemoryError:
            raise StoreError("upload: the memory is too small for what it announces") from None
        self._labels = np.empty(0, np.uint16)

    def append(self, header: Header, values: memoryview, labels: memoryview) -> None:
        """Put whole rows behind those that are here."""
        have, width = self.staged.have, self.staged.width
        added = np.frombuffer(values, np.uint8)
        self.room[have * width :][: len(added)] = added
        if labels:
            _put(self._labels, have, np.frombuffer(labels, "<u2"))
        self.staged = self.staged.moved(header, len(values) // width)

    def read(self) -> tuple[U8, U16]:
        """Return all values and labels."""
        return self.room[: self.staged.have * self.staged.width], self._labels

    def drop(self) -> bool:
        """Forget the rows; a table that was made of them keeps them."""
        self.room, self._labels = np.empty(0, np.uint8), np.empty(0, np.uint16)
        return True


class MemoryStaging(Staging):
    """Unfinished uploads in memory."""

    def _begin(self, staged: Staged) -> Rows:
        return MemoryRows(staged)


def _put(array: Array, place: int, added: Array) -> None:
    # Large arrays are moved by the page table, not copied. Nobody has a view of one that grows.
    array.resize(place + len(added), refcheck=False)
    array[place:] = added


def head_of(body: Upload) -> Upload:
    """Return a body without its rows."""
    if isinstance(body, SealedUpload):
        return msgspec.structs.replace(body, first=0, buckets=b"")
    return msgspec.structs.replace(body, first=0, values=b"", labels=b"")

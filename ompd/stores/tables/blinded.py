"""What the two profiles with blinded tables have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ompd.arrays import I64, U8, U64
from ompd.errors import FramingError, LabelError, NeighborsError, TooLargeError
from ompd.search import LimbTable, check_k
from ompd.stores.tables.changes import Parts, edited, read_change
from ompd.stores.tables.contract import Change, Piece
from ompd.stores.tables.limb_index import Facts
from ompd.stores.tables.limbs import TableFolder
from ompd.wire import (
    MAX_K,
    HardenedJob,
    HardenedUpload,
    PaperJob,
    PaperUpload,
    Verdict,
    verdict_rows,
)


class Blinded(ABC):
    """A table that the cloud searches, and whose rows it can tell apart: it can change.

    Attributes
    ----------
    change : type
        Of the bodies that change such a table.
    k : int
    """

    change: ClassVar[type[Change]]
    k: int

    @property
    @abstractmethod
    def limbs(self) -> LimbTable:
        """The rows."""

    @abstractmethod
    def with_limbs(self, limbs: LimbTable) -> Self:
        """Return the same table with other rows, or its rows in another place."""

    @abstractmethod
    def extended(self, body: Any, labels: I64) -> Self:
        """Return the table with the values of a change behind its rows.

        Raises
        ------
        RangeError, TableError
        """

    @abstractmethod
    def queries(self, body: Any) -> U64:
        """Check a job, and return its queries at the table's scale, as `compute` takes them.

        Raises
        ------
        FramingError, RangeError, TooLargeError
        """

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """What the index says of a table besides its rows."""

    @property
    def rows(self) -> int:
        """Instances, removed ones included."""
        return len(self.limbs)

    def read(self, body: Change) -> Parts:
        """Check a change as far as that can be done without its values.

        Raises
        ------
        ContextMismatchError, FramingError, NonCanonicalError, LabelError, TableError
        NeighborsError
            If the change does not fit the table.
        """
        _, coordinates, limbs = self.limbs.limbs.shape
        return read_change(body, self.limbs, self.k, 8 * coordinates * limbs)

    def changed(self, body: Change, parts: Parts) -> Self:
        """Return what a change makes of this table, which stays as it is.

        Parameters
        ----------
        body : PaperChange or HardenedChange
        parts : Parts
            From `read`.

        Raises
        ------
        RangeError
            If values are not possible. Nothing happened then.
        TableError
            If the file system refuses.
        """
        grown = self.extended(body, parts.labels) if len(parts.labels) else self
        return grown.with_limbs(edited(grown.limbs, parts))

    def note(self, folder: Path, name: str) -> None:
        """Write an index of this name for a table whose rows are in a folder.

        Raises
        ------
        TableError
            If the file system refuses.
        """
        TableFolder.note(folder, self.limbs, self.facts, name)


def check_verdict(rows: int, classes: int) -> None:
    """Refuse at once what could not be answered in one frame.

    Raises
    ------
    TooLargeError
    """
    if rows > verdict_rows(classes):
        raise TooLargeError(f"rows: a verdict on {rows} queries would be above the cap")


def verdict(body: PaperJob | HardenedJob, k: int, codes: I64, votes: I64) -> Verdict:
    """Return class codes and votes as the answer to a job."""
    return Verdict(
        body.table_id,
        body.version,
        k,
        codes.astype("<u2").tobytes(),
        votes.astype("<u2").tobytes(),
    )


def blinded_piece(body: PaperUpload | HardenedUpload, width: int) -> Piece:
    """Check rows and labels of a body, with `width` bytes of values per row.

    Raises
    ------
    FramingError, LabelError, NeighborsError
    """
    piece = Piece(body.rows, body.first, width, body.values, body.labels)
    check_extent(piece)
    if len(body.labels) != 2 * piece.count:
        raise FramingError(f"labels: expected {piece.count} codes")
    if int(np.frombuffer(body.labels, dtype="<u2").max()) >= body.classes:
        raise LabelError(f"labels: expected codes from 0 to {body.classes - 1}")
    check_open_k(body.k, body.rows)
    return piece


def check_extent(piece: Piece) -> None:
    """Refuse values that are no rows, or rows beyond the last.

    Raises
    ------
    FramingError
    """
    count, rest = divmod(len(piece.values), piece.width)
    if rest or not count:
        raise FramingError(f"values: expected a multiple of {piece.width} bytes")
    if piece.first + count > piece.rows:
        raise FramingError(f"values: expected at most {piece.rows} rows in all")


def words(data: bytes | U8, *shape: int) -> U64:
    """Return values as 64-bit words of a shape, without a copy."""
    values: U64 = np.frombuffer(data, dtype="<u8").astype(np.uint64, copy=False).reshape(shape)
    return values


def check_open_k(k: int, rows: int) -> None:
    """Refuse a K, or leaving its choice open, that the rows do not allow.

    Raises
    ------
    NeighborsError
    """
    if k:
        check_k(k, min(rows, MAX_K))
    elif rows < 2:
        raise NeighborsError("k: expected two instances or more to choose it by leave-one-out")

"""Changes of blinded tables, and what becomes of the rows that they removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ompd.arrays import I64
from ompd.errors import (
    ContextMismatchError,
    FramingError,
    LabelError,
    NeighborsError,
    NonCanonicalError,
    TableError,
)
from ompd.search import LimbTable, MemoryRoom
from ompd.stores.tables.contract import Change


class Parts(NamedTuple):
    """What a change says, as arrays.

    Attributes
    ----------
    removed, relabelled, codes, labels : int64 array
    """

    removed: I64
    relabelled: I64
    codes: I64
    labels: I64


def read_change(body: Change, table: LimbTable, k: int, width: int) -> Parts:
    """Check a change against the table that it is made of.

    Parameters
    ----------
    body : PaperChange or HardenedChange
    table : LimbTable
    k : int
        Neighbours that vote.
    width : int
        Bytes of values per row.

    Raises
    ------
    ContextMismatchError
        If the table has another number of rows.
    FramingError, NonCanonicalError
        If there are not as many values and codes as rows, or the rows do not rise.
    TableError, LabelError
        If a row is not there, is removed and relabelled, or gets a code outside the classes.
    NeighborsError
        If fewer than K rows are left.
    """
    if body.rows != len(table):
        raise ContextMismatchError(f"rows: expected {len(table)}, the rows of the base")
    removed, relabelled = _rows("removed", body.removed), _rows("relabelled", body.relabelled)
    codes = _codes("codes", body.codes, len(relabelled), table.classes)
    added, rest = divmod(len(body.values), width)
    if rest:
        raise FramingError(f"values: expected a multiple of {width} bytes")
    labels = _codes("labels", body.labels, added, table.classes)
    if not (len(removed) or len(relabelled) or added):
        raise FramingError("change: expected at least one row")
    for rows in (removed, relabelled):
        if len(rows) and (rows[-1] >= len(table) or table.index.is_removed(rows).any()):
            raise TableError("rows: expected only rows that are still there")
    if len(np.intersect1d(removed, relabelled, assume_unique=True)):
        raise TableError("relabelled: expected only rows that stay")
    if table.live - len(removed) + added < max(1, k):
        raise NeighborsError(f"removed: expected at least {max(1, k)} rows to be left")
    return Parts(removed, relabelled, codes, labels)


def edited(table: LimbTable, parts: Parts) -> LimbTable:
    """Return a table, to which rows were added already, with others relabelled and removed."""
    if len(parts.relabelled):
        table = table.relabelled(parts.relabelled, parts.codes)
    return table.without(parts.removed) if len(parts.removed) else table


def erasable(tables: Sequence[LimbTable]) -> I64:
    """Return the rows that no version of a table has any more, rising.

    Parameters
    ----------
    tables : sequence of LimbTable
        All versions, the newest first.
    """
    gone = tables[0].removed
    for older in tables[1:]:
        inside = gone < len(older)
        kept = np.ones(len(gone), np.bool_)
        kept[inside] = older.index.is_removed(gone[inside])
        gone = gone[kept]
    return gone


def tended(tables: Sequence[LimbTable]) -> list[LimbTable]:
    """Return versions as they can be kept once no version before them is asked.

    Indexes are anew: none has anything of a row that no version has any more, and such rows are in
    the `blank` ones of the tables' room, to be erased there. Empty if there is nothing to be done.

    Parameters
    ----------
    tables : sequence of LimbTable
        All versions that share their rows, the newest first.
    """
    newest = tables[0]
    room = newest.room
    known = newest.removed[:0] if room is None else room.blank
    gone = known[:0]
    if newest.index.removed > len(known):
        gone = np.setdiff1d(erasable(tables), known, assume_unique=True)
    if not len(gone) and not (room is not None and room.pending):
        return [newest.reindexed(), *tables[1:]] if newest.is_slow else []
    if room is None:
        room = MemoryRoom.copied(newest.limbs)
    room.will_erase(gone)
    return [table.moved(room, room.seen(len(table))).reindexed() for table in tables]


def _rows(name: str, data: bytes) -> I64:
    if len(data) % 4:
        raise FramingError(f"{name}: expected numbers of four bytes")
    rows = np.frombuffer(data, dtype="<u4").astype(np.int64)
    if (np.diff(rows) <= 0).any():
        raise NonCanonicalError(f"{name}: expected rising row numbers")
    return rows


def _codes(name: str, data: bytes, rows: int, classes: int) -> I64:
    if len(data) != 2 * rows:
        raise FramingError(f"{name}: expected {rows} codes")
    codes = np.frombuffer(data, dtype="<u2").astype(np.int64)
    if rows and codes.max() >= classes:
        raise LabelError(f"{name}: expected codes from 0 to {classes - 1}")
    return codes

"""An index whose table gets and loses rows: the rest of `index`, which says why that is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ompd._kernels.lanes import LANES, SATURATED
from ompd._kernels.limbs import fill_heads, mark_strays
from ompd.arrays import I64, U8, U64, frozen, zeros_at
from ompd.search.index import Index


def append_rows(index: Index, limbs: U64, first: int) -> Index:
    """Index the rows from `first` on, which were appended to the limb table.

    Parameters
    ----------
    index : Index
        Index of the rows before `first`.
    limbs : ndarray of uint64, shape (N, m, L)
        The whole table, new rows included.
    first : int
        Number of rows that `index` already knows.

    Returns
    -------
    Index
        Shares the big arrays with `index`. Tail rows cost a scan for every query and strays an
        exact distance, so build anew when they are more than a few per cent.
    """
    limbs = frozen(limbs)
    count = len(index.rows)
    columns = len(index.kept)
    tail = limbs.shape[0] - count
    leaves = zeros_at((-(-tail // LANES), columns, LANES), np.uint16)
    held = (first - count + LANES - 1) // LANES
    leaves[:held] = index.tail_heads.reshape(held, columns, LANES) if columns else 0
    heads = np.empty((limbs.shape[0] - first, columns), np.uint16)
    fill_heads(limbs, first, limbs.shape[0], index.kept, index.bits, index.base, heads, -first)
    places = np.arange(first, limbs.shape[0]) - count
    leaves[places // LANES, :, places % LANES] = heads
    most = np.zeros(limbs.shape[1], np.uint64)
    most[index.kept] = SATURATED
    outside = np.empty(limbs.shape[0] - first, np.bool_)
    mark_strays(limbs, first, limbs.shape[0], index.bits, index.floor, most, outside)
    strays = np.flatnonzero(outside) + first
    grown = replace(
        index,
        tail_heads=leaves.reshape(-1),
        strays=np.concatenate([index.strays, strays]),
    )
    if len(index.hidden) or len(strays):
        hidden = np.zeros(-(-limbs.shape[0] // 8), np.uint8)
        hidden[: len(index.hidden)] = index.hidden
        grown = replace(grown, hidden=_hide(hidden, strays))
    return grown


def _hide(hidden: U8, rows: I64) -> U8:
    """Copy of the bitmap with the bits of `rows` set."""
    hidden = hidden.copy()
    np.bitwise_or.at(hidden, rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8))
    return hidden


def remove_rows(index: Index, rows: I64, total: int) -> Index:
    """Hide rows from every later search; ids of the others stay as they are.

    Parameters
    ----------
    index : Index
        Index of the table.
    rows : ndarray of int64
        Distinct ids of live rows.
    total : int
        Number of rows of the limb table, removed ones included.

    Returns
    -------
    Index
        Shares the big arrays with `index`.
    """
    hidden = index.hidden if len(index.hidden) else np.zeros(-(-total // 8), np.uint8)
    return replace(
        index,
        hidden=_hide(hidden, rows),
        strays=np.setdiff1d(index.strays, rows),
        removed=index.removed + len(rows),
    )

"""Choice of K by leave-one-out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ompd.arrays import I64, U64
from ompd.errors import NeighborsError
from ompd.search.engine import compute
from ompd.search.table import LimbTable
from ompd.search.vote import tally, vote

#: Odd values that the source paper tries (section 4.1 and table 2).
CANDIDATES = tuple(range(1, 32, 2))

#: Instances that are classified to compare the candidates; more would not change the choice.
HELD_OUT = 1000

Compute = Callable[..., tuple[U64, I64]]


def choose_k(
    table: LimbTable,
    *,
    candidates: tuple[int, ...] = CANDIDATES,
    held_out: int = HELD_OUT,
    search: Compute = compute,
) -> int:
    """Return the K whose vote most often gives an instance its own label.

    Each held-out instance is classified by its neighbours among all others. Only distances and
    class codes are needed, so a cloud can choose K on blinded data. One search with the largest
    K serves all candidates.

    Parameters
    ----------
    table : LimbTable
    candidates : tuple of int
        Those above N - 1 are left out.
    held_out : int
        At most this many instances are classified, spread evenly over the table.
    search : callable
        Same contract as `compute`.

    Returns
    -------
    int
        The smallest of the best candidates.

    Raises
    ------
    NeighborsError
        If no candidate is left.
    """
    usable = sorted(k for k in candidates if 1 <= k < len(table))
    if not usable:
        raise NeighborsError(f"candidates: expected one from 1 to {len(table) - 1}")
    own = spread(len(table), held_out)
    distances, rows = search(table, table.limbs[own], usable[-1], exclude=own)
    truth = table.labels[own]
    right = [int((vote(table, distances, rows, k) == truth).sum()) for k in usable]
    return usable[int(np.argmax(right))]


def leave_one_out(table: LimbTable, k: int, most: int) -> tuple[I64, I64]:
    """Count the votes that instances get from all others, to compare with their own class.

    Parameters
    ----------
    table : LimbTable
    k : int
        Fewer vote where there are fewer others.
    most : int
        At most this many instances, spread evenly over the table.

    Returns
    -------
    own : int64 array of shape (m,)
        Rows of the instances.
    votes : int64 array of shape (m, classes)
    """
    own = spread(len(table), most)
    _, rows = compute(table, table.limbs[own], min(k, len(table) - 1), exclude=own)
    return own, tally(table, rows)


def spread(rows: int, most: int) -> I64:
    """Return at most so many of the numbers below `rows`, spread evenly."""
    return np.unique(np.linspace(0, rows - 1, min(most, rows)).astype(np.int64))

"""Choice of K by leave-one-out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ompd.errors import NeighborsError
from ompd.search.engine import compute
from ompd.search.index import I64, U64
from ompd.search.table import LimbTable
from ompd.search.vote import vote

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
    spread = np.linspace(0, len(table) - 1, min(held_out, len(table)))
    own = np.unique(spread.astype(np.int64))
    distances, rows = search(table, table.limbs[own], usable[-1], exclude=own)
    truth = table.labels[own]
    right = [int((vote(table, distances, rows, k) == truth).sum()) for k in usable]
    return usable[int(np.argmax(right))]

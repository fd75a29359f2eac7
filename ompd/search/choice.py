"""Choice of K by leave-one-out."""

from __future__ import annotations

import numpy as np

from ompd.errors import NeighborsError
from ompd.search.left_out import HELD_OUT, leave_one_out, spread
from ompd.search.table import LimbTable

#: Odd values that the source paper tries (section 4.1 and table 2).
CANDIDATES = tuple(range(1, 32, 2))


def choose_k(
    table: LimbTable, *, candidates: tuple[int, ...] = CANDIDATES, held_out: int = HELD_OUT
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
    found = leave_one_out(table, usable[-1], spread(len(table), held_out))
    return usable[int(np.argmax([found.right(k) for k in usable]))]

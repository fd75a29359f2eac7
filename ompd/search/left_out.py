"""Instances that are judged by all others: what K, steps and probabilities are chosen by.

Everything that asks how well a table classifies its own rows asks here, so that hospital,
classifiers and encoders judge alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ompd.arrays import I64, U64
from ompd.search.engine import compute
from ompd.search.table import LimbTable
from ompd.search.vote import tally, vote

#: Instances that are left out to compare values of K or steps; more would not change the choice.
HELD_OUT = 1000


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LeftOut:
    """Some instances of a table, each with its nearest others.

    Attributes
    ----------
    table : LimbTable
    truth : int64 array of shape (m,)
        Class codes of the instances themselves.
    distances : uint64 array of shape (m, k, L + 1)
    rows : int64 array of shape (m, k)
        As `compute` returns them.
    """

    table: LimbTable
    truth: I64
    distances: U64
    rows: I64

    def right(self, k: int | None = None) -> int:
        """Count the instances whose first k others, or all, vote for their own class."""
        return int((vote(self.table, self.distances, self.rows, k) == self.truth).sum())

    def votes(self, k: int | None = None) -> I64:
        """Return the votes of the first k others, or all, by class: shape (m, classes)."""
        return tally(self.table, self.rows, k)

    def alike(self) -> int:
        """Count the others that are of the class of their instance."""
        return int((self.table.labels[self.rows] == self.truth[:, np.newaxis]).sum())

    def alone(self) -> int:
        """Count the instances that differ from all others."""
        return int(self.distances[:, 0].any(axis=1).sum())


def leave_one_out(table: LimbTable, k: int, own: I64) -> LeftOut:
    """Find the k nearest among all others of each of the instances in rows `own`.

    Parameters
    ----------
    table : LimbTable
    k : int
        From 1 to N - 1.
    own : int64 array of shape (m,)

    Raises
    ------
    NeighborsError
        If there are fewer than k others.
    """
    distances, rows = compute(table, table.limbs[own], k, exclude=own)
    return LeftOut(table, table.labels[own], distances, rows)


def spread(rows: int, most: int) -> I64:
    """Return at most so many of the numbers below `rows`, spread evenly."""
    return np.unique(np.linspace(0, rows - 1, min(most, rows)).astype(np.int64))

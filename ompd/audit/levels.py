"""From the few levels that a column takes to the values behind them."""

from __future__ import annotations

import numpy as np

from ompd.arrays import F64, I64
from ompd.audit.views import MOST_VALUES

#: Levels that a candidate is tried on first; all are checked afterwards.
_TRIED = 24


def nearest(grid: F64, wanted: F64) -> I64:
    """Return the index of the entry of an ascending grid that is nearest to each number."""
    if grid[-1] - grid[0] == len(grid) - 1:
        # Whole numbers without gaps need no search.
        places: I64 = np.clip(np.rint(wanted - grid[0]), 0, len(grid) - 1).astype(np.int64)
        return places
    right = np.clip(np.searchsorted(grid, wanted), 1, max(len(grid) - 1, 1))
    right = np.minimum(right, len(grid) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(wanted - grid[left] <= grid[right] - wanted, left, right)


def distinct(column: F64, tolerance: float) -> F64:
    """Return the levels of a column, ascending: one number per group closer than `tolerance`."""
    ordered = np.sort(column)
    levels: F64 = ordered[np.append(True, np.diff(ordered) > tolerance)]
    return levels


def fit_scale(
    levels: F64, positions: F64, *, tolerance: float = 1e-7, share: float = 1.0
) -> float | None:
    """Find the factor by which scaled integers were multiplied to give these levels.

    Parameters
    ----------
    levels : float64 array
        Ascending, not negative; 0 stands for position 0. May repeat, to weigh levels by rows.
    positions : float64 array
        All scaled integers that the feature can have, ascending from 0.
    tolerance : float
        Largest deviation, as a share of the highest level.
    share : float
        Least share of the levels that must fit; the highest is taken to be one of them.

    Returns
    -------
    float or None
        None if no factor explains the levels. Of several, the one with the highest levels as low
        as possible: values one step apart are then among the rows. Two levels say nothing of a
        step; the higher is then taken for the domain's end.
    """
    top = levels[-1]
    tried = levels[np.unique(np.linspace(0, len(levels) - 1, _TRIED).astype(np.int64))]
    ends = positions[1:]
    if top <= 0 or not len(ends):
        return None
    implied = tried[:, np.newaxis] / top * ends
    off = np.abs(positions[nearest(positions, implied)] - implied) / ends
    fitting = (off <= tolerance).mean(axis=0)
    order = np.flatnonzero(fitting >= max(share, fitting.max() - (1 - share)))
    if len(levels) <= 2:
        order = order[::-1]
    for candidate in order:
        scale = float(top / ends[candidate])
        exact = levels / scale
        off = np.abs(positions[nearest(positions, exact)] - exact)
        if (off <= tolerance * top / scale).mean() >= share:
            return scale
    return None


def fit_line(levels: F64, positions: F64, *, tolerance: float) -> tuple[float, float] | None:
    """Find factor and shift: levels = factor * position + shift, the factor positive.

    Parameters
    ----------
    levels : float64 array
        Ascending; the lowest may stand for any position.
    positions : float64 array
        All scaled integers that the feature can have, ascending from 0.
    tolerance : float
        Largest deviation of a level.

    Returns
    -------
    (factor, shift) or None
        The widest stretch of the domain that explains all levels, as nothing else says where a
        column begins; None if there is none.
    """
    reach = levels[-1] - levels[0]
    count = len(positions)
    if reach <= tolerance:
        return None
    # A grid too fine for all pairs of ends is tried as a whole.
    widths = range(count - 1, 0, -1) if count <= MOST_VALUES else [count - 1]
    for width in widths:
        for low in range(count - width):
            factor = reach / (positions[low + width] - positions[low])
            shift = levels[0] - factor * positions[low]
            exact = (levels - shift) / factor
            off = np.abs(positions[nearest(positions, exact)] - exact) * factor
            if off.max() <= tolerance:
                return float(factor), float(shift)
    return None


def lines_through(steps: F64, rows: I64, features: F64, *, tolerance: float) -> F64:
    """Extend known cells to their columns, each a straight line from steps to values.

    Parameters
    ----------
    steps : float64 array of shape (N, n)
        Proportional to the features, each column with its own factor and shift.
    rows : int64 array of shape (k,)
    features : float64 array of shape (k, n)
        The values of these rows.
    tolerance : float
        Steps closer than this may be equal.

    Returns
    -------
    float64 array of shape (N, n)
        Where all known rows share one step, only the cells with that step; elsewhere NaN.
    """
    guess = np.full(steps.shape, np.nan)
    for j, column in enumerate(steps.T):
        seen, known = column[rows], features[:, j]
        if np.ptp(seen) > tolerance:
            centred = seen - seen.mean()
            slope = centred @ known / (centred @ centred)
            guess[:, j] = known.mean() + slope * (column - seen.mean())
        elif np.ptp(column) > tolerance:
            guess[np.abs(column - seen[0]) <= tolerance, j] = known[0]
    return guess

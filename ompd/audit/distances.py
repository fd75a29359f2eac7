"""Attacks from distances alone: what any scheme gives away that shows the cloud distances.

The attacker knows a few records and sees how far every other one lies from them.
"""

from __future__ import annotations

import numpy as np

from ompd.arrays import F64, I64
from ompd.audit.hardened import Insider
from ompd.audit.levels import nearest
from ompd.audit.views import HardenedView

#: Passes over all features while the criterion sharpens.
_SWEEPS = 8
#: Rows solved at once; bounds the memory.
_BLOCK = 256


def distances(view: HardenedView, rows: I64) -> I64:
    """Return the L1 distances of all rows to the given ones, shape (N, k)."""
    table, _ = view.unwrapped()
    return np.stack([np.abs(table - table[row]).sum(axis=1) for row in rows], axis=1)


def copy_nearest(far: I64, features: F64) -> F64:
    """Guess that every record equals its nearest known one; needs only an order of distances.

    Parameters
    ----------
    far : int64 array of shape (N, k)
        Distances to the known records.
    features : float64 array of shape (k, n)
        The known records.

    Returns
    -------
    float64 array of shape (N, n)
    """
    copied: F64 = features[far.argmin(axis=1)]
    return copied


def multilaterate(far: I64, features: F64, labels: I64, insider: Insider) -> F64:
    """Guess the records whose distances to the known ones fit best, the weights being known.

    Coordinate descent over the features' values, from the nearest known record and from the
    usual record of the class; the better fit is kept. Among equal fits the population decides.

    Parameters
    ----------
    far : int64 array of shape (N, k)
    features : float64 array of shape (k, n)
    labels : int64 array of shape (N,)
    insider : Insider

    Returns
    -------
    float64 array of shape (N, n)
    """
    values = insider.population.values
    known = _places(features, values)
    guess = np.empty((len(far), len(values)))
    for start in range(0, len(far), _BLOCK):
        part = slice(start, start + _BLOCK)
        priors = [np.log(chance[labels[part]]) for chance in insider.population.chances]
        usual = np.stack([prior.argmax(axis=1) for prior in priors], axis=1)
        nearby = known[far[part].argmin(axis=1)]
        solved = [_descend(begin, far[part], known, priors, insider) for begin in (nearby, usual)]
        better = solved[1][1] < solved[0][1]
        places = np.where(better[:, np.newaxis], solved[1][0], solved[0][0])
        for j, value in enumerate(values):
            guess[part, j] = value[places[:, j]]
    return guess


def _descend(
    places: I64, far: I64, known: I64, priors: list[F64], insider: Insider
) -> tuple[I64, F64]:
    """Improve one feature after the other; return places and their costs."""
    places = places.copy()
    every = np.arange(len(places))
    anchors = _sums(known, insider.steps)
    # Every coordinate of both records is rounded, and noised if there is noise.
    rounding = known.shape[1] / 6
    noise = 4 * known.shape[1] / insider.epsilon**2 if insider.epsilon else 0.0
    least = rounding + noise
    # Far from the solution a sharp criterion sees only walls, so it sharpens pass by pass.
    most = max(float(np.median(far) / 2) ** 2, least)
    cost = np.empty(len(places))
    for variance in [*np.geomspace(most, least, _SWEEPS), least, least]:
        for j, step in enumerate(insider.steps):
            apart = _sums(places, insider.steps)[:, np.newaxis] - anchors
            settled = np.abs(apart[:, :, :j]).sum(axis=2)
            # Another value of this feature moves all later sums alike.
            moves = step - step[places[:, j], np.newaxis]
            moved = np.abs(apart[:, np.newaxis, :, j:] + moves[:, :, np.newaxis, np.newaxis])
            misfit = settled[:, np.newaxis] + moved.sum(axis=3) - far[:, np.newaxis]
            costs = (misfit**2).sum(axis=2) / (2 * variance) - priors[j]
            places[:, j] = costs.argmin(axis=1)
            cost = costs[every, places[:, j]]
    for i, prior in enumerate(priors[:-1]):
        cost = cost - prior[every, places[:, i]]
    return places, cost


def _sums(places: I64, steps: tuple[F64, ...]) -> F64:
    return np.cumsum([step[places[:, j]] for j, step in enumerate(steps)], axis=0).T


def _places(features: F64, values: tuple[F64, ...]) -> I64:
    return np.stack([nearest(value, features[:, j]) for j, value in enumerate(values)], axis=1)

"""Attacks on several releases of the same records under the `hardened` profile.

Each release shows a record through other weights, steps and noise, and what one of them leaves open
the next one settles. They help nobody where a version repeats what the one before had released.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ompd.arrays import F64, I64
from ompd.audit.hardened import Insider, aligned, decoded
from ompd.audit.views import HardenedView

#: Beginnings of a record that are followed at a time.
_BEAM = 40
#: Rows decoded at once; bounds the memory.
_BLOCK = 64
#: Decay per unit where there is no noise: a sum is then what is seen, but for a grid too coarse.
_STEEP = 25.0


def combined(views: Sequence[HardenedView], insiders: Sequence[Insider]) -> F64:
    """Recover the cells of the rows that all versions begin with, from all versions together.

    Parameters
    ----------
    views : sequence of HardenedView
        The first has the fewest rows.
    insiders : sequence of Insider
        What is known of each version: its weights, step, noise and frequencies.

    Returns
    -------
    float64 array of shape (rows of the first view, n)
    """
    rows = len(views[0].table)
    labels = views[0].labels
    # A version that repeats what others released tells nothing more.
    different = {view.table[:rows].tobytes(): place for place, view in enumerate(views)}
    chosen = sorted(different.values())
    sums = np.stack([aligned(views[place], insiders[place])[0][:rows] for place in chosen])
    known = [insiders[place] for place in chosen]
    if len(known) == 1:
        return decoded(sums, labels, known[0])
    guess = np.empty(sums.shape[1:])
    for start in range(0, rows, _BLOCK):
        part = slice(start, start + _BLOCK)
        guess[part] = _followed(sums[:, part], labels[part], known)
    return guess


def _followed(sums: F64, labels: I64, insiders: Sequence[Insider]) -> F64:
    """Extend the likeliest beginnings of every record feature by feature."""
    versions, rows, features = sums.shape
    population = insiders[-1].population
    counts = _new(sums, insiders)
    decays = [_STEEP if each.epsilon is None else each.epsilon for each in insiders]
    scores = np.zeros((rows, 1))
    reached = np.zeros((versions, rows, 1))
    paths: list[tuple[I64, I64]] = []
    for j in range(features):
        prior = np.log(population.chances[j][labels])
        longer = scores[:, :, np.newaxis] + prior[:, np.newaxis]
        tried = []
        for v, insider in enumerate(insiders):
            tried.append(reached[v][:, :, np.newaxis] + insider.steps[j])
            off = np.abs(np.rint(tried[v]) - sums[v, :, j, np.newaxis, np.newaxis])
            longer -= decays[v] * counts[v] * off
        values = prior.shape[1]
        flat = longer.reshape(rows, -1)
        kept = min(_BEAM, flat.shape[1])
        best = np.argpartition(-flat, kept - 1, axis=1)[:, :kept]
        scores = np.take_along_axis(flat, best, axis=1)
        reached = np.stack(
            [np.take_along_axis(each.reshape(rows, -1), best, axis=1) for each in tried]
        )
        paths.append((best // values, best % values))
    place = scores.argmax(axis=1)
    every = np.arange(rows)
    guess = np.empty((rows, features))
    for j in range(features - 1, -1, -1):
        before, value = paths[j]
        guess[:, j] = population.values[j][value[every, place]]
        place = before[every, place]
    return guess


def _new(sums: F64, insiders: Sequence[Insider]) -> F64:
    """Tell which noisy vectors no version before had: noise that is seen again is the same.

    Without noise the same vector under other weights is news.

    Returns
    -------
    float64 array of shape (versions, rows, 1, 1)
    """
    new = np.ones((*sums.shape[:2], 1, 1))
    for v, insider in enumerate(insiders):
        if insider.epsilon is not None:
            new[v, :, 0, 0] = ~(sums[:v] == sums[v]).all(axis=2).any(axis=0)
    return new


def apart(
    left: tuple[HardenedView, Insider], right: tuple[HardenedView, Insider], rows: I64
) -> F64:
    """Rate how unlike records of one release and of another are, whatever their keys.

    Parameters
    ----------
    left, right : (HardenedView, Insider)
    rows : int64 array of shape (k,)
        Rows of the left table.

    Returns
    -------
    float64 array of shape (k, N)
        To every row of the right table; infinite where the label, which both show, is another.
    """
    mine, others = (
        aligned(view, insider)[0] / sum(step.max() for step in insider.steps)
        for view, insider in (left, right)
    )
    far = np.stack([np.abs(others - mine[row]).sum(axis=1) for row in rows])
    return np.where(left[0].labels[rows, np.newaxis] == right[0].labels, far, np.inf)

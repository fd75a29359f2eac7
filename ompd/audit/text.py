"""Attacks of a physician on a patient's course, from replies to templates of one's own choice.

A reply has R and E at all lags. E is a sum over a window that moves by a day, so that differences
are single days' energies. A template with counts on one day alone has R(τ) = Σ_f c_f x_f(τ): with
two concepts whose factors c are far enough apart, both counts are read off the sum. Counts on the
first day and on the last of as many days as the course has are seen at lags of their own, but for
lag 0, where the fewest mentions that give the sum are guessed.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from ompd.arrays import F64, I64
from ompd.audit.views import TextView

#: Largest count of a day, in courses and templates.
_MOST = 15
#: Concepts that one template reads: two on its first day, two on its last.
PER_TEMPLATE = 4


def energies(view: TextView) -> I64:
    """Return the energy of each day, exactly, from the first reply.

    Returns
    -------
    int64 array of shape (T,)
        Sums of weight times squared count.
    """
    # At the lowest lags the window enters the course day by day.
    length = view.templates[0].shape[1]
    found = view.energies[0]
    entered = np.diff(found[:length], prepend=0)
    if length >= view.days:
        return entered[: view.days]
    # Then it moves: a day comes, and the one that is `length` older goes.
    days = np.zeros(view.days, np.int64)
    days[:length] = entered
    for day in range(length, view.days):
        days[day] = found[day] - found[day - 1] + days[day - length]
    return days


def chosen(weights: I64, days: int) -> list[I64]:
    """Return templates that read all concepts, four each; the first ones read the first concepts.

    Parameters
    ----------
    weights : int64 array of shape (F,)
    days : int
        T.
    """
    templates = []
    for first in range(0, len(weights), PER_TEMPLATE):
        template = np.zeros((len(weights), days), np.int64)
        for column, place in ((0, first), (-1, first + 2)):
            pair = list(range(place, min(place + 2, len(weights))))
            template[pair, column] = _factors(*(int(weights[row]) for row in pair))
        templates.append(template)
    return templates


def cells(view: TextView) -> F64:
    """Return the course as far as `chosen` templates were answered; NaN elsewhere.

    Returns
    -------
    float64 array of shape (F, T)
    """
    rows, days = len(view.weights), view.days
    found = np.full((rows, days), np.nan)
    for template, products in zip(view.templates, view.products, strict=True):
        if days == 1:
            # Both days are one, and all four concepts in one sum.
            continue
        low, high = (_factored(view, template, column) for column in (0, -1))
        # Lag 0 is at days - 1; there the first day of one and the last of the other are added.
        for day in range(1, days):
            _read(found, low, day, int(products[days - 1 + day]))
        for day in range(days - 1):
            _read(found, high, day, int(products[day]))
        _read_both(found, low, high, days, int(products[days - 1]))
    return found


def all_at_once(view: TextView, uncovered: I64, block: int) -> F64:
    """Read a whole course from one reply whose other coefficients are not covered; a control.

    Parameters
    ----------
    view : TextView
    uncovered : int64 array of shape (N,)
        Coefficients of the product with a template that has a single 1, in the last row and the
        last column: it is the course times a weight.
    block : int
        Coefficients between concepts.
    """
    rows = len(view.weights)
    whole = uncovered[: rows * block].reshape(rows, block)[:, : view.days]
    counts: F64 = (whole // view.weights[-1]).astype(np.float64)
    return counts


def _factored(view: TextView, template: I64, column: int) -> list[tuple[int, int]]:
    """Concepts of a template's day, and the factor of each."""
    return [
        (int(row), int(view.weights[row] * template[row, column]))
        for row in np.flatnonzero(template[:, column])
    ]


@cache
def _factors(*weights: int) -> tuple[int, ...]:
    """Counts of a template that make the sums of two weighted counts as different as can be."""
    if len(weights) < 2:
        return (1,) * len(weights)
    x = np.arange(_MOST + 1)

    def different(pair: tuple[int, ...]) -> int:
        one, other = (weight * count * x for weight, count in zip(weights, pair, strict=True))
        return len(np.unique(np.add.outer(one, other)))

    return max(product(range(1, _MOST + 1), repeat=2), key=different)


def _read(found: F64, factored: list[tuple[int, int]], day: int, total: int) -> None:
    best = _fewest(tuple(factor for _, factor in factored), total)
    for (row, _), count in zip(factored, best, strict=True):
        found[row, day] = count


def _read_both(
    found: F64, low: list[tuple[int, int]], high: list[tuple[int, int]], days: int, total: int
) -> None:
    """Read the first day of some concepts and the last of others from one sum."""
    best = _fewest(tuple(factor for _, factor in low + high), total)
    for place, (row, _) in enumerate(low + high):
        found[row, 0 if place < len(low) else days - 1] = best[place]


@cache
def _fewest(factors: tuple[int, ...], total: int) -> tuple[int, ...]:
    """Counts with the smallest sum that give a total; zeros where none do."""
    if not factors:
        return ()
    grids = np.indices((_MOST + 1,) * len(factors))
    sums = np.tensordot(np.array(factors), grids, axes=1)
    size = np.where(sums == total, grids.sum(axis=0), np.iinfo(np.int64).max)
    place = np.unravel_index(int(np.argmin(size)), size.shape)
    if sums[place] != total:
        return (0,) * len(factors)
    return tuple(int(each) for each in place)

"""Attacks on the blinding of the `hardened` profile, from what the cloud gets.

A secret order, signs and shifts of the columns keep all distances, and with them nearly everything
else: consecutive prefix sums still differ by few levels, class means still tell the columns apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ompd.arrays import F64, I64
from ompd.audit.levels import fit_line, lines_through, nearest
from ompd.audit.posterior import decode
from ompd.audit.structure import in_order, match_columns
from ompd.audit.views import HardenedView, Population, Public
from ompd.search import WordTable, compute, vote

#: What rounding can add to a difference of two coarse integers.
_ROUNDING = 1.0
#: Least weight per coarse unit that is told from none, and decay per unit of what guessed weights
#: leave unexplained.
_LEAST, _MISFIT = 0.05, 3.0
#: Widest range of coarse sums for which exact posteriors are computed, and units under noise.
_WIDEST, _BLURRED = 512, 256


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Insider:
    """Side knowledge of an attacker who knows the encoder and the population.

    Attributes
    ----------
    population : Population
    steps : tuple of float64 arrays, one of shape (v,) per feature
        What each value of the population's grid adds to a prefix sum, in coarse units: the
        weights and the coarse step.
    epsilon : float, optional
        Decay of the noise per coarse unit, if there is noise.
    """

    population: Population
    steps: tuple[F64, ...]
    epsilon: float | None = None


def adaptive(view: HardenedView, public: Public) -> tuple[F64, F64]:
    """Recover cells from the domains and each feature's most frequent value alone.

    Orders and signs the columns by the path of fewest levels, fits every feature's domain to the
    levels, and settles the one mirror left by the most frequent values.

    Returns
    -------
    table : float64 array of shape (N, n)
    queries : float64 array of shape (q, n)
        NaN where a column holds nothing.
    """
    table, queries = in_order(*view.unwrapped())
    tries = []
    for sign in (1, -1):
        steps, asked = _steps(sign * table), _steps(sign * queries)
        guess, answer = np.full(steps.shape, np.nan), np.full(asked.shape, np.nan)
        for j in range(steps.shape[1]):
            values, positions = public.grid(j)
            levels = np.unique(steps[:, j])
            tolerance = max(2 * _ROUNDING, 1e-7 * np.ptp(levels))
            line = fit_line(levels, positions, tolerance=tolerance)
            if line is not None:
                factor, shift = line
                guess[:, j] = values[nearest(positions, (steps[:, j] - shift) / factor)]
                answer[:, j] = values[nearest(positions, (asked[:, j] - shift) / factor)]
        tries.append((float((guess == public.modes).mean()), guess, answer))
    _, guess, answer = max(tries, key=lambda tried: tried[0])
    return guess, answer


def informed(view: HardenedView, insider: Insider, classes: int) -> tuple[F64, F64]:
    """Recover cells with the weights, the labels and the population's class-wise frequencies.

    Returns
    -------
    table : float64 array of shape (N, n)
    queries : float64 array of shape (q, n)
        Under the class that their neighbours vote for.
    """
    table, queries = aligned(view, insider)
    votes = voted(view, classes)
    return (
        decoded(table[np.newaxis], view.labels, insider),
        decoded(queries[np.newaxis], votes, insider),
    )


def outside(view: HardenedView, population: Population) -> F64:
    """Recover records with what some public records of such patients tell, and no weight.

    A weight follows from how far apart the classes' means lie, in the view and in public.

    Parameters
    ----------
    view : HardenedView
    population : Population
        Of the public records.

    Returns
    -------
    float64 array of shape (N, n)
    """
    table, _ = in_order(*view.unwrapped())
    grids = [(grid - grid[0]) / max(grid[-1] - grid[0], 1e-9) for grid in population.values]
    present = np.unique(view.labels)
    shares = np.array([(view.labels == code).mean() for code in present])
    seen = np.stack([table[view.labels == code].mean(axis=0) for code in present])
    public = population.means(grids)[present]
    arms, wanted = (means - shares @ means for means in (np.diff(seen, prepend=0), public))
    # What is left open is one mirror of everything.
    sign = 1 if (arms * wanted).sum() >= 0 else -1
    weights = sign * (arms * wanted).sum(axis=0) / np.maximum((wanted**2).sum(axis=0), 1e-9)
    steps = tuple(
        grid * weight for grid, weight in zip(grids, np.maximum(weights, _LEAST), strict=True)
    )
    shift = shares @ (np.cumsum(population.means(steps), axis=1)[present] - sign * seen)
    sums = sign * table + np.rint(shift)
    return decoded(sums[np.newaxis], view.labels, Insider(population, steps, _MISFIT))


def averaged(view: HardenedView, insider: Insider, classes: int, repeats: int) -> F64:
    """Recover queries, each of which was asked `repeats` times in a row.

    Returns
    -------
    float64 array of shape (q / repeats, n)
    """
    _, queries = aligned(view, insider)
    releases = queries.reshape(-1, repeats, queries.shape[1]).transpose(1, 0, 2)
    if (releases == releases[0]).all():
        # One release seen many times tells nothing more.
        releases = releases[:1]
    return decoded(releases, voted(view, classes)[::repeats], insider)


def known_rows(view: HardenedView, rows: I64, features: F64) -> F64:
    """Recover cells from a few rows whose values are known, without domains or weights.

    Returns
    -------
    float64 array of shape (N, n)
        NaN where nothing follows.
    """
    table, _ = in_order(*view.unwrapped())
    return lines_through(_steps(table), rows, features, tolerance=_ROUNDING)


def link(view: HardenedView) -> tuple[I64, I64]:
    """Name the vector behind every row and query; equal records have equal names."""
    _, names = np.unique(np.concatenate([view.table, view.queries]), axis=0, return_inverse=True)
    names = names.reshape(-1)
    return names[: len(view.table)], names[len(view.table) :]


def voted(view: HardenedView, classes: int, k: int = 9) -> I64:
    """Return the class that the nearest rows of every query vote for."""
    ring = WordTable.of(view.table, view.labels, classes)
    found = compute(ring.table, ring.queries(view.queries), min(k, len(ring)))
    return vote(ring.table, *found)


def aligned(view: HardenedView, insider: Insider) -> tuple[F64, F64]:
    """Bring table and queries to the true order, sign and shift of the coarse sums."""
    table, queries = view.unwrapped()
    means = np.cumsum(insider.population.means(insider.steps), axis=1)
    order, signs, shifts = match_columns(table, view.labels, means)
    # True sums are whole numbers; the mean of many leaves a shift off by less than half.
    shifts = np.rint(shifts)
    return table[:, order] * signs + shifts, queries[:, order] * signs + shifts


def decoded(releases: F64, labels: I64, insider: Insider) -> F64:
    """Guess the cells behind aligned sums of shape (releases, N, n)."""
    population, steps, epsilon = insider.population, insider.steps, insider.epsilon
    reach = float(sum(step.max() for step in steps))
    if epsilon is not None:
        # Noise blurs more than a wide grid of large units does.
        unit = max(1.0, reach / _BLURRED)
        larger = tuple(step / unit for step in steps)
        return decode(releases / unit, labels, larger, population, epsilon=epsilon * unit)
    if reach <= _WIDEST:
        return decode(releases, labels, steps, population)
    # So fine that every step can be read by itself.
    guess = np.full(releases.shape[1:], np.nan)
    differences = _steps(releases.mean(axis=0))
    for j, step in enumerate(steps):
        if step.max() > 2 * _ROUNDING:
            guess[:, j] = population.values[j][nearest(step, differences[:, j])]
    return guess


def _steps(sums: I64 | F64) -> F64:
    return np.diff(sums, axis=1, prepend=0).astype(np.float64)

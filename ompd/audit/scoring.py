"""What an attack got right, beside what guessing gets right."""

from __future__ import annotations

import numpy as np

from ompd.arrays import F64, I64, Bools
from ompd.audit.views import is_counted
from ompd.schema import Schema

#: A cell of a continuous feature counts as recovered within this share of its domain.
_CLOSE = 0.01

#: Shares that an attack and its baseline have right.
Score = tuple[float, float]


def matches(schema: Schema, guess: F64, truth: F64) -> Bools:
    """Tell which cells are right, a bool array of shape (rows, n).

    Whole numbers must be equal once the guess is rounded. Continuous features, and those of very
    many values, must come within 1% of the domain.
    """
    counted = np.array([is_counted(feature) for feature in schema.features])
    close = np.abs(guess - truth) <= _CLOSE * (schema.high - schema.low)
    return np.where(counted, np.rint(guess) == truth, close)


def cells(schema: Schema, kept: I64, guess: F64, truth: F64, fallback: F64) -> Score:
    """Score guesses of cells.

    Parameters
    ----------
    schema : Schema
    kept : int64 array
        Features that count: those that are in the blinded values at all.
    guess : float64 array of shape (rows, n)
        NaN where the attack says nothing; the fallback is guessed there.
    truth : float64 array of shape (rows, n)
    fallback : float64 array of shape (n,) or (rows, n)
        The baseline.
    """
    usual = np.broadcast_to(fallback, truth.shape)
    attack = np.where(np.isnan(guess), usual, guess)
    right, baseline = (matches(schema, tried, truth)[:, kept].mean() for tried in (attack, usual))
    return float(right), float(baseline)


def links(guess: I64, truth: I64) -> Score:
    """Score names of records, given to all rows, by the pairs of rows that they call equal.

    Returns
    -------
    F1 score of these pairs, and that of calling all pairs equal
    """
    count = len(guess)
    return _f1(_pairs(guess), _pairs(truth), _pairs(_joint(guess, truth)), count * (count - 1) / 2)


def links_between(guess: tuple[I64, I64], truth: tuple[I64, I64]) -> Score:
    """Score names of records by the pairs of one row and one query that they call equal."""
    rows, queries = _joint(guess[0], truth[0]), _joint(guess[1], truth[1])
    number = float(len(rows) * len(queries))
    return _f1(_across(*guess), _across(*truth), _across(rows, queries), number)


def rank_of_twins(far: F64, rows: I64, names: I64) -> float:
    """Return how often a record's twin is nearer than another record: the area under the curve.

    Parameters
    ----------
    far : float64 array of shape (k, N)
        How unlike each of some records of one release and all of another are; infinite where
        that shows by itself, which counts neither for nor against.
    rows : int64 array of shape (k,)
        Where the twins of these records are.
    names : int64 array of shape (N,)
        Equal for equal records, which do not count either.
    """
    shares = []
    for distances, row in zip(far, rows, strict=True):
        others = distances[(names != names[row]) & np.isfinite(distances)]
        if len(others):
            own = distances[row]
            shares.append((others > own).mean() + (others == own).mean() / 2)
    return float(np.mean(shares)) if shares else 0.5


def _f1(found: float, real: float, hits: float, number: float) -> Score:
    if not real:
        # Nothing to link: right is who links nothing.
        return float(not found), 0.0
    return 2 * hits / (found + real), 2 * real / (number + real)


def _joint(guess: I64, truth: I64) -> I64:
    """One name per pair of names, unique as long as names stay below 2**31."""
    return guess << 31 | truth


def _pairs(names: I64) -> float:
    counts = np.unique(names, return_counts=True)[1]
    return float((counts * (counts - 1)).sum()) / 2


def _across(rows: I64, queries: I64) -> float:
    names, counts = np.unique(rows, return_counts=True)
    others, twins = np.unique(queries, return_counts=True)
    _, left, right = np.intersect1d(names, others, return_indices=True)
    return float((counts[left] * twins[right]).sum())

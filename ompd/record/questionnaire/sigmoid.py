"""The probability that log-odds mean, learned from rows that they were not made of."""

from __future__ import annotations

import numpy as np

from ompd.arrays import F64

#: A slope stays above this, so that a larger score always means a larger probability.
LEAST_SLOPE = 0.05
_STEPS = 100
_TOLERANCE = 1e-12
#: Weight of the prior that keeps slope near 1 and offset near 0 where rows say nothing, in rows.
_PRIOR = 1.0


def fit_sigmoid(scores: F64, truth: F64, weights: F64) -> tuple[float, float]:
    """Return slope and offset of the most likely sigmoid.

    Parameters
    ----------
    scores, truth, weights : float64 arrays of shape (n,)
        Log-odds, whether the outcome was there (0 or 1), and how much a row counts.

    Returns
    -------
    slope, offset : float
        The probability of score z is ``1 / (1 + exp(-slope * z - offset))``.

    Notes
    -----
    Newton's method on the penalised likelihood, which is concave. Source: Platt (1999).
    """
    design = np.stack([scores, np.ones_like(scores)], axis=1)
    start = np.array([1.0, 0.0])
    found = start.copy()
    for _ in range(_STEPS):
        probability = _logistic(design @ found)
        slope = design.T @ (weights * (truth - probability)) - _PRIOR * (found - start)
        spread = weights * probability * (1 - probability)
        curvature = (design.T * spread) @ design + _PRIOR * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        # From far away a whole step may overshoot.
        found = found + step / max(1.0, float(np.abs(step).max()))
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    if found[0] < LEAST_SLOPE:
        return LEAST_SLOPE, float(found[1])
    return float(found[0]), float(found[1])


def _logistic(values: F64) -> F64:
    found: F64 = 0.5 + 0.5 * np.tanh(0.5 * values)
    return found

"""The likeliest cells behind coarse or noisy prefix sums, for an attacker who knows the weights.

The prefix sums of one record are a chain: each adds W_j * X_j to the one before, and each is seen
through rounding and noise. Forward and backward passes over a grid of sums give every cell's exact
posterior under the population's class-wise frequencies.
"""

from __future__ import annotations

import numpy as np

from ompd.arrays import F64, I64
from ompd.audit.views import Population

#: Grid points per unit of the seen integers.
_FINE = 6
#: Rows decoded at once; bounds the memory.
_BLOCK = 512
#: Logarithmic decay per unit beyond what rounding explains.
_STEEP = 14.0
#: Least logarithm of a likelihood, so that no row loses all its mass.
_LEAST = -500.0


def decode(
    seen: F64,
    labels: I64,
    steps: tuple[F64, ...],
    population: Population,
    *,
    epsilon: float | None = None,
) -> F64:
    """Guess every cell.

    Parameters
    ----------
    seen : float64 array of shape (r, N, n)
        Prefix sums in units of the coarse integers, true order and sign, as released r times.
    labels : int64 array of shape (N,)
    steps : tuple of float64 arrays, one of shape (v,) per feature
        What each value of the population's grid adds to the sum, in the same units.
    population : Population
    epsilon : float, optional
        The noise is discrete Laplace with ratio exp(-epsilon) per unit; none by default.

    Returns
    -------
    float64 array of shape (N, n)
        The value of largest posterior probability, cell by cell.
    """
    guess = np.empty(seen.shape[1:])
    for start in range(0, len(labels), _BLOCK):
        part = slice(start, start + _BLOCK)
        guess[part] = _decode_block(seen[:, part], labels[part], steps, population, epsilon)
    return guess


def _decode_block(
    seen: F64,
    labels: I64,
    steps: tuple[F64, ...],
    population: Population,
    epsilon: float | None,
) -> F64:
    _, rows, features = seen.shape
    moves = [np.rint(step * _FINE).astype(np.int64) for step in steps]
    size = int(sum(move.max() for move in moves)) + 1
    sums = np.arange(size) / _FINE
    priors = [chance[labels] for chance in population.chances]
    forward = np.zeros((features + 1, rows, size))
    forward[0, :, 0] = 1.0
    evidence = []
    for j in range(features):
        reached = np.zeros((rows, size))
        for v, move in enumerate(moves[j]):
            reached[:, move:] += priors[j][:, v, None] * forward[j, :, : size - move]
        evidence.append(_likelihood(seen[:, :, j], sums, epsilon))
        reached *= evidence[j]
        forward[j + 1] = _normalised(reached)
    guess = np.empty((rows, features))
    backward = np.ones((rows, size))
    for j in range(features - 1, -1, -1):
        after = _normalised(backward * evidence[j])
        backward = np.zeros((rows, size))
        odds = np.empty((rows, len(moves[j])))
        for v, move in enumerate(moves[j]):
            through = after[:, move:]
            odds[:, v] = priors[j][:, v] * np.einsum(
                "rs,rs->r", forward[j, :, : size - move], through
            )
            backward[:, : size - move] += priors[j][:, v, None] * through
        guess[:, j] = population.values[j][odds.argmax(axis=1)]
    return guess


def _likelihood(seen: F64, sums: F64, epsilon: float | None) -> F64:
    """Likelihood of releases, shape (r, rows), at every sum; the best of each row is 1."""
    # Rounding puts a sum within half a unit of what is seen. Beyond, exponential decay: that of
    # the noise, or without noise a steep one for the grid's own rounding.
    decay, centres = (_STEEP, sums) if epsilon is None else (epsilon, np.rint(sums))
    free = 0.5 if epsilon is None else 0.0
    logarithm = np.zeros((seen.shape[1], len(sums)))
    for release in seen:
        logarithm -= decay * np.maximum(np.abs(release[:, np.newaxis] - centres) - free, 0.0)
    likelihood: F64 = np.exp(np.maximum(logarithm - logarithm.max(axis=1, keepdims=True), _LEAST))
    return likelihood


def _normalised(weights: F64) -> F64:
    shares: F64 = weights / weights.sum(axis=1, keepdims=True)
    return shares

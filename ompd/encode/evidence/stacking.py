"""How much each learner's opinion counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ompd.arrays import F64, I64
from ompd.encode.evidence.models import log_softmax
from ompd.encode.evidence.storage import Reader, Writer

#: Precision of the Gaussian prior around equal weights that sum to 1, and around offsets of 0.
_PRECISION = 1.0


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Stack:
    """Softmax of a weighted sum of opinions: a product of experts.

    Parameters
    ----------
    weights : float64 array of shape (learners,)
        Not negative: an opinion that is worse than none is ignored, not turned around.
    offsets : float64 array of shape (classes,)
    """

    weights: F64
    offsets: F64

    @classmethod
    def fit(cls, opinions: F64, codes: I64) -> Stack:
        """Learn by penalised maximum likelihood where every class weighs the same as a whole.

        Parameters
        ----------
        opinions : float64 array of shape (N, classes, learners)
            Logarithms of class probabilities, of learners that had not seen the row.
        codes : int64 array of shape (N,)
            Every class occurs.
        """
        from scipy.optimize import minimize  # type: ignore[import-untyped]

        rows, classes, learners = opinions.shape
        centred = opinions - opinions.mean(axis=1, keepdims=True)
        truth = np.eye(classes)[codes]
        weights = (rows / (classes * truth.sum(axis=0)))[codes, np.newaxis]
        centre = np.concatenate([np.full(learners, 1 / learners), np.zeros(classes)])

        def loss(at: F64) -> tuple[float, F64]:
            logs = log_softmax(centred @ at[:learners] + at[learners:])
            error = (np.exp(logs) - truth) * weights
            away = at - centre
            gradient = np.concatenate([np.tensordot(error, centred, 2), error.sum(axis=0)])
            value = 0.5 * _PRECISION * away @ away - np.sum(logs * truth * weights)
            return float(value), gradient + _PRECISION * away

        bounds = [(0, None)] * learners + [(None, None)] * classes
        best = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds).x
        return cls(best[:learners], best[learners:])

    def write(self, out: Writer) -> None:
        """Add all arrays."""
        out.floats(self.weights)
        out.floats(self.offsets)

    @classmethod
    def read(cls, data: Reader, learners: int, classes: int) -> Stack:
        """Return what `write` added.

        Raises
        ------
        StoreError
        """
        weights = data.floats(learners)
        data.require(bool((weights >= 0).all()))
        return cls(weights, data.floats(classes))

    def evidence(self, opinions: F64) -> F64:
        """Return the logarithms of class probabilities, shape (m, classes)."""
        centred = opinions - opinions.mean(axis=1, keepdims=True)
        return log_softmax(centred @ self.weights + self.offsets)

"""Class probabilities from the votes of the nearest neighbours.

What a hospital needs to turn the class counts among K neighbours into probabilities that mean what
they say. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ompd.arrays import F64, I64
from ompd.errors import ParameterError

Priors = Literal["equal", "training"]

#: Instances whose leave-one-out votes calibrate; more would not change the few parameters.
CALIBRATION_ROWS = 4000

#: Added to every count, so that no probability becomes 0 or 1.
_SMOOTHING = 0.5
#: Precision of the Gaussian priors on the slope (around 1) and on the offsets (around 0). Weak:
#: a few rows outweigh them, but two rows do not.
_SLOPE_PRECISION = 4.0
_OFFSET_PRECISION = 1.0
#: The slope stays above this, so that more votes always mean a larger probability.
_LEAST_SLOPE = 0.1
_STEPS = 100
_TOLERANCE = 1e-10


def check_priors(priors: object) -> Priors:
    """Return `priors` if it is "equal" or "training".

    Raises
    ------
    ParameterError
    """
    for known in get_args(Priors):
        if isinstance(priors, str) and priors == known:
            return known  # type: ignore[no-any-return]
    raise ParameterError(
        f"priors: expected 'equal' or 'training', got {type(priors).__name__} of another value"
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Maps votes to probabilities: softmax(slope * log(votes + 1/2) + offset).

    With two classes this is a logistic function of the log-odds of the votes.

    Parameters
    ----------
    slope : float
        Above 0, common to all classes. Below 1 it pulls probabilities together, as correlated
        or few neighbours deserve; above 1 apart.
    offsets : tuple of float
        One per class: what makes up for rare classes and for one-sided neighbourhoods.

    Raises
    ------
    ParameterError
        If the numbers are not finite, the slope is not positive or there are no classes.
    """

    slope: float
    offsets: tuple[float, ...]

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and self.slope > 0):
            raise ParameterError("slope: expected a positive finite number")
        if not self.offsets or not np.isfinite(self.offsets).all():
            raise ParameterError("offsets: expected one finite number per class")

    @classmethod
    def fit(
        cls, votes: Any, labels: Any, *, priors: Priors = "equal", weights: Any = None
    ) -> Calibration:
        """Learn slope and offsets from labelled votes by penalised maximum likelihood.

        Parameters
        ----------
        votes : integer array-like of shape (N, classes)
            Class counts among the K nearest *other* rows of each table row.
        labels : integer array-like of shape (N,)
            Class codes of the rows.
        priors : {"equal", "training"}
            Whether each class weighs the same as a whole, so that a query of unknown origin is
            equally likely to belong to any of them, or each row does, so that classes are as
            frequent as in the table.
        weights : array-like of shape (N,), optional
            How often each row counts, from 0, finite, at least one above 0; all once by default.

        Raises
        ------
        ParameterError
            If `votes` are no non-negative counts, `labels` do not fit them or there are none, or
            `weights` do not count them.

        Notes
        -----
        Source: the multinomial form of Platt (1999); the weights for equal priors follow
        Elkan (2001).
        """
        priors = check_priors(priors)
        counts = _check_votes(votes)
        codes = _check_labels(labels, counts)
        classes = counts.shape[1]
        weights = np.ones(len(codes)) if weights is None else check_weights(weights, len(codes))
        if priors == "equal":
            sizes = np.bincount(codes, weights, minlength=classes)
            whole = np.count_nonzero(sizes) * sizes[codes]
            # A class of which no row counts has no share.
            weights = np.divide(weights.sum() * weights, whole, out=weights * 0, where=whole > 0)
        evidence = _log_shares(counts)
        truth = np.eye(classes)[codes]
        parameters = _maximise(evidence, truth, weights, fixed_slope=None)
        if parameters[0] < _LEAST_SLOPE:
            parameters = _maximise(evidence, truth, weights, fixed_slope=_LEAST_SLOPE)
        return cls(float(parameters[0]), tuple(parameters[1:].tolist()))

    def probabilities(self, votes: Any) -> F64:
        """Return the probability of every class.

        Parameters
        ----------
        votes : integer array-like of shape (m, classes)
            Class counts among the K nearest rows of each query.

        Returns
        -------
        float64 array of shape (m, classes)
            Rows sum to 1; every value lies strictly between 0 and 1 if there are two classes
            or more, and grows with the votes of its class.

        Raises
        ------
        ParameterError
            If `votes` are no non-negative counts of as many classes.
        """
        counts = _check_votes(votes)
        if counts.shape[1] != len(self.offsets):
            raise ParameterError(
                f"votes: expected counts of {len(self.offsets)} classes, got {counts.shape[1]}"
            )
        return _softmax(self.slope * _log_shares(counts) + np.array(self.offsets))


def check_weights(weights: Any, rows: int) -> F64:
    """Return how often each row counts, as float64 of shape (rows,).

    Raises
    ------
    ParameterError
        If they are no finite numbers from 0, one per row, or all are 0.
    """
    try:
        array = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != (rows,) or np.ma.is_masked(weights):
        raise ParameterError(f"weights: expected {rows} numbers, one per row")
    if not np.isfinite(array).all() or (array < 0).any() or not array.any():
        raise ParameterError("weights: expected finite numbers from 0, at least one above 0")
    return array


def _check_votes(votes: Any) -> I64:
    counts = np.asarray(votes)
    if counts.dtype.kind not in "iu" or counts.ndim != 2 or counts.shape[1] < 1:
        raise ParameterError(
            f"votes: expected integer counts of shape (rows, classes), got {counts.dtype} "
            f"of shape {counts.shape}"
        )
    if counts.size and counts.min() < 0:
        raise ParameterError("votes: expected counts from 0")
    return counts.astype(np.int64)


def _check_labels(labels: Any, votes: I64) -> I64:
    codes = np.asarray(labels)
    if codes.dtype.kind not in "iu" or codes.shape != (len(votes),) or not len(votes):
        raise ParameterError(
            f"labels: expected one integer code per row of votes, at least one, "
            f"got {codes.dtype} of shape {codes.shape}"
        )
    if codes.min() < 0 or codes.max() >= votes.shape[1]:
        raise ParameterError(f"labels: expected codes from 0 to {votes.shape[1] - 1}")
    return codes.astype(np.int64)


def _log_shares(votes: I64) -> F64:
    """Logarithms of the smoothed shares of the votes, shape (m, classes)."""
    smoothed = votes + _SMOOTHING
    logs: F64 = np.log(smoothed / smoothed.sum(axis=1, keepdims=True))
    return logs


def _softmax(scores: F64) -> F64:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: F64 = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _maximise(evidence: F64, truth: F64, weights: F64, fixed_slope: float | None) -> F64:
    """Penalised maximum-likelihood slope and offsets, shape (1 + classes,), by Newton's method.

    The objective is strictly concave, so damped steps converge to its only maximum.
    """
    classes = evidence.shape[1]
    precision = np.full(1 + classes, _OFFSET_PRECISION)
    precision[0] = _SLOPE_PRECISION
    centre = np.zeros(1 + classes)
    centre[0] = 1.0
    parameters = centre.copy()
    if fixed_slope is not None:
        parameters[0] = fixed_slope

    def objective(at: F64) -> float:
        shares = _softmax(at[0] * evidence + at[1:])
        fit = np.log((shares * truth).sum(axis=1)) @ weights
        return float(fit - 0.5 * precision @ (at - centre) ** 2)

    best = objective(parameters)
    for _ in range(_STEPS):
        shares = _softmax(parameters[0] * evidence + parameters[1:])
        error = (truth - shares) * weights[:, np.newaxis]
        gradient = np.concatenate([[np.sum(error * evidence)], error.sum(axis=0)])
        gradient -= precision * (parameters - centre)
        mean = (shares * evidence).sum(axis=1, keepdims=True)
        spread = shares * (evidence - mean) * weights[:, np.newaxis]
        curvature = np.diag(precision)
        curvature[0, 0] += np.sum(spread * evidence)
        curvature[0, 1:] += spread.sum(axis=0)
        curvature[1:, 0] = curvature[0, 1:]
        weighted = shares * weights[:, np.newaxis]
        curvature[1:, 1:] += np.diag(weighted.sum(axis=0)) - weighted.T @ shares
        if fixed_slope is not None:
            gradient[0] = 0.0
            curvature[0, :], curvature[:, 0] = 0.0, 0.0
            curvature[0, 0] = 1.0
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > _TOLERANCE and (value := objective(parameters + size * step)) < best:
            size /= 2
        if size <= _TOLERANCE:
            break
        parameters, best = parameters + size * step, value
        if np.abs(size * step).max() < _TOLERANCE:
            break
    return parameters

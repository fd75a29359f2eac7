"""What the numbers of many overlapping splits allow to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

#: Probabilities are moved to at least this far from 0 and 1 before the logarithm, for everybody:
#: votes of few neighbours and trees give exact zeros, whose logarithm would be the whole mean.
CLIP = 1e-3
BINS = 10


@dataclass(frozen=True)
class Difference:
    """Paired difference of two methods' accuracies over the same splits, in points.

    Attributes
    ----------
    first, second, data : str
    mean, deviation : float
        Of first minus second.
    p : float
        Two-sided, corrected for the overlap of the splits.
    adjusted : float
        The same after Holm's correction over the family.
    """

    first: str
    second: str
    data: str
    mean: float
    deviation: float
    p: float
    adjusted: float = float("nan")

    @property
    def verdict(self) -> str:
        """Plain words at the 5% level."""
        if self.adjusted >= 0.05:
            return "noise"
        return "better" if self.mean > 0 else "worse"

    @property
    def claim(self) -> str:
        """The same for the claim that the first is better."""
        return {"noise": "noise", "better": "holds", "worse": "the reverse holds"}[self.verdict]


def corrected_t(differences: np.ndarray, test_rows: int, train_rows: int) -> float:
    """Two-sided p of the corrected resampled t-test on differences of accuracies.

    Random splits share most of their rows, so the plain variance of the mean is too small; the
    corrected one is (1 / J + test / train) times the sample variance. That is taken as at least
    what rounding to whole test rows makes, since few splits can agree by chance.

    Notes
    -----
    Source: Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52, 2003.
    """
    count = len(differences)
    variance = max(float(np.var(differences, ddof=1)), 1 / (12 * test_rows**2))
    statistic = np.mean(differences) / np.sqrt((1 / count + test_rows / train_rows) * variance)
    return float(2 * stats.t.sf(abs(statistic), count - 1))


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order."""
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted.tolist()


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative logarithm of the probability of the true one of two classes.

    Parameters
    ----------
    probabilities : array of shape (m,)
        Of class 1.
    truth : array of shape (m,)
    """
    clipped = np.clip(probabilities, CLIP, 1 - CLIP)
    return float(-np.mean(np.log(np.where(truth == 1, clipped, 1 - clipped))))


def brier(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared distance of the probability of class 1 from what came true."""
    return float(np.mean((probabilities - truth) ** 2))


def reliability(probabilities: np.ndarray, truth: np.ndarray) -> list[tuple[float, float, int]]:
    """Mean prediction, observed share and count per tenth of the probability scale."""
    places = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    bins = []
    for place in range(BINS):
        inside = places == place
        if inside.any():
            bins.append(
                (
                    float(probabilities[inside].mean()),
                    float(truth[inside].mean()),
                    int(inside.sum()),
                )
            )
    return bins


def calibration_error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Expected calibration error over tenths."""
    bins = reliability(probabilities, truth)
    return sum(count * abs(mean - share) for mean, share, count in bins) / len(truth)


def with_prior(probabilities: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Probabilities of class 1 as they would be with odds multiplied by prior[1] / prior[0]."""
    raised = probabilities * prior[1]
    other = (1 - probabilities) * prior[0]
    return raised / (raised + other)

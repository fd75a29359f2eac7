"""A distinguisher on the cloud's view of the `sealed` profile.

The claim is that requests say nothing of what is asked. So the cloud is given windows of two kinds
of query sequences of its own choice, learns on some windows which is which, and guesses the
others. Right half of the time is what the claim allows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from ompd.arrays import F64
from ompd.audit.views import SealedView, TrafficView

#: Standard errors by which means differ clearly.
_CLEAR = 4.0
#: Standard deviations above one half that are noticed: 1 false alarm in 2000.
_NOTICED = 3.3


def summary(view: SealedView) -> F64:
    """Turn a window into numbers: lengths, repeats, coincidences, frequencies, drift.

    Returns
    -------
    float64 array of shape (9 + chunks * chunk,)
    """
    lengths = np.array([len(request) for request in view.requests], dtype=np.float64)
    kind = np.dtype("u1" if view.chunk <= 1 << 8 else "<u2")
    width = kind.itemsize * view.chunks
    asked = [
        np.frombuffer(request[: len(request) // width * width], kind).reshape(-1, view.chunks)
        for request in view.requests
    ]
    every = np.concatenate(asked)
    # How many offsets any two vectors of the window share; chance is one in `chunk` each.
    shared = (every[:, np.newaxis] == every).sum(axis=2)
    pairs = shared[np.triu_indices(len(every), 1)]
    owner = np.repeat(np.arange(len(asked)), [len(vectors) for vectors in asked])
    following = shared[(owner[:, np.newaxis] + 1) == owner]
    counts = np.stack([(every == offset).sum(axis=0) for offset in range(view.chunk)], axis=1)
    expected = len(every) / view.chunk
    numbers = [
        lengths.sum(),
        np.ptp(lengths),
        pairs.mean(),
        pairs.max(),
        # Whole vectors that repeat come in bursts.
        np.log1p((pairs == view.chunks).sum()),
        np.log1p((pairs >= view.chunks - 1).sum()),
        following.mean(),
        following.max(),
        ((counts - expected) ** 2 / expected).sum(axis=1).max(),
    ]
    return np.concatenate([numbers, counts.reshape(-1)]).astype(np.float64)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Distinguisher:
    """Tells two kinds of windows apart by a weighted sum of their standardised numbers.

    Parameters
    ----------
    weights : float64 array
    threshold : float
        Above it a window is said to be of the second kind.
    """

    weights: F64
    threshold: float

    @classmethod
    def fit(cls, first: Sequence[SealedView], second: Sequence[SealedView]) -> Distinguisher:
        """Learn from windows of known kind.

        Numbers whose means differ clearly count by how far they lie apart; if none does, the one
        that differs most.
        """
        left, right = (np.stack([summary(view) for view in views]) for views in (first, second))
        apart = right.mean(axis=0) - left.mean(axis=0)
        # A number that never varies within a kind decides alone if the kinds differ in it.
        spread = np.maximum((left.var(axis=0) + right.var(axis=0)) / 2, 1e-9)
        clarity = np.abs(apart) / np.sqrt(spread * (1 / len(left) + 1 / len(right)))
        weights = np.where(clarity >= min(_CLEAR, clarity.max()), apart / spread, 0.0)
        return cls(weights, float(weights @ (left.mean(axis=0) + right.mean(axis=0)) / 2))

    def accuracy(self, first: Sequence[SealedView], second: Sequence[SealedView]) -> float:
        """Return the share of windows that are guessed right; a tie counts half."""
        left, right = (self._scores(views) for views in (first, second))
        correct = (
            (left < 0).sum() + (right > 0).sum() + ((left == 0).sum() + (right == 0).sum()) / 2
        )
        return float(correct / (len(first) + len(second)))

    def _scores(self, views: Sequence[SealedView]) -> F64:
        return np.array([summary(view) @ self.weights - self.threshold for view in views])


def tell_apart(first: Sequence[SealedView], second: Sequence[SealedView]) -> float:
    """Learn on a third of the windows of each kind and return the accuracy on the others."""
    cut_first, cut_second = len(first) // 3, len(second) // 3
    learned = Distinguisher.fit(first[:cut_first], second[:cut_second])
    return learned.accuracy(first[cut_first:], second[cut_second:])


def tell_traffic_apart(
    first: Sequence[TrafficView], second: Sequence[TrafficView], *, colluding: bool = False
) -> float:
    """Learn on every third trial of each kind which traffic is which, and guess the others.

    Parameters
    ----------
    first, second : sequences of TrafficView
    colluding : bool
        Whether the second user tells the cloud what the report says.

    Returns
    -------
    float
        The share that is guessed right; what was never seen counts half.
    """
    seen = [
        [(view.events, view.certified if colluding else None) for view in views]
        for views in (first, second)
    ]
    learned = [Counter(views[::3]) for views in seen]
    right = 0.0
    others = 0
    for kind, views in enumerate(seen):
        for place, view in enumerate(views):
            if place % 3:
                apart = learned[kind][view] - learned[1 - kind][view]
                right += 0.5 if apart == 0 else float(apart > 0)
                others += 1
    return right / others


def detectable(windows: int) -> float:
    """Return the least accuracy that is not chance when so many windows of a kind are used."""
    guessed = 2 * (windows - windows // 3)
    return 0.5 + _NOTICED * 0.5 / sqrt(guessed)

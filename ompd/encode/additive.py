"""Weights of evidence per cell: a model whose score is a sum of one weight per feature.

The learner is a logistic regression on cells. Neighbouring cells of an ordered feature are drawn
towards one another, those of a nominal one towards their mean; how much, and how far scores are
trusted, is chosen by rows that the learner had not seen. Weights are rounded once; from then on all
is whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.arrays import F64, I64
from ompd.confidential import Confidential
from ompd.encode.fixed_point import require_trainable
from ompd.errors import TooLargeError, TrainingError
from ompd.schema import Bins, Feature, Schema
from ompd.search import spread
from ompd.search.calibration import Priors
from ompd.search.scores import judge_scores

#: One nat of evidence is 2**_BITS, less where scores would not fit. More would be more exact about
#: the weights, which is what answers give away, and nothing to a patient.
_BITS = 8
_FOLDS = 5
_PENALTIES = (1.0, 3.0, 10.0, 30.0)
#: What the scores of unseen rows are multiplied with.
_SLOPES = np.geomspace(0.4, 2.0, 33)
_MOST_LEARNED = 20_000
_STEPS = 400
_TOLERANCE = 1e-3
#: Of the constant, which should not be penalised, but must be somewhere.
_FREE = 1e-6


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AdditiveModel(Confidential):
    """Integer weights of evidence of one disease. Get one from `fit`.

    Attributes
    ----------
    bins : Bins
        The cells, which users know.
    weights : int64 array of shape (classes - 1, cells)
        Evidence of every cell for a class, less that for the first class; constants are in the
        cells of the first feature. Read-only, and secret.
    bits : int
        One nat is 2**bits.
    """

    bins: Bins
    weights: I64
    bits: int

    def __post_init__(self) -> None:
        self.weights.flags.writeable = False

    @classmethod
    def fit(
        cls,
        schema: Schema,
        features: Any,
        labels: Any,
        *,
        most: int,
        priors: Priors = "equal",
        progress: Callable[[float], None] = lambda share: None,
    ) -> AdditiveModel:
        """Learn from labelled instances.

        Parameters
        ----------
        schema : Schema
        features : array-like of shape (N, n)
            NaN is missing, where the schema allows that.
        labels : integer array-like of shape (N,)
            Class codes.
        most : int
            Largest absolute value that a score may have.
        priors : {"equal", "training"}
            Which shares the classes have among those who ask.
        progress : callable
            Called with the finished share from 0 to 1.

        Raises
        ------
        FeatureError, DomainError, LabelError
            If the instances do not fit the schema.
        TrainingError
            If there are fewer than two classes, or a class has fewer than two instances.
        TooLargeError
            If there are so many features that scores do not fit.
        SchemaError
            If a nominal feature has more than 4096 levels.
        """
        values = schema.check(features)
        codes = schema.check_codes(labels, len(values))
        require_trainable(codes, schema)
        bins = Bins.learn(schema, values)
        learned = spread(len(codes), _MOST_LEARNED)
        places, truth = bins.places(values[learned]), codes[learned]
        sizes = np.bincount(truth, minlength=len(schema.classes))
        if (sizes < 1).any():
            raise TrainingError("labels: expected each class among the rows that are learned from")
        counts = np.bincount(places.ravel(), minlength=bins.width)
        blocks = _blocks(bins, counts)
        design = _design(bins, blocks, places)
        shares = len(truth) / (len(sizes) * sizes) if priors == "equal" else np.ones(len(sizes))
        rows = _Rows(design, truth, shares[truth], len(sizes))
        penalty, slope = _chosen(rows, progress)
        weights = slope * _per_cell(blocks, _fitted(rows, penalty))
        whole, bits = rounded_weights(bins, (weights - weights[:, :1])[:, 1:], most)
        progress(1.0)
        return cls(bins, np.ascontiguousarray(whole.T), bits)

    def scores(self, features: Any) -> I64:
        """Return the integer scores of feature vectors, shape (m, classes - 1).

        Raises
        ------
        FeatureError, DomainError
            If they do not fit the schema.
        """
        places = self.bins.places(self.bins.schema.check(features))
        found: I64 = self.weights[:, places].sum(axis=2).T
        return found

    def judge(self, features: Any) -> tuple[I64, F64]:
        """Return labels and probabilities of feature vectors, as `judge_scores` does.

        Raises
        ------
        FeatureError, DomainError
            If they do not fit the schema.
        """
        return judge_scores(self.scores(features), self.bits)


@dataclass(frozen=True, slots=True, repr=False)
class _Rows:
    """What is learned from; the last column of the design is the constant."""

    design: F64
    truth: I64
    shares: F64
    classes: int

    def take(self, rows: I64) -> _Rows:
        return _Rows(self.design[rows], self.truth[rows], self.shares[rows], self.classes)


def _blocks(bins: Bins, counts: I64) -> list[F64]:
    """Return per feature what its cells are to the learner, shape (cells, columns).

    Columns are centred over the rows that have a value; one that is missing is 0 in all of them,
    and has a column of its own.
    """
    features = zip(bins.schema.features, bins.cells, bins.starts.tolist(), strict=True)
    return [_block(each, counts[start : start + cells]) for each, cells, start in features]


def _block(feature: Feature, counts: I64) -> F64:
    inside = len(counts) - (not feature.complete)
    # Levels, or steps from each cell to the next.
    columns: F64 = np.eye(inside) if feature.kind == "nominal" else np.tri(inside, inside - 1, -1)
    present = counts[:inside]
    columns = columns - present @ columns / max(1, present.sum())
    if feature.complete:
        return columns
    block = np.zeros((inside + 1, columns.shape[1] + 1))
    block[:inside, :-1] = columns
    block[inside, -1] = 1.0
    return block


def _design(bins: Bins, blocks: list[F64], places: I64) -> F64:
    columns = [
        block[places[:, j] - start]
        for j, (block, start) in enumerate(zip(blocks, bins.starts.tolist(), strict=True))
    ]
    return np.concatenate([*columns, np.ones((len(places), 1))], axis=1)


def _per_cell(blocks: list[F64], fitted: F64) -> F64:
    """Return weights of cells, shape (cells, classes), with the constant in the first feature's."""
    ends = np.cumsum([block.shape[1] for block in blocks])
    *parts, constant = np.split(fitted, ends)
    weights = [block @ part for block, part in zip(blocks, parts, strict=True)]
    weights[0] = weights[0] + constant
    return np.concatenate(weights)


def _chosen(rows: _Rows, progress: Callable[[float], None]) -> tuple[float, float]:
    """Return the penalty and the slope under which unseen rows are least surprising."""
    folds = np.empty(len(rows.truth), dtype=np.int64)
    order = np.argsort(rows.truth, kind="stable")
    # Members of each class in turns, so that every fold has some of each that has enough.
    folds[order] = np.arange(len(order)) % _FOLDS
    best = (np.inf, _PENALTIES[-1], 1.0)
    scores = np.empty((len(rows.truth), rows.classes))
    for done, penalty in enumerate(_PENALTIES):
        for fold in range(_FOLDS):
            own = folds == fold
            scores[own] = rows.design[own] @ _fitted(rows.take(np.flatnonzero(~own)), penalty)
        for slope in _SLOPES.tolist():
            shares = _softmax(slope * scores)[np.arange(len(rows.truth)), rows.truth]
            loss = -float(rows.shares @ np.log(np.maximum(shares, np.finfo(float).tiny)))
            best = min(best, (loss, penalty, slope))
        progress((done + 1) / (len(_PENALTIES) + 1))
    return best[1], best[2]


def _fitted(rows: _Rows, penalty: float) -> F64:
    """Return coefficients of a penalised logistic regression, shape (columns, classes).

    Accelerated steps under a fixed bound of the curvature (Böhning 1992), which need one inverse.
    """
    design, classes = rows.design, rows.classes
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = _FREE
    weighted = design * rows.shares[:, np.newaxis]
    bound = np.linalg.inv(0.5 * weighted.T @ design + np.diag(ridge))
    truth = np.eye(classes)[rows.truth]
    found = ahead = np.zeros((design.shape[1], classes))
    pace = 1.0
    for _ in range(_STEPS):
        slope = weighted.T @ (_softmax(design @ ahead) - truth) + ridge[:, np.newaxis] * ahead
        following = ahead - bound @ slope
        if np.abs(following - ahead).max(initial=0.0) < _TOLERANCE:
            return following
        # Where the last step led back, the pace was too high.
        if np.sum((ahead - following) * (following - found)) > 0:
            pace = 1.0
        faster = (1 + np.sqrt(1 + 4 * pace * pace)) / 2
        ahead = following + (pace - 1) / faster * (following - found)
        found, pace = following, faster
    return found


def _softmax(scores: F64) -> F64:
    shares: F64 = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def rounded_weights(bins: Bins, weights: F64, most: int) -> tuple[I64, int]:
    """Return whole weights, shape (cells, outputs), of which no sum is above `most`, and bits."""
    for bits in range(_BITS, -1, -1):
        whole = np.rint(weights * (1 << bits)).astype(np.int64)
        largest = np.maximum.reduceat(np.abs(whole), bins.starts, axis=0).sum(axis=0)
        if (largest <= most).all():
            return whole, bits
    raise TooLargeError(f"schema: scores of {len(bins.cells)} features do not fit")

"""Relief-Wasserstein nearest neighbours as a scikit-learn classifier.

Uses the integers and the search of the blinded protocol, without the blinding, so both predict
alike.
"""

from __future__ import annotations

import sys
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ompd.encode import ReliefEncoder
from ompd.errors import TrainingError
from ompd.params import PAPER
from ompd.schema import Feature, Schema
from ompd.search import LimbTable, check_k, compute, limbs_of, vote


class ReliefMWClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """K nearest neighbours under the Relief-Wasserstein distance.

    Parameters
    ----------
    n_neighbors : int, default=9
        K, odd. Fewer vote where there are fewer instances.
    schema : Schema, optional
        Declared features; their order matters and values outside a domain are refused. By
        default every column is numeric with the range of the training data as its domain, and
        values outside are moved to its nearer end.
    keep_negative : bool, default=False
        Keep negative Relief weights instead of setting them to 0.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    encoder_ : ReliefEncoder
        Learned integer weights and the domains.
    table_ : LimbTable
        The encoded instances.
    n_features_in_ : int

    Notes
    -----
    Source: "OMPD" without blinding, Algorithm 1 and Definition 1 of the source paper.
    """

    def __init__(
        self,
        n_neighbors: int = 9,
        *,
        schema: Schema | None = None,
        keep_negative: bool = False,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.schema = schema
        self.keep_negative = keep_negative

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the weights and keep the instances.

        Parameters
        ----------
        X : array-like of shape (N, n)
        y : array-like of shape (N,)
            Any class labels, at least two instances of each of at least two classes.

        Raises
        ------
        NeighborsError, TrainingError, FeatureError, DomainError
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        check_k(self.n_neighbors, sys.maxsize)
        self.classes_, codes = np.unique(y, return_inverse=True)
        classes = tuple(str(label) for label in self.classes_)
        if len(set(classes)) != len(classes):
            raise TrainingError("y: expected classes with different names")
        self.encoder_ = ReliefEncoder.fit(
            Schema(self._features(X), classes),
            X,
            codes.astype(np.int64),
            weight_bits=PAPER.weight_bits,
            feature_bits=PAPER.feature_bits,
            keep_negative=self.keep_negative,
        )
        self.table_ = LimbTable.from_prefix_sums(
            self.encoder_.encode(X), codes.astype(np.int64), len(classes)
        )
        return self

    def predict(self, X: Any) -> Any:
        """Return the label of every vector.

        Parameters
        ----------
        X : array-like of shape (m, n)

        Returns
        -------
        array of shape (m,)

        Raises
        ------
        FeatureError, DomainError
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        if self.schema is None:
            X = np.clip(X, self.encoder_.schema.low, self.encoder_.schema.high)
        queries = limbs_of(self.encoder_.encode(X))
        found = compute(self.table_, queries, self._usable_k())
        return self.classes_[vote(self.table_, *found)]

    def _features(self, X: Any) -> tuple[Feature, ...]:
        if self.schema is not None:
            return self.schema.features
        low, high = X.min(axis=0), X.max(axis=0)
        return tuple(
            Feature(f"x{j}", "numeric", float(low[j]), float(high[j])) for j in range(X.shape[1])
        )

    def _usable_k(self) -> int:
        rows = len(self.table_)
        return min(int(self.n_neighbors), rows if rows % 2 else rows - 1)

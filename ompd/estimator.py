"""The classifiers of the blinded protocol, without the blinding, for scikit-learn.

Both use the integers and the search of the protocol, so plain and blinded runs predict alike.
"""

from __future__ import annotations

import sys
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from ompd.arrays import F64, I64, U64
from ompd.encode import Encoder, EvidenceEncoder, Filling, ReliefEncoder
from ompd.errors import FeatureError, LabelError, TrainingError
from ompd.params import PAPER
from ompd.schema import Feature, Schema
from ompd.search import LimbTable, check_k, compute, limbs_of, tally
from ompd.search.calibration import Calibration, Priors, check_priors
from ompd.search.decision import Decision, Outcome, Rule, check_decision


class _NeighborClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What classifiers by nearest neighbours share: validation, table, votes, decisions."""

    schema: Schema | None
    priors: Priors
    decision: Decision
    encoder_: Encoder

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn whether NaN may stand for a missing value."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._fills
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the encoding, keep the instances and calibrate their votes.

        Parameters
        ----------
        X : array-like of shape (N, n)
        y : array-like of shape (N,)
            Any class labels, at least two instances of each of at least two classes.

        Raises
        ------
        NeighborsError, ParameterError, TrainingError, FeatureError, DomainError, LabelError
        """
        if np.ma.is_masked(y):
            raise LabelError("y: expected a label for every row, got masked values")
        X, y = validate_data(
            self, self._arranged(X), y, dtype=np.float64, ensure_all_finite=self._finite
        )
        check_classification_targets(y)
        decision, priors = check_decision(self.decision), check_priors(self.priors)
        self.classes_, codes = np.unique(y, return_inverse=True)
        codes = codes.astype(np.int64)
        classes = tuple(str(label) for label in self.classes_)
        if len(set(classes)) != len(classes):
            raise TrainingError("y: expected classes with different names")
        self.filling_ = Filling.learn(Schema(self._features(X), classes), X)
        X, _ = self.filling_.fill(X)
        rows, neighbors = self._learn(self.filling_.inner, X, codes)
        self.table_ = LimbTable.from_prefix_sums(rows, codes, len(classes))
        self.n_neighbors_ = min(neighbors, len(codes) if len(codes) % 2 else len(codes) - 1)
        self.rule_ = Rule.learn(self.table_, self.n_neighbors_, decision, priors)
        return self

    @property
    def calibration_(self) -> Calibration | None:
        """What makes probabilities of votes; None where the majority decides."""
        return self.rule_.calibration

    def votes(self, X: Any) -> I64:
        """Count the classes among the nearest instances of every vector.

        Parameters
        ----------
        X : array-like of shape (m, n)

        Returns
        -------
        int64 array of shape (m, n_classes)
            In the order of `classes_`; each row sums to K.

        Raises
        ------
        FeatureError, DomainError
        """
        _, rows = compute(self.table_, self._vectors(X), self.n_neighbors_)
        return tally(self.table_, rows)

    def predict(self, X: Any) -> Any:
        """Return the label of every vector.

        Parameters
        ----------
        X : array-like of shape (m, n)

        Returns
        -------
        array of shape (m,)
            The class of highest `predict_proba`, the first among equals. With
            ``decision="majority"`` the nearest instances decide among equals.

        Raises
        ------
        FeatureError, DomainError
        """
        outcome = self._decide(X)
        return self.classes_[outcome.codes]

    def predict_proba(self, X: Any) -> F64:
        """Return the class probabilities of every vector.

        Parameters
        ----------
        X : array-like of shape (m, n)

        Returns
        -------
        float64 array of shape (m, n_classes)
            In the order of `classes_`; each row sums to 1. Calibrated, or with
            ``decision="majority"`` the shares of the votes.

        Raises
        ------
        FeatureError, DomainError
        """
        return self._decide(X).probabilities

    def _learn(self, schema: Schema, X: F64, codes: I64) -> tuple[I64, int]:
        """Set `encoder_`; return the table's vectors and K."""
        raise NotImplementedError

    def _decide(self, X: Any) -> Outcome:
        queries = self._vectors(X)
        return self.rule_.judge(self.table_, queries, self.n_neighbors_)

    def _vectors(self, X: Any) -> U64:
        check_is_fitted(self)
        X = validate_data(
            self, self._arranged(X), dtype=np.float64, reset=False, ensure_all_finite=self._finite
        )
        if self.schema is None:
            X = np.clip(X, self.encoder_.schema.low, self.encoder_.schema.high)
        X, _ = self.filling_.fill(X)
        return limbs_of(self.encoder_.encode(X))

    @property
    def _fills(self) -> bool:
        """Whether a value of any feature may be missing."""
        features = () if self.schema is None else self.schema.features
        return any(feature.missing != "refuse" for feature in features)

    @property
    def _finite(self) -> bool | str:
        return "allow-nan" if self._fills else True

    def _arranged(self, X: Any) -> Any:
        """Bring columns with names into the schema's order; without one, scikit-learn checks."""
        # Which would take what stands behind the mask.
        if np.ma.is_masked(X):
            raise FeatureError("X: expected real numbers, got masked values")
        return X if self.schema is None else self.schema.arrange(X)

    def _features(self, X: F64) -> tuple[Feature, ...]:
        if self.schema is not None:
            return self.schema.features
        low, high = X.min(axis=0), X.max(axis=0)
        return tuple(
            Feature(f"x{j}", "numeric", float(low[j]), float(high[j])) for j in range(X.shape[1])
        )


class ReliefMWClassifier(_NeighborClassifier):
    """K nearest neighbours under the Relief-Wasserstein distance, the faithful method.

    With ``decision="majority"`` it is the source paper's classifier.

    Parameters
    ----------
    n_neighbors : int, default=9
        K, odd. Fewer vote where there are fewer instances.
    schema : Schema, optional
        Declared features; their order matters and values outside a domain are refused. Columns
        with names are found by them, in any order. NaN stands for a missing value of features that
        declare what becomes of it, and is refused elsewhere. By default every column is numeric
        with the range of the training data as its domain, and values outside are moved to its
        nearer end. Its class names are not used: labels are those of `y`.
    keep_negative : bool, default=False
        Keep negative Relief weights instead of setting them to 0.
    priors : {"equal", "training"}, default="equal"
        For decision and probabilities: are all classes equally likely, or as frequent as in
        training?
    decision : {"probability", "majority"}, default="probability"
        Is a label the class of highest calibrated probability, or of most votes? The shares of
        the votes are then the probabilities, and `priors` means nothing.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    filling_ : Filling
        What stands for missing values.
    encoder_ : ReliefEncoder
        Learned integer weights and the domains.
    table_ : LimbTable
        The encoded instances.
    n_neighbors_ : int
        K that is used.
    rule_ : Rule
    n_features_in_ : int
    feature_names_in_ : array of shape (n_features_in_,)
        If all columns had names in `fit`; with a schema in its order.

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
        priors: Priors = "equal",
        decision: Decision = "probability",
    ) -> None:
        self.n_neighbors = n_neighbors
        self.schema = schema
        self.keep_negative = keep_negative
        self.priors = priors
        self.decision = decision

    def _learn(self, schema: Schema, X: F64, codes: I64) -> tuple[I64, int]:
        neighbors = check_k(self.n_neighbors, sys.maxsize)
        self.encoder_ = ReliefEncoder.fit(
            schema,
            X,
            codes,
            weight_bits=PAPER.weight_bits,
            feature_bits=PAPER.feature_bits,
            keep_negative=self.keep_negative,
        )
        return self.encoder_.encode(X), neighbors


class EvidenceClassifier(_NeighborClassifier):
    """K nearest neighbours in evidence that several learners agree on.

    Parameters
    ----------
    n_neighbors : int, optional
        K, odd. By default the encoder chooses it within the training data.
    schema : Schema, optional
        Declared features; values outside a domain are refused, and nominal features are
        treated as such. Columns with names are found by them, in any order. NaN stands for a
        missing value of features that declare what becomes of it, and is refused elsewhere. By
        default every
        column is numeric with the range of the training data as its domain, and values outside
        are moved to its nearer end. Its class names are not used: labels are those of `y`.
    priors : {"equal", "training"}, default="equal"
        For decision and probabilities: are all classes equally likely, or as frequent as in
        training?
    decision : {"probability", "majority"}, default="probability"
        As of `ReliefMWClassifier`.
    seed : int, default=0
        Of folds and learners; the same seed gives the same classifier.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    filling_ : Filling
        What stands for missing values.
    encoder_ : EvidenceEncoder
    table_ : LimbTable
        The encoded instances.
    n_neighbors_ : int
        K that is used.
    rule_ : Rule
    n_features_in_ : int
    feature_names_in_ : array of shape (n_features_in_,)
        If all columns had names in `fit`; with a schema in its order.
    """

    def __init__(
        self,
        n_neighbors: int | None = None,
        *,
        schema: Schema | None = None,
        priors: Priors = "equal",
        decision: Decision = "probability",
        seed: int = 0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.schema = schema
        self.priors = priors
        self.decision = decision
        self.seed = seed

    def _learn(self, schema: Schema, X: F64, codes: I64) -> tuple[I64, int]:
        given = None if self.n_neighbors is None else check_k(self.n_neighbors, sys.maxsize)
        self.encoder_ = EvidenceEncoder.fit(schema, X, codes, seed=self.seed)
        return self.encoder_.instances, given or self.encoder_.neighbors

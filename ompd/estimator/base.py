"""What classifiers by nearest neighbours share: validation, table, votes, decisions."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data

from ompd.arrays import F64, I64, U64
from ompd.encode import Encoder, Filling
from ompd.errors import FeatureError, LabelError, NeighborsError, ParameterError, TrainingError
from ompd.params import Method
from ompd.roles.diagnoses import Diagnoses
from ompd.roles.diagnosis import Finding
from ompd.schema import Feature, Schema
from ompd.search import LimbTable, ballots, compute, leave_one_out, limbs_of
from ompd.search.calibration import Calibration, Priors, check_priors, check_weights
from ompd.search.decision import Decision, Outcome, Rule, check_decision
from ompd.threads import at_most

#: In place of `y`, which may be None by mistake.
_NO_LABELS = object()


class _Queries(NamedTuple):
    """Vectors at the table's scale, and how many features of each were missing."""

    vectors: U64
    filled: I64

    def __repr__(self) -> str:
        return f"<_Queries: {len(self.filled)} rows>"


class NeighborClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The part of a classifier that does not depend on how features become vectors."""

    _method: Method
    schema: Schema | None
    priors: Priors
    decision: Decision
    n_jobs: int | None
    encoder_: Encoder

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn whether NaN may stand for a missing value."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._fills
        return tags

    def fit(self, X: Any, y: Any, **weights: Any) -> Self:
        """Learn the encoding, keep the instances and calibrate their votes.

        Parameters
        ----------
        X : array-like of shape (N, n)
        y : array-like of shape (N,)
            Any class labels, at least two instances of each of at least two classes.
        sample_weight : array-like of shape (N,), optional
            How often each row counts where votes are calibrated, and for ``priors="training"`` in
            the shares of the classes: rows drawn from some groups more often than from others can
            so be set right. Finite, from 0, at least one above 0. Which rows are near, and how
            many vote for what, does not depend on it. It is refused with ``decision="majority"``,
            which calibrates nothing.

        Raises
        ------
        NeighborsError, ParameterError, TrainingError, FeatureError, DomainError, LabelError

        Notes
        -----
        `sample_weight` is taken, but is not in the signature: scikit-learn would read there that a
        row of weight 2 is as good as two rows, and for neighbours it is not.
        """
        with at_most(self.n_jobs):
            return self._fit(X, y, **weights)

    def _fit(self, X: Any, y: Any, *, sample_weight: Any = None) -> Self:
        if np.ma.is_masked(y):
            raise LabelError("y: expected a label for every row, got masked values")
        X, y = self._validated(X, y)
        check_classification_targets(y)
        decision, priors = check_decision(self.decision), check_priors(self.priors)
        weights = None if sample_weight is None else check_weights(sample_weight, len(y))
        if weights is not None and decision == "majority":
            raise ParameterError("sample_weight: means nothing where the majority decides")
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
        self.rule_ = Rule.learn(self.table_, self.n_neighbors_, decision, priors, weights)
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
        with at_most(self.n_jobs):
            return self._found(self._queries(X))[1]

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
        with at_most(self.n_jobs):
            outcome, _ = self._found(self._queries(X))
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
        with at_most(self.n_jobs):
            outcome, _ = self._found(self._queries(X))
        return outcome.probabilities

    def judge(self, X: Any) -> Diagnoses:
        """Return label, votes and probabilities of every vector, all from one search.

        Parameters
        ----------
        X : array-like of shape (m, n)

        Returns
        -------
        Diagnoses
            As a hospital tells them, under the names of `classes_`: arrays of labels, votes and
            probabilities, `to_frame`, `to_arrow`. All are certified, since the search was done
            here, and none has advice or a profile.

        Raises
        ------
        FeatureError, DomainError
        """
        with at_most(self.n_jobs):
            queries = self._queries(X)
            outcome, votes = self._found(queries)
        classes = tuple(str(label) for label in self.classes_)
        return Diagnoses(
            classes,
            tuple(Finding(name, "", None, self._method) for name in classes),
            outcome.codes,
            outcome.probabilities,
            _narrow(votes),
            np.ones(len(votes), dtype=np.bool_),
            _narrow(queries.filled),
        )

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """Find the nearest instances of every vector, exactly.

        Parameters
        ----------
        X : array-like of shape (m, n), optional
            By default the instances themselves, none of which is a neighbour of its own.
        n_neighbors : int, optional
            Even numbers too; `n_neighbors_` by default.
        return_distance : bool, default=True

        Returns
        -------
        distances : integer array of shape (m, n_neighbors)
            Exact: int64, or Python's integers where the encoding does not rule out greater ones.
            Only if `return_distance`.
        indices : int64 array of shape (m, n_neighbors)
            Rows of the `X` of `fit`, nearest first; of equally near ones the first.

        Raises
        ------
        NeighborsError
            If there are fewer instances.
        FeatureError, DomainError
        """
        check_is_fitted(self)
        count = self.n_neighbors_ if n_neighbors is None else n_neighbors
        available = len(self.table_) - (X is None)
        if (
            isinstance(count, bool)
            or not isinstance(count, (int, np.integer))
            or not 1 <= count <= available
        ):
            raise NeighborsError(f"n_neighbors: expected an integer from 1 to {available}")
        with at_most(self.n_jobs):
            if X is None:
                every = np.arange(len(self.table_))
                found = leave_one_out(self.table_, int(count), every)
                distances, rows = found.distances, found.rows
            else:
                distances, rows = compute(self.table_, self._queries(X).vectors, int(count))
        return (self._integers(distances), rows) if return_distance else rows

    def _learn(self, schema: Schema, X: F64, codes: I64) -> tuple[I64, int]:
        """Set `encoder_`; return the table's vectors and K."""
        raise NotImplementedError

    def _found(self, queries: _Queries) -> tuple[Outcome, I64]:
        """Return what is decided, and the votes that it rests on."""
        codes, votes = ballots(self.table_, queries.vectors, None, None, self.n_neighbors_)
        return self.rule_.decide(votes, codes), votes

    def _integers(self, distances: U64) -> Any:
        """Return little-endian limbs of shape (m, k, L) as integers of shape (m, k)."""
        coordinates = self.table_.limbs.shape[1]
        if coordinates * self.encoder_.largest < 1 << 63:
            return distances[:, :, 0].astype(np.int64)
        whole = np.zeros(distances.shape[:2], dtype=object)
        for place in range(distances.shape[2]):
            whole += distances[:, :, place].astype(object) << 64 * place
        return whole

    def _queries(self, X: Any) -> _Queries:
        check_is_fitted(self)
        X = self._validated(X)
        if self.schema is None:
            X = np.clip(X, self.encoder_.schema.low, self.encoder_.schema.high)
        X, filled = self.filling_.fill(X)
        return _Queries(limbs_of(self.encoder_.encode(X)), filled)

    @property
    def _fills(self) -> bool:
        """Whether a value of any feature may be missing."""
        features = () if self.schema is None else self.schema.features
        return any(feature.missing != "refuse" for feature in features)

    def _validated(self, X: Any, y: Any = _NO_LABELS) -> Any:
        """Return `X` as numbers, and `y`; names are looked at as in scikit-learn.

        Without `y` they are queries of a fitted classifier.
        """
        if np.ma.is_masked(X):
            # NumPy would take what stands behind the mask.
            raise FeatureError("X: expected real numbers, got masked values")
        fits = y is not _NO_LABELS
        if self.schema is not None:
            X = self.schema.arrange(X)
            values = self.schema.check(X)
            if not fits:
                validate_data(self, X, reset=False, skip_check_array=True)
                return values
            validate_data(self, X, y, skip_check_array=True)
            finite = "allow-nan" if self._fills else True
            return check_X_y(values, y, dtype=np.float64, ensure_all_finite=finite, estimator=self)
        try:
            if fits:
                return validate_data(self, X, y, dtype=np.float64)
            return validate_data(self, X, dtype=np.float64, reset=False)
        except ValueError as error:
            if "could not convert" not in str(error):
                raise
        # NumPy's error quotes the cell.
        raise FeatureError("X: expected real numbers; what texts mean, a schema says")

    def _features(self, X: F64) -> tuple[Feature, ...]:
        if self.schema is not None:
            return self.schema.features
        low, high = X.min(axis=0), X.max(axis=0)
        return tuple(
            Feature(f"x{j}", "numeric", float(low[j]), float(high[j])) for j in range(X.shape[1])
        )


def _narrow(counts: I64) -> npt.NDArray[Any]:
    """Return counts as the 16 bits of a hospital's report, or as wide as they must be."""
    if counts.max(initial=0) > np.iinfo(np.uint16).max:
        return counts.astype(np.uint32)
    return counts.astype(np.uint16)

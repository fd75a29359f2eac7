"""The learners whose opinions become evidence. Training needs scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.arrays import F64, I64
from ompd.encode.evidence.columns import Columns
from ompd.encode.evidence.models import KernelModel, LinearModel, Model, TreeModel
from ompd.encode.evidence.storage import Reader
from ompd.errors import BackendUnavailableError

# Sizes that keep training near one second for 500 rows. On the data sets that this design was
# developed on, 60 and 100 trees, or 40 and 80 rounds, could not be told apart.
_LANDMARKS = 200
_TREES = 64
_ROUNDS = 50
_RATE = 0.15


@dataclass(frozen=True, slots=True)
class Learner:
    """One way to learn from labelled rows.

    Parameters
    ----------
    name : str
    design : callable
        Which matrix of a `Columns` it learns from.
    fit : callable
        Takes design matrix, class codes, number of classes, columns and seed; every class has
        at least one row.
    read : callable
        Takes a reader of a stored model, the width of the design matrix and the number of
        classes.
    """

    name: str
    design: Callable[[Columns, F64], F64]
    fit: Callable[[F64, I64, int, Columns, int], Model]
    read: Callable[[Reader, int, int], Model]


def require_sklearn() -> None:
    """Refuse to train where scikit-learn is missing.

    Raises
    ------
    BackendUnavailableError
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise BackendUnavailableError(
            "learning evidence needs scikit-learn: pip install 'ompd[sklearn]'"
        ) from None


def _logistic(design: F64, codes: I64, strength: float) -> LinearModel:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # A penalised fit that stops early is still a usable score.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(C=strength, max_iter=300).fit(design, codes)
    weights, offsets = fitted.coef_.T, fitted.intercept_
    if weights.shape[1] == 1:
        weights, offsets = np.hstack([-weights, weights]) / 2, np.array([-1, 1]) * offsets / 2
    return LinearModel(np.ascontiguousarray(weights), offsets)


def _linear(design: F64, codes: I64, classes: int, columns: Columns, seed: int) -> Model:
    return _logistic(design, codes, 1.0)


def _bayes(design: F64, codes: I64, classes: int, columns: Columns, seed: int) -> Model:
    """Naive Bayes over cells with one more row in each: linear in the indicators."""
    truth = np.eye(classes)[codes]
    counts = design.T @ truth + 1.0
    ends = np.cumsum(columns.cells_of)
    parts = np.split(counts, ends[:-1])
    weights = np.concatenate([np.log(part / part.sum(axis=0)) for part in parts])
    return LinearModel(weights, np.log(truth.mean(axis=0)))


def _kernel(design: F64, codes: I64, classes: int, columns: Columns, seed: int) -> Model:
    from sklearn.kernel_approximation import Nystroem

    rate = 1.0 / len(columns.nominal)
    nystroem = Nystroem(
        gamma=rate, n_components=min(_LANDMARKS, len(design)), random_state=seed
    ).fit(design)
    linear = _logistic(nystroem.transform(design), codes, 10.0)
    weights = nystroem.normalization_.T @ linear.weights
    return KernelModel(nystroem.components_, rate, LinearModel(weights, linear.offsets))


def _forest(design: F64, codes: I64, classes: int, columns: Columns, seed: int) -> Model:
    from sklearn.ensemble import ExtraTreesClassifier

    fitted = ExtraTreesClassifier(_TREES, n_jobs=1, random_state=seed).fit(design, codes)
    trees = [tree.tree_ for tree in fitted.estimators_]
    values = [tree.value[:, 0, :] for tree in trees]
    shares = [value / value.sum(axis=1, keepdims=True) / _TREES for value in values]
    return _pack(trees, shares, np.zeros(classes), shares=True)


def _boosting(design: F64, codes: I64, classes: int, columns: Columns, seed: int) -> Model:
    from sklearn.ensemble import GradientBoostingClassifier

    fitted = GradientBoostingClassifier(
        n_estimators=_ROUNDS,
        learning_rate=_RATE,
        max_depth=2,
        subsample=0.7,
        max_features=0.5,
        random_state=seed,
    ).fit(design, codes)
    trees, values = [], []
    for grown in fitted.estimators_:
        for code, estimator in enumerate(grown):
            step = _RATE * estimator.tree_.value[:, 0, 0]
            value = np.zeros((len(step), classes))
            value[:, 1 if classes == 2 else code] = step
            trees.append(estimator.tree_)
            values.append(value)
    # Boosting starts from the logarithms of the class frequencies.
    start = np.log(np.bincount(codes, minlength=classes) / len(codes))
    return _pack(trees, values, start, shares=False)


LEARNERS: tuple[Learner, ...] = (
    Learner("linear", Columns.plain, _linear, LinearModel.read),
    Learner("bayes", Columns.cells, _bayes, LinearModel.read),
    Learner("kernel", Columns.plain, _kernel, KernelModel.read),
    Learner("forest", Columns.plain, _forest, TreeModel.read),
    Learner("boosting", Columns.plain, _boosting, TreeModel.read),
)


def _pack(trees: list[Any], values: list[F64], offsets: F64, *, shares: bool) -> TreeModel:
    sizes = np.array([tree.node_count for tree in trees])
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    own = np.arange(sizes.sum())
    shift = np.repeat(roots, sizes)
    leaf = np.concatenate([tree.children_left for tree in trees]) < 0
    left, right, feature = (
        np.concatenate([getattr(tree, name) for tree in trees]).astype(np.int64)
        for name in ("children_left", "children_right", "feature")
    )
    return TreeModel(
        roots.astype(np.int64),
        np.where(leaf, 0, feature),
        np.where(leaf, own, left + shift),
        np.where(leaf, own, right + shift),
        np.concatenate([tree.threshold for tree in trees]),
        np.concatenate(values),
        max(int(tree.max_depth) for tree in trees),
        offsets,
        shares,
    )

"""What a user would pick today: scikit-learn pipelines over the declared schema."""

from __future__ import annotations

import warnings

import numpy as np

from ompd.schema import Schema

NAMES = (
    "kNN",
    "naive Bayes, Gaussian",
    "naive Bayes, categorical",
    "logistic regression",
    "SVM, RBF",
    "random forest",
    "gradient boosting",
)
#: Whole-valued features with more values than this are cut into tenths for categorical Bayes.
_MOST_VALUES = 12


def fit(name: str, schema: Schema, features: np.ndarray, labels: np.ndarray, k: int, seed: int):
    """Return a fitted classifier, scikit-learn's defaults unless stated.

    kNN, SVM and logistic regression get standardised numbers and indicators for nominal
    features; kNN gets the K of the paper's method.
    """
    model = _model(name, schema, k, seed)
    with warnings.catch_warnings():
        # A column with few distinct values has fewer than ten tenths.
        warnings.filterwarnings("ignore", message="Bins whose width are too small")
        return model.fit(features, labels)


def probabilities(name: str, model, train, test, labels) -> np.ndarray:
    """Probabilities by class; the SVM's come from five-fold sigmoid calibration."""
    if name == "SVM, RBF":
        from sklearn.base import clone
        from sklearn.calibration import CalibratedClassifierCV

        model = CalibratedClassifierCV(clone(model), ensemble=False).fit(train, labels)
    return model.predict_proba(test)


def _model(name: str, schema: Schema, k: int, seed: int):
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    if name == "kNN":
        return make_pipeline(_standardised(schema), KNeighborsClassifier(k))
    if name == "naive Bayes, Gaussian":
        return GaussianNB()
    if name == "naive Bayes, categorical":
        return _categorical(schema)
    if name == "logistic regression":
        return make_pipeline(_standardised(schema), LogisticRegression())
    if name == "SVM, RBF":
        return make_pipeline(_standardised(schema), SVC())
    if name == "random forest":
        return RandomForestClassifier(random_state=seed)
    if name == "gradient boosting":
        return GradientBoostingClassifier(random_state=seed)
    raise ValueError(f"no classifier {name!r}")


def _standardised(schema: Schema):
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    nominal = np.flatnonzero(schema.nominal)
    # The declared values, since a rare one may be missing from a training part.
    values = [np.arange(schema.low[j], schema.high[j] + 1) for j in nominal]
    indicators = OneHotEncoder(categories=values, drop="if_binary", sparse_output=False)
    return ColumnTransformer([("nominal", indicators, nominal)], remainder=StandardScaler())


def _categorical(schema: Schema):
    from sklearn.compose import ColumnTransformer
    from sklearn.naive_bayes import CategoricalNB
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, OrdinalEncoder

    few = [
        j
        for j, feature in enumerate(schema.features)
        if feature.kind != "numeric" and feature.high - feature.low < _MOST_VALUES
    ]
    many = [j for j in range(len(schema.features)) if j not in few]
    values = [np.arange(schema.low[j], schema.high[j] + 1) for j in few]
    counts = [len(levels) for levels in values] + [10] * len(many)
    tenths = KBinsDiscretizer(10, encode="ordinal", quantile_method="averaged_inverted_cdf")
    columns = ColumnTransformer(
        [("few", OrdinalEncoder(categories=values), few), ("many", tenths, many)]
    )
    return make_pipeline(columns, CategoricalNB(min_categories=counts))

"""One search tells all, exactly, whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import has_fit_parameter

from ompd import datasets
from ompd.errors import NeighborsError, ParameterError
from ompd.estimator import EvidenceClassifier, ReliefMWClassifier
from ompd.schema import Feature, Schema
from ompd.search import LimbTable
from ompd.threads import default_threads
from tests import naive
from tests.marks import long

KINDS = (ReliefMWClassifier, EvidenceClassifier)


@pytest.fixture(scope="module")
def split():
    return datasets.load("mm").split(test_per_class=60, seed=6)


@pytest.fixture(scope="module", params=KINDS)
def fitted(request, split):
    train, _ = split
    return request.param(9, schema=train.schema).fit(train.features, train.labels)


def encoded(model, train):
    """The vectors of the training rows; evidence has them from learners that did not see them."""
    if isinstance(model, EvidenceClassifier):
        return model.encoder_.instances.tolist()
    return model.encoder_.encode(train.features).tolist()


def test_judge_says_what_the_others_say(fitted, split):
    _, test = split
    found = fitted.judge(test.features)
    assert (found.codes == fitted.predict(test.features)).all()
    assert (found.votes == fitted.votes(test.features)).all()
    assert (found.probabilities == fitted.predict_proba(test.features)).all()
    assert found.classes == ("0", "1")
    assert found.certified.all()
    assert not found.filled.any()
    assert found.failures == 0
    row = found[3]
    assert (row.k, row.profile, row.advice) == (9, None, "")
    assert row.method == {KINDS[0]: "relief-mw", KINDS[1]: "evidence"}[type(fitted)]
    assert len(found.to_frame()) == len(test)


def test_judge_searches_once(fitted, split, monkeypatch):
    _, test = split
    calls = []
    plain = fitted.encoder_.encode

    def counted(self, values):
        calls.append(len(values))
        return plain(values)

    monkeypatch.setattr(type(fitted.encoder_), "encode", counted)
    fitted.judge(test.features)
    assert calls == [len(test)]


def test_judge_counts_what_was_filled():
    schema = Schema(
        [Feature("a", "numeric", 0, 9, missing="median"), Feature("b", "numeric", 0, 9)], ["n", "y"]
    )
    X = np.array([[1, 2], [2, 1], [np.nan, 2], [8, 9], [9, 8], [9, np.float64(7)]])
    model = ReliefMWClassifier(1, schema=schema).fit(X, [0, 0, 0, 1, 1, 1])
    assert model.judge([[np.nan, 1], [9, 9]]).filled.tolist() == [1, 0]


@pytest.mark.parametrize("k", [1, 2, 7, 300])
def test_neighbours_are_those_of_the_oracle(fitted, split, k):
    train, test = split
    instances = encoded(fitted, train)
    few = test.features[:12]
    distances, rows = fitted.kneighbors(few, k)
    assert distances.shape == rows.shape == (12, k)
    assert distances.dtype == rows.dtype == np.int64
    for query, found, places in zip(
        fitted.encoder_.encode(few).tolist(), distances.tolist(), rows.tolist(), strict=True
    ):
        assert list(zip(found, places, strict=True)) == naive.nearest(instances, query, k)
    assert (fitted.kneighbors(few, k, return_distance=False) == rows).all()


def test_neighbours_by_default(fitted, split):
    train, test = split
    distances, rows = fitted.kneighbors(test.features)
    assert rows.shape == (len(test), 9)
    votes = (train.labels[rows][:, :, np.newaxis] == [0, 1]).sum(axis=1)
    assert (votes == fitted.votes(test.features)).all()
    # Without queries, the instances among themselves.
    distances, rows = fitted.kneighbors(n_neighbors=3)
    assert rows.shape == (len(train), 3)
    assert not (rows == np.arange(len(train))[:, np.newaxis]).any()
    instances = encoded(fitted, train)
    for place in (0, 17, 402):
        expected = naive.nearest(instances, instances[place], 3, exclude=place)
        found = zip(distances[place].tolist(), rows[place].tolist(), strict=True)
        assert list(found) == expected


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "3", 10_000])
def test_no_number_of_neighbours(fitted, k):
    with pytest.raises(NeighborsError, match="n_neighbors"):
        fitted.kneighbors([[1.0, 2, 3, 4, 1]], k)


def test_distances_beyond_64_bits_are_exact():
    X = np.arange(12.0)[:, None] * np.ones(5)
    model = ReliefMWClassifier(3).fit(X, np.arange(12) // 6)
    top = 2**62 - 1

    class Wide:
        schema, largest = model.encoder_.schema, top

        def encode(self, values):
            return np.full((len(values), 5), top, dtype=np.int64)

    model.encoder_ = Wide()
    model.table_ = LimbTable.from_prefix_sums(
        np.arange(12)[:, None] * np.ones(5, int), np.arange(12) // 6, 2
    )
    distances, rows = model.kneighbors(X[:1], 2)
    assert distances.tolist() == [[5 * (top - 11), 5 * (top - 10)]]
    assert rows.tolist() == [[11, 10]]


@pytest.mark.parametrize("kind", [KINDS[0], *long(*KINDS[1:])])
def test_results_do_not_depend_on_threads(kind, split, monkeypatch):
    train, _ = split
    rows = np.tile(train.features, (3, 1))[:1500]
    told = []
    for jobs, variable in ((1, None), (3, None), (-1, None), (None, "2"), (None, None)):
        monkeypatch.setenv("OMPD_THREADS", variable or "")
        model = kind(5, schema=train.schema, n_jobs=jobs).fit(train.features, train.labels)
        told.append((model.judge(rows), model.kneighbors(rows, 4)))
    first, (distances, places) = told[0]
    for found, (others, rest) in told[1:]:
        assert found == first
        assert (others == distances).all()
        assert (rest == places).all()


def test_jobs_reach_the_search(split, monkeypatch):
    train, test = split
    seen = []

    def counted(*arguments, **options):
        seen.append(default_threads())
        return plain(*arguments, **options)

    from ompd.estimator import base

    plain = base.ballots
    monkeypatch.setattr(base, "ballots", counted)
    for jobs in (1, 7):
        model = ReliefMWClassifier(5, n_jobs=jobs).fit(train.features, train.labels)
        model.predict(test.features)
    assert seen == [1, 7]
    with pytest.raises(ParameterError, match="threads"):
        ReliefMWClassifier(5, n_jobs=0).fit(train.features, train.labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("priors", ["equal", *long("training")])
def test_weights_of_rows_calibrate(kind, priors, split):
    train, test = split
    ones = kind(5, schema=train.schema, priors=priors).fit(train.features, train.labels)
    same = kind(5, schema=train.schema, priors=priors).fit(
        train.features, train.labels, sample_weight=np.ones(len(train))
    )
    assert same.calibration_ == ones.calibration_
    # One class counts nine times: its share of those who ask is larger, if shares mean anything.
    heavy = np.where(train.labels == 1, 9.0, 1.0)
    weighed = kind(5, schema=train.schema, priors=priors).fit(
        train.features, train.labels, sample_weight=pd.Series(heavy)
    )
    assert (weighed.votes(test.features) == ones.votes(test.features)).all()
    above = weighed.predict_proba(test.features)[:, 1] - ones.predict_proba(test.features)[:, 1]
    if priors == "training":
        assert (above > 0).all()
    else:
        assert np.abs(above).max() < 0.03


@pytest.mark.parametrize(
    "weights", [np.ones(3), [-1.0] + [1.0] * 9, [np.nan] * 10, [0] * 10, ["a"] * 10, [np.inf] * 10]
)
def test_no_weights(weights):
    X, y = np.arange(10.0)[:, None], np.arange(10) // 5
    with pytest.raises(ParameterError, match="weights"):
        ReliefMWClassifier(1).fit(X, y, sample_weight=weights)


def test_weights_are_refused_where_they_mean_nothing():
    X, y = np.arange(10.0)[:, None], np.arange(10) // 5
    with pytest.raises(ParameterError, match="majority"):
        ReliefMWClassifier(1, decision="majority").fit(X, y, sample_weight=np.ones(10))
    with pytest.raises(TypeError, match="sample_wieght"):
        ReliefMWClassifier(1).fit(X, y, sample_wieght=np.ones(10))
    # A row of weight 2 is not two rows, as scikit-learn would have it.
    assert not has_fit_parameter(ReliefMWClassifier(), "sample_weight")


def test_weights_reach_the_classifier_through_scikit_learn(split):
    train, _ = split
    heavy = np.where(train.labels == 1, 9.0, 1.0)
    direct = ReliefMWClassifier(5, priors="training").fit(
        train.features, train.labels, sample_weight=heavy
    )
    steps = make_pipeline(FunctionTransformer(), ReliefMWClassifier(5, priors="training"))
    steps.fit(train.features, train.labels, reliefmwclassifier__sample_weight=heavy)
    assert steps[-1].calibration_ == direct.calibration_
    search = GridSearchCV(ReliefMWClassifier(priors="training"), {"n_neighbors": [5]}, cv=2)
    search.fit(train.features, train.labels, sample_weight=heavy)
    assert search.best_estimator_.calibration_ == direct.calibration_

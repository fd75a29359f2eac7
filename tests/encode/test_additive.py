"""The additive model: whole weights, exact scores, probabilities that mean what they say."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from ompd import datasets
from ompd.encode import AdditiveModel, additive
from ompd.errors import DomainError, TooLargeError, TrainingError
from ompd.schema import Bins, Feature, Schema
from ompd.search.scores import judge_scores

MOST = 32_768


def model_of(seed=0, classes=3, rows=240, missing=True):
    rng = np.random.default_rng(seed)
    schema = Schema(
        (
            Feature("score", "ordinal", 0, 9),
            Feature("age", "numeric", 0.0, 100.0, missing="median"),
            Feature("shape", "nominal", 1, 4),
        ),
        tuple("abcde"[:classes]),
    )
    labels = np.arange(rows) % classes
    features = np.column_stack(
        [
            np.clip(labels * 2 + rng.integers(0, 5, rows), 0, 9),
            np.clip(rng.normal(30 + 10 * labels, 15), 0, 100),
            rng.integers(1, 5, rows),
        ]
    ).astype(float)
    if missing:
        features[::7, 1] = np.nan
    return AdditiveModel.fit(schema, features, labels, most=MOST), features, labels


def naive_scores(model, row):
    """One sum per class but the first, in Python's integers."""
    sums = [0] * len(model.weights)
    start = 0
    for value, cuts, cells in zip(row, model.bins.cuts, model.bins.cells, strict=True):
        place = cells - 1 if math.isnan(value) else sum(cut <= value for cut in cuts)
        for output, weights in enumerate(model.weights.tolist()):
            sums[output] += weights[start + place]
        start += cells
    return sums


def naive_judgement(scores, bits):
    whole = [0, *scores]
    top = max(whole)
    shares = [math.exp((score - top) / 2**bits) for score in whole]
    return whole.index(top), [share / math.fsum(shares) for share in shares]


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_scores_and_judgements_equal_the_oracle(classes):
    model, features, _ = model_of(classes=classes)
    expected = [naive_scores(model, row) for row in features.tolist()]
    assert model.scores(features).tolist() == expected
    codes, probabilities = model.judge(features)
    for scores, code, shares in zip(expected, codes.tolist(), probabilities, strict=True):
        naive_code, naive_shares = naive_judgement(scores, model.bits)
        assert code == naive_code
        assert shares == pytest.approx(naive_shares, abs=1e-15)


@given(st.lists(st.integers(-MOST, MOST), min_size=1, max_size=6), st.integers(0, 8))
def test_a_judgement_is_a_distribution_with_its_label_on_top(scores, bits):
    codes, probabilities = judge_scores(np.array([scores]), bits)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[0, codes[0]] == probabilities.max()
    assert (codes[0] == 0) == (max(scores) <= 0)


def test_fitting_finds_the_optimum():
    rng = np.random.default_rng(2)
    design = np.column_stack([rng.integers(0, 2, (150, 6)).astype(float), np.ones(150)])
    truth = rng.integers(0, 3, 150)
    shares = rng.uniform(0.5, 2, 150)
    rows = additive._Rows(design, truth, shares, 3)
    found = additive._fitted(rows, 3.0)

    def loss(at):
        at = at.reshape(7, 3)
        logits = design @ at
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return -shares @ logs[np.arange(150), truth] + 1.5 * (at[:-1] ** 2).sum()

    best = minimize(loss, np.zeros(21), method="L-BFGS-B")
    assert loss(found.ravel()) < best.fun + 0.01


def test_the_largest_score_fits(monkeypatch):
    model, features, labels = model_of()
    schema = model.bins.schema
    small = AdditiveModel.fit(schema, features, labels, most=300)
    ends = np.maximum.reduceat(np.abs(small.weights), small.bins.starts, axis=1).sum(axis=1)
    assert small.bits < model.bits
    assert ends.max() <= 300
    with pytest.raises(TooLargeError, match="scores"):
        AdditiveModel.fit(schema, features, labels, most=0)


def test_missing_values_that_nobody_lacked_say_nothing():
    model, _, _ = model_of(missing=False)
    start, cells = int(model.bins.starts[1]), model.bins.cells[1]
    weights = model.weights[:, start : start + cells]
    assert np.abs(weights[:, -1]).max() < np.abs(weights[:, :-1]).max()


@pytest.mark.parametrize("name", ["wbc", "mm"])
def test_accuracy_and_calibration(name):
    found = []
    data = datasets.load(name)
    for seed in range(2):
        train, test = data.split(seed=seed)
        model = AdditiveModel.fit(train.schema, train.features, train.labels, most=MOST)
        codes, shares = model.judge(test.features)
        chances = shares[np.arange(len(codes)), test.labels]
        found.append(((codes == test.labels).mean(), -np.log(chances).mean()))
    accuracy, loss = np.mean(found, axis=0)
    assert accuracy > {"wbc": 0.955, "mm": 0.80}[name]
    assert loss < {"wbc": 0.15, "mm": 0.45}[name]


def test_priors_shift_rare_classes():
    rng = np.random.default_rng(4)
    schema = Schema((Feature("x", "numeric", -5.0, 5.0),), ("common", "rare"))
    labels = (rng.random(400) < 0.1).astype(int)
    features = np.clip(rng.normal(labels, 1.0), -5, 5)[:, None]
    equal = AdditiveModel.fit(schema, features, labels, most=MOST)
    training = AdditiveModel.fit(schema, features, labels, most=MOST, priors="training")
    assert equal.judge(features)[1][:, 1].mean() > 2 * training.judge(features)[1][:, 1].mean()
    assert training.judge(features)[1][:, 1].mean() == pytest.approx(labels.mean(), abs=0.03)


def test_training_is_refused_where_nothing_can_be_learned():
    schema = Schema((Feature("x", "ordinal", 0, 3),), ("a", "b"))
    with pytest.raises(TrainingError):
        AdditiveModel.fit(schema, [[0], [1], [2]], [0, 0, 1], most=MOST)
    with pytest.raises(DomainError):
        AdditiveModel.fit(schema, [[0], [9]], [0, 1], most=MOST)


def test_weights_are_secret_and_stay():
    model, _, _ = model_of()
    assert repr(model) == "<AdditiveModel>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(model)
    with pytest.raises(ValueError, match="read-only"):
        model.weights[0, 0] = 1
    assert isinstance(model.bins, Bins)

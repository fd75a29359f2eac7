from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import ParameterError
from ompd.search.calibration import Calibration
from ompd.search.decision import Rule


def decided(calibration, votes):
    """Codes by the rule of highest probability, whatever the majority says."""
    votes = np.asarray(votes)
    return Rule(calibration).decide(votes, np.full(len(votes), -1)).codes


def probability(calibration, votes):
    """Naive softmax of slope * log(votes + 1/2) + offset for one row."""
    powers = [
        (v + 0.5) ** calibration.slope * math.exp(offset)
        for v, offset in zip(votes, calibration.offsets, strict=True)
    ]
    return [power / sum(powers) for power in powers]


def loss(slope, offsets, votes, labels, weights):
    """Naive penalised negative log-likelihood."""
    trial = Calibration(slope, tuple(offsets))
    fit = sum(
        -w * math.log(probability(trial, v)[y])
        for v, y, w in zip(votes, labels, weights, strict=True)
    )
    return fit + 2 * (slope - 1) ** 2 + sum(offset**2 for offset in offsets) / 2


@st.composite
def labelled_votes(draw):
    classes = draw(st.integers(1, 5))
    k = draw(st.integers(1, 40))
    rows = draw(st.integers(1, 25))
    votes = []
    for _ in range(rows):
        cuts = sorted(draw(st.lists(st.integers(0, k), min_size=classes - 1, max_size=classes - 1)))
        ends = [0, *cuts, k]
        votes.append([high - low for low, high in pairwise(ends)])
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows))
    return votes, labels, draw(st.sampled_from(["equal", "training"]))


@given(labelled_votes())
def test_probabilities_equal_the_oracle_and_sum_to_one(case):
    votes, labels, priors = case
    fitted = Calibration.fit(votes, labels, priors=priors)
    found = fitted.probabilities(votes)
    assert found == pytest.approx(np.array([probability(fitted, v) for v in votes]))
    assert found.sum(axis=1) == pytest.approx(1)
    assert found.dtype == np.float64
    if len(votes[0]) > 1:
        assert ((found > 0) & (found < 1)).all()
    assert decided(fitted, votes).tolist() == found.argmax(axis=1).tolist()


@given(labelled_votes())
def test_no_neighbouring_parameters_fit_better(case):
    votes, labels, priors = case
    fitted = Calibration.fit(votes, labels, priors=priors)
    weights = [1.0] * len(labels)
    if priors == "equal":
        weights = [len(labels) / (len(set(labels)) * labels.count(y)) for y in labels]
    best = loss(fitted.slope, fitted.offsets, votes, labels, weights)
    for step in (-0.01, 0.01):
        if fitted.slope + step > 0.1:
            assert loss(fitted.slope + step, fitted.offsets, votes, labels, weights) >= best - 1e-9
        for c in range(len(fitted.offsets)):
            offsets = list(fitted.offsets)
            offsets[c] += step
            assert loss(fitted.slope, offsets, votes, labels, weights) >= best - 1e-9


@given(labelled_votes(), st.integers(2, 60))
def test_more_votes_mean_more_probability(case, k):
    votes, labels, priors = case
    fitted = Calibration.fit(votes, labels, priors=priors)
    classes = len(votes[0])
    if classes == 1:
        assert fitted.probabilities([[k]]).tolist() == [[1.0]]
        return
    # Votes go from the second class to the first one by one.
    ladder = [[a, k - a] + [1] * (classes - 2) for a in range(k + 1)]
    rising = fitted.probabilities(ladder)
    assert (np.diff(rising[:, 0]) > 0).all()
    assert (np.diff(rising[:, 1]) < 0).all()


def test_worse_than_chance_votes_still_count_upwards():
    votes = [[5, 0]] * 30 + [[0, 5]] * 30
    fitted = Calibration.fit(votes, [1] * 30 + [0] * 30)
    assert fitted.slope == 0.1
    assert decided(fitted, [[5, 0], [0, 5]]).tolist() == [0, 1]


def test_learns_the_true_probabilities(rng):
    chance = rng.uniform(size=20_000)
    votes = rng.binomial(31, chance)
    labels = rng.uniform(size=20_000) < chance
    votes = np.stack([31 - votes, votes], axis=1)
    found = Calibration.fit(votes, labels.astype(int), priors="training").probabilities(votes)[:, 1]
    for low in np.arange(0, 1, 0.2):
        some = (found >= low) & (found < low + 0.2)
        assert found[some].mean() == pytest.approx(labels[some].mean(), abs=0.02)


def test_priors_decide_what_a_rare_class_needs(rng):
    labels = np.repeat([0, 1], [900, 100])
    votes = rng.binomial(21, np.where(labels == 1, 0.3, 0.05))
    votes = np.stack([21 - votes, votes], axis=1)
    equal = Calibration.fit(votes, labels, priors="equal")
    training = Calibration.fit(votes, labels, priors="training")
    row = [[17, 4]]
    assert decided(equal, row) == 1
    assert decided(training, row) == 0
    assert training.probabilities(votes)[:, 1].mean() == pytest.approx(0.1, abs=0.02)
    # Equal weight for each class: the probabilities average to one half over both halves.
    chances = equal.probabilities(votes)[:, 1]
    both = (chances[labels == 0].mean() + chances[labels == 1].mean()) / 2
    assert both == pytest.approx(0.5, abs=0.02)


def test_tiny_and_odd_tables():
    one = Calibration.fit([[0, 1]], [1])
    assert one.probabilities([[0, 1]])[0, 1] > 0.5
    two = Calibration.fit([[1, 0], [0, 1]], [0, 1])
    assert decided(two, [[1, 0], [0, 1]]).tolist() == [0, 1]
    # A class that no row has and no neighbour ever voted for.
    absent = Calibration.fit([[3, 0, 0], [0, 3, 0]], [0, 1])
    assert decided(absent, [[3, 0, 0], [0, 3, 0]]).tolist() == [0, 1]
    assert 0 < absent.probabilities([[3, 0, 0]])[0, 2] < 0.2
    many = Calibration.fit(np.eye(40, dtype=int)[np.arange(400) % 40] * 9, np.arange(400) % 40)
    assert decided(many, np.eye(40, dtype=int) * 9).tolist() == list(range(40))
    assert many.probabilities(np.empty((0, 40), dtype=int)).shape == (0, 40)


def test_equal_classes_go_to_the_smaller_code():
    alike = Calibration(1.0, (0.0, 0.0, 0.0))
    assert decided(alike, [[2, 5, 5], [4, 4, 4]]).tolist() == [1, 0]


def test_frozen_and_deterministic():
    votes, labels = [[3, 6], [9, 0], [1, 8]], [1, 0, 1]
    fitted = Calibration.fit(votes, labels)
    assert fitted == Calibration.fit(np.array(votes, dtype=np.uint8), labels)
    with pytest.raises(FrozenInstanceError):
        fitted.slope = 2.0


@pytest.mark.parametrize(
    ("votes", "labels", "priors", "message"),
    [
        ([[1, 2]], [0], "uniform", "priors: expected"),
        ([[1, 2]], [0], None, "priors: expected"),
        ([[1.0, 2.0]], [0], "equal", "votes: expected integer"),
        ([1, 2], [0, 1], "equal", "votes: expected integer"),
        (np.empty((2, 0), dtype=int), [0, 1], "equal", "votes: expected integer"),
        ([[1, -2]], [0], "equal", "votes: expected counts from 0"),
        ([[1, 2]], [0, 1], "equal", "labels: expected one"),
        ([[1, 2]], [0.0], "equal", "labels: expected one"),
        (np.empty((0, 2), dtype=int), np.empty(0, dtype=int), "equal", "labels: expected one"),
        ([[1, 2]], [2], "equal", "labels: expected codes"),
        ([[1, 2]], [-1], "equal", "labels: expected codes"),
    ],
)
def test_wrong_parameters_are_refused(votes, labels, priors, message):
    with pytest.raises(ParameterError, match=message):
        Calibration.fit(votes, labels, priors=priors)


@pytest.mark.parametrize(
    ("slope", "offsets"),
    [(0.0, (0.0,)), (math.nan, (0.0,)), (math.inf, (0.0,)), (1.0, ()), (1.0, (math.nan, 0.0))],
)
def test_impossible_calibrations_are_refused(slope, offsets):
    with pytest.raises(ParameterError, match=r"slope|offsets"):
        Calibration(slope, offsets)


def test_votes_of_other_classes_are_refused():
    with pytest.raises(ParameterError, match="counts of 2 classes, got 3"):
        Calibration(1.0, (0.0, 0.0)).probabilities([[1, 2, 3]])


@given(labelled_votes(), st.data())
def test_a_row_of_weight_n_counts_as_n_rows(case, data):
    votes, labels, priors = case
    counts = data.draw(
        st.lists(st.integers(0, 3), min_size=len(labels), max_size=len(labels)).filter(any)
    )
    repeated = [row for row, count in zip(votes, counts, strict=True) for _ in range(count)]
    truth = [code for code, count in zip(labels, counts, strict=True) for _ in range(count)]
    one = Calibration.fit(repeated, truth, priors=priors)
    other = Calibration.fit(votes, labels, priors=priors, weights=counts)
    assert other.slope == pytest.approx(one.slope, abs=1e-6)
    assert other.offsets == pytest.approx(one.offsets, abs=1e-6)


def test_equal_weights_are_none_to_the_bit():
    votes, labels = [[3, 2], [1, 4], [5, 0], [2, 3]], [0, 1, 0, 0]
    for priors in ("equal", "training"):
        plain = Calibration.fit(votes, labels, priors=priors)
        assert Calibration.fit(votes, labels, priors=priors, weights=[1, 1, 1, 1]) == plain

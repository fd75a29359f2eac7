"""PPDP gives the labels of a plain batch perceptron with the pocket rule."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench import ppdp
from ompd import datasets
from ompd.errors import ParameterError


def naive_scaled(value, low, high):
    return round((value - low) * (1024 / (high - low))) if high > low else 0


def naive_perceptron(features, labels, queries, seed, rounds):
    """Integers only, record by record; returns codes, rounds and mistakes of training."""
    n = len(features[0])
    low = [min(row[j] for row in features) for j in range(n)]
    high = [max(row[j] for row in features) for j in range(n)]

    def extend(row):
        return [naive_scaled(row[j], low[j], high[j]) for j in range(n)] + [1024]

    def decide(weights, row):
        return int(sum(a * b for a, b in zip(weights, row, strict=True)) >= 0)

    table = [extend(row) for row in features]
    rate = 2 ** int(math.log2(len(table)))
    weights = np.random.default_rng(seed).integers(-1024, 1024, n + 1).tolist()
    best, fewest, mistakes, done = weights, len(table) + 1, 0, 0
    while done < rounds:
        done += 1
        wrong = [label - decide(weights, row) for row, label in zip(table, labels, strict=True)]
        count = sum(sign != 0 for sign in wrong)
        mistakes += count
        if count < fewest:
            best, fewest = weights, count
        if count == 0:
            break
        step = [sum(s * row[j] for s, row in zip(wrong, table, strict=True)) for j in range(n + 1)]
        weights = [w + math.floor(s / rate + 0.5) for w, s in zip(weights, step, strict=True)]
    return [decide(best, extend(row)) for row in queries], done, mistakes


@pytest.mark.parametrize(("rows", "features", "rounds"), [
    (1, 1, 3), (2, 3, 50), (50, 5, 30), (64, 12, 40), (33, 30, 25),
])  # fmt: skip
def test_labels_equal_the_plain_perceptron(rng, rows, features, rounds):
    """Separable and not, more features than rows, a column without range, scores of 0."""
    table = rng.integers(0, 5, (rows, features)).astype(float)
    table[:, -1] = 3.0
    labels = rng.integers(0, 2, rows)
    queries = np.vstack([table, rng.normal(2, 4, (20, features)), table[:1] * 0])
    result, training = ppdp.run_with_training(
        table, labels, queries, seed=rows, rounds=rounds, count=False
    )
    codes, done, mistakes = naive_perceptron(
        table.tolist(), labels.tolist(), queries.tolist(), rows, rounds
    )
    assert result.codes.tolist() == codes
    assert (training.rounds, training.mistakes) == (done, mistakes)


@pytest.mark.parametrize("name", ["wbc", "mm"])
def test_labels_on_real_records(name):
    train, test = datasets.load(name).split(test_per_class=100, seed=5)
    result = ppdp.run(train.features, train.labels, test.features, rounds=60)
    codes, *_ = naive_perceptron(
        train.features.tolist(), train.labels.tolist(), test.features.tolist(), 0, 60
    )
    assert result.codes.tolist() == codes
    assert (result.codes == test.labels).mean() > 0.7


def test_training_ends_when_nothing_is_misclassified():
    result, training = ppdp.run_with_training(
        [[0.0], [1.0], [9.0], [10.0]], [0, 0, 1, 1], [[2.0], [8.0]],
        seed=0, rounds=5000, count=False,
    )  # fmt: skip
    assert training.rounds < 5000
    assert result.codes.tolist() == [0, 1]


@pytest.mark.parametrize(("rows", "features", "rounds"), [(5, 2, 4), (20, 6, 7), (6, 1, 300)])
def test_counts_equal_the_formulas(rng, rows, features, rounds):
    table = rng.normal(size=(rows, features)) + 3 * (np.arange(rows) % 2)[:, np.newaxis]
    result, training = ppdp.run_with_training(
        table, np.arange(rows) % 2, table[:2], seed=1, rounds=rounds, count=True
    )
    assert result.operations == ppdp.formulas(
        rows, features, rounds=training.rounds, mistakes=training.mistakes
    )


def test_a_prediction_does_not_grow_with_the_table(rng):
    table, labels = rng.normal(size=(64, 4)), np.arange(64) % 2
    small = ppdp.run(table[:32], labels[:32], table[:1], rounds=2)
    large = ppdp.run(table, labels, table[:1], rounds=2)
    assert (
        small.bytes_sent
        == large.bytes_sent
        == {
            "user_to_hospital": 32,
            "hospital_to_cloud": 56,
            "cloud_to_hospital": 8,
            "hospital_to_user": 1,
        }
    )
    assert large.setup_bytes == 64 * 57 + 2 * (56 + 64) + 56
    assert set(large.seconds) == {"setup", "user", "hospital", "cloud", "read"}


def test_the_cloud_sees_fresh_numbers_every_time(rng):
    """Equal records are hidden differently, and the sign of an answer says nothing."""
    table = np.repeat(rng.normal(size=(1, 3)), 4, axis=0)
    hospital = ppdp.Hospital(table, np.arange(4) % 2, 0)
    hidden = np.frombuffer(hospital.upload(), count=4 * 6).reshape(4, 6)
    assert len(np.unique(hidden.round(9), axis=0)) > 1
    cloud = ppdp.Cloud(hospital.upload(), 6)
    cloud.keep(hospital.model())
    answers = [cloud.answer(hospital.forward(table[0].tobytes())) for _ in range(200)]
    signs = np.sign([np.frombuffer(answer)[0] for answer in answers])
    assert 50 < np.count_nonzero(signs > 0) < 150


def test_wrong_input_is_refused(rng):
    table = rng.normal(size=(6, 2))
    with pytest.raises(ParameterError):
        ppdp.run(table, np.arange(6) % 3, table)
    with pytest.raises(ParameterError):
        ppdp.run(table, np.arange(6) % 2, table, rounds=0)

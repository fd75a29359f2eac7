"""Accuracy on the paper's two data sets over its hundred random splits."""

from __future__ import annotations

import numpy as np
import pytest

from ompd import datasets
from ompd.encode import ReliefEncoder
from ompd.search import LimbTable, compute, limbs_of, tally, vote
from ompd.search.decision import Rule


@pytest.mark.parametrize(
    ("name", "k", "least", "least_by_probability"),
    [("wbc", 9, 0.969, 0.973), ("mm", 11, 0.81, 0.81)],
)
def test_accuracy_over_a_hundred_splits(name, k, least, least_by_probability):
    data = datasets.load(name)
    accuracies, by_probability = [], []
    for seed in range(100):
        train, test = data.split(test_per_class=100, seed=seed)
        encoder = ReliefEncoder.fit(train.schema, train.features, train.labels)
        table = LimbTable.from_prefix_sums(encoder.encode(train.features), train.labels, classes=2)
        queries = limbs_of(encoder.encode(test.features))
        distances, rows = compute(table, queries, k)
        codes = vote(table, distances, rows)
        accuracies.append((codes == test.labels).mean())
        rule = Rule.learn(table, k, "probability", "equal")
        codes = rule.decide(tally(table, rows), codes).codes
        by_probability.append((codes == test.labels).mean())
    assert np.mean(accuracies) >= least
    assert np.mean(by_probability) >= least_by_probability

"""Accuracy on the paper's two data sets over its hundred random splits."""

from __future__ import annotations

import numpy as np
import pytest

from ompd import datasets
from ompd.encode import ReliefEncoder
from ompd.search import LimbTable, compute, limbs_of, vote


@pytest.mark.parametrize(("name", "k", "least"), [("wbc", 9, 0.969), ("mm", 11, 0.81)])
def test_accuracy_over_a_hundred_splits(name, k, least):
    data = datasets.load(name)
    accuracies = []
    for seed in range(100):
        train, test = data.split(test_per_class=100, seed=seed)
        encoder = ReliefEncoder.fit(train.schema, train.features, train.labels)
        table = LimbTable.from_prefix_sums(encoder.encode(train.features), train.labels, classes=2)
        queries = limbs_of(encoder.encode(test.features))
        codes = vote(table, *compute(table, queries, k))
        accuracies.append((codes == test.labels).mean())
    assert np.mean(accuracies) >= least

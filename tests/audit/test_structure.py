from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.audit.scenes import HardenedScene
from ompd.audit.structure import in_order, match_columns, shortest_path


@given(st.integers(1, 5), st.randoms(use_true_random=False))
def test_path_is_the_shortest(size, random):
    first = np.array([random.uniform(0, 9) for _ in range(size)])
    steps = np.array([[random.uniform(0, 9) for _ in range(size)] for _ in range(size)])

    def cost(path):
        return first[path[0]] + sum(steps[a, b] for a, b in pairwise(path))

    found = shortest_path(first, steps)
    assert sorted(found) == list(range(size))
    assert cost(found) == pytest.approx(min(map(cost, permutations(range(size)))))


def test_many_columns_are_ordered_greedily():
    places = np.random.default_rng(1).permutation(20)
    steps = np.abs(np.subtract.outer(places, places)).astype(float)
    assert [places[at] for at in shortest_path(places.astype(float), steps)] == list(range(20))


def test_order_and_signs_of_a_hardened_table(records):
    view = HardenedScene.of(records, coarse=False).view
    ordered, queries = in_order(*view.unwrapped())
    true = records.encoder.encode(records.table.features)
    asked = records.encoder.encode(records.queries.features)
    # Up to one mirror of everything, and a shift of each column.
    mirror = np.sign((ordered - ordered.mean(axis=0))[:, 0] @ (true - true.mean(axis=0))[:, 0])
    np.testing.assert_array_equal(np.ptp(mirror * ordered - true, axis=0), 0)
    np.testing.assert_array_equal(mirror * queries, asked + (mirror * ordered - true)[0])


def test_columns_are_matched_by_class_means(rng):
    true = np.cumsum(rng.integers(0, 40, (300, 6)), axis=1)
    labels = rng.integers(0, 2, 300)
    true[labels == 1] += np.arange(6) * 9 + 3
    order, signs = rng.permutation(6), rng.choice([-1, 1], 6)
    seen = true[:, order] * signs + rng.integers(-999, 999, 6)
    means = np.stack([true[labels == code].mean(axis=0) for code in (0, 1)])
    back, turned, shifts = match_columns(seen, labels, means)
    np.testing.assert_allclose(seen[:, back] * turned + shifts, true, atol=1e-6)

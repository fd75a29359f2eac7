from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd import Feature, Schema
from ompd.audit import scoring
from ompd.audit.views import Population, Public

NAMES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=12)


def f1(pairs):
    found, real = sum(g for g, _ in pairs), sum(t for _, t in pairs)
    hits = sum(g and t for g, t in pairs)
    if not real:
        return float(not found), 0.0
    return 2 * hits / (found + real), 2 * real / (len(pairs) + real)


@given(NAMES)
def test_links_count_pairs(names):
    guess, truth = np.array(names).T
    pairs = [(a[0] == b[0], a[1] == b[1]) for a, b in combinations(names, 2)]
    assert scoring.links(guess, truth) == pytest.approx(f1(pairs))


@given(NAMES, NAMES)
def test_links_between_count_pairs(rows, queries):
    pairs = [(a[0] == b[0], a[1] == b[1]) for a, b in product(rows, queries)]
    rows, queries = np.array(rows).T, np.array(queries).T
    found = scoring.links_between((rows[0], queries[0]), (rows[1], queries[1]))
    assert found == pytest.approx(f1(pairs))


SCHEMA = Schema([Feature("whole", "ordinal", 0, 9), Feature("real", "numeric", 0, 200)], ["a"])


def test_cells_count_what_is_right():
    truth = np.array([[1.0, 50.0], [2.0, 60.0]])
    guess = np.array([[1.2, 51.9], [np.nan, 62.1]])
    right = scoring.matches(SCHEMA, guess, truth)
    np.testing.assert_array_equal(right, [[True, True], [False, False]])
    usual = np.array([2.0, 0.0])
    assert scoring.cells(SCHEMA, np.array([0, 1]), guess, truth, usual) == (0.75, 0.25)
    assert scoring.cells(SCHEMA, np.array([1]), guess, truth, usual) == (0.5, 0.0)


def test_public_grids_are_those_of_the_encoder():
    from ompd.encode import scale_features

    public = Public(SCHEMA, 16, np.zeros(2))
    values, positions = public.grid(0)
    np.testing.assert_array_equal(values, np.arange(10))
    both = np.stack([values, np.zeros(10)], axis=1)
    np.testing.assert_array_equal(positions, scale_features(both, SCHEMA, 16)[:, 0])
    values, positions = public.grid(1)
    assert len(values) == 65537
    assert (values[0], values[-1]) == (0, 200)
    np.testing.assert_array_equal(positions, np.arange(65537))


def test_population_counts_within_classes():
    schema = Schema([Feature("x", "ordinal", 0, 2), Feature("still", "numeric", 5, 5)], ["a", "b"])
    features = np.array([[0, 5], [0, 5], [1, 5], [2, 5], [2, 5]], dtype=float)
    labels = np.array([0, 0, 0, 1, 1])
    population = Population.of(schema, features, labels)
    np.testing.assert_allclose(population.chances[0], [[2 / 3, 1 / 3, 0], [0, 0, 1]], atol=1e-3)
    np.testing.assert_array_equal(population.modes[1], 5)
    np.testing.assert_array_equal(population.modes_within(labels)[:, 0], [0, 0, 0, 2, 2])
    means = population.means([np.array([0.0, 10, 20]), np.zeros(51)])
    np.testing.assert_allclose(means[:, 0], [10 / 3, 20], rtol=1e-2)

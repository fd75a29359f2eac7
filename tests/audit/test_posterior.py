from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ompd.audit.posterior import decode
from ompd.audit.views import Population


def naive(seen, label, steps, population, epsilon):
    """Sum over all records: the value of largest posterior probability of every cell."""
    odds = [np.zeros(len(values)) for values in population.values]
    for places in product(*(range(len(step)) for step in steps)):
        chance, total = 1.0, 0.0
        for j, place in enumerate(places):
            total += steps[j][place]
            chance *= population.chances[j][label, place]
            for release in seen:
                off = abs(release[j] - total)
                chance *= np.exp(-epsilon * off) if epsilon else float(off <= 0.5)
        for j, place in enumerate(places):
            odds[j][place] += chance
    return [values[each.argmax()] for values, each in zip(population.values, odds, strict=True)]


@pytest.mark.parametrize("epsilon", [None, 0.3, 1.5])
@pytest.mark.parametrize("releases", [1, 3])
def test_decoding_is_exact_inference(rng, epsilon, releases):
    values = tuple(np.arange(size, dtype=float) for size in (4, 3, 5))
    chances = tuple(rng.dirichlet(np.ones(len(value)), size=2) for value in values)
    population = Population(values, chances, np.array([0.5, 0.5]))
    # Whole steps: the grid is then exact.
    steps = (np.array([0.0, 1, 3, 4]), np.array([0.0, 2, 5]), np.array([0.0, 1, 2, 3, 7]))
    labels = rng.integers(0, 2, 60)
    cells = [rng.integers(0, len(step), 60) for step in steps]
    sums = np.cumsum([step[cell] for step, cell in zip(steps, cells, strict=True)], axis=0).T
    noise = rng.integers(-2, 3, (releases, 60, 3)) if epsilon else np.zeros((releases, 60, 3))
    seen = sums + noise
    guess = decode(seen, labels, steps, population, epsilon=epsilon)
    expected = [naive(seen[:, row], labels[row], steps, population, epsilon) for row in range(60)]
    np.testing.assert_array_equal(guess, expected)


def test_blocks_do_not_matter(rng):
    population = Population((np.arange(3.0),) * 2, (np.full((1, 3), 1 / 3),) * 2, np.ones(1))
    steps = (np.array([0.0, 2, 4]), np.array([0.0, 3, 6]))
    cells = rng.integers(0, 3, (1200, 2))
    seen = np.cumsum(np.stack([steps[0][cells[:, 0]], steps[1][cells[:, 1]]], axis=1), axis=1)
    guess = decode(seen[np.newaxis], np.zeros(1200, dtype=np.int64), steps, population)
    np.testing.assert_array_equal(guess, cells)

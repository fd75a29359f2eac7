"""What a physician can read of a patient's course, and what is covered."""

from __future__ import annotations

import numpy as np
import pytest

from ompd import audit, datasets
from ompd.audit import text
from ompd.audit.views import TextView


def view_of(weights, counts, templates):
    """Replies in plain integers."""
    days = counts.shape[1]
    products, energies = [], []
    for template in templates:
        length = template.shape[1]
        r, e = [], []
        for lag in range(1 - length, days):
            seen = slice(max(0, lag), min(days, length + lag))
            x, y = counts[:, seen], template[:, seen.start - lag : seen.stop - lag]
            r.append((weights[:, None] * x * y).sum())
            e.append((weights[:, None] * x * x).sum())
        products.append(np.array(r))
        energies.append(np.array(e))
    return TextView(weights, days, tuple(templates), tuple(products), tuple(energies))


@pytest.mark.parametrize("length", [1, 7, 20, 60])
@pytest.mark.parametrize("days", [1, 7, 60])
def test_energies_of_days_are_exact(rng, length, days):
    weights = rng.integers(1, 9, 5)
    counts = rng.integers(0, 16, (5, days))
    view = view_of(weights, counts, [np.ones((5, length), int)])
    assert np.array_equal(text.energies(view), (weights[:, None] * counts**2).sum(axis=0))


@pytest.mark.parametrize("concepts", [1, 2, 3, 5, 20])
def test_chosen_templates_read_a_course(rng, concepts):
    weights = rng.integers(1, 9, concepts)
    counts = rng.poisson(0.7, (concepts, 30)).clip(0, 15)
    templates = text.chosen(weights, 30)
    assert len(templates) == -(-concepts // 4)
    assert max(template.max() for template in templates) <= 15
    found = text.cells(view_of(weights, counts, templates))
    assert (found == counts).mean() > 0.97
    # All but lag 0 are read, not guessed, unless a pair's sums fall together.
    assert (found == counts)[:, 1:-1].mean() > 0.98


def test_other_courses_give_other_cells(rng):
    """The attack does not say the same whatever it gets."""
    weights = np.arange(1, 9)
    templates = text.chosen(weights, 30)
    counts = rng.integers(0, 4, (8, 30))
    other = text.cells(view_of(weights, (counts + 1) % 4, templates))
    assert (other == counts).mean() < 0.2


@pytest.fixture(scope="module")
def results():
    return {
        result.attack: result for result in audit.run_audit(datasets.load("wbc"), ["text"], seed=1)
    }


def test_thirteen_templates_recover_a_course(results):
    assert results["energies_from_1_reply"].recovered == 1
    assert results["cells_from_13_templates"].recovered > 0.99
    # A physician who keeps to the quota has 32 of 51 concepts; in the others 0 is guessed.
    part = results["cells_from_8_templates"]
    assert part.baseline < part.recovered < 1


def test_uncovered_one_reply_recovers_a_course(results):
    control = results["cells_from_1_uncovered_reply"]
    assert control.control
    assert control.recovered == 1

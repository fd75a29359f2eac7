"""Attacks on blind diagnoses find what is there, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from ompd import audit
from ompd.audit import additive


def test_answers_tell_what_their_equations_do(rng):
    cells = (3, 1, 4)
    starts = np.array([0, 3, 4])
    weights = rng.integers(-50, 50, 8)
    questions = additive.best_questions(starts, cells, rng.integers(0, 9, 8))
    # One for the usual patient, and one for every other cell.
    assert len(questions) == 1 + 2 + 0 + 3
    every = np.array([[a, 3, 4 + c] for a in range(3) for c in range(4)])
    scores = weights[every].sum(axis=1)[:, None]
    for count in range(1, len(questions) + 1):
        asked = questions[:count]
        found = additive.predicted(asked, weights[asked].sum(axis=1)[:, None], every, 8)
        told = ~np.isnan(found)
        assert (found[told] == scores[told]).all()
        # Nobody else's indicators are combinations of those that were asked.
        rank = np.linalg.matrix_rank(np.eye(8)[asked].sum(axis=1))
        for row, known in zip(every, told[:, 0], strict=True):
            more = np.linalg.matrix_rank(np.eye(8)[np.vstack([asked, row])].sum(axis=1))
            assert (more == rank) == known
    assert told.all()


def test_equal_bytes_are_told():
    rng = np.random.default_rng(3)
    texts = [rng.bytes(500) for _ in range(8)]
    pairs = [(texts[i], texts[i] if i % 2 else texts[i - 1]) for i in range(8)]
    assert additive.equal_told(pairs).tolist() == [bool(i % 2) for i in range(8)]


@pytest.fixture(scope="module")
def results(mixed):
    return {result.attack: result for result in audit.run_audit(mixed, ["blind"], windows=30)}


def test_the_hospital_learns_nothing_of_queries(results):
    assert results["control_randomness_used_again"].recovered == 1
    assert results["equal_queries_told"].recovered < 0.9


def test_malformed_queries_get_no_weights(results):
    assert results["control_no_random_multiples"].recovered == 1
    assert results["weights_from_malformed_queries"].recovered < 0.05


def test_as_many_answers_as_there_are_cells_tell_all(results):
    counts = {
        int(name.split("_")[2]): result.recovered
        for name, result in results.items()
        if name.startswith("scores_from")
    }
    assert counts[max(counts)] == 1
    assert counts[min(counts)] < 1
    assert {name for name, result in results.items() if result.control} == {
        "control_randomness_used_again", "control_no_random_multiples",
    }  # fmt: skip

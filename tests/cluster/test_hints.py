"""Hints that workers make are those that the hospital would have made."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.cluster import hints, hints_on
from ompd.sealed import Layout, SealedTable, answer
from ompd.sealed.offsets import combined, combined_here, random_offsets
from tests.cluster.hands import Hands


@pytest.mark.parametrize("lost", ["nobody", "one", "all"])
def test_parities_are_the_same(monkeypatch, rng, lost):
    monkeypatch.setattr(hints, "_FEW_BYTES", 1)
    layout = Layout(640, 64, 10, 64, 4, 9)
    words = rng.integers(0, 2**63, (640, 8), dtype=np.uint64)
    offsets = random_offsets(50, layout)
    own = rng.integers(-1, 10, 50)
    hands = Hands()
    with hints_on(hands=hands, workers=3):
        for turn in range(2):
            if turn and lost != "nobody":
                hands.starts = lost == "one"
                for place in range(1 if lost == "one" else 3):
                    hands.strike(place)
            found = combined(layout, words, offsets, own, 1)
            np.testing.assert_array_equal(found, combined_here(layout, words, offsets, own, 1))
            if not turn:
                assert all(worker.status()["asked"] for worker in hands.workers)
    assert not hands.workers


def test_a_table_with_such_hints_answers(monkeypatch, rng):
    monkeypatch.setattr(hints, "_FEW_BYTES", 1)
    rows = rng.integers(0, 2**20, (30_000, 3))
    hands = Hands()
    with hints_on(hands=hands, workers=2):
        table, stored = SealedTable.build(rows, rng.integers(0, 2, 30_000), 2, 5)
        assert table.layout.fetches
        assert all(worker.status()["asked"] for worker in hands.workers)
    request, ticket = table.ask(rows[:3])
    found = table.read(ticket, answer(stored, table.layout, request))
    distances = np.abs(rows[:3, None] - rows).sum(axis=2)
    assert found.certified.any()
    for place in np.flatnonzero(found.certified):
        assert found.distances[place].tolist() == np.sort(distances[place])[:5].tolist()

"""The benchmark of records asks all three the same, and its figures are complete."""

from __future__ import annotations

import pytest

from bench import record


def test_figures_are_complete():
    pytest.importorskip("fhir.resources")
    found = record.measure(60, 1)
    assert found["resources"] == 60
    names = " ".join(found["microseconds"])
    assert all(query in names for query in record.QUERIES)
    for part in ("seconds", "microseconds"):
        assert all(value > 0 for value in found[part].values())


def test_a_peer_that_answers_otherwise_is_noticed(monkeypatch):
    monkeypatch.setattr(record.FullText, "search", lambda *_: [("x",)])
    with pytest.raises(AssertionError):
        record.measure(60, 1)

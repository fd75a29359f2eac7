"""The benchmark of files reads all of each, and its figures are complete."""

from __future__ import annotations

import pytest

from bench import health_files

pytest.importorskip("fhir.resources")
pytest.importorskip("fpdf")


def test_figures_are_complete():
    found = health_files.measure(20, 1)
    forms = ("apple", "bundle", "table")
    names = [f"{who} {form}" for who in ("import", "peer") for form in forms]
    exports = [f"export {form}" for form in ("bundle", "summary", "table", "pdf")]
    assert set(found["seconds"]) == {*names, *exports}
    assert all(value > 0 for value in found["seconds"].values())
    assert set(found["bytes"]) == set(forms)


def test_a_peer_that_reads_less_is_noticed(monkeypatch):
    monkeypatch.setitem(health_files._PEERS, "table", lambda source: 0)
    with pytest.raises(AssertionError):
        health_files.measure(20, 1)

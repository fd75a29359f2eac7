"""The benchmark of sharing measures steps that work, and its figures are complete."""

from __future__ import annotations

import sys

from bench import share


def test_figures_are_complete():
    found = share.measure(1, None)
    assert set(found["microseconds"]) == set(share.sharing()) | set(share.paying())
    assert all(value > 0 for value in found["microseconds"].values())
    assert found["umbral-pre"] == {}
    assert found["program of 63 nodes, bytes"] == 64 * 597


def test_a_peer_is_asked_by_turns(monkeypatch):
    monkeypatch.setattr(share, "_PEER", "import sys\nfor line in sys.stdin: print(2.0, flush=True)")
    found = share.measure(2, sys.executable)
    assert set(found["umbral-pre"].values()) == {2e6}
    assert len(found["umbral-pre"]) == 5

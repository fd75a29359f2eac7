"""The benchmark of signals compares the same events, and sharing runs fewer units."""

from __future__ import annotations

import pytest

from bench import signals
from ompd.signals import standard


def test_figures_are_complete(monkeypatch):
    monkeypatch.setattr(signals, "CHUNKS", (25, 100, 6000))
    monkeypatch.setattr(signals, "peer", lambda _: lambda: None)
    found = signals.measure(3, 1)
    assert found["same events"]
    assert found["unit runs"]["shared"] < found["unit runs"]["unshared"]
    assert len(found["samples per second"]) == 5
    assert all(value > 0 for value in found["samples per second"].values())


@pytest.mark.benchmark
def test_a_minute_of_samples(benchmark):
    parts = signals.drawn(3)
    events = benchmark(signals.run, standard(), parts, 6000)
    assert events == signals.unshared(parts, 6000)

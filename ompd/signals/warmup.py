"""Compiling what an analysis needs."""

from __future__ import annotations

import numpy as np

from ompd.signals.analysis import Analysis


def warmup_signals() -> None:
    """Run all units once."""
    times = np.arange(0, 60, 0.02)
    analysis = Analysis(clock=lambda: 60.0)
    for stream in analysis.streams:
        analysis.feed(stream, times, np.sin(8 * times))
    analysis.finish()

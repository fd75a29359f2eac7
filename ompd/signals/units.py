"""Processing units: what is computed of a window, once for all who need it.

The beats of a pulse are found as by Elgendi (2013, "Systolic peak detection in acceleration
photoplethysmograms"): where the mean over the length of a peak exceeds the mean over that of a
beat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ompd._kernels.signals import distinct, find_peaks, moving_mean, resample, unsee_flat
from ompd.signals.windows import MOTION, PERIOD, PULSE, Floats, Grid, Samples, Stream

#: Milliseconds between beats that a heart can have, and share by which neighbours may differ.
_SHORTEST, _LONGEST = 300.0, 2000.0
#: Intervals that a window needs, to say something of its rhythm.
_LEAST_INTERVALS = 10
#: Seconds: two means that leave out drift and noise, lengths of a peak and of a beat, how long a
#: peak stands out at least, and what two beats are apart at least.
_DRIFT, _NOISE, _PEAK, _BEAT, _LEAST, _APART = 0.9, 0.05, 0.11, 0.66, 0.07, 0.3
#: Part of the mean square by which a peak has to stand out.
_OFFSET = 0.02


@dataclass(frozen=True, slots=True)
class Unit:
    """Something that is computed of a window.

    Parameters
    ----------
    name : str
        ``stream.what``.
    needs : tuple of str
        Names of units or streams.
    run : callable
        Given what these are, in this order: for a stream `Samples`, for a unit what it returned.
    """

    name: str
    needs: tuple[str, ...]
    run: Callable[..., Any]


def _grid(stream: Stream) -> Callable[[Samples], Grid]:
    def run(samples: Samples) -> Grid:
        stamps, means = np.empty_like(samples.times), np.empty_like(samples.times)
        count = distinct(samples.times, samples.values, stamps, means)
        values = np.empty(stream.places)
        seen = np.empty(stream.places, dtype=np.uint8)
        step = 1 / stream.rate
        resample(stamps[:count], means[:count], step, stream.longest, values, seen)
        unsee_flat(values, round(stream.flat * stream.rate), seen)
        return Grid(values, seen)

    return run


def _coverage(stream: Stream) -> Callable[[Grid], float]:
    def run(grid: Grid) -> float:
        return float(grid.seen[stream.margin : stream.places - stream.margin].mean())

    return run


def _mean(values: Floats, seconds: float) -> Floats:
    out = np.empty_like(values)
    moving_mean(values, round(seconds * PULSE.rate / 2), out)
    return out


def _beats(grid: Grid) -> NDArray[np.int64]:
    """Places of beats on the grid."""
    smooth = _mean(_mean(grid.values, _NOISE), _NOISE)
    signal = np.maximum(smooth - _mean(smooth, _DRIFT), 0.0)
    square = signal * signal
    near, far = _mean(square, _PEAK), _mean(square, _BEAT)
    peaks = np.empty(PULSE.places, dtype=np.int64)
    least, apart = round(_LEAST * PULSE.rate), round(_APART * PULSE.rate)
    offset = _OFFSET * float(square.mean())
    return peaks[: find_peaks(signal, near, far, offset, least, apart, peaks)]


def _intervals(grid: Grid, beats: NDArray[np.int64]) -> Floats:
    """Milliseconds from beat to beat within the window, without those that are none."""
    found = np.diff(beats) * (1000 / PULSE.rate)
    lost = np.concatenate(([0], np.cumsum(grid.seen == 0)))
    whole = lost[beats[1:]] == lost[beats[:-1]]
    inside = (beats[1:] >= PULSE.margin) & (beats[1:] < PULSE.places - PULSE.margin)
    good = whole & inside & (found >= _SHORTEST) & (found <= _LONGEST)
    kept: Floats = found[good]
    return kept


def _rate(intervals: Floats) -> float:
    """Beats per minute; NaN where there are too few."""
    return float(60_000 / np.median(intervals)) if enough(intervals) else float("nan")


def _spread(intervals: Floats) -> float:
    """Standard deviation of intervals, in ms; NaN where there are too few."""
    return float(np.std(intervals, ddof=1)) if enough(intervals) else float("nan")


def _unevenness(intervals: Floats) -> float:
    """Root mean square of differences of intervals, by their mean; NaN where there are too few."""
    if not enough(intervals):
        return float("nan")
    return float(np.sqrt(np.mean(np.diff(intervals) ** 2)) / np.mean(intervals))


def enough(intervals: Floats) -> bool:
    """Whether there are intervals enough to say something of a rhythm."""
    return intervals.size >= _LEAST_INTERVALS


def _activity(grid: Grid) -> float:
    """Mean over the seconds of the window of the standard deviation within each, in m/s²."""
    core = grid.values[MOTION.margin : MOTION.places - MOTION.margin]
    return float(core.reshape(round(PERIOD), -1).std(axis=1).mean())


UNITS = {
    unit.name: unit
    for unit in (
        Unit("pulse.grid", ("pulse",), _grid(PULSE)),
        Unit("pulse.coverage", ("pulse.grid",), _coverage(PULSE)),
        Unit("pulse.beats", ("pulse.grid",), _beats),
        Unit("pulse.intervals", ("pulse.grid", "pulse.beats"), _intervals),
        Unit("pulse.rate", ("pulse.intervals",), _rate),
        Unit("pulse.spread", ("pulse.intervals",), _spread),
        Unit("pulse.unevenness", ("pulse.intervals",), _unevenness),
        Unit("motion.grid", ("motion",), _grid(MOTION)),
        Unit("motion.coverage", ("motion.grid",), _coverage(MOTION)),
        Unit("motion.activity", ("motion.grid",), _activity),
    )
}

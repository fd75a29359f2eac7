"""Units against plain Python, and against hearts whose beats are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd._kernels.signals import distinct, find_peaks, moving_mean, resample, unsee_flat
from ompd.errors import ParameterError
from ompd.signals.components import Component
from ompd.signals.planner import Plan
from ompd.signals.units import UNITS, Unit
from ompd.signals.windows import MARGIN, MOTION, PULSE, Samples
from tests.signals import naive

WHOLE = st.integers(0, 40).map(float)
LISTS = st.lists(st.tuples(WHOLE, st.integers(-3, 3).map(float)), max_size=30)


@given(samples=LISTS)
def test_doubled_samples_count_once(samples):
    samples = sorted(samples)
    times = np.array([time for time, _ in samples])
    values = np.array([value for _, value in samples])
    stamps, means = np.empty_like(times), np.empty_like(times)
    count = distinct(times, values, stamps, means)
    expected = naive.distinct(times.tolist(), values.tolist())
    assert stamps[:count].tolist() == [time for time, _ in expected]
    np.testing.assert_allclose(means[:count], [mean for _, mean in expected], atol=1e-12)


@given(samples=LISTS, longest=st.integers(1, 9))
def test_the_grid_is_straight_between_samples(samples, longest):
    points = naive.distinct([time for time, _ in samples], [value for _, value in samples])
    stamps = np.array([time for time, _ in points])
    means = np.array([mean for _, mean in points])
    grid, seen = np.empty(90), np.empty(90, dtype=np.uint8)
    resample(stamps, means, 0.5, float(longest), grid, seen)
    expected = naive.resample(points, 0.5, longest, 90)
    np.testing.assert_allclose(grid, [value for value, _ in expected], atol=1e-12)
    assert seen.tolist() == [is_seen for _, is_seen in expected]


@given(
    values=st.lists(st.integers(-2, 2).map(float), min_size=1, max_size=40),
    number=st.integers(1, 6),
)
def test_flat_runs_and_moving_means(values, number):
    array = np.array(values)
    seen = np.ones(array.size, dtype=np.uint8)
    unsee_flat(array, number, seen)
    assert set(np.flatnonzero(seen == 0).tolist()) == naive.flat(values, number)
    out = np.empty_like(array)
    moving_mean(array, number, out)
    np.testing.assert_allclose(out, naive.moving_mean(values, number), atol=1e-12)


@given(
    rows=st.lists(st.tuples(*[st.integers(0, 3).map(float)] * 3), min_size=1, max_size=40),
    least=st.integers(1, 4),
    apart=st.integers(1, 6),
)
def test_peaks(rows, least, apart):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    peaks = np.empty(len(rows), dtype=np.int64)
    count = find_peaks(*columns, 0.5, least, apart, peaks)
    expected = naive.peaks(*(column.tolist() for column in columns), 0.5, least, apart)
    assert peaks[:count].tolist() == expected


def heart(intervals, seed=0, noise=0.02):
    """A pulse whose beats are known, as it comes from a finger, with drift and noise."""
    rng = np.random.default_rng(seed)
    beats = np.cumsum(intervals)
    times = np.sort(rng.uniform(0, 80, 80 * 200))
    values = np.sin(0.4 * times) + noise * rng.standard_normal(times.size)
    for beat, interval in zip(beats, intervals, strict=True):
        width = min(0.07, 0.12 * interval)
        values += np.exp(-(((times - beat) / width) ** 2))
        values += 0.35 * np.exp(-(((times - beat - 3.2 * width) / width) ** 2))
    return beats, Samples(times, values)


def said(samples, *names):
    said = []
    Plan([Component("x", names, lambda *found: said.append(found), "", "")]).run(
        {"pulse": samples, "motion": samples}
    )
    return said[0]


@pytest.mark.parametrize("rate", [45, 60, 75, 100, 130, 170])
def test_a_rate_that_is_known(rate):
    rng = np.random.default_rng(rate)
    intervals = 60 / rate * (1 + 0.02 * rng.standard_normal(300))
    beats, samples = heart(intervals)
    found, spread, unevenness = said(samples, "pulse.rate", "pulse.spread", "pulse.unevenness")
    inside = intervals[(beats >= MARGIN) & (beats < 80 - MARGIN)]
    assert found == pytest.approx(60 / np.median(inside), rel=0.02)
    assert spread == pytest.approx(1000 * np.std(inside, ddof=1), rel=0.3, abs=4)
    assert unevenness < 0.08


def test_an_uneven_rhythm_is_uneven():
    rng = np.random.default_rng(5)
    _, samples = heart(rng.uniform(0.5, 1.1, 300))
    assert said(samples, "pulse.unevenness")[0] > 0.2


def test_a_gap_is_no_interval():
    _, samples = heart(np.full(300, 0.8))
    keep = (samples.times < 30) | (samples.times > 31.2)
    cut = Samples(samples.times[keep], samples.values[keep])
    intervals, coverage = said(cut, "pulse.intervals", "pulse.coverage")
    assert intervals.max() < 900
    assert coverage == pytest.approx(1 - 1.2 / 60, abs=0.002)


def test_what_does_not_change_is_not_seen():
    times = np.arange(0, 80, 0.01)
    assert said(Samples(times, np.full(times.size, 3.0)), "pulse.coverage") == (0.0,)
    assert said(Samples(times[:0], times[:0]), "pulse.coverage", "motion.coverage") == (0.0, 0.0)
    assert math.isnan(said(Samples(times, np.full(times.size, 3.0)), "pulse.rate")[0])


def test_activity_is_of_movement():
    times = np.arange(0, 80, 0.02)
    still = Samples(times, 9.81 + 0.01 * np.sin(40 * times))
    walk = Samples(times, 9.81 + 2 * np.sin(12 * times))
    assert said(still, "motion.activity")[0] < 0.02
    assert said(walk, "motion.activity")[0] == pytest.approx(2 / np.sqrt(2), rel=0.1)


def test_grids_are_whole():
    for stream in (PULSE, MOTION):
        assert stream.margin == MARGIN * stream.rate
        assert stream.places == 80 * stream.rate


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_order_and_doubling_change_no_unit(seed):
    """The analysis sorts; what is doubled and sorted is the same to each unit."""
    rng = np.random.default_rng(seed)
    _, samples = heart(rng.uniform(0.5, 1.0, 200), seed)
    again = rng.integers(0, samples.times.size, 500)
    times = np.concatenate([samples.times, samples.times[again]])
    values = np.concatenate([samples.values, samples.values[again]])
    order = np.lexsort((values, times))
    names = [name for name in UNITS if name.startswith("pulse.") and name != "pulse.grid"]
    mine, theirs = said(samples, *names), said(Samples(times[order], values[order]), *names)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_plans_that_are_none():
    def component(kind, *needs):
        return Component(kind, needs, lambda *_: None, "", "")

    units = {"a": Unit("a", ("b",), print), "b": Unit("b", ("a",), print)}
    for components in (
        [],
        [component("x", "pulse.rate"), component("x", "pulse.rate")],
        [component("x", "pulse.mood")],
        [component("x", "sound")],
    ):
        with pytest.raises(ParameterError):
            Plan(components)
    with pytest.raises(ParameterError):
        Plan([component("x", "a")], units)
    with pytest.raises(ParameterError):
        Component("x", (), lambda: None, "", "", least=0)

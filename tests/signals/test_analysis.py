"""The same events, however samples come; each unit once per window; restarts lose nothing."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.commands.monitor_run import PROGRAM
from ompd.errors import ParameterError
from ompd.monitor import Program
from ompd.signals import (
    Analysis,
    Event,
    buffers,
    inactivity,
    irregular_rhythm,
    sensor_off,
    standard,
    tachycardia,
)
from ompd.signals.components import Component
from ompd.signals.units import UNITS
from tests.signals import recording
from tests.signals.test_units import heart

#: The beginning of a minute.
START = 1_800_000_000.0
NOW = START + 1e6


def clock():
    return NOW


def made(components=None, **options):
    return Analysis(components, clock=clock, **options)


def events_of(analysis, parts):
    found = []
    for stream, times, values in parts:
        found += analysis.feed(stream, times, values)
    return found + analysis.finish()


def fast(minutes, rate, seed=0):
    """Minutes of a heart at some rate, 50 samples a second."""
    rng = np.random.default_rng(seed)
    times = np.arange(0, 60 * minutes, 0.02)
    intervals = 60 / rate * (1 + 0.01 * rng.standard_normal(round(minutes * rate) + 9))
    beats = np.cumsum(intervals)
    phase = times - beats[np.minimum(np.searchsorted(beats, times), beats.size - 1)]
    return times, np.exp(-((phase / 0.07) ** 2)) + 0.01 * rng.standard_normal(times.size)


def joined(*pieces):
    times = np.concatenate([start + times for start, (times, _) in pieces])
    return START + times, np.concatenate([values for _, (_, values) in pieces])


# --- what is noticed


def test_the_real_recording():
    times, values = recording.pulse()
    assert (np.diff(times) == 0).mean() > 0.3
    rates = []
    watched = Component("rates", ("pulse.rate",), rates.append, "", "")
    found = events_of(made([watched, *standard()]), [("pulse", times, values)])
    # HeartPy itself counts 102, 98, 96 and 98 beats in minutes that begin with the recording.
    assert rates[1:5] == pytest.approx([102.3, 97.8, 97.8, 97.5], abs=3)
    begin = times[0] // 60 * 60 + 60
    assert found == [Event("tachycardia", begin, begin + 60, found[0].value, "/min", "8867-4")]
    assert found[0].value == pytest.approx(103, abs=1)


def test_windows_in_a_row_are_one_event():
    times, values = joined((0, fast(3, 70)), (180, fast(4, 130)), (420, fast(2, 70)))
    (found,) = events_of(made([tachycardia()]), [("pulse", times, values)])
    assert (found.start, found.end) == (START + 180, START + 420)
    assert found.value == pytest.approx(130, rel=0.02)
    assert events_of(made([tachycardia(least=5)]), [("pulse", times, values)]) == []
    assert events_of(made([tachycardia(above=140)]), [("pulse", times, values)]) == []


def test_a_program_takes_what_was_noticed():
    times, values = joined((0, fast(3, 130)))
    (found,) = events_of(made([tachycardia()]), [("pulse", times, values)])
    program = Program.from_json(json.dumps(PROGRAM))
    readings = {"heart rate": found.value, "RMSSD": 40.5}
    assert program.advise(readings) == "fast: rest and measure again"


def test_a_rhythm_that_is_irregular():
    rng = np.random.default_rng(3)
    pieces = [heart(rng.uniform(0.5, 1.1, 300), seed)[1] for seed in range(4)]
    pieces = [(60 * k, (each.times[each.times < 60], each.values[each.times < 60]))
              for k, each in enumerate(pieces)]  # fmt: skip
    times, values = joined(*pieces)
    (found,) = events_of(made([irregular_rhythm()]), [("pulse", times, values)])
    assert found.kind == "irregular-rhythm"
    assert found.end - found.start >= 120
    assert 100 < found.value < 300
    times, values = joined((0, fast(5, 70)))
    assert events_of(made([irregular_rhythm()]), [("pulse", times, values)]) == []


def test_a_sensor_that_is_off():
    calm = joined((0, fast(3, 70)), (600, fast(3, 70)))
    assert events_of(made([sensor_off()]), [("pulse", *calm)]) == [
        Event("sensor-off", START + 180, START + 600, 7.0, "min", "")
    ]
    # That a person puts it on and takes it off in the middle of a minute is no event.
    times, values = joined((50, fast(3, 70)))
    assert events_of(made([sensor_off()]), [("pulse", times, values)]) == []
    # It hangs: samples come, and are always the same.
    stuck = np.arange(0, 120, 0.02)
    times, values = joined((0, fast(3, 70)), (180, (stuck, 0 * stuck)), (300, fast(2, 70)))
    (found,) = events_of(made([sensor_off()]), [("pulse", times, values)])
    assert (found.start, found.end) == (START + 180, START + 300)


def test_a_year_without_samples_takes_no_time():
    old = START - 400 * 86_400
    times, values = fast(2, 70)
    analysis = made()
    found = events_of(analysis, [("pulse", old + times, values), ("pulse", START + times, values)])
    (off,) = [event for event in found if event.kind == "sensor-off"]
    assert off.value == 400 * 1440 - 2
    assert analysis.runs["pulse.grid"] == 4


def test_that_time_passes_is_noticed():
    times, values = joined((0, fast(3, 70)))
    analysis = made([sensor_off()])
    analysis.feed("pulse", times, values)
    assert analysis.ongoing() == []
    assert analysis.pass_time(START + 600) == []
    (found,) = analysis.ongoing()
    assert (found.start, found.end) == (START + 180, START + 480)
    # Earlier moments change nothing.
    assert analysis.pass_time(START) == []
    assert analysis.ongoing() == [found]
    (ended,) = analysis.feed("pulse", times + 600, values)
    assert (ended.start, ended.end) == (START + 180, START + 600)
    for moment in (-1, math.nan, NOW + 1000):
        with pytest.raises(ParameterError):
            analysis.pass_time(moment)


def test_inactivity_lasts():
    seconds = np.arange(0, 3600, 0.1)
    still = 9.81 + 0.01 * np.sin(9 * seconds)
    walk = still + np.where((seconds > 2400) & (seconds < 2700), np.sin(12 * seconds), 0)
    analysis = made([inactivity()])
    assert events_of(analysis, [("motion", START + seconds, walk)]) == [
        Event("inactivity", START, START + 2400, 40.0, "min", "")
    ]


# --- however samples come


def mixed():
    """Both streams of an hour's quarter, with a gap and two rates: a list of parts of a second."""
    times, values = joined((7, fast(3, 70)), (187, fast(2.2, 125)), (420, fast(4, 72)))
    moves = START + np.arange(0, 640, 0.2)
    rng = np.random.default_rng(1)
    size = 9.81 + 0.5 * rng.standard_normal(moves.size)
    parts = []
    for second in np.arange(START, START + 700):
        for stream, stamps, numbers in (("pulse", times, values), ("motion", moves, size)):
            inside = (stamps >= second) & (stamps < second + 1)
            if inside.any():
                parts.append((stream, stamps[inside], numbers[inside]))
    return parts


PARTS = mixed()
COMPONENTS = (tachycardia(), irregular_rhythm(above=0.05), inactivity(least=2), sensor_off())


@pytest.fixture(scope="module")
def expected():
    found = events_of(made(COMPONENTS), PARTS)
    assert {event.kind for event in found} >= {"tachycardia", "sensor-off"}
    return found


def cut(parts, sizes):
    """The same samples in the same order, in calls of other sizes."""
    found = []
    for stream, times, values in parts:
        if found and found[-1][0] == stream:
            found[-1][1].append(times)
            found[-1][2].append(values)
        else:
            found.append((stream, [times], [values]))
    calls = []
    place = 0
    for stream, times, values in found:
        stamps, numbers = np.concatenate(times), np.concatenate(values)
        start = 0
        while start < stamps.size:
            size = sizes[place % len(sizes)]
            place += 1
            calls.append((stream, stamps[start : start + size], numbers[start : start + size]))
            start += size
    return calls


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 9000), min_size=1, max_size=5), data=st.data())
def test_any_chunking_gives_the_same_events(expected, sizes, data):
    # One stream after the other, for long chunks; or both in turns.
    parts = PARTS
    if data.draw(st.booleans()):
        parts = sorted(PARTS, key=lambda part: (part[1][0] // 30, part[0] == "motion"))
    found = events_of(made(COMPONENTS), cut(parts, sizes))
    assert found == expected


@settings(max_examples=5)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 0.5), lateness=st.integers(0, 90))
def test_late_and_doubled_samples_give_the_same_events(expected, seed, share, lateness):
    rng = np.random.default_rng(seed)
    calls = {}
    for stream in ("pulse", "motion"):
        times = np.concatenate([part[1] for part in PARTS if part[0] == stream])
        values = np.concatenate([part[2] for part in PARTS if part[0] == stream])
        again = np.flatnonzero(rng.random(times.size) < share)
        times = np.concatenate([times, times[again]])
        values = np.concatenate([values, values[again]])
        # Two seconds come at a time, in any order.
        slots = (times + rng.uniform(0, lateness, times.size)) // 2
        for slot in np.unique(slots).tolist():
            inside = rng.permutation(np.flatnonzero(slots == slot))
            calls[slot, stream] = (stream, times[inside], values[inside])
    analysis = made(COMPONENTS, lateness=lateness + 2)
    assert events_of(analysis, [calls[key] for key in sorted(calls)]) == expected
    assert analysis.left_out["late"] == 0


def seen_by_units(parts, **options):
    """What each window's grid and intervals are, bit for bit, and what was left out."""
    found = []

    def watch(grid, intervals):
        found.append((grid.values.tobytes(), grid.seen.tobytes(), intervals.tobytes()))

    watcher = Component("x", ("pulse.grid", "pulse.intervals"), watch, "", "")
    analysis = made([watcher], **options)
    events_of(analysis, parts)
    return found, analysis.left_out


@settings(max_examples=20)
@given(moves=st.lists(st.integers(-40, 60), min_size=10, max_size=40), size=st.integers(2, 900))
def test_what_comes_too_late_is_left_out_alike(moves, size):
    """Devices that go back and forth: each window has the same samples, however they are cut."""
    blocks = 2000.0 + np.cumsum(moves)
    times = START + (blocks[:, None] + np.arange(0, 20, 0.5)).ravel()
    parts = [("pulse", times, np.arange(times.size, dtype=float))]
    assert seen_by_units(cut(parts, [1]), lateness=5) == seen_by_units(
        cut(parts, [size]), lateness=5
    )


@settings(max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_repeated_times_are_the_same_in_any_order(seed):
    """A third of the samples of the real recording have the time of another."""
    times, values = recording.pulse()
    times, values = times[:12_000], values[:12_000]
    expected = seen_by_units([("pulse", times, values)])
    rng = np.random.default_rng(seed)
    again = rng.integers(0, times.size, 3000)
    stamps = np.concatenate([times, times[again]])
    numbers = np.concatenate([values, values[again]])
    order = np.argsort(stamps + rng.uniform(0, 30, stamps.size))
    found = seen_by_units(cut([("pulse", stamps[order], numbers[order])], [777]))
    assert found == expected


def test_each_interval_belongs_to_one_window():
    """Also those that begin in the window before."""
    times, values = joined((0, fast(6, 63)))
    counts = []
    watcher = Component("x", ("pulse.intervals",), lambda found: counts.append(found.size), "", "")
    beats = []
    whole = Component("y", ("pulse.beats",), beats.append, "", "")
    events_of(made([watcher, whole]), cut([("pulse", times, values)], [500]))
    inside = [((each >= 1000) & (each < 7000)).sum() for each in beats]
    assert counts[1:-1] == inside[1:-1]
    assert sum(inside) == pytest.approx(6 * 63, abs=2)


def test_each_unit_runs_once_per_window():
    """The control: without sharing, a unit runs for each component that needs it."""
    analysis = made(COMPONENTS)
    for stream, times, values in PARTS:
        analysis.feed(stream, times, values)
    analysis.finish()
    windows = {math.floor(time / 60) for _, times, _ in PARTS for time in times.tolist()}
    assert analysis.runs == dict.fromkeys(UNITS, len(windows))
    alone = [len(runs_of(each)) for each in COMPONENTS]
    assert alone == [5, 6, 3, 2]
    assert sum(alone) > len(UNITS)


def runs_of(component):
    analysis = made([component])
    for stream, times, values in PARTS:
        if stream in analysis.streams:
            analysis.feed(stream, times, values)
    analysis.finish()
    return analysis.runs


@settings(max_examples=8)
@given(place=st.integers(0, len(PARTS)))
def test_a_restart_changes_nothing(expected, place):
    analysis = made(COMPONENTS)
    found = []
    for stream, times, values in PARTS[:place]:
        found += analysis.feed(stream, times, values)
    snapshot = analysis.snapshot()
    assert snapshot == analysis.snapshot()
    again = Analysis.restore(snapshot, COMPONENTS, clock=clock)
    assert again.ongoing() == analysis.ongoing()
    assert again.left_out == analysis.left_out
    assert found + events_of(again, PARTS[place:]) == expected


# --- what is refused


def test_snapshots_that_are_none():
    analysis = made(COMPONENTS)
    analysis.feed(*PARTS[0])
    snapshot = analysis.snapshot()
    for place in range(0, len(snapshot), 1 + len(snapshot) // 200):
        changed = bytearray(snapshot)
        changed[place] ^= 4
        with pytest.raises(ParameterError):
            Analysis.restore(bytes(changed), COMPONENTS)
    for other in (b"", b"x", snapshot[:-1], snapshot + b"\0", snapshot[:15], 5, None):
        with pytest.raises(ParameterError):
            Analysis.restore(other, COMPONENTS)
    for components in (COMPONENTS[:1], COMPONENTS[::-1], None):
        if components is not None:
            with pytest.raises(ParameterError):
                Analysis.restore(snapshot, components)


@pytest.mark.parametrize(
    ("stream", "times", "values"),
    [
        ("sound", [START], [1]),
        ("pulse", [START], [1, 2]),
        ("pulse", [[START]], [[1]]),
        ("pulse", [math.nan], [1]),
        ("pulse", [math.inf], [1]),
        ("pulse", [-1], [1]),
        ("pulse", [1e300], [1]),
        ("pulse", ["now"], [1]),
        ("pulse", [START], ["fast"]),
        ("pulse", None, None),
        ("pulse", [10**400], [1]),
    ],
)
def test_what_is_no_sample_changes_nothing(stream, times, values):
    analysis = made()
    before = analysis.snapshot()
    with pytest.raises(ParameterError):
        analysis.feed(stream, times, values)
    assert analysis.snapshot() == before


def test_what_is_left_out_is_counted(monkeypatch):
    monkeypatch.setattr(buffers, "MOST_SAMPLES", 100)
    analysis = made([tachycardia()])
    times = START + np.arange(200) / 10
    analysis.feed("pulse", times, times)
    analysis.feed("pulse", [START, NOW + 1000], [math.nan, 1])
    # One sample of the future does not end all windows before it.
    analysis.feed("pulse", [START + 500], [1.0])
    analysis.feed("pulse", [START + 1], [1.0])
    assert analysis.left_out == {"crowded": 101, "missing": 1, "ahead": 1, "late": 1}
    assert analysis.feed("pulse", [], []) == []
    assert repr(analysis) == "<Analysis>"


@pytest.mark.parametrize("lateness", [-1, math.nan, math.inf, 90_000])
def test_lateness_is_bounded(lateness):
    with pytest.raises(ParameterError):
        Analysis(lateness=lateness)

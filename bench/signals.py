"""Signals: samples per second, and what sharing of units saves, beside HeartPy.

python -m bench.signals [--minutes 60] [--rounds 7] [--json]

A pulse of 100 and movements of 25 samples per second, drawn; all four components. *Unshared* gives
each component an analysis of its own. The peer is HeartPy 1.2.7 (MIT licence), where it can be
imported: `process_segmentwise` on the same pulse, which measures heart rate and intervals in
minutes and makes no events; it takes samples that are evenly spaced.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from ompd.signals import Analysis, Component, Event, standard

START = 1_800_000_000.0
PULSE, MOTION = 100, 25
#: Samples of a call: one, a second, a minute.
CHUNKS = (1, PULSE, 60 * PULSE)

Parts = dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


def drawn(minutes: int) -> Parts:
    """Return times and values of both streams."""
    rng = np.random.default_rng(1)
    times = np.arange(60 * minutes * PULSE) / PULSE
    beats = np.cumsum(rng.normal(0.7, 0.03, round(60 * minutes / 0.6)))
    phase = times - beats[np.searchsorted(beats, times).clip(max=beats.size - 1)]
    pulse = 500 + 100 * np.exp(-((phase / 0.08) ** 2)) + rng.standard_normal(times.size)
    moves = np.arange(60 * minutes * MOTION) / MOTION
    size = 9.81 + 0.05 * rng.standard_normal(moves.size)
    return {"pulse": (START + times, pulse), "motion": (START + moves, size)}


def run(components: Sequence[Component], parts: Parts, chunk: int) -> list[Event]:
    """Feed all in calls of so many samples of the pulse, the streams in turns."""
    analysis = Analysis(components, clock=lambda: START + 1e9)
    found: list[Event] = []
    sizes = {"pulse": chunk, "motion": max(1, chunk * MOTION // PULSE)}
    streams = [each for each in parts if each in analysis.streams]
    count = -(-parts["pulse"][0].size // chunk)
    for number in range(count):
        for stream in streams:
            times, values = parts[stream]
            place = slice(number * sizes[stream], (number + 1) * sizes[stream])
            found += analysis.feed(stream, times[place], values[place])
    return found + analysis.finish()


def unshared(parts: Parts, chunk: int) -> list[Event]:
    """Run each component alone."""
    return [event for each in standard() for event in run([each], parts, chunk)]


def peer(parts: Parts) -> Callable[[], object] | None:
    """Return what HeartPy does with the pulse; None where it is not installed."""
    try:
        heartpy = importlib.import_module("heartpy")
    except ImportError:
        return None
    values = parts["pulse"][1]

    def measured() -> object:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return heartpy.process_segmentwise(values, sample_rate=PULSE, segment_width=60)

    return measured


def measure(minutes: int, rounds: int) -> dict[str, Any]:
    """Return medians: pulse samples per second of processor time, by what is done."""
    parts = drawn(minutes)
    samples = parts["pulse"][0].size
    jobs: dict[str, Callable[[], object]] = {
        "unshared, calls of a minute": lambda: unshared(parts, CHUNKS[-1])
    }
    for chunk, name in zip(CHUNKS, ("one sample", "a second", "a minute"), strict=True):
        jobs[f"shared, calls of {name}"] = lambda chunk=chunk: run(standard(), parts, chunk)
    if (measured := peer(parts)) is not None:
        jobs["HeartPy, rates alone"] = measured
    spent: dict[str, list[float]] = {name: [] for name in jobs}
    events = {tuple(run(standard(), parts, CHUNKS[-1])), tuple(run(standard(), parts, PULSE))}
    for _ in range(rounds):
        for name, job in jobs.items():
            begin = time.process_time()
            job()
            spent[name].append(time.process_time() - begin)
    return {
        "minutes": minutes,
        "pulse samples": samples,
        "samples per second": {
            name: round(samples / max(statistics.median(each), 1e-9))
            for name, each in spent.items()
        },
        "unit runs": unit_runs(parts),
        "same events": len(events) == 1,
    }


def unit_runs(parts: Parts) -> dict[str, int]:
    """Return how often units run, shared and not."""
    found = {"shared": 0, "unshared": 0}
    for name, groups in (("shared", [standard()]), ("unshared", [(each,) for each in standard()])):
        for group in groups:
            analysis = Analysis(group, clock=lambda: START + 1e9)
            for stream in analysis.streams:
                analysis.feed(stream, *parts[stream])
            analysis.finish()
            found[name] += analysis.runs.total()
    return found


def main(
    minutes: Annotated[int, typer.Option(min=2)] = 60,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Print samples per second."""
    run(standard(), drawn(2), CHUNKS[-1])  # compiles
    found = measure(minutes, rounds)
    if as_json:
        print(json.dumps(found))
        return
    table = Table("", "pulse samples per second")
    for name, value in found["samples per second"].items():
        table.add_row(name, f"{value:,}")
    console = Console()
    console.print(table)
    console.print(f"unit runs: {found['unit runs']}; same events: {found['same events']}")


if __name__ == "__main__":
    typer.run(main)

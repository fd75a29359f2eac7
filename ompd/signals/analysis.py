"""The way from samples, as they come, to events."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from ompd.errors import ParameterError
from ompd.signals.buffers import Buffer
from ompd.signals.components import Component, Episode, Event, standard
from ompd.signals.planner import Plan
from ompd.signals.snapshot import pack, unpack
from ompd.signals.windows import MARGIN, PERIOD, Floats

#: Seconds for which a sample may be late, by default and at most.
LATENESS = 60.0
_MOST_LATENESS = 86_400.0
#: Seconds by which the clock of a device may be ahead.
_AHEAD = 300.0
#: Seconds since the Unix epoch that are accepted: to the year 4147.
_LAST = float(1 << 36)


class Analysis:
    """Takes samples of streams, and says what it notices in them. Not for several threads.

    The same samples in the same order give the same events, however they are cut into calls. So do
    they in another order, and some of them twice, as long as none comes later than `lateness`
    behind the newest of all streams; what comes later than its window is left out and counted.

    Parameters
    ----------
    components : sequence of Component, optional
        What to watch for; `standard` by default.
    lateness : float, default 60
        Seconds for which a window waits for samples after its end and margin.
    clock : callable
        Seconds since the Unix epoch; samples of the future are left out and counted, since one
        would end all windows before it.

    Attributes
    ----------
    left_out : Counter
        Samples that were not used: ``late``, ``missing`` (NaN), ``ahead`` and ``crowded``.

    Raises
    ------
    ParameterError
        If components or lateness are not possible.
    """

    def __init__(
        self,
        components: Sequence[Component] | None = None,
        *,
        lateness: float = LATENESS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not 0 <= lateness <= _MOST_LATENESS:
            raise ParameterError(f"lateness: expected 0 to {_MOST_LATENESS:.0f} seconds")
        self._components = standard() if components is None else tuple(components)
        self._plan = Plan(self._components)
        self._lateness = float(lateness)
        self._clock = clock
        self._buffers = {stream: Buffer() for stream in self._plan.streams}
        self._episodes = [Episode() for _ in self._components]
        # Time of the newest sample, and the first window that is not done; -1 before any sample.
        self._newest = 0.0
        self._window = -1
        # Whether a window with samples is done: that there was nothing before it is no gap.
        self._has_begun = False
        self.left_out: Counter[str] = Counter()

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams that the components need."""
        return self._plan.streams

    @property
    def runs(self) -> Counter[str]:
        """How often each unit ran since this object was made."""
        return self._plan.runs

    def feed(self, stream: str, times: Any, values: Any) -> list[Event]:
        """Take samples; returns the events that ended with them.

        Parameters
        ----------
        stream : str
            One of `streams`.
        times : (n,) array-like
            Seconds since the Unix epoch, in any order.
        values : (n,) array-like
            In the unit of the stream; NaN where there is none.

        Raises
        ------
        ParameterError
            If the stream is not needed, shapes differ, something is no number, or a time is not
            finite or out of range. Nothing was taken then.
        """
        buffer = self._buffers.get(stream)
        if buffer is None:
            raise ParameterError("stream: no component needs one of this name")
        stamps, numbers = _checked(times, values)
        missing, ahead = ~np.isfinite(numbers), stamps > self._clock() + _AHEAD
        self.left_out["missing"] += int(missing.sum())
        self.left_out["ahead"] += int((ahead & ~missing).sum())
        kept = ~(missing | ahead)
        return self._take(buffer, stamps[kept], numbers[kept])

    def finish(self) -> list[Event]:
        """Do all windows that have samples, whole or not, and end what goes on; returns events.

        What is fed later is another part: samples of windows that were done are late.
        """
        events = []
        if self._window >= 0:
            last = int(self._newest // PERIOD)
            events = [*self._advance(last), *self._advance(last + 1, is_edge=True)]
        for component, episode in zip(self._components, self._episodes, strict=True):
            events += _ended(component, episode)
        return events

    def pass_time(self, moment: float) -> list[Event]:
        """Do what is due at a moment, though no sample says that it has come; returns events.

        Without it, a sensor that is off is noticed when it is on again. Samples that come later
        than `lateness` after their time are late from then on.

        Parameters
        ----------
        moment : float
            Seconds since the Unix epoch.

        Raises
        ------
        ParameterError
            If it is none, or more than five minutes ahead of the clock.
        """
        if not 0 <= moment <= min(self._clock() + _AHEAD, _LAST):
            raise ParameterError("moment: expected a time that has come")
        if self._window < 0 or moment <= self._newest:
            return []
        self._newest = float(moment)
        return self._advance(self._first_open(self._newest))

    def ongoing(self) -> list[Event]:
        """Return events that have not ended, as long as they are now."""
        found = (
            episode.event(component)
            for component, episode in zip(self._components, self._episodes, strict=True)
        )
        return [event for event in found if event is not None]

    def snapshot(self) -> bytes:
        """Return all that another process needs to go on; seal it, since it holds samples."""
        state = {
            "kinds": [component.kind for component in self._components],
            "lateness": self._lateness,
            "newest": self._newest,
            "window": self._window,
            "has_begun": self._has_begun,
            "left_out": dict(self.left_out),
            "episodes": [
                [episode.start, episode.count, episode.highest] for episode in self._episodes
            ],
        }
        return pack(state, {name: each.arrays() for name, each in self._buffers.items()})

    @classmethod
    def restore(
        cls,
        snapshot: bytes,
        components: Sequence[Component] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Go on where a snapshot was taken, with the same components.

        Raises
        ------
        ParameterError
            If the snapshot is damaged, or of other components.
        """
        state, arrays = unpack(snapshot)
        made = cls(components, lateness=state["lateness"], clock=clock)
        kinds = [component.kind for component in made._components]
        if state["kinds"] != kinds or set(arrays) != set(made._buffers):
            raise ParameterError("snapshot: is of other components")
        made._newest = state["newest"]
        made._window = state["window"]
        made._has_begun = state["has_begun"]
        made.left_out.update(state["left_out"])
        made._episodes = [Episode(*episode) for episode in state["episodes"]]
        made._buffers = {name: Buffer(*arrays[name]) for name in made._buffers}
        return made

    def __repr__(self) -> str:
        return "<Analysis>"

    def _take(self, buffer: Buffer, times: Floats, values: Floats) -> list[Event]:
        if not times.size:
            return []
        if self._window < 0:
            self._window = self._first_open(float(times[0]))
            self._newest = float(times[0])
        # What a sample does must not depend on those after it in the same call. Each knows the
        # newest before it; where one ends a window, that is done before the next is looked at.
        newest = np.maximum(np.maximum.accumulate(times), self._newest)
        open_after = np.maximum(_first_open(newest, self._lateness), self._window)
        open_before = np.concatenate(([self._window], open_after[:-1]))
        is_late = times < open_before * PERIOD
        self.left_out["late"] += int(is_late.sum())
        ends = np.flatnonzero(open_after > open_before) + 1
        events: list[Event] = []
        start = 0
        for end in (*ends.tolist(), times.size):
            part = slice(start, end)
            on_time = ~is_late[part]
            crowded = buffer.add(times[part][on_time], values[part][on_time])
            self.left_out["crowded"] += crowded
            if end > start:
                self._newest = float(newest[end - 1])
                events += self._advance(int(open_after[end - 1]))
            start = end
        return events

    def _first_open(self, newest: float) -> int:
        return int(_first_open(np.array([newest]), self._lateness)[0])

    def _advance(self, until: int, *, is_edge: bool = False) -> list[Event]:
        """Do all windows before this one; at an edge, something of them has yet to come."""
        events: list[Event] = []
        while self._window < until:
            following = [each.next_window(self._window) for each in self._buffers.values()]
            found = min((each for each in following if each is not None), default=until)
            if (gap := min(found, until) - self._window) > 0:
                if self._has_begun:
                    events += self._pass(gap)
                self._window += gap
                continue
            # Where somebody puts a sensor on or takes it off, a part is missing that is no gap.
            is_part, self._has_begun = is_edge or not self._has_begun, True
            window = self._window
            samples = {name: each.samples(window) for name, each in self._buffers.items()}
            verdicts = self._plan.run(samples)
            for component, episode, value in zip(
                self._components, self._episodes, verdicts, strict=True
            ):
                if value is None or (component.in_gaps and is_part):
                    events += _ended(component, episode)
                else:
                    episode.add(window, value)
            self._window += 1
            for each in self._buffers.values():
                each.forget(self._window)
        return events

    def _pass(self, count: int) -> list[Event]:
        """Let so many windows pass of which nothing came."""
        events: list[Event] = []
        for component, episode in zip(self._components, self._episodes, strict=True):
            if component.in_gaps:
                episode.add(self._window, 0.0, count)
            else:
                events += _ended(component, episode)
        return events


def _ended(component: Component, episode: Episode) -> list[Event]:
    event = episode.event(component)
    episode.count = 0
    return [] if event is None else [event]


def _first_open(newest: Floats, lateness: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the first window that still waits for samples."""
    return np.maximum((newest - MARGIN - lateness) // PERIOD, 0).astype(np.int64)


def _checked(times: Any, values: Any) -> tuple[Floats, Floats]:
    try:
        stamps = np.array(times, dtype=np.float64)
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        stamps = numbers = np.empty((0, 0))
    if stamps.ndim != 1 or stamps.shape != numbers.shape:
        raise ParameterError("samples: expected times and values, as many numbers of both")
    # Also false for what is no number.
    if not np.all((stamps >= 0) & (stamps < _LAST)):
        raise ParameterError("times: expected seconds since the Unix epoch")
    return stamps, numbers

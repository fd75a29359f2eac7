"""Components: what is made of units, as dated events.

A component says which units it needs, and of each window whether what it watches for is there. Of
windows in a row it makes one event. Thresholds are examples, and no medical advice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ompd.errors import ParameterError
from ompd.signals.windows import PERIOD

#: Part of a window that a sensor has to cover, to be believed; and below which it is off.
_BELIEVED, _OFF = 0.8, 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was noticed.

    Attributes
    ----------
    kind : str
        Such as ``tachycardia``.
    start, end : float
        Seconds since the Unix epoch; multiples of 60.
    value : float
    unit : str
        Of the value, by UCUM.
    code : str
        LOINC code of what the value measures; empty if there is none.
    """

    kind: str
    start: float
    end: float
    value: float
    unit: str
    code: str


@dataclass(frozen=True, slots=True)
class Component:
    """What to watch for.

    Parameters
    ----------
    kind : str
        Of its events; no two components of an analysis have the same.
    needs : tuple of str
        Names of units.
    judge : callable
        Given what these are for a window, returns a value if it is there, and None if it is not or
        cannot be told.
    unit, code : str
        Of the value; see `Event`.
    least : int, default 1
        Windows in a row that make an event.
    counts : bool, default False
        Whether the event's value is its length in minutes, instead of the highest of the values.
    in_gaps : bool, default False
        Whether it is there in windows of which nothing came.

    Raises
    ------
    ParameterError
        If `least` is no positive integer.
    """

    kind: str
    needs: tuple[str, ...]
    judge: Callable[..., float | None]
    unit: str
    code: str
    least: int = 1
    counts: bool = False
    in_gaps: bool = False

    def __post_init__(self) -> None:
        if type(self.least) is not int or self.least < 1:
            raise ParameterError("least: expected a positive integer")


@dataclass(slots=True)
class Episode:
    """Windows in a row in which a component found what it watches for.

    Attributes
    ----------
    start : int
        Number of the first.
    count : int
        0 if there is none at present.
    highest : float
    """

    start: int = 0
    count: int = 0
    highest: float = 0.0

    def add(self, window: int, value: float, count: int = 1) -> None:
        """Let it begin or go on."""
        if not self.count:
            self.start, self.highest = window, value
        self.count += count
        self.highest = max(self.highest, value)

    def event(self, component: Component) -> Event | None:
        """Return what it is so far; None if that is too short."""
        if self.count < component.least:
            return None
        return Event(
            component.kind,
            self.start * PERIOD,
            (self.start + self.count) * PERIOD,
            self.count * PERIOD / 60 if component.counts else self.highest,
            component.unit,
            component.code,
        )


def tachycardia(above: float = 100.0, least: int = 1) -> Component:
    """Watch for a heart rate above so many beats per minute."""

    def judge(rate: float, coverage: float) -> float | None:
        return rate if coverage >= _BELIEVED and rate > above else None

    needs = ("pulse.rate", "pulse.coverage")
    return Component("tachycardia", needs, judge, "/min", "8867-4", least)


def irregular_rhythm(above: float = 0.15, least: int = 2) -> Component:
    """Watch for intervals that differ from the next ones by more than this part of them.

    The value is the intervals' standard deviation.
    """

    def judge(unevenness: float, spread: float, coverage: float) -> float | None:
        return spread if coverage >= _BELIEVED and unevenness > above else None

    needs = ("pulse.unevenness", "pulse.spread", "pulse.coverage")
    return Component("irregular-rhythm", needs, judge, "ms", "80404-7", least)


def inactivity(below: float = 0.1, least: int = 30) -> Component:
    """Watch for movement below so many m/s², for so many minutes."""

    def judge(activity: float, coverage: float) -> float | None:
        return activity if coverage >= _BELIEVED and activity < below else None

    needs = ("motion.activity", "motion.coverage")
    return Component("inactivity", needs, judge, "min", "", least, counts=True)


def sensor_off(stream: str = "pulse", least: int = 1, kind: str = "sensor-off") -> Component:
    """Watch for a stream that does not come, or always says the same."""

    def judge(coverage: float) -> float | None:
        return coverage if coverage < _OFF else None

    needs = (f"{stream}.coverage",)
    return Component(kind, needs, judge, "min", "", least, counts=True, in_gaps=True)


def standard() -> tuple[Component, ...]:
    """Return one component of each kind, with its usual thresholds."""
    return tachycardia(), irregular_rhythm(), inactivity(), sensor_off()

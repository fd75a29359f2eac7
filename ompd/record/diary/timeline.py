"""What was measured over time, in one unit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ompd.confidential import Confidential
from ompd.errors import UnitError
from ompd.record.fhir import LOINC, Reading, converted, readings, unit_of
from ompd.record.reading import Reader

#: Digits of a value in a table.
_DIGITS = 6


class Point(NamedTuple):
    """One value.

    Attributes
    ----------
    when : datetime
        With a zone.
    value : float
        In the unit of its series.
    """

    when: datetime
    value: float


@dataclass(frozen=True, slots=True, repr=False)
class Series(Confidential):
    """Values of one code, in order of time.

    Attributes
    ----------
    code : (str, str)
        System and code.
    name : str
        What is measured, as the newest observation says it.
    unit : str
        Of UCUM where it is known; empty without one.
    points : tuple of Point
    others : int
        How many values are left out, since their units are not known or measure something else.
    """

    code: tuple[str, str]
    name: str
    unit: str
    points: tuple[Point, ...]
    others: int

    def rows(self) -> list[tuple[datetime, str]]:
        """Return when and how much, the newest first: what a chart shows, as a table."""
        return [(when, f"{value:.{_DIGITS}g}") for when, value in reversed(self.points)]


def series(
    record: Reader,
    code: str | tuple[str, str],
    *,
    unit: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Series:
    """Return a record's values of a code.

    Parameters
    ----------
    record : Record, or what is shared of one
    code : str or (str, str)
        Of LOINC, or system and code. A component of an observation has one, too.
    unit : str, optional
        Of UCUM; that of the newest value.
    since, until : datetime, optional
        With a zone; from when, and before when.

    Raises
    ------
    RecordError
        If a time has no zone.
    UnitError
        If the unit is none.
    """
    coding = (LOINC, code) if isinstance(code, str) else code
    if unit is not None:
        converted(1.0, unit, unit)
    name, points, others = "", [], 0
    for entry in record.list("Observation", coding, since, until):
        for reading in readings(record.get(entry.reference)):
            if coding not in reading.codes or reading.number is None or reading.when is None:
                continue
            if unit is None:
                unit = _unit(reading)
            name = name or reading.name
            value = _in(reading, unit)
            if value is None:
                others += 1
            else:
                points.append(Point(reading.when, value))
    return Series(coding, name, unit or "", tuple(sorted(points)), others)


def charted(record: Reader, *, least: int = 2) -> dict[tuple[str, str], str]:
    """Return what there are series of: names by code, the most frequent first.

    Parameters
    ----------
    record : Record, or what is shared of one
    least : int, default 2
        Observations that there must be.
    """
    entries = record.list("Observation")
    counts: Counter[tuple[str, str]] = Counter()
    newest: dict[tuple[str, str], str] = {}
    for entry in entries:
        for code in entry.codes:
            counts[code] += 1
            newest.setdefault(code, entry.reference)
    found = {}
    for code, count in counts.most_common():
        if count < least:
            break
        # Only one is opened: codes of values and of categories are no measures, and tell no number.
        for reading in readings(record.get(newest[code])):
            if code in reading.codes and reading.number is not None:
                found[code] = reading.name
    return found


def _unit(reading: Reading) -> str:
    return unit_of(reading.unit) or reading.unit if reading.unit else ""


def _in(reading: Reading, unit: str) -> float | None:
    own = _unit(reading)
    if reading.number is None or own == unit:
        return reading.number
    try:
        return converted(reading.number, own, unit) if own and unit else None
    except UnitError:
        return None

"""Elements that what a person's own device writes is made of."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from ompd.errors import ResourceError
from ompd.record.fhir.dates import written
from ompd.record.fhir.resource import Document
from ompd.record.fhir.terms import LOINC, UCUM
from ompd.record.fhir.vocabulary import MEASURES

#: The person whose record it is.
SELF = "Patient/self"

#: A value of an observation or of an answer.
Value = bool | int | float | Decimal | str | tuple[str, str]

_TERMS = "http://terminology.hl7.org/CodeSystem"
#: Of observations.
CATEGORIES = f"{_TERMS}/observation-category"


def valued(value: Value | None, unit: str | None) -> Document:
    """Return the element of an observation that has this value; none without one."""
    if value is None:
        return {}
    if isinstance(value, tuple):
        return {"valueCodeableConcept": {"coding": [{"system": value[0], "code": value[1]}]}}
    if isinstance(value, (bool, str)):
        return {"valueBoolean" if isinstance(value, bool) else "valueString": value}
    return {"valueQuantity": quantity_of(value, unit)}


def quantity_of(value: float | Decimal, unit: str | None) -> Document:
    """Return a number with its unit of UCUM, if it has one."""
    if unit is None:
        return {"value": value}
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def concept_of(system: str, code: str | None, display: str | None) -> Document:
    """Return a code with words for it: those of `MEASURES` where none are given."""
    if code is None:
        return some(text=display)
    known = MEASURES.get(code) if system == LOINC else None
    words = display or (known.name if known else None)
    return some(coding=[{"system": system, "code": code}], text=words)


def status_of(system: str, code: str) -> Document:
    """Return a value of one of FHIR's own systems of states."""
    return {"coding": [{"system": f"{_TERMS}/{system}", "code": code}]}


def period_of(name: str, start: datetime | date | None, end: datetime | None) -> Document:
    """Return the element of this name for a moment or day, or for a time that begins with it."""
    first = date_of(start) or written(moment(None))
    if end is None or end == start:
        return {f"{name}DateTime": first}
    return {f"{name}Period": {"start": first, "end": written(moment(end))}}


def moment(when: datetime | None) -> datetime:
    """Return a moment, or the present.

    Raises
    ------
    ResourceError
        If it has no zone.
    """
    if when is None:
        return datetime.now(UTC)
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise ResourceError("when: expected a datetime with a zone")
    return when


def date_of(when: datetime | date | None) -> str | None:
    """Return a moment or a day as FHIR writes it; None stays None.

    Raises
    ------
    ResourceError
        If a moment has no zone, or it is neither a moment nor a day.
    """
    if when is None:
        return None
    if not isinstance(when, date):
        raise ResourceError("when: expected a date, or a datetime with a zone")
    return written(moment(when)) if isinstance(when, datetime) else when.isoformat()


def some(**elements: Any) -> Document:
    """Return the elements that are there: FHIR has no empty ones."""
    return {
        name: value
        for name, value in elements.items()
        if value is not None and value not in ([], {})
    }

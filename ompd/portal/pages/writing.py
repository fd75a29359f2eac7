"""What a person writes into the record, and takes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from starlette.responses import Response

from ompd.errors import FeatureError, OmpdError
from ompd.portal.numbers import exact, number_of, past_of
from ompd.portal.pages.page import Page
from ompd.portal.visit import Visit
from ompd.record.exporting import measure_name, unit_for_people
from ompd.record.fhir import MEASURES, Resource, allergy, condition, note, observation

_PRESSURE, _SYSTOLIC, _DIASTOLIC = "85354-9", "8480-6", "8462-4"
#: Longest note, in characters.
_LONGEST_NOTE = 20_000
#: Above all that is measured here, counts of cells and steps included; and mmHg.
_MOST, _MOST_PRESSURE = 1e6, 400.0


def _now() -> str:
    return f"{datetime.now():%Y-%m-%dT%H:%M}"


def _write(visit: Visit, part: str = "", error: Mapping[str, str] | None = None) -> Response:
    """Show the forms; the one that was refused as it was filled in."""
    measures = sorted(
        (measure_name(code, visit.words.language), code, unit_for_people(each.unit))
        for code, each in MEASURES.items()
        if each.unit
    )
    return visit.page(
        "write.html",
        status=400 if error else 200,
        error=error,
        part=part,
        typed=dict(visit.form) if error else {},
        measures=[(code, f"{name} ({unit})") for name, code, unit in measures],
        now=_now(),
        longest=_LONGEST_NOTE,
    )


def _measurement(visit: Visit, when: datetime) -> Resource:
    code = visit.form.text("code")
    value = exact(number_of("value", visit.form.text("value"), _MOST))
    return observation(code, value, MEASURES[code].unit if code in MEASURES else None, when)


def _pressure(visit: Visit, when: datetime) -> Resource:
    upper = exact(number_of("systolic", visit.form.text("systolic"), _MOST_PRESSURE))
    lower = exact(number_of("diastolic", visit.form.text("diastolic"), _MOST_PRESSURE))
    if lower >= upper:
        raise FeatureError("diastolic: expected less than the upper value")
    parts = [(_SYSTOLIC, upper, "mm[Hg]"), (_DIASTOLIC, lower, "mm[Hg]")]
    return observation(_PRESSURE, None, None, when, parts=parts)


def _note(visit: Visit, when: datetime) -> Resource:
    text = visit.form.text("text", _LONGEST_NOTE, required=True)
    return note(text, when, title=visit.form.text("title") or visit.words("kind.DocumentReference"))


def _condition(visit: Visit, when: datetime) -> Resource:
    return condition(None, visit.form.text("name", required=True), when)


def _allergy(visit: Visit, when: datetime) -> Resource:
    return allergy(visit.form.text("name", required=True), when=when)


_PARTS = {
    "measurement": _measurement,
    "pressure": _pressure,
    "note": _note,
    "condition": _condition,
    "allergy": _allergy,
}


def _written(visit: Visit) -> Response:
    part = visit.names["part"]
    if part not in _PARTS:
        return visit.go("/write")
    try:
        resource = _PARTS[part](visit, past_of("when", visit.form.text("when")))
        visit.house.own.add_all([resource])
    except OmpdError as error:
        return _write(visit, part, visit.reason(error))
    handle = visit.house.handle(f"{resource.kind}/{resource.id}")
    return visit.go(f"/record/{handle}", visit.words("write.kept"))


def _remove(visit: Visit) -> Response:
    visit.house.own.remove(visit.house.reference(visit.names["handle"]))
    return visit.go("/record", visit.words("resource.removed"))


PAGES = [
    Page("GET", "/write", _write),
    Page("POST", "/write/{part}", _written),
    Page("POST", "/record/{handle}/remove", _remove),
]

"""Values over time: as a picture, and as a table for whoever does not see it."""

from __future__ import annotations

from datetime import datetime

from starlette.responses import Response

from ompd.portal.pages.page import Page
from ompd.portal.visit import Visit
from ompd.record.diary import Series, chart, charted, series
from ompd.record.exporting import measure_name, unit_for_people

#: Newest values that a chart has, and rows of its table.
_MOST, _ROWS = 250, 50


def _choices(visit: Visit) -> list[tuple[str, str, tuple[str, str]]]:
    """Return what there are charts of: handle, name, code."""
    found = charted(visit.house.record)
    return [
        (visit.house.handle("|".join(code)), _name(visit, code[1], name), code)
        for code, name in found.items()
    ]


def _name(visit: Visit, code: str, told: str) -> str:
    """Return what is measured in the person's language, else as the record tells it."""
    known = measure_name(code, visit.words.language)
    return told if known == code else known


def _series(visit: Visit, code: tuple[str, str]) -> Series:
    entries = visit.house.record.list("Observation", code, limit=_MOST)
    dated: list[datetime] = [each.when for each in entries if each.when is not None]
    return series(visit.house.record, code, since=min(dated, default=None))


def _charts(visit: Visit) -> Response:
    choices = _choices(visit)
    asked = visit.query.get("of", "")
    chosen = next((each for each in choices if each[0] == asked), None)
    if chosen is None and choices:
        chosen = choices[0]
    shown = None if chosen is None else _series(visit, chosen[2])
    rows = [] if shown is None else list(reversed(shown.points))
    unit = "" if shown is None else unit_for_people(shown.unit)
    return visit.page(
        "charts.html",
        choices=[(handle, name) for handle, name, _ in choices],
        chosen="" if chosen is None else chosen[0],
        name="" if chosen is None else chosen[1],
        rows=[(each.when, f"{visit.words.number(each.value)} {unit}".strip()) for each in rows],
        most=_ROWS,
    )


def _picture(visit: Visit) -> Response:
    system, _, code = visit.house.reference(visit.names["handle"]).rpartition("|")
    shown = _series(visit, (system, code))
    names = {shown.code: _name(visit, code, shown.name)}
    return Response(chart(shown, names=names), media_type="image/svg+xml")


PAGES = [Page("GET", "/charts", _charts), Page("GET", "/charts/{handle}.svg", _picture)]

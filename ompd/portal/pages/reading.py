"""What is in the record: all of it, one type, one resource, and the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from ompd.portal.pages.page import Page
from ompd.portal.showing import Line, fields, line, outcomes, remarks
from ompd.portal.visit import Visit

#: Resources of one page.
_LISTED = 50
_ESTIMATE = "RiskAssessment"


def lines(visit: Visit, entries: Sequence[Any]) -> list[Line]:
    """Open resources, and return each in one line."""
    record = visit.house.record
    return [
        line(visit.words, record, record.get(each.reference), visit.house.handle(each.reference))
        for each in entries
    ]


def leaf(visit: Visit, total: int, kind: str | None) -> Mapping[str, Any]:
    """Return the part of a long list that a visit asks for, newest first."""
    last = max(1, -(-total // _LISTED))
    asked = visit.query.get("page", "1")
    is_number = asked.isascii() and asked.isdigit() and len(asked) < 8
    number = min(max(int(asked), 1), last) if is_number else 1
    part = visit.house.record.list(kind, limit=_LISTED, offset=(number - 1) * _LISTED)
    return {"lines": lines(visit, part), "number": number, "last": last}


def _record(visit: Visit) -> Response:
    counts = visit.house.record.kinds()
    chosen = visit.query.get("kind", "")
    if chosen not in counts:
        chosen = ""
    known = sorted(
        ((kind, visit.words.maybe(f"kind.{kind}", kind), count) for kind, count in counts.items()),
        key=lambda each: each[1],
    )
    total = counts[chosen] if chosen else sum(counts.values())
    shown = leaf(visit, total, chosen or None)
    return visit.page("record.html", kinds=known, chosen=chosen, **shown)


def _one(visit: Visit) -> Response:
    reference = visit.house.reference(visit.names["handle"])
    resource = visit.house.record.get(reference)
    return visit.page(
        "resource.html",
        line=line(visit.words, visit.house.record, resource, visit.names["handle"]),
        outcomes=outcomes(resource),
        remarks=remarks(resource),
        fields=fields(resource.document()),
        is_report=resource.kind in {"DiagnosticReport", "RiskAssessment"},
    )


def _reports(visit: Visit) -> Response:
    record = visit.house.record
    found = leaf(visit, record.kinds().get(_ESTIMATE, 0), _ESTIMATE)
    predicted = {each.reference: outcomes(record.get(each.reference)) for each in found["lines"]}
    return visit.page("reports.html", predicted=predicted, **found)


PAGES = [
    Page("GET", "/record", _record),
    Page("GET", "/record/{handle}", _one),
    Page("GET", "/reports", _reports),
]

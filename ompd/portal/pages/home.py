"""The first page: the record at a glance."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from starlette.responses import Response

from ompd.portal.pages.diary import upcoming
from ompd.portal.pages.page import Page
from ompd.portal.pages.questions import underway
from ompd.portal.pages.reading import lines
from ompd.portal.showing import outcomes
from ompd.portal.visit import Visit
from ompd.record import Entry
from ompd.record.diary import Diary
from ompd.record.fhir import LOINC, MEASURES
from ompd.record.questionnaire import available, load

_VALUES, _OTHERS, _REMINDERS = 6, 5, 3
#: Newest observations that are looked at for a value of each kind.
_LOOKED_AT = 1000


def _newest(entries: Iterable[Entry], most: int) -> list[Entry]:
    """Return the newest value of each measure, most recent first."""
    found: dict[str, Entry] = {}
    for each in entries:
        if len(found) == most:
            break
        measure = next((code for system, code in each.codes if system == LOINC), "")
        if measure in MEASURES:
            found.setdefault(measure, each)
    return list(found.values())


def _home(visit: Visit) -> Response:
    if visit.house.opened is None:
        return visit.go("/open")
    record = visit.house.record

    def of(*kinds: str) -> list[Any]:
        return [each for kind in kinds for each in record.list(kind, limit=_OTHERS)]

    report = next(iter(lines(visit, of("RiskAssessment")[:1])), None)
    values = record.list("Observation", limit=_LOOKED_AT)
    return visit.page(
        "home.html",
        total=len(record),
        values=lines(visit, _newest(values, _VALUES)),
        conditions=lines(visit, of("Condition", "AllergyIntolerance")),
        medications=lines(visit, of("MedicationStatement", "MedicationRequest")),
        report=report,
        predicted=outcomes(record.get(report.reference)) if report else [],
        upcoming=_upcoming(visit),
        underway=_underway(visit),
    )


def _upcoming(visit: Visit) -> list[tuple[str, datetime]]:
    """Return the next reminders: title, when."""
    if visit.house.reads_only:
        return []
    due = upcoming(visit)
    titles = {each.id: each.title for each in Diary(visit.house.own).reminders()} if due else {}
    found = sorted((when, titles[name]) for name, when in due.items() if name in titles)
    return [(title, when) for when, title in found[:_REMINDERS]]


def _underway(visit: Visit) -> list[tuple[str, str, int]]:
    """Return the questionnaires that are not finished: name, title, answers until now."""
    if visit.house.reads_only:
        return []
    found = []
    for name in available():
        questionnaire = load(name)
        interview = underway(visit, questionnaire)
        if interview is not None:
            found.append((name, visit.words.of(questionnaire.title), len(interview.answers)))
    return found


PAGES = [Page("GET", "/", _home)]

"""Files that come in, and files that go out."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from ompd.errors import OmpdError
from ompd.portal.forms import MOST_UPLOAD
from ompd.portal.pages.page import Page
from ompd.portal.visit import Visit
from ompd.record.exporting import everything, pdf, summary, table
from ompd.record.importing import import_file


def _exchange(
    visit: Visit, error: Mapping[str, str] | None = None, skipped: Mapping[str, int] | None = None
) -> Response:
    return visit.page(
        "exchange.html",
        status=400 if error else 200,
        error=error,
        skipped=skipped or {},
        most=MOST_UPLOAD >> 20,
    )


def _import(visit: Visit) -> Response:
    file = visit.form.file
    if file is None or not visit.form.file_name:
        return _exchange(visit, {"text": visit.words("exchange.no-file"), "detail": ""})
    try:
        done = import_file(visit.house.own, file, partial=bool(visit.form.get("partial")))
    except OmpdError as error:
        return _exchange(visit, visit.reason(error))
    said = visit.words(
        "exchange.imported",
        new=done.added + done.replaced,
        same=done.same,
        skipped=sum(done.skipped.values()),
    )
    if not done.skipped:
        return visit.go("/exchange", said)
    # Once, and not again by a reload: the same file adds nothing anyway.
    visit.house.said = said
    return _exchange(visit, skipped=done.skipped)


def file_of(content: bytes, kind: str, name: str) -> Response:
    """Return a file to be saved."""
    return Response(
        content, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'}
    )


def _all(visit: Visit) -> Response:
    return file_of(everything(visit.house.own), "application/fhir+json", "health-record.json")


def _summary(visit: Visit) -> Response:
    return file_of(
        summary(visit.house.own, language=visit.words.language),
        "application/fhir+json",
        "summary.json",
    )


def _pdf(visit: Visit) -> Response:
    return file_of(
        pdf(visit.house.own, language=visit.words.language), "application/pdf", "health-record.pdf"
    )


def _table(visit: Visit) -> Response:
    return file_of(table(visit.house.own, language=visit.words.language), "text/csv", "values.csv")


PAGES = [
    Page("GET", "/exchange", _exchange),
    Page("POST", "/exchange", _import, upload=True),
    Page("GET", "/exchange/all.json", _all),
    Page("GET", "/exchange/summary.json", _summary),
    Page("GET", "/exchange/reading.pdf", _pdf),
    Page("GET", "/exchange/values.csv", _table),
]

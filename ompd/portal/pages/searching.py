"""Search: by a form that is posted, so that no word stays in the browser's history."""

from __future__ import annotations

from starlette.responses import Response

from ompd.portal.pages.page import Page
from ompd.portal.pages.reading import lines
from ompd.portal.visit import Visit

_MOST_FOUND = 100


def _search(visit: Visit) -> Response:
    return visit.page("search.html", asked="", lines=None, found=0, most=_MOST_FOUND)


def _found(visit: Visit) -> Response:
    asked = visit.form.text("words")
    entries = visit.house.record.search(asked) if asked else []
    return visit.page(
        "search.html",
        asked=asked,
        lines=lines(visit, entries[:_MOST_FOUND]),
        found=len(entries),
        most=_MOST_FOUND,
    )


PAGES = [Page("GET", "/search", _search), Page("POST", "/search", _found)]

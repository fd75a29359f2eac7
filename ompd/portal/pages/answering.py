"""The answer to a form, under an address of its own.

What was posted stays in the files of a browser as long as a tab shows the answer. So this is
another page, also where it says what was filled in wrongly.
"""

from __future__ import annotations

from starlette.responses import Response

from ompd.portal.pages.page import Page
from ompd.portal.visit import Visit


def _answer(visit: Visit) -> Response:
    return visit.house.answer(visit.names["handle"])


PAGES = [Page("GET", "/answer/{handle}", _answer)]

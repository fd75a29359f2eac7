"""The language, and the way out."""

from __future__ import annotations

from starlette.responses import Response

from ompd.portal.pages.page import Page
from ompd.portal.texts import LANGUAGES, Texts
from ompd.portal.visit import Visit, plain_page


def _language(visit: Visit) -> Response:
    chosen = visit.form.text("language")
    if chosen in LANGUAGES:
        visit.house.language = chosen
    back = visit.form.text("back", 500)
    # A path of ours, whatever the form says.
    return visit.go(back if back.startswith("/") and "//" not in back else "/")


def _close(visit: Visit) -> Response:
    answer = plain_page(Texts(visit.words.language), "outside.closed", 200)
    visit.house.door.leave()
    visit.house.close()
    return answer


PAGES = [Page("POST", "/language", _language), Page("POST", "/close", _close)]

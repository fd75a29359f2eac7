"""One request, as a page sees it, and what pages answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jinja2
from starlette.responses import RedirectResponse, Response

from ompd.errors import OmpdError
from ompd.portal.forms import Form
from ompd.portal.problems import key_of
from ompd.portal.texts import LANGUAGES, Texts
from ompd.record.exporting import unit_for_people

if TYPE_CHECKING:
    from ompd.portal.house import House

#: Every value is escaped, and a name that a page forgot is an error.
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("ompd.portal"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)

#: Fields by the names that errors of the record have for them.
_FIELDS = {"mass": "weight", "mass, height": "weight", "every": "until", "start": "first"}

#: Pages of the menu, with the keys of what they are called; of somebody else's record, only some.
_READING = (
    ("/", "home.title"),
    ("/record", "record.title"),
    ("/reports", "reports.title"),
    ("/charts", "charts.title"),
    ("/search", "search.title"),
)
_OTHERS = (*_READING, ("/open", "open.title"))
_ALL = (
    *_READING[:2],
    ("/questions", "questions.title"),
    ("/ask", "ask.title"),
    _READING[2],
    ("/diary", "diary.title"),
    *_READING[3:],
    ("/share", "share.title"),
    ("/exchange", "exchange.title"),
)


class Visit:
    """One request of the person.

    Parameters
    ----------
    house : House
    words : Texts
    place : str
        Path of the page, below that of the door.
    names : mapping of str to str
        What the path holds.
    query : mapping of str to str
        What the address carries; nothing of a record.
    form : Form
        What was filled in; empty unless it was.
    """

    def __init__(
        self,
        house: House,
        words: Texts,
        place: str,
        names: Mapping[str, str],
        query: Mapping[str, str],
        form: Form,
    ) -> None:
        self.house = house
        self.words = words
        self.place = place
        self.names = names
        self.query = query
        self.form = form

    def at(self, place: str) -> str:
        """Return the path of a page."""
        return f"{self.house.door.path}{place}"

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Return a page."""
        said = self.house.said if status == 200 else ""
        if status == 200:
            self.house.said = ""
        text = _TEMPLATES.get_template(template).render(
            t=self.words,
            unit_text=unit_for_people,
            at=self.at,
            csrf=self.house.door.csrf,
            languages=LANGUAGES,
            here=self.place,
            menu=_OTHERS if self.house.reads_only else _ALL,
            reads_only=self.house.reads_only,
            owner=self.house.owner,
            said=said,
            **{"error": None, **values},
        )
        return Response(text, status, media_type="text/html")

    def go(self, place: str, said: str = "") -> Response:
        """Return an answer that has the browser open another page, with a sentence on top."""
        self.house.said = said
        return RedirectResponse(self.at(place), 303)

    def problem(self, error: OmpdError) -> Response:
        """Return a page that says what went wrong."""
        return self.page("problem.html", status=409, error=self.reason(error))

    def reason(self, error: OmpdError) -> Mapping[str, str]:
        """Return what to tell the person, at which field, and the error's own words.

        These hold no value, and begin with the name of what is wrong. The field is empty if it is
        none of the form.
        """
        detail = str(error)
        name = detail.partition(":")[0]
        field = _FIELDS.get(name, name)
        if field not in self.form:
            field = ""
        return {"text": self.words(key_of(error)), "detail": detail, "field": field}


def plain_page(words: Texts, key: str, status: int) -> Response:
    """Return a page for whoever is not inside: a sentence, and nothing to go on with."""
    text = _TEMPLATES.get_template("outside.html").render(t=words, key=key)
    return Response(text, status, media_type="text/html")

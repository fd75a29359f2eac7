"""A record on paper: PDF."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ompd.errors import BackendUnavailableError
from ompd.record.exporting.describing import described, word
from ompd.record.exporting.sections import SECTIONS, Readable, chosen
from ompd.record.fhir import SELF, Resource
from ompd.record.fhir.library import INSTALL

_TEXTS = {
    "en": {
        "title": "Health record",
        "of": "of",
        "born": "born",
        "made": "Printed on",
        "page": "Page",
        "warning": "Pre-diagnoses and risks in it are computed and no diagnosis.",
        "nothing": "Nothing is recorded.",
    },
    "de": {
        "title": "Gesundheitsakte",
        "of": "von",
        "born": "geboren",
        "made": "Gedruckt am",
        "page": "Seite",
        "warning": "Vordiagnosen und Risiken darin sind berechnet und keine Diagnose.",
        "nothing": "Nichts ist eingetragen.",
    },
}
_TEXT, _HEAD, _SMALL = 10, 13, 8
# Millimetres.
_MARGIN, _LINE, _DATE = 18, 5, 24


def pdf(
    record: Readable,
    *,
    language: str = "en",
    fonts: Sequence[Path] = (),
    now: datetime | None = None,
) -> bytes:
    """Return a record as PDF for people: A4, its whole texts, the same bytes for the same record.

    It has what a summary has, and notes and answers besides; of observations, the newest five of
    each code. The letters are DejaVu Sans, as matplotlib brings it: Latin, Greek, Cyrillic,
    Armenian, Georgian, and Arabic and Hebrew in their right order, Arabic letters unjoined. Letters
    that no font has are printed as a box that names their script, behind which they can be copied
    and searched, or by their number where matplotlib is older than 3.11 and brings no boxes.

    Parameters
    ----------
    record : Record
    language : {"en", "de"}
    fonts : sequence of Path
        Files of more fonts, for scripts that DejaVu does not have.
    now : datetime, optional
        With a zone; what it says of when it was made.

    Raises
    ------
    BackendUnavailableError
        Without the extra `care`.
    """
    now = now or datetime.now(UTC)
    texts = _TEXTS[language]
    person = record.get(SELF) if SELF in record else None
    listed = chosen(record, notes=True)
    described_by = {
        name: [_printed(text) for text in described(each, language, record)]
        for name, (_, each) in listed.items()
    }
    name = _printed(described(person, language).title) if person else ""
    letters = set(name).union(*("".join(each) for each in described_by.values()))
    page, numbers = _page(fonts, letters, texts, now)
    page.add_page()
    _title(page, name.translate(numbers), person, texts, language, now)
    for section in SECTIONS:
        within = [reference for reference, (found, _) in listed.items() if found is section]
        if not within and not section.absent:
            continue
        page.ln(2)
        page.set_font("text", "B", _HEAD)
        head = section.german if language == "de" else section.title
        page.multi_cell(0, _LINE + 2, head, **_NEXT)
        page.set_font("text", "", _TEXT)
        if not within:
            page.multi_cell(0, _LINE, texts["nothing"], **_NEXT)
        for reference in within:
            title, value = (each.translate(numbers) for each in described_by[reference])
            _item(page, listed[reference][1], title, value)
    return bytes(page.output())


_NEXT = {"new_x": "LMARGIN", "new_y": "NEXT", "align": "L"}


_BLANKS, _LINES = re.compile(r"[^\S\n]+"), re.compile(r"\n{3,}")


def _printed(text: str) -> str:
    """Return a text without what takes no room: the time for a line is that of its square.

    Blanks and empty lines in a row become one, signs that do not print none, and of marks above a
    letter there are four at most.
    """
    signs = {sign: unicodedata.category(sign) for sign in set(text)}
    text = text.translate(
        {ord(sign): None for sign, kind in signs.items() if kind in {"Cc", "Cf"} and sign != "\n"}
        | {ord(sign): " " for sign in signs if sign.isspace() and sign != "\n"}
    )
    text = _LINES.sub("\n\n", _BLANKS.sub(" ", text).replace(" \n", "\n"))
    marks = "".join(re.escape(sign) for sign, kind in signs.items() if kind in {"Mn", "Me"})
    return re.sub(f"([{marks}]{{4}})[{marks}]+", r"\1", text) if marks else text


def _title(
    page: Any,
    name: str,
    person: Resource | None,
    texts: dict[str, str],
    language: str,
    now: datetime,
) -> None:
    page.set_font("text", "B", _HEAD + 3)
    title = f"{texts['title']} {texts['of']} {name}" if name else texts["title"]
    page.multi_cell(0, _LINE + 4, title, **_NEXT)
    page.set_font("text", "", _TEXT)
    document = person.document() if person else {}
    about = []
    if "birthDate" in document:
        about.append(f"{texts['born']} {document['birthDate']}")
    if "gender" in document:
        about.append(word(document["gender"], language))
    about.append(f"{texts['made']} {now.date().isoformat()}")
    page.multi_cell(0, _LINE, ", ".join(about), **_NEXT)
    page.multi_cell(0, _LINE, texts["warning"], **_NEXT)


def _item(page: Any, resource: Resource, title: str, value: str) -> None:
    when = resource.when.date().isoformat() if resource.when else ""
    # A title stays with what it is the title of.
    if page.will_page_break(3 * _LINE):
        page.add_page()
    page.cell(_DATE, _LINE, when)
    left = page.l_margin
    page.set_left_margin(left + _DATE)
    page.set_font("text", "B", _TEXT)
    page.multi_cell(0, _LINE, title or resource.kind, **_NEXT)
    page.set_font("text", "", _TEXT)
    if value:
        page.multi_cell(0, _LINE, value, **_NEXT)
    page.set_left_margin(left)
    page.set_x(left)


def _page(
    fonts: Sequence[Path], letters: set[str], texts: dict[str, str], now: datetime
) -> tuple[Any, dict[int, str]]:
    """Return an empty document with fonts for letters, and the numbers of those without one."""
    try:
        import matplotlib
        from fpdf import FPDF
    except ImportError:
        raise BackendUnavailableError(f"PDF needs fpdf2 and matplotlib: {INSTALL}") from None

    class Page(FPDF):
        """Paper with the number of the page at its foot."""

        def footer(self) -> None:
            self.set_y(-15)
            self.set_font("text", "", _SMALL)
            self.cell(0, _LINE, f"{texts['page']} {self.page_no()}", align="C")

    page: Any = Page(format="A4")
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    page.add_font("text", "", folder / "DejaVuSans.ttf")
    page.add_font("text", "B", folder / "DejaVuSans-Bold.ttf")
    for place, path in enumerate(fonts):
        page.add_font(f"more{place}", "", path)
    known = {chr(code) for font in page.fonts.values() for code in font.cmap}
    more = [f"more{place}" for place in range(len(fonts))]
    boxes = folder / "LastResortHE-Regular.ttf"
    lost = {letter for letter in letters - known if letter.isprintable()}
    numbers: dict[int, str] = {}
    # They have a glyph for every letter there could be, and take seconds.
    if lost and boxes.is_file():
        page.add_font("boxes", "", boxes)
        more.append("boxes")
    elif lost:
        numbers = {ord(letter): f"[U+{ord(letter):04X}]" for letter in lost}
    page.set_fallback_fonts(more, exact_match=False)
    page.set_margin(_MARGIN)
    page.set_auto_page_break(auto=True, margin=_MARGIN + 2)
    page.set_creation_date(now)
    page.set_title(texts["title"])
    page.set_lang("de" if texts is _TEXTS["de"] else "en")
    page.set_producer("ompd")
    return page, numbers

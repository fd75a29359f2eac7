"""Sentences of a note, and the sections that its headings make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ompd.text.cues import BULLET, HEADING, HEADING_MARK, SENTENCE_END, UNMARKED

#: Under a heading of the family's history, of what is planned, feared or considered, or any other.
Section = Literal["family", "plan", "other"]


def sentences(text: str) -> Iterator[tuple[Section, int, int]]:
    """Sections and ranges of all sentences, without their headings."""
    section: Section = "other"
    start = 0
    filled = False
    for end in (*(match.end() for match in SENTENCE_END.finditer(text)), len(text)):
        sentence = text[start:end]
        if not sentence.strip():
            # A blank line ends a section, unless it stands between heading and content.
            if filled and text[start - 1 : start] == "\n" and sentence:
                section, filled = "other", False
            start = end
            continue
        at_line = start == 0 or text[start - 1] == "\n"
        if heading := _heading(sentence, at_line):
            section, length = heading
            start += length
            filled = False
        filled = filled or bool(text[start:end].strip())
        yield section, start, end
        start = end


def _heading(sentence: str, at_line: bool) -> tuple[Section, int] | None:
    """The section that a sentence begins, and how long its heading is."""
    bullet = BULLET.match(sentence)
    place = bullet.end() if bullet else len(sentence) - len(sentence.lstrip())
    match = HEADING.match(sentence, place)
    if match is None or sentence[match.end() : match.end() + 1].isalnum():
        return None
    section: Section = "other"
    if match["family"]:
        section = "family"
    elif match["plan"]:
        section = "plan"
    if mark := HEADING_MARK.match(sentence, match.end()):
        return section, mark.end()
    if at_line and UNMARKED.match(sentence, place):
        return section, match.end()
    return None

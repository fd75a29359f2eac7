"""The pages, a file for each part of the record's life."""

from __future__ import annotations

from collections.abc import Iterable

from ompd.portal.pages import (
    answering,
    asking,
    charting,
    diary,
    exchange,
    home,
    leaving,
    opening,
    questions,
    reading,
    searching,
    sharing,
    writing,
)
from ompd.portal.pages.page import Page

_READING = (home, reading, charting, searching, answering, leaving)
_WRITING = (writing, questions, asking, diary, sharing, exchange)


def all_pages(*, reads_only: bool) -> Iterable[Page]:
    """Return the pages, of one's own record or of somebody else's."""
    for part in (*_READING, opening) if reads_only else _READING + _WRITING:
        yield from part.PAGES


__all__ = ["Page", "all_pages"]

"""One page: where it is, and what answers there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from starlette.responses import Response

from ompd.portal.visit import Visit


class Page(NamedTuple):
    """One page.

    Attributes
    ----------
    method : {"GET", "POST"}
        What changes something is a POST.
    path : str
        Below the door's.
    answer : callable
        Called on the thread of the record.
    upload : bool
        Whether its form may bring a file.
    """

    method: str
    path: str
    answer: Callable[[Visit], Response]
    upload: bool = False

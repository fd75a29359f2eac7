"""The window of a table: its hints, how many queries they still serve, and when it should end.

Which way a job goes and when a new window is due is decided here. All of it follows from what the
cloud knows as well: the layout, how many queries there were and when, what is unanswered.
"""

from __future__ import annotations

import math
from time import monotonic

from ompd.confidential import Confidential
from ompd.errors import WindowExhaustedError
from ompd.sealed.hints import Hints
from ompd.sealed.layout import Layout

# Seconds over which the rate of queries is a mean, and for which a new window is made ahead, with
# so many times the seconds that the last one took.
_MEAN = 60.0
_AHEAD = 10.0
_TIMES = 2.0
# Seconds after which a table that was asked for is not reckoned with any more.
_STALE = 30.0
# A new window is always due when this share of the old one is left, and never when more than
# that is.
_LEAST_LEFT = 8
_MOST_LEFT = 2
# More than this share of a window is too much for one job.
_CROWD = 4
# While a table is on its way, so many queries for every unread one can go through hints, up to
# this share of a window.
_MEANWHILE = 4


def whole_is_cheaper(layout: Layout, queries: int) -> bool:
    """Tell whether the whole table is better than so many queries in one job through hints.

    It is if it is no more bytes than their fetches and their share of the next window's download.
    It is, too, for more than a quarter of a window: people in one job who are alike fetch the same
    buckets each for themselves, and these chunks would run out of hints for the others.
    """
    if not layout.fetches or _CROWD * queries > layout.window:
        return True
    each = (layout.request_bytes + layout.answer_bytes) * layout.window + layout.table_bytes
    return queries * each >= layout.table_bytes * layout.window


class Window(Confidential):
    """What is left of a table's window. Its table's lock guards it.

    Parameters
    ----------
    layout : Layout
    hints : Hints, optional
        None where none were made yet, or they are lost.
    left : int
        Queries that they still serve.

    Attributes
    ----------
    hints : Hints or None
    left : int
    building : int
        How many threads make hints of a next window.
    """

    __slots__ = (
        "_asked_at", "_counted_at", "_layout", "_recent", "_took", "building", "hints", "left",
    )  # fmt: skip

    def __init__(self, layout: Layout, hints: Hints | None = None, left: int = 0) -> None:
        self._layout = layout
        self.hints = hints
        self.left = left
        self.building = 0
        self._asked_at: float | None = None
        self._took = 0.0
        self._recent = 0.0
        self._counted_at = monotonic()

    def __repr__(self) -> str:
        return f"<Window of {self.left} queries>"

    @property
    def coming(self) -> bool:
        """Whether there will be a new window soon."""
        if self.building:
            return True
        return self._asked_at is not None and monotonic() - self._asked_at < _STALE

    def begin(self, hints: Hints) -> None:
        """Use these hints from now on."""
        self.hints, self.left = hints, self._layout.window
        if self._asked_at is not None:
            self._took = monotonic() - self._asked_at
        self._asked_at = None

    def take(self, queries: int) -> Hints:
        """Count queries that use hints up.

        Raises
        ------
        WindowExhaustedError
            If fewer are left.
        """
        if self.hints is None or queries > self.left:
            raise WindowExhaustedError(
                f"queries: expected at most {self.left} in this window, got {queries}"
            )
        self.left -= queries
        return self.hints

    def count(self, queries: int) -> None:
        """Reckon with so many queries, whichever way they go, in the rate of use."""
        self._decay()
        self._recent += queries

    def end_if_spent(self) -> None:
        """End the window if it lost too many answers."""
        if self.hints is not None and self.hints.spent:
            self.left = 0

    def close(self) -> None:
        """Give up what has not come, and the hints."""
        if self.hints is not None:
            self.hints.abandon()
            self.end_if_spent()

    def clear(self) -> None:
        """Let go of the hints."""
        self.hints, self.left = None, 0

    def await_table(self) -> None:
        """Note that the whole table was asked for, to begin a window."""
        if not self.coming:
            self._asked_at = monotonic()

    def give_up_table(self) -> None:
        """Note that it will not come."""
        self._asked_at = None

    def prefers_whole(self, queries: int) -> bool:
        """Tell whether a job of so many queries should ask for the whole table.

        If that is cheaper, or too few queries are left. The window is not used up to its end while
        other requests are unread: the table is asked for a little before, and what is left serves
        those who come until it is there, so that they need not ask for it as well.
        """
        if whole_is_cheaper(self._layout, queries) or queries > self.left:
            return True
        if self.hints is None or self.coming:
            return False
        meanwhile = min(_MEANWHILE * self.hints.unread, self._layout.window // 4)
        return self.left - queries < meanwhile

    @property
    def due(self) -> bool:
        """Whether a new window should be asked for now, to be there before this one ends."""
        if not self._layout.fetches or self.coming:
            return False
        self._decay()
        ahead = math.ceil(self._recent / _MEAN * (_AHEAD + _TIMES * self._took))
        window = self._layout.window
        return self.left <= max(window // _LEAST_LEFT, min(window // _MOST_LEFT, ahead))

    def _decay(self) -> None:
        now = monotonic()
        self._recent *= math.exp((self._counted_at - now) / _MEAN)
        self._counted_at = now

"""How far a long piece of work is, told as one share that only grows."""

from __future__ import annotations

from collections.abc import Callable

#: Shares of the time of `publish` by which instances are learned from, K is chosen, the rule of a
#: `hardened` table is learned, and the table is hidden; the rest makes it durable. Round figures:
#: they differ by table and profile.
TRAINED, CHOSEN, RULED, HIDDEN = 0.6, 0.65, 0.7, 0.95

Report = Callable[[float], None]


class Stages:
    """Turns the shares of stages, which know nothing of each other, into the share of the whole.

    Parameters
    ----------
    report : callable, optional
        Called with the finished share of the whole from 0 to 1, each time larger than before.
    """

    def __init__(self, report: Report | None) -> None:
        self._report = report
        self._told = -1.0
        self._start = 0.0

    def tell(self, share: float) -> None:
        """Report a share of the whole, unless more was reported before."""
        if self._report is not None and share > self._told:
            self._told = share
            self._report(share)

    def until(self, end: float) -> Report:
        """Begin the stage that ends at this share of the whole; return what it reports to."""
        start, self._start = self._start, end
        self.tell(start)
        return lambda share: self.tell(start + (end - start) * min(1.0, max(0.0, share)))

"""What a server keeps of its queries: figures, and lines of the audit log."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from ompd.errors import OmpdError
from ompd.service.crew import Crew
from ompd.service.metrics import Metrics, Outcome
from ompd.stores import AuditLog
from ompd.stores.audit_lines import Event

#: Seconds for which events wait for others: each write waits for the disk, as do queries.
_MOMENT = 0.1


class Settled(NamedTuple):
    """A query that is over.

    Attributes
    ----------
    user : str
    disease : str
        Empty if nobody knows.
    outcome : str
        As `Metrics.asked` has it.
    """

    user: str
    disease: str
    outcome: Outcome


class Journal:
    """Counts, and writes down who asked for what kind of thing. For several threads.

    Parameters
    ----------
    metrics : Metrics
    audit : AuditLog or None
    log : logger
    """

    def __init__(self, metrics: Metrics, audit: AuditLog | None, log: FilteringBoundLogger) -> None:
        self.metrics = metrics
        self.log = log
        self._audit = audit
        self._lock = threading.Lock()
        # Events that could not be written down since the last ones that were.
        self._lost = 0

    def counted(self, settled: Iterable[Settled]) -> list[Event]:
        """Count queries; returns what the audit log is to tell of them."""
        now = time.time()
        told = list(settled)
        for outcome, count in Counter(each.outcome for each in told).items():
            self.metrics.asked(outcome, count)
        return [Event(now, user, "query", disease, outcome) for user, disease, outcome in told]

    def event(self, what: str, about: str, outcome: str) -> None:
        """Tell of what the hospital does by itself."""
        self.write([Event(time.time(), "", what, about, outcome)])

    def trouble(self, what: str, error: Exception, **fields: object) -> None:
        """Log that something went wrong, and that the server goes on."""
        self.log.error(what, error=error, **fields)

    def write(self, events: list[Event]) -> None:
        """Let the audit log tell of events, if there is one."""
        if self._audit is None or not events:
            return
        # One after the other, as the log has it anyway.
        with self._lock:
            gap = [self._gap()] if self._lost else []
            try:
                self._audit.append([*gap, *events])
            except OmpdError as error:
                # Patients are answered also when a disk is full.
                self._lost += len(events)
                self.trouble("audit log cannot be written", error)
            else:
                self._lost = 0
                self.metrics.audit_entries.set(self._audit.head.n)

    def _gap(self) -> Event:
        return Event(time.time(), "", "audit", f"{self._lost} events", "not written")


class Scribe:
    """Lets the audit log tell of what happens in one event loop: at once what happens in a moment.

    Nobody waits for it; what a killed process had not written yet is not in the log.

    Parameters
    ----------
    journal : Journal
    crew : Crew
        Where it waits for the disk.
    """

    def __init__(self, journal: Journal, crew: Crew) -> None:
        self._journal = journal
        self._crew = crew
        self._events: list[Event] = []
        self._noted = asyncio.Event()

    def note(self, *events: Event) -> None:
        """Have events written soon."""
        self._events += events
        self._noted.set()

    async def run(self) -> None:
        """Write until it is cancelled."""
        while True:
            await self._noted.wait()
            await asyncio.sleep(_MOMENT)
            self._noted.clear()
            events, self._events = self._events, []
            await self._crew.do(self._journal.write, events)

    def flush(self) -> None:
        """Write what waits, in the calling thread."""
        events, self._events = self._events, []
        self._journal.write(events)

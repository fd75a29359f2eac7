"""What a server writes down, and that it says what it could not."""

from __future__ import annotations

import json

from ompd.crypto import Identity
from ompd.service.journal import Journal, Settled
from ompd.service.logs import logger
from ompd.service.metrics import Metrics
from ompd.stores import AuditLog
from tests.faults import failing


def test_events_that_a_full_disk_takes_away_are_counted(tmp_path):
    with AuditLog(tmp_path / "log", Identity.generate("st-mary")) as audit:
        journal = Journal(Metrics(), audit, logger())
        journal.write(journal.counted([Settled("alice", "wbc", "answered")]))
        with failing(0, full=True):
            journal.write(journal.counted([Settled("alice", "wbc", "answered")] * 3))
            journal.event("renew", "wbc", "failed")
        journal.write(journal.counted([Settled("bob", "wbc", "refused")]))
        journal.write(journal.counted([Settled("bob", "", "refused")]))
    (file,) = (tmp_path / "log").glob("log-*")
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [
        (each["who"], each["what"], each["about"], each["outcome"])
        for each in events
        if each["line"] == "event" and each["what"] != "log"
    ] == [
        ("alice", "query", "wbc", "answered"),
        ("", "audit", "4 events", "not written"),
        ("bob", "query", "wbc", "refused"),
        ("bob", "query", "", "refused"),
    ]

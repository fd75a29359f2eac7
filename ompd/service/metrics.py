"""What a server counts, for Prometheus. No series names a user, a patient or a value."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

#: What comes of a query: a report; a signed refusal; a report that there is no answer; "busy, retry
#: after"; the answer of before, for a frame that came again.
Outcome = Literal["answered", "refused", "failed", "busy", "repeated"]
#: Where time goes: at the hospital waiting for the batch, verifying and forwarding it, waiting for
#: the cloud, reading the verdict and sealing reports, scoring blind queries; at the cloud
#: answering; receiving uploads.
Stage = Literal["wait", "forward", "cloud", "report", "blind", "answer", "store", "renew"]
#: What comes of a renewal, a merge or an upload.
Done = Literal["done", "failed"]

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters, gauges and histograms of one server, each with all its labels from the start.

    Attributes
    ----------
    waiting, open_jobs, audit_entries : Gauge
        Queries that wait for a batch; jobs at clouds; number of the last entry of the audit log.
    batches : Histogram
        Queries per batch.
    strangers : Counter
        Requests that got the one constant answer.
    """

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._queries = Counter("ompd_queries", "Queries.", ["outcome"], registry=registry)
        for outcome in get_args(Outcome):
            self._queries.labels(outcome)
        self._seconds = Histogram(
            "ompd_stage_seconds", "Where time goes.", ["stage"], registry=registry, buckets=_SECONDS
        )
        for stage in get_args(Stage):
            self._seconds.labels(stage)
        self._renewals = Counter("ompd_renewals", "New windows.", ["outcome"], registry=registry)
        self._merges = Counter("ompd_merges", "Merged tables.", ["outcome"], registry=registry)
        self._uploads = Counter("ompd_uploads", "Pieces of tables.", ["outcome"], registry=registry)
        for counter in (self._renewals, self._merges, self._uploads):
            for done in get_args(Done):
                counter.labels(done)
        self.batches = Histogram(
            "ompd_batch_queries", "Queries per batch.", registry=registry, buckets=_BATCHES
        )
        self.waiting = Gauge("ompd_waiting_queries", "Queries that wait.", registry=registry)
        self.open_jobs = Gauge("ompd_open_jobs", "Jobs at clouds.", registry=registry)
        self.audit_entries = Gauge("ompd_audit_entries", "Last audit entry.", registry=registry)
        self.strangers = Counter("ompd_strangers", "Requests refused alike.", registry=registry)

    def asked(self, outcome: Outcome, count: int = 1) -> None:
        """Count queries."""
        self._queries.labels(outcome).inc(count)

    def renewed(self, outcome: Done) -> None:
        """Count a new window."""
        self._renewals.labels(outcome).inc()

    def merged(self, outcome: Done) -> None:
        """Count a merged table."""
        self._merges.labels(outcome).inc()

    def uploaded(self, outcome: Done) -> None:
        """Count a piece of a table."""
        self._uploads.labels(outcome).inc()

    def took(self, stage: Stage, seconds: float) -> None:
        """Note how long a stage took."""
        self._seconds.labels(stage).observe(seconds)

    @contextmanager
    def timed(self, stage: Stage) -> Iterator[None]:
        """Note how long the block takes, also if it fails."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.took(stage, time.perf_counter() - begin)

    def figure(self, name: str, **labels: str) -> float:
        """Return the present value of one series, as ``figure("ompd_waiting_queries")``."""
        value = self._registry.get_sample_value(name, labels)
        return 0.0 if value is None else value

    def render(self) -> tuple[bytes, str]:
        """Return the body and the content type of an answer to ``GET /metrics``."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

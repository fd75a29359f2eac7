"""What stands in logs and metrics, and what never does."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from ompd.errors import StoreError
from ompd.service import logs
from ompd.service.metrics import Metrics

SECRET = "4711-patient"  # noqa: S105


def raised(error):
    try:
        raise error  # noqa: TRY301
    except Exception as caught:
        return caught


def test_fields_that_may_be_told(lines):
    log = logs.logger("st-mary")
    log.info("batch answered", batch=64, seconds=0.5, disease="wbc")
    log.debug("not told")
    (line,) = lines()
    assert line.pop("time").startswith("20")
    assert line == {
        "event": "batch answered", "level": "info", "party": "st-mary", "batch": 64,
        "seconds": 0.5, "disease": "wbc",
    }  # fmt: skip


def test_everything_else_is_left_out_and_told_by_its_name(lines):
    log = logs.logger()
    log.warning("odd", query=SECRET, disease=[SECRET], batch=SECRET, seconds=b"4711", who=1)
    log.warning("long", disease="x" * 1000, table="\ud800")
    odd, long = lines()
    assert odd["dropped"] == ["batch", "disease", "query", "seconds", "who"]
    assert SECRET not in json.dumps(odd)
    assert len(long["disease"]) == logs.MOST_TEXT
    assert long["table"] == "?"


def test_errors_have_no_text_but_this_librarys(lines):
    log = logs.logger()
    log.error("failed", error=raised(ValueError(f"could not convert {SECRET!r}")))
    log.error("failed", error=raised(StoreError("frames: is damaged")))
    log.error("failed", error=StoreError("frames: is damaged"))
    foreign, own, never = lines()
    assert (foreign["error"], foreign["places"]) == ("ValueError", own["places"])
    assert "reason" not in foreign
    assert foreign["places"][-1].endswith(" raised")
    assert (own["error"], own["reason"]) == ("StoreError", "frames: is damaged")
    assert "places" not in never


def test_other_libraries_say_where_and_not_what(lines):
    other = logging.getLogger("aiohttp.server")
    other.error("cannot read %s", SECRET)
    other.info("nothing")
    try:
        int(SECRET)
    except ValueError:
        other.exception(f"cannot read {SECRET}")
    plain, error = lines()
    assert plain["event"] == "message of another library"
    assert plain["library"].startswith("aiohttp.server test_logs.py:")
    assert error["error"] == "ValueError"
    assert SECRET not in json.dumps([plain, error])


def test_this_library_says_what_where_it_knows_of_no_server(lines):
    own = logging.getLogger("ompd.hospital")
    own.warning("cloud %s: no answer to %d queries: %s", "cloud", 3, StoreError("frames: is full"))
    own.warning("cloud %s: no answer: %s", "cloud", ValueError(SECRET))
    good, foreign = lines()
    assert good["event"] == "cloud cloud: no answer to 3 queries: frames: is full"
    assert foreign["event"] == "message of another library"
    assert SECRET not in json.dumps(foreign)


def test_a_log_that_cannot_be_written_stops_nobody(lines, monkeypatch):
    class Full(io.StringIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    logs.configure(Full())
    logs.logger().error("failed")
    closed = io.StringIO()
    closed.close()
    logs.configure(closed)
    logs.logger().error("failed")
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    logs.configure()
    logs.logger().error("failed")
    assert json.loads(stream.getvalue())["event"] == "failed"


def figures(metrics):
    body, form = metrics.render()
    assert form.startswith("text/plain")
    lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_every_series_is_there_from_the_start_and_none_of_a_person():
    found = figures(Metrics())
    for name in (
        *(f'ompd_queries_total{{outcome="{each}"}}'
          for each in ("answered", "refused", "failed", "busy", "repeated")),
        'ompd_stage_seconds_count{stage="report"}', 'ompd_renewals_total{outcome="failed"}',
        'ompd_merges_total{outcome="done"}', 'ompd_uploads_total{outcome="done"}',
        "ompd_batch_queries_count", "ompd_waiting_queries", "ompd_open_jobs",
        "ompd_strangers_total", "ompd_audit_entries",
    ):  # fmt: skip
        assert found[name] == 0, name
    assert found["process_open_fds"] > 0
    labels = {name.partition("{")[2].partition("=")[0] for name in found if "{" in name}
    assert labels <= {"outcome", "stage", "le", "generation", "implementation"}


def test_figures_are_counted():
    metrics = Metrics()
    metrics.asked("answered", 3)
    metrics.asked("busy")
    metrics.renewed("failed")
    metrics.merged("done")
    metrics.uploaded("done")
    metrics.strangers.inc()
    metrics.batches.observe(3)
    metrics.took("wait", 0.02)
    with pytest.raises(ValueError, match="told"), metrics.timed("report"):
        raise ValueError("told")
    found = figures(metrics)
    assert found['ompd_queries_total{outcome="answered"}'] == 3
    assert found['ompd_queries_total{outcome="busy"}'] == 1
    assert found['ompd_renewals_total{outcome="failed"}'] == 1
    assert found["ompd_strangers_total"] == 1
    assert found['ompd_batch_queries_bucket{le="2.0"}'] == 0
    assert found['ompd_batch_queries_bucket{le="4.0"}'] == 1
    assert found['ompd_stage_seconds_sum{stage="wait"}'] == 0.02
    assert found['ompd_stage_seconds_count{stage="report"}'] == 1
    # Two servers in one process count apart.
    assert figures(Metrics())['ompd_queries_total{outcome="answered"}'] == 0

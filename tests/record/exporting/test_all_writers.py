"""Whatever part of the package wrote it, a resource is valid, leaves, and comes back."""

from __future__ import annotations

import io
from datetime import UTC, datetime, time, timedelta

import pytest

import ompd
from ompd.record import event_resource, fhir, report_resources
from ompd.record.diary import Diary
from ompd.record.exporting import described, everything, pdf, summary, table
from ompd.record.importing import import_file
from ompd.record.questionnaire import Interview, load
from ompd.signals import Event

pytest.importorskip("fhir.resources")
pytest.importorskip("fpdf")
pytest.importorskip("icalendar")

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


@pytest.fixture
def written(record):
    """A record that questionnaire, diary, signals and a hospital wrote into."""
    interview = Interview.open(record, load("heart"), when=NOW)
    for place in range(4):
        question = interview.next(all=True)
        answer = question.options[0].id if question.options else question.low
        interview.answer(question.id, None if place == 1 else answer)
    interview.finish(when=NOW)
    diary = Diary(record)
    diary.remind("Walk", NOW, "FREQ=WEEKLY;BYDAY=MO,TH", zone="Europe/Berlin")
    diary.take("Metoprolol", 47.5, "mg", [time(8)], zone="Europe/Berlin", since=NOW)
    start = NOW.timestamp()
    record.add(event_resource(Event("tachycardia", start, start + 60, 140.0, "/min", "8867-4")))
    record.add(fhir.patient("Ann", gender="female"))
    diagnosis = ompd.Diagnosis(
        label="benign", advice="Nothing to do.", k=9, votes={"benign": 9, "malignant": 0},
        probabilities={"benign": 0.993, "malignant": 0.007}, certified=True, filled=0,
        profile="sealed", method="relief-mw",
    )  # fmt: skip
    record.put_all(report_resources(diagnosis, hospital="st-mary", disease="wbc", when=NOW))
    return record


def test_all_of_it_is_valid_and_leaves_and_comes_back(written, other):
    assert len(written) > 10
    for entry in written.list():
        resource = written.get(entry.reference)
        assert fhir.checked(resource.json, now=NOW + timedelta(days=1)) == resource
        assert all(described(resource, language).title for language in ("en", "de"))
    found = import_file(other, io.BytesIO(everything(written)))
    assert (found.added, found.skipped) == (len(written), {})
    assert everything(other) == everything(written)
    assert summary(other, now=NOW) == summary(written, now=NOW)
    for language in ("en", "de"):
        assert table(written, language=language).count(b"\r\n") > len(written)
        assert pdf(written, language=language, now=NOW).startswith(b"%PDF")


def test_what_print_says_of_them(written):
    pypdf = pytest.importorskip("pypdf")
    pages = pypdf.PdfReader(io.BytesIO(pdf(written, now=NOW))).pages
    text = "".join(page.extract_text() for page in pages)
    for part in ("Walk", "Metoprolol", "47.5 mg", "tachycardia", "benign: 99.3", "Nothing to do."):
        assert part in text

"""What a pulse showed, in the record and from there in a vector."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.record.events import event_resource
from ompd.schema import Feature, Schema
from ompd.signals import Analysis, Event

pytest.importorskip("fhir.resources")

START = 1_700_000_040.0 // 60 * 60


def test_from_a_pulse_to_a_vector(record):
    times = np.arange(0, 600, 0.02)
    # 150 beats a minute.
    values = np.exp(-(((times % 0.4 - 0.2) / 0.07) ** 2))
    analysis = Analysis(clock=lambda: START + 1e6)
    found = [*analysis.feed("pulse", START + times, values), *analysis.finish()]
    fast = [each for each in found if each.kind == "tachycardia"]
    assert fast
    resources = [event_resource(each) for each in found]
    assert record.add_all(resources).new == len(found)
    assert record.add_all([event_resource(each) for each in found]).same == len(found)
    entries = record.search("tachycardia")
    assert len(entries) == len(fast)
    assert entries[0].when.timestamp() == fast[-1].start
    rate = Feature("rate", "numeric", 30, 250, unit="/min", code="loinc|8867-4")
    told = record.vector(Schema((rate,), ("no", "yes")))
    assert told.values["rate"] == fast[-1].value


def test_what_has_no_code_is_a_value_itself():
    event = Event("inactivity", START, START + 3600, 60.0, "min", "")
    document = event_resource(event).document()
    assert float(document["valueQuantity"]["value"]) == 60
    assert "component" not in document
    assert document["effectivePeriod"]["end"] > document["effectivePeriod"]["start"]

"""What a resource says of itself: words, codes, its time; and what builders make."""

from __future__ import annotations

import copy
import math
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import ResourceError, UnitError
from ompd.record import fhir
from ompd.record.fhir.vocabulary import APPLE_TYPES
from tests.record.fhir.examples import EXAMPLES

pytest.importorskip("fhir.resources")
pytest.importorskip("ucumvert")

NOW = datetime(2024, 2, 3, 10, 15, tzinfo=timezone(timedelta(hours=1)))


def test_words_and_codes():
    found = fhir.note("Schwindel beim Aufstehen, ΑΣΘΜΑ, Ⅳ", NOW, title="Straße")
    # Case folded and compatible, so that both ways to write a word find it.
    for word in ("schwindel", "ασθμα", "iv", "strasse"):
        assert word in found.words
    assert fhir.words_of("STRASSE") == fhir.words_of("straße")
    assert len(found.words) == len(set(found.words))
    pressure = fhir.observation(
        "85354-9", None, when=NOW, parts=[("8480-6", 120, "mm[Hg]"), ("8462-4", 80, "mm[Hg]")]
    )
    assert pressure.codes[0] == (fhir.LOINC, "85354-9")
    assert {(fhir.LOINC, "8480-6"), (fhir.LOINC, "8462-4")} < set(pressure.codes)
    # Units are no codes of what it is about, and names of machines no words.
    assert "mm[Hg]" not in {code for _, code in pressure.codes}
    assert not {"final", "http", "loinc", "self", "patient"} & set(pressure.words)
    answered = fhir.answers("urn:x", [("q", "Pain?", ("urn:pain", "typical"))], NOW)
    assert ("urn:pain", "typical") in answered.codes


@pytest.mark.parametrize(
    ("kind", "when"),
    [
        ("Patient", None),
        ("Observation", datetime(2024, 2, 3, 9, 15, tzinfo=UTC)),
        ("Condition", datetime(2020, 1, 1, tzinfo=UTC)),
        ("MedicationStatement", datetime(2021, 3, 1, tzinfo=UTC)),
        ("Appointment", datetime(2030, 2, 3, 10, 15, tzinfo=UTC)),
        ("Immunization", datetime(2019, 1, 1, tzinfo=UTC)),
        ("RiskAssessment", None),
    ],
)
def test_when(kind, when):
    assert fhir.checked(EXAMPLES[kind]).when == when


def test_nothing_of_it_leaves_by_accident():
    found = fhir.note("secret", NOW)
    assert "secret" not in repr(found) + str(found) + f"{found!r}"
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret and cannot"):
            leave(found)
    document = found.document()
    document["status"] = "superseded"
    assert found.document()["status"] == "current"


CASES = [
    lambda: fhir.patient("Ann", born=date(1960, 5, 1), gender="female"),
    lambda: fhir.observation("8867-4", 72, "/min", NOW, device="Watch"),
    lambda: fhir.observation("8867-4", 72.5, "/min", NOW, until=NOW + timedelta(minutes=1)),
    lambda: fhir.observation("chest-pain", True, when=NOW, system=fhir.OWN, display="Chest pain"),
    lambda: fhir.observation("x", ("urn:y", "z"), when=NOW, system="urn:x"),
    lambda: fhir.observation("8867-4", 72, "/min"),
    lambda: fhir.event("tachycardia", NOW, NOW + timedelta(minutes=3), value=140, unit="/min"),
    lambda: fhir.event("sensor-off", NOW),
    lambda: fhir.condition("I25.1", "Coronary heart disease", date(2020, 1, 2)),
    lambda: fhir.condition(None, "Cough", NOW, clinical="resolved", ended=NOW),
    lambda: fhir.allergy("Peanut", category="food", criticality="high", when=date(1999, 1, 1)),
    lambda: fhir.medication("Metoprolol", code="C07AB02", dose=47.5, unit="mg", since=NOW),
    lambda: fhir.medication("Tea", status="stopped", until=date(2024, 1, 1), text="as you like"),
    lambda: fhir.medication("A", timing={"frequency": 2, "period": 1, "periodUnit": "d"}),
    lambda: fhir.answers(
        "urn:heart", [("a", "Age?", 63), ("b", "Pain?", None), ("c", "x", False), ("d", "y", "z")],
        NOW, unit_of={"a": "a"}, status="in-progress",
    ),
]  # fmt: skip


@pytest.mark.parametrize("build", CASES)
def test_what_is_built_is_right(build):
    found = build()
    assert fhir.checked(found.json) == found
    assert found.kind == "Patient" or found.document().get(
        "subject", found.document().get("patient")
    ) == {"reference": fhir.SELF}


@pytest.mark.parametrize(
    "build",
    [
        lambda: fhir.observation("8867-4", 72, "kg", NOW),
        lambda: fhir.observation("8867-4", 72, "bpm", NOW),
        lambda: fhir.observation("8867-3", 72, "/min", NOW),
        lambda: fhir.observation("8867-4", float("nan"), "/min", NOW),
        lambda: fhir.observation("8867-4", 72, "/min", NOW.replace(tzinfo=None)),
        lambda: fhir.observation("8867-4", 72, "/min", NOW, until=NOW - timedelta(days=3)),
        lambda: fhir.condition("I25.1", "x", clinical="on"),
        lambda: fhir.patient("Ann", gender="f"),
        lambda: fhir.medication("A", status="taken"),
        lambda: fhir.note("x" * fhir.MOST_BYTES, NOW),
        lambda: fhir.note("", NOW),
        lambda: fhir.answers("urn:heart", [("a", "Age?", 63)], NOW, status="done"),
    ],
)
def test_what_cannot_be_built(build):
    with pytest.raises(ResourceError):
        build()


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"]),
)
def test_moments_are_read_back(when, zone):
    aware = when.replace(tzinfo=ZoneInfo(zone))
    found = fhir.moment_of(fhir.written(aware))
    assert found is not None
    assert abs(found - aware) < timedelta(milliseconds=1)
    fhir.checked(
        {**EXAMPLES["Appointment"], "start": fhir.written(aware), "end": "2100-01-03T00:00:00Z"}
    )


def test_readings():
    [one] = fhir.readings(fhir.checked(EXAMPLES["Observation"]))
    assert (one.number, one.unit, one.coded, one.name) == (70.5, "kg", True, "Body weight")
    pressure = fhir.observation(
        "85354-9", None, when=NOW, parts=[("8480-6", 120, "mm[Hg]"), ("8462-4", 80, "mm[Hg]")]
    )
    assert [(each.codes[0][1], each.number) for each in fhir.readings(pressure)] == [
        ("8480-6", 120.0), ("8462-4", 80.0),
    ]  # fmt: skip
    assert fhir.readings(fhir.observation("x", ("urn:y", "z"), when=NOW, system="urn:x"))[
        0
    ].words == ("z",)
    assert fhir.readings(fhir.event("sensor-off", NOW))[0].number == 1
    for change in (
        {"status": "preliminary"},
        {"valueQuantity": {"value": 1, "unit": "kg", "comparator": "<"}},
    ):
        assert fhir.readings(fhir.checked({**EXAMPLES["Observation"], **change})) == []
    assert fhir.readings(fhir.checked(EXAMPLES["Condition"])) == []
    assert repr(one) == "<Reading>"


@pytest.mark.parametrize(
    ("value", "unit", "into", "expected"),
    [
        (98.6, "[degF]", "Cel", 37),
        (180, "[lb_av]", "kg", 81.6466266),
        (5, "10*3/uL", "10*9/L", 5),
        (12, "{steps}", "1", 12),
        (0.97, "1", "%", 97),
        (1, "m", "cm", 100),
        (70, "{beats}/min", "/min", 70),
        (1, "kcal", "kJ", 4.184),
    ],
)
def test_conversions(value, unit, into, expected):
    assert fhir.converted(value, unit, into) == pytest.approx(expected, rel=1e-9)
    assert fhir.converted(expected, into, unit) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(
    ("unit", "into"),
    [("kg", "cm"), ("kg", "foo"), ("bar bar", "kg"), ("", ""), ("x", "x"), ("mg/dL", "mmol/L")],
)
def test_conversions_that_are_none(unit, into):
    with pytest.raises(UnitError):
        fhir.converted(1, unit, into)


def test_what_is_measured_often_is_right():
    for code, measure in fhir.MEASURES.items():
        value = 1 if measure.unit else None
        fhir.observation(code, value, measure.unit or None, NOW)
    assert set(APPLE_TYPES.values()) <= set(fhir.MEASURES)
    assert [fhir.unit_of(each) for each in ("mmHg", "count/min", "°C", "kg", "florps")] == [
        "mm[Hg]", "/min", "Cel", "kg", None,
    ]  # fmt: skip


TEXT = st.text(max_size=30)
ANY_CODE = st.sampled_from(["8867-4", "8867-5", "29463-7", "x"]) | TEXT
ANY_UNIT = st.sampled_from(["kg", "/min", "mm[Hg]", "bpm", "1"]) | TEXT
NUMBER = st.floats() | st.integers() | st.decimals()
MOMENT = st.datetimes(timezones=st.sampled_from([UTC, ZoneInfo("Asia/Kathmandu"), None]))
BUILDS = st.one_of(
    st.builds(
        fhir.observation, ANY_CODE, st.booleans() | TEXT | st.tuples(TEXT, TEXT), st.none(), MOMENT,
        system=st.just(fhir.LOINC) | TEXT, display=st.none() | TEXT,
    ),
    st.builds(fhir.observation, ANY_CODE, NUMBER, ANY_UNIT, MOMENT, until=st.none() | MOMENT),
    st.builds(fhir.condition, st.none() | TEXT, TEXT, MOMENT, clinical=TEXT | st.just("active")),
    st.builds(fhir.medication, TEXT, dose=NUMBER, unit=ANY_UNIT, text=TEXT, since=MOMENT),
    st.builds(fhir.allergy, TEXT, code=st.none() | TEXT, category=st.just("food") | TEXT),
    st.builds(fhir.note, TEXT, MOMENT, title=st.none() | TEXT),
    st.builds(fhir.answers, TEXT, st.lists(st.tuples(TEXT, TEXT, NUMBER | TEXT)), MOMENT),
    st.builds(fhir.patient, TEXT, gender=st.just("male") | TEXT),
)  # fmt: skip


@given(st.data())
def test_whatever_is_written_is_valid(data):
    try:
        found = data.draw(BUILDS)
    except ResourceError:
        return
    assert fhir.checked(found.json) == found == fhir.checked(found.document())
    assert all(math.isfinite(one.number or 0) for one in fhir.readings(found))


PLANTED = "plantedvalue93417"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: fhir.observation("8867-4", 72, "/min", PLANTED),
        lambda: fhir.observation("8867-4", 72, PLANTED, NOW),
        lambda: fhir.observation(PLANTED, 72, "/min", NOW),
        lambda: fhir.patient(PLANTED, born=PLANTED),
        lambda: fhir.patient(PLANTED, gender=PLANTED),
        lambda: fhir.condition(PLANTED, PLANTED, NOW, clinical=PLANTED),
        lambda: fhir.converted(PLANTED, "kg", "kg"),
        lambda: fhir.converted(1, PLANTED, "kg"),
    ],
)
def test_texts_in_wrong_places_are_typed_errors_without_them(wrong):
    with pytest.raises((ResourceError, UnitError)) as caught:
        wrong()
    error = caught.value
    while error is not None:
        assert PLANTED not in f"{error!r}"
        error = error.__cause__ or error.__context__

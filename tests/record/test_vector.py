"""From resources to features, and from a pre-diagnosis back to resources."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ompd
from ompd import Feature, Schema, datasets
from ompd.errors import RecordError
from ompd.record.fhir import SELF, SNOMED, checked, condition, observation, patient
from ompd.record.reports import NO_DIAGNOSIS, report_resources
from ompd.record.vector import vector

pytest.importorskip("fhir.resources")

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def feature(name="x", kind="numeric", low=0, high=500, **more):
    return Feature(name, kind, low, high, **more)


def told(record, *features, at=NOON + timedelta(days=300)):
    return vector(record, Schema(features, ("no", "yes")), at)


def value(record, wanted, **options):
    found = told(record, wanted, **options)
    assert (found.values["x"] is None) == ("x" in found.gaps) == ("x" not in found.sources)
    return found.gaps["x"] if found.gaps else found.values["x"]


@pytest.mark.parametrize(
    ("code", "given", "unit", "wanted", "expected"),
    [
        ("8480-6", 120, "mm[Hg]", "mm[Hg]", 120),
        ("8480-6", 120, "mm[Hg]", "mmHg", 120),
        ("29463-7", 150, "[lb_av]", "kg", 150 * Fraction(45359237, 10**8)),
        ("8302-2", 1.8, "m", "cm", 180),
        ("8310-5", 99.5, "[degF]", "Cel", Fraction(675, 18)),
        ("8867-4", 90, "/min", "bpm", 90),
        ("2345-7", 90, "mg/dL", "g/L", Fraction(9, 10)),
        ("2345-7", 90, "mg/dL", "mmol/L", "dimension"),
        # 6.5 % by the formula of IFCC and NGSP, and not 4.8.
        ("59261-8", 48, "mmol/mol", "%", "dimension"),
        ("59261-8", 48, "mmol/mol", "umol/mmol", 48),
        # Of two charges, so that these are 2 mmol/L.
        ("2000-8", 4, "meq/L", "mmol/L", "dimension"),
        ("2951-2", 140, "meq/L", "mmol/L", 140),
        ("2951-2", 140, "mmol/L", "meq/L", 140),
        ("8867-4", 90, "/min", "", "the table has none"),
        ("8867-4", 90, "/min", "wobbles", "not known"),
        ("8867-4", 900, "/min", "/min", "not from 0 to 500"),
    ],
)
def test_units(record, code, given, unit, wanted, expected):
    record.add(observation(code, given, unit, NOON))
    found = value(record, feature(code=f"loinc|{code}", unit=wanted))
    if isinstance(expected, str):
        assert expected in found
    else:
        assert found == pytest.approx(float(expected), rel=1e-12)


def test_whole_numbers_stay_whole(record):
    record.add(observation("8302-2", 1.8, "m", NOON))
    record.add(observation("8867-4", 70.5, "/min", NOON))
    grade = feature(kind="ordinal", code="loinc|8302-2", unit="cm")
    assert value(record, grade) == 180
    assert "whole" in value(record, feature(kind="ordinal", code="loinc|8867-4", unit="/min"))


CODES = ("8867-4", "8310-5")
taken = st.tuples(
    st.sampled_from(CODES),
    st.integers(30, 60),
    st.integers(0, 9),
    st.sampled_from(["final", "amended", "preliminary", "entered-in-error"]),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(taken, max_size=8, unique_by=lambda each: each[::2]), st.integers(0, 10))
def test_the_newest_final_one_before_a_time_counts(tmp_path_factory, ann, made, before):
    folder = tmp_path_factory.mktemp("r") / "r"
    at = NOON + timedelta(days=before)
    with ompd.record.Record.create(folder, ann) as record:
        for number, (code, height, day, status) in enumerate(made):
            unit = "/min" if code == CODES[0] else "Cel"
            base = observation(code, height, unit, NOON + timedelta(days=day))
            record.add(checked(base.document() | {"status": status, "id": f"o{number}"}))
        found = told(
            record,
            *(
                Feature(code, "numeric", 0, 100, unit=unit, code=f"loinc|{code}")
                for code, unit in zip(CODES, ("/min", "Cel"), strict=True)
            ),
            at=at,
        )
    for code in CODES:
        fitting = [
            (day, height)
            for each, height, day, status in made
            if each == code and day < before and status in {"final", "amended"}
        ]
        assert found.values[code] == (max(fitting)[1] if fitting else None)
        if fitting:
            assert found.sources[code].when == NOON + timedelta(days=max(fitting)[0])


def test_levels_are_matched_by_code_and_text(record):
    pain = "urn:ompd:test"
    levels = ("typical", "atypical", "none at all")
    wanted = feature(kind="nominal", high=2, levels=levels, code=f"{pain}|pain")

    def say(answer, name):
        record.put_all([observation("pain", answer, None, NOON, system=pain, id=name)])

    for answer, expected in (
        ((pain, "atypical"), "atypical"),
        ("Typical", "typical"),
        ("none at all", "none at all"),
        ("other", "the newest one has none of the table's values"),
    ):
        say(answer, "p")
        assert value(record, wanted) == expected
    yes = feature(kind="nominal", high=1, levels=("False", "True"), code=f"{pain}|pain")
    say(True, "p")
    assert value(record, yes) is True
    say(False, "p")
    assert value(record, yes) is False
    assert value(record, feature(high=1, code=f"{pain}|pain")) == 0


def test_parts_of_an_observation(record):
    parts = [("8480-6", 130, "mm[Hg]"), ("8462-4", 85, "mm[Hg]")]
    record.add(observation("85354-9", None, None, NOON, parts=parts))
    for code, expected in (("8480-6", 130), ("8462-4", 85)):
        assert value(record, feature(code=f"loinc|{code}", unit="mm[Hg]")) == expected
    assert "no value" in value(record, feature(code="loinc|85354-9"))


def test_bounds_are_no_values(record):
    base = observation("8867-4", 70, "/min", NOON).document()
    base["valueQuantity"]["comparator"] = "<"
    record.add(checked(base))
    record.add(observation("8867-4", 60, "/min", NOON - timedelta(days=1)))
    assert "no value" in value(record, feature(code="loinc|8867-4", unit="/min"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, True),
        ({"clinical": "resolved"}, False),
        ({"clinical": "relapse"}, True),
        ({"verification": "refuted"}, False),
        ({"verification": "provisional"}, True),
        ({"verification": "differential"}, "none before"),
    ],
)
def test_diagnoses_are_true_or_false(record, options, expected):
    record.add(condition("73211009", "diabetes", NOON, system=SNOMED, **options))
    yes = feature(kind="nominal", high=1, levels=("False", "True"), code="snomed|73211009")
    assert "none before" in value(record, yes, at=NOON)
    if isinstance(expected, str):
        assert expected in value(record, yes)
        return
    assert value(record, yes) is expected
    assert value(record, feature(high=1, code="snomed|73211009")) == expected
    assert "true or false" in value(record, feature(code="snomed|73211009"))


def test_diagnoses_that_were_withdrawn_ended_or_are_of_something_else_do_not_count(record):
    yes = feature(kind="nominal", high=1, levels=("False", "True"), code="snomed|73211009")
    later = [NOON + timedelta(days=day) for day in range(5)]
    record.add(condition("73211009", "diabetes", later[0], system=SNOMED))
    wrong = condition("73211009", "diabetes", later[1], system=SNOMED).document()
    wrong.pop("clinicalStatus", None)
    wrong["verificationStatus"] = {
        "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
            "code": "entered-in-error",
        }]
    }  # fmt: skip
    record.add(checked(wrong | {"id": "wrong"}))
    # It only names diabetes as a reason for something else, as an answer does.
    other = condition("38341003", "hypertension", later[2], system=SNOMED).document()
    other["evidence"] = [{"code": [{"coding": [{"system": SNOMED, "code": "73211009"}]}]}]
    record.add(checked(other | {"id": "other"}))
    record.add(observation("pain", (SNOMED, "73211009"), None, later[2], system="urn:test"))
    assert value(record, yes) is True
    ended = condition("73211009", "diabetes", later[3], system=SNOMED).document()
    ended.pop("clinicalStatus", None)
    ended["abatementDateTime"] = later[4].isoformat()
    record.add(checked(ended | {"id": "ended"}))
    assert value(record, yes) is False


def test_age_and_sex_of_the_person(record):
    age = feature(code="loinc|30525-0", unit="years")
    sex = feature(kind="nominal", high=1, levels=("Female", "Male"), code="loinc|46098-0")
    assert "none before" in value(record, age)
    record.add(patient("Ann", born=date(1980, 5, 2), gender="female"))
    assert value(record, age, at=NOON) == 43
    assert value(record, age, at=NOON + timedelta(days=1)) == 44
    assert value(record, sex) == "Female"
    # Who was observed to be 50 grows older.
    record.add(observation("30525-0", 50, "a", NOON))
    assert value(record, age) == 44
    record.remove(SELF)
    assert value(record, age) == 50
    assert "none before" in value(record, sex)


def test_what_no_code_is_named_for_is_a_gap(record):
    found = told(record, feature("a"), feature("b", code="loinc|8867-4"))
    assert list(found.values) == ["a", "b"] == sorted(found.gaps)
    assert repr(found) == "<Vector>"
    with pytest.raises(RecordError, match="zone"):
        vector(record, Schema((feature(),), ("a", "b")), datetime(2024, 1, 1))


def test_from_record_to_hospital_and_back(record, rng):
    """The way of the product: a catalogue, a vector, an answer, a report that is found again."""
    schema = Schema(
        (
            Feature("rate", "numeric", 30, 220, unit="/min", code="loinc|8867-4"),
            Feature("weight", "numeric", 30, 200, unit="kg", code="loinc|29463-7"),
            Feature("smoker", "nominal", 0, 1, levels=("False", "True"), missing="level",
                    code="loinc|72166-2"),
        ),
        ("healthy", "tachycardic"),
    )  # fmt: skip
    rates = np.concatenate([rng.uniform(50, 80, 12), rng.uniform(130, 180, 12)])
    rows = np.column_stack([rates, rng.uniform(50, 100, 24), rng.integers(0, 2, 24)])
    labels = ["healthy"] * 12 + ["tachycardic"] * 12
    hospital = ompd.Hospital.create("st-mary")
    cloud, user = ompd.Cloud.create("cloud"), ompd.User.create("ann")
    ompd.introduce(hospital, cloud, user)
    table = datasets.Dataset.from_arrays(schema, rows, labels)
    hospital.deliver(hospital.publish("heart", table, cloud="cloud", k=3), cloud.store)
    user.learn(hospital.catalogue())
    record.add(observation("8867-4", 150, "/min", NOON))
    record.add(observation("29463-7", 150, "[lb_av]", NOON))
    found = record.vector(user.diseases("st-mary")["heart"].schema)
    assert list(found.gaps) == ["smoker"]
    query = user.ask("st-mary", "heart", found.values)
    answer = hospital.report(cloud.answer(hospital.forward(query)))
    (diagnosis,) = user.read(answer)
    assert diagnosis.label == "tachycardic"
    assert diagnosis.filled == 1
    report, risk = report_resources(
        diagnosis, hospital="st-mary", disease="heart", basis=found.basis
    )
    assert record.add_all([report, risk]).new == 2
    assert {entry.kind for entry in record.search("tachycardic")} == {
        "DiagnosticReport",
        "RiskAssessment",
    }
    document = record.get(f"RiskAssessment/{risk.id}").document()
    assert document["status"] == "preliminary"
    assert document["parent"]["reference"] == f"DiagnosticReport/{report.id}"
    assert {each["reference"] for each in document["basis"]} == set(found.basis)
    chances = {
        each["outcome"]["text"]: float(each["probabilityDecimal"])
        for each in document["prediction"]
    }
    assert chances == {
        name: round(100 * chance, 2) for name, chance in diagnosis.probabilities.items()
    }
    text = report.document()["conclusion"]
    assert text.startswith("tachycardic: ")
    assert NO_DIAGNOSIS in text


def diagnosis_of(**changes):
    known = {
        "label": "yes", "advice": "see a doctor", "k": 0, "votes": {"no": 0, "yes": 0},
        "probabilities": {"no": 0.0004, "yes": 0.9996}, "certified": True, "profile": "blind",
        "method": "evidence",
    }  # fmt: skip
    return ompd.Diagnosis(**(known | changes))


def test_reports_of_a_hospital_that_does_not_see_the_query():
    report, risk = report_resources(
        diagnosis_of(), hospital="st-mary", disease="flu", when=NOON, title="Flu?"
    )
    document = risk.document()
    assert document["method"]["text"] == "ompd evidence"
    assert [each["rationale"] for each in document["prediction"]] == ["< 0.1 %", "> 99.9 %"]
    assert document["note"] == [{"text": "see a doctor"}]
    assert document["subject"]["reference"] == SELF
    assert report.when == risk.when == NOON
    assert report.document()["code"]["text"] == "Flu?"


def test_errors_are_no_reports():
    with pytest.raises(RecordError):
        report_resources(diagnosis_of(error="no"), hospital="h", disease="flu")
    with pytest.raises(RecordError, match="zone"):
        report_resources(diagnosis_of(), hospital="h", disease="flu", when=datetime(2024, 1, 1))

"""What leaves a record is valid, can be read back, and says all that it says it does."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.errors import ResourceError
from ompd.record import Entry, fhir, questionnaire
from ompd.record.exporting import described, everything, pdf, summary, table
from ompd.record.importing import import_file
from tests.record.fhir.examples import EXAMPLES, TERMS, concept
from tests.record.files import Box
from tests.record.people import observation as unchecked

pytest.importorskip("fhir.resources")
pytest.importorskip("ucumvert")

NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
NOTE = "Felt dizzy. Привет, γειά σου, Łódź & <b>bold</b>"


def ago(days):
    return NOW - timedelta(days=days)


@pytest.fixture
def full(record):
    beats = [fhir.observation("8867-4", 60 + n, "/min", ago(n)) for n in range(9)]
    pressure = fhir.observation(
        "85354-9", None, when=ago(3), parts=[("8480-6", 128, "mm[Hg]"), ("8462-4", 82, "mm[Hg]")]
    )
    old = fhir.observation("29463-7", 70.5, "kg", ago(300))
    new = fhir.observation("29463-7", 71, "kg", ago(30))
    risk = EXAMPLES["RiskAssessment"] | {"basis": [{"reference": f"Observation/{beats[8].id}"}]}
    report = EXAMPLES["DiagnosticReport"] | {
        "conclusion": "No sign of it.",
        "result": [{"reference": "RiskAssessment/risk"}, {"reference": "Observation/elsewhere"}],
    }
    record.put_all(
        [
            fhir.patient("Ann Ñandú Μαρία", born=date(1960, 5, 1), gender="female"),
            *(*beats, pressure, old, new),
            fhir.observation("2093-3", 210, "mg/dL", ago(40)),
            fhir.condition("I25.1", "Coronary <heart> disease & more", date(2020, 1, 2)),
            fhir.condition(None, "Cough", ago(400), clinical="resolved", ended=ago(390)),
            fhir.allergy("Peanut", criticality="high"),
            fhir.medication("Metoprolol", code="C07AB02", dose=47.5, unit="mg", text="mornings"),
            fhir.note(NOTE, ago(2), title="=1+1"),
            fhir.answers("urn:heart", [("a", "Age?", 63), ("b", "Pain?", None)], ago(1)),
            fhir.event(
                "tachycardia", ago(5), ago(5) + timedelta(minutes=4), value=140, unit="/min"
            ),
            *(fhir.checked(each) for each in (risk, report)),
            *(fhir.checked(EXAMPLES[kind]) for kind in ("Immunization", "Procedure", "CarePlan")),
        ]
    )
    return record


def load(record, source):
    return import_file(record, io.BytesIO(source), now=NOW)


def content(record):
    return {entry.reference: record.get(entry.reference) for entry in record.list()}


def test_everything_is_read_back_equal(full, other):
    source = everything(full)
    found = load(other, source)
    assert (found.added, found.skipped) == (len(full), {})
    assert content(other) == content(full)
    assert everything(other) == source
    assert load(full, source).same == len(full)
    assert fhir.checked(source, now=NOW).kind == "Bundle"


def test_a_summary_is_read_back_equal(full, other):
    source = summary(full, now=NOW)
    found = load(other, source)
    assert found.skipped == {"Composition": 1}
    before, after = content(full), content(other)
    assert after == {reference: before[reference] for reference in after}
    left_out = {reference.partition("/")[0] for reference in set(before) - set(after)}
    assert left_out == {"Observation", "DocumentReference", "QuestionnaireResponse"}
    # The same document again, from the record that was made of it.
    assert summary(other, now=NOW) == source
    assert summary(full, now=NOW) == source
    assert load(full, source).same == len(after)


def parts(source):
    document = json.loads(source)
    entries = {each["fullUrl"]: each["resource"] for each in document["entry"]}
    composition = document["entry"][0]["resource"]
    return document, entries, composition


def test_a_summary_is_as_the_guide_has_it(full):
    source = summary(full, language="de", now=NOW)
    fhir.checked(source, now=NOW)
    document, entries, composition = parts(source)
    assert document["type"] == "document"
    assert composition["type"] == {"coding": [{"system": fhir.LOINC, "code": "60591-5"}]}
    sections = {each["code"]["coding"][0]["code"]: each for each in composition["section"]}
    # Those that are required come first.
    assert list(sections)[:3] == ["11450-4", "48765-2", "10160-0"]
    kinds = {
        code: [entries[each["reference"]]["resourceType"] for each in section["entry"]]
        for code, section in sections.items()
    }
    assert kinds["11450-4"] == kinds["11348-0"] == ["Condition"]
    assert kinds["10160-0"] == ["MedicationStatement"]
    assert kinds["30954-2"] == ["Observation", "DiagnosticReport"]
    # Newest five beats, two weights, one pressure.
    assert len(kinds["8716-3"]) == 8
    assert sections["11450-4"]["title"] == "Probleme"
    for section in sections.values():
        ET.fromstring(section["text"]["div"])  # noqa: S314
    # Every reference is to an entry, but for what the record does not have either.
    loose = set(references(document)) - set(entries)
    assert len(loose) == 1
    assert entries[composition["subject"]["reference"]]["name"] == [{"text": "Ann Ñandú Μαρία"}]
    assert len({each["fullUrl"] for each in document["entry"]}) == len(document["entry"])
    # What a risk was computed from is with it, though it is not among the newest.
    basis = next(each for each in entries.values() if each["resourceType"] == "RiskAssessment")
    assert entries[basis["basis"][0]["reference"]]["valueQuantity"]["value"] == 68


def references(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "reference" and isinstance(inner, str):
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_nothing_known_is_said_and_not_read_back(record, other):
    source = summary(record, now=NOW)
    _, entries, composition = parts(source)
    codes = []
    for section in composition["section"]:
        [entry] = section["entry"]
        resource = entries[entry["reference"]]
        code = resource.get("code") or resource["medicationCodeableConcept"]
        codes.append(code["coding"][0]["code"])
    assert codes == ["no-problem-info", "no-allergy-info", "no-medication-info"]
    patient = entries[composition["subject"]["reference"]]
    assert patient["_birthDate"]["extension"][0]["valueCode"] == "unknown"
    found = load(other, source)
    assert (found.added, found.skipped["says that nothing is known"]) == (0, 4)
    record.add(fhir.patient(gender="male"))
    assert load(other, summary(record, now=NOW)).added == 1
    assert content(other) == content(record)


def test_what_was_entered_in_error_is_in_no_summary(full):
    wrong = EXAMPLES["Procedure"] | {"id": "wrong", "status": "entered-in-error"}
    full.add(fhir.checked(wrong))
    assert b"wrong" not in summary(full, now=NOW)
    assert b'"wrong"' in everything(full)


def test_private_notes_and_answers_are_in_no_summary_though_something_is_from_them(record):
    interview = questionnaire.Interview.begin(record, questionnaire.load("heart"))
    interview.answer("chest_pain", "typical")
    interview.finish()
    note = fhir.note("Nobody else shall read this.", ago(2))
    seen = fhir.observation("8867-4", 61, "/min", ago(1)).document()
    record.add_all(
        [
            note,
            fhir.checked(seen | {"derivedFrom": [{"reference": f"DocumentReference/{note.id}"}]}),
        ]
    )
    source = summary(record)
    kinds = {each["resourceType"] for each in parts(source)[1].values()}
    assert {"Observation", "RiskAssessment"} < kinds
    assert not kinds & {"QuestionnaireResponse", "DocumentReference"}
    assert b"Nobody else" not in source


def test_what_was_withdrawn_hides_nothing_and_is_no_problem(record):
    """More withdrawn values than a summary has of a code; diagnoses that are none."""
    ver = "http://terminology.hl7.org/CodeSystem/condition-ver-status"

    def withdrawn(resource, **more):
        return fhir.checked(resource.document() | more)

    beats = [fhir.observation("8867-4", 60 + n, "/min", ago(n)) for n in range(8)]
    record.add_all([withdrawn(each, status="entered-in-error") for each in beats[:6]] + beats[6:])
    for number, code in enumerate(("entered-in-error", "refuted")):
        document = fhir.condition("I25.1", f"Wrong{number}", ago(9)).document()
        document.pop("clinicalStatus", None)
        document["verificationStatus"] = {"coding": [{"system": ver, "code": code}]}
        record.add(fhir.checked(document))
    over = fhir.condition("J18.9", "Pneumonia", ago(90)).document()
    over.pop("clinicalStatus", None)
    record.add(fhir.checked(over | {"abatementDateTime": "2024-12-01"}))
    _, entries, composition = parts(summary(record, now=NOW))
    values = {
        float(each["valueQuantity"]["value"])
        for each in entries.values()
        if each["resourceType"] == "Observation"
    }
    assert values == {66, 67}
    text = {each["title"]: each["text"]["div"] for each in composition["section"]}
    assert "Wrong" not in "".join(text.values())
    assert "Pneumonia" in text["Past illness"]
    assert "Pneumonia" not in text["Problems"]


def test_what_was_never_checked_does_not_leave(record):
    record.add(unchecked("x", status="finall"))
    for export in (everything, summary):
        with pytest.raises(ResourceError, match=r"status: expected one of"):
            export(record)


def rows_of(source):
    return list(csv.DictReader(io.StringIO(source.decode("utf-8-sig"))))


def test_a_table(full):
    rows = rows_of(table(full))
    values = {
        (row["code"], row["value"], row["unit"]) for row in rows if row["kind"] == "Observation"
    }
    assert {
        ("29463-7", "70.5", "kg"), ("8480-6", "128", "mmHg"), ("8462-4", "82", "mmHg"),
        ("8867-4", "68", "/min"), ("tachycardia", "140", "/min"),
    } <= values  # fmt: skip
    assert {row["id"] for row in rows} == {
        reference.partition("/")[2] for reference in content(full)
    }
    [note] = [row for row in rows if row["kind"] == "DocumentReference"]
    # A spreadsheet would run it.
    assert (note["name"], note["text"]) == ("'=1+1", NOTE)
    dates = [row["when"] for row in rows if row["when"]]
    assert dates == sorted(dates, reverse=True)
    german = {
        row["name"]
        for row in csv.DictReader(io.StringIO(table(full, language="de").decode("utf-8-sig")))
    }
    assert {"Puls", "Körpergewicht", "Antworten"} <= german


def text_of(document):
    pypdf = pytest.importorskip("pypdf")
    pages = pypdf.PdfReader(io.BytesIO(document)).pages
    return "".join(page.extract_text() for page in pages)


def test_print(full):
    pytest.importorskip("fpdf")
    long = "".join(f"Line {n} of a long note.\n" for n in range(150))
    full.add(fhir.note(long, ago(6)))
    document = pdf(full, now=NOW)
    assert document == pdf(full, now=NOW)
    text = text_of(document)
    for part in (
        "Health record of Ann Ñandú Μαρία", "born 1960-05-01, female", "Printed on 2025-01-01",
        "Coronary <heart> disease & more", "128/82 mmHg", "47.5 mg, mornings", "No sign of it.",
        "Heart disease: 0.25 %", "Pain?: without an answer", NOTE, "no diagnosis",
    ):  # fmt: skip
        assert part in text
    assert all(f"Line {n} of a long note." in text for n in range(150))
    german = text_of(pdf(full, language="de", now=NOW))
    assert "Gesundheitsakte" in german
    assert "geboren 1960-05-01, weiblich" in german


@pytest.mark.parametrize("boxes", [True, False])
def test_letters_that_no_font_has_are_not_lost(record, monkeypatch, boxes):
    pytest.importorskip("fpdf")
    record.add(fhir.note("你好, नमस्ते", NOW))
    if not boxes:
        monkeypatch.setattr(Path, "is_file", lambda path: "LastResort" not in path.name)
    text = text_of(pdf(record, now=NOW))
    if boxes and "[" not in text:
        assert "你好" in text
        assert "नमस्ते" in text
    else:
        assert "[U+4F60][U+597D], [U+0928]" in text


def test_a_medicine_that_is_named_by_reference(record):
    medicine = {"resourceType": "Medication", "id": "m", "code": {"text": "Anastrozole"}}
    taken = {
        "resourceType": "MedicationStatement",
        "id": "taken",
        "status": "active",
        "medicationReference": {"reference": "Medication/m"},
        "subject": {"reference": fhir.SELF},
    }
    record.put_all([fhir.checked(medicine), fhir.checked(taken)])
    resource = record.get("MedicationStatement/taken")
    assert described(resource, "en", record) == ("Anastrozole", "active")
    assert described(resource).title == "MedicationStatement"
    assert b"Anastrozole" in summary(record, now=NOW)
    assert table(record).count(b"Anastrozole") == 2


def test_what_only_the_person_says_is_told_from_what_was_found():
    said = fhir.condition("I20.9", "Angina", ago(3), verification="unconfirmed")
    assert described(said, "en")[1] == "active, unconfirmed"
    assert described(said, "de")[1] == "aktiv, nicht bestätigt"
    found = fhir.condition("I20.9", "Angina", ago(3), verification="confirmed")
    assert described(found, "en")[1] == "active"


def test_an_empty_record_is_printed(record):
    pytest.importorskip("fpdf")
    assert text_of(pdf(record, now=NOW)).count("Nothing is recorded.") == 3


@pytest.mark.parametrize(
    ("resource", "title", "value"),
    [
        (fhir.observation("8310-5", 37.5, "Cel", NOW), "Körpertemperatur", "37,5 °C"),
        (fhir.observation("55423-8", 531, "{steps}", NOW), "Schritte", "531 steps"),
        (fhir.observation("x", True, when=NOW, system="urn:x", display="Husten"), "Husten", "ja"),
        (fhir.observation("x", ("urn:y", "z"), when=NOW, system="urn:x"), "x", "z"),
        (fhir.observation("x", 3, "1", NOW, system="urn:x"), "x", "3"),
        (fhir.condition("I25.1", "KHK", clinical="resolved"), "KHK", "abgeklungen"),
        (fhir.allergy("Nuss", criticality="low"), "Nuss", "aktiv, geringes Risiko"),
        (fhir.medication("Ass", dose=100, unit="mg", status="stopped"), "Ass", "beendet, 100 mg"),
        (fhir.note("Hallo", NOW), "Notiz", "Hallo"),
        (
            fhir.checked(
                EXAMPLES["Observation"] | {"valueQuantity": {"value": 5, "comparator": "<"}}
            ),
            "Körpergewicht",
            "< 5",
        ),
        (fhir.checked(EXAMPLES["Patient"]), "Ann Nobody", ""),
        (fhir.checked(EXAMPLES["Appointment"]), "Appointment", "booked"),
        (
            fhir.checked(EXAMPLES["Encounter"] | {"type": [concept(f"{TERMS}x", "checkup")]}),
            "checkup",
            "finished",
        ),
    ],
)
def test_words(resource, title, value):
    assert described(resource, "de") == (title, value)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_kind_has_a_title(kind):
    assert all(described(fhir.checked(EXAMPLES[kind]), each).title for each in ("en", "de"))


@settings(max_examples=25)
@given(text=st.text(min_size=1, max_size=60), title=st.text(min_size=1, max_size=30))
def test_any_text_leaves_and_comes_back(text, title):
    box = Listed()
    try:
        box.put_all([fhir.note(text, ago(1), title=title), fhir.condition(None, text, ago(2))])
    except ResourceError:
        # One that is blank.
        return
    document = summary(box, now=NOW)
    fhir.checked(document, now=NOW)
    for section in parts(document)[2]["section"]:
        ET.fromstring(section["text"]["div"])  # noqa: S314
    again = Listed()
    load(again, everything(box))
    assert again == box
    rows = rows_of(table(box))
    assert [len(row) for row in rows] == [9, 9]
    for row in rows:
        assert not row["name"].startswith(("=", "+", "-", "@", "\t", "\r"))


def test_what_takes_no_room_takes_no_time(record):
    """The time of a line grows with its square, and a line ends where it is full."""
    pytest.importorskip("fpdf")
    for place, sign in enumerate(" \u0301\u200b\u202a\t\n"):
        record.add(fhir.condition(None, f"a b{sign * 100_000}c", ago(place + 1)))
    text = text_of(pdf(record, now=NOW))
    assert text.count("a b") == 6
    assert "a b\u0301\u0301" in text


def test_signs_that_do_not_print_are_no_trouble(record):
    pytest.importorskip("fpdf")
    strange = "a\0b\x07c\u202ed\ufeffe\tf\r\ng\u2028h\x85**bold** __i__ <b>\u0301"
    record.put_all([fhir.note(strange, ago(1), title=strange), fhir.condition(None, strange)])
    assert "**bold** __i__ <b>" in text_of(pdf(record, now=NOW))
    fhir.checked(summary(record, now=NOW), now=NOW)
    assert len(rows_of(table(record))) == 2


class Listed(Box):
    """With entries, as a record has them."""

    def list(self):
        return [Entry(each.kind, each.id, 1, each.when, each.codes, 1) for each in self.values()]

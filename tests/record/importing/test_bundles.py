"""Bundles of other systems enter whole or not at all, under ids of the record."""

from __future__ import annotations

import copy
import io
import json
from datetime import UTC, datetime

import pytest

from ompd.errors import ImportFileError
from ompd.record import fhir
from ompd.record.importing import import_file
from tests.record.fhir.examples import EXAMPLES
from tests.record.files import SERVER, bundle

pytest.importorskip("fhir.resources")
pytest.importorskip("ucumvert")

KEPT = [each for kind, each in EXAMPLES.items() if kind not in {"Bundle", "Composition"}]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def load(record, source, **more):
    return import_file(record, io.BytesIO(source), now=NOW, **more)


@pytest.mark.parametrize("urls", [True, False])
def test_a_bundle_enters_once(record, urls):
    source = bundle([*KEPT, EXAMPLES["Composition"], {"resourceType": "Claim", "id": "1"}], urls)
    first = load(record, source)
    assert (first.form, first.added, first.replaced, first.same) == ("bundle", len(KEPT), 0, 0)
    assert first.skipped == {"Composition": 1, "kinds that a record does not keep": 1}
    changes = record.changes
    again = load(record, source)
    assert (again.added, again.replaced, again.same) == (0, 0, len(KEPT))
    # And one that is written otherwise says the same.
    assert load(record, json.dumps(json.loads(source), indent=1).encode()).same == len(KEPT)
    assert record.changes == changes
    # What came in is what went in, but for its id, its source and whose it is.
    for each in KEPT:
        found = [
            record.get(entry.reference).document() for entry in record.list(each["resourceType"])
        ]
        [document] = found
        source_of = document.pop("meta", {}).get("source")
        assert source_of == (f"{SERVER}/{each['resourceType']}/{each['id']}" if urls else None)
        assert json.loads(fhir.checked(document | {"id": each["id"]}).json) == each


def test_same_ids_of_other_systems_are_others(record):
    other = bundle([EXAMPLES["Observation"]]).replace(b"hospital.example", b"practice.example")
    load(record, bundle([EXAMPLES["Observation"]]))
    load(record, other)
    assert record.count("Observation") == 2


def test_references_follow(record):
    report = EXAMPLES["DiagnosticReport"] | {
        "result": [
            {"reference": "Observation/weight"},
            {"reference": f"{SERVER}/Observation/weight/_history/3"},
            {"reference": "Observation/elsewhere"},
            {"reference": "#inside"},
        ],
        "subject": {"reference": "Patient/77"},
    }
    patient = EXAMPLES["Patient"] | {"id": "77"}
    weight = EXAMPLES["Observation"] | {"subject": {"reference": f"{SERVER}/Patient/77"}}
    load(record, bundle([report, patient, weight]))
    [found] = [record.get(entry.reference).document() for entry in record.list("DiagnosticReport")]
    [entry] = record.list("Observation")
    assert [each["reference"] for each in found["result"]] == [
        entry.reference, entry.reference, "Observation/elsewhere", "#inside",
    ]  # fmt: skip
    assert found["subject"]["reference"] == fhir.SELF
    assert record.get(entry.reference).document()["subject"]["reference"] == fhir.SELF
    assert record.get(fhir.SELF).kind == "Patient"


def about(*people):
    return [
        EXAMPLES["Observation"] | {"id": f"o{place}", "subject": {"reference": who}}
        for place, who in enumerate(people)
    ]


@pytest.mark.parametrize(
    "resources",
    [
        [EXAMPLES["Patient"], EXAMPLES["Patient"] | {"id": "other"}],
        about("Patient/1", "Patient/2"),
        [EXAMPLES["Patient"], *about("Patient/1")],
        about("Patient/1", "https://elsewhere.example/Patient/2"),
    ],
)
@pytest.mark.parametrize("urls", [True, False])
def test_two_people_are_refused(record, resources, urls):
    with pytest.raises(ImportFileError, match="one person"):
        load(record, bundle(resources, urls), partial=True)
    assert len(record) == 0


def test_another_person_is_refused(record):
    record.add(fhir.patient("Ann", born=datetime(1960, 5, 1).date(), gender="female"))
    # A year and month is that of the whole date.
    assert load(record, bundle([EXAMPLES["Patient"]])).skipped == {"the person is in the record": 1}
    for change in ({"birthDate": "1961-05"}, {"gender": "male"}):
        source = bundle([EXAMPLES["Observation"], EXAMPLES["Patient"] | change])
        with pytest.raises(ImportFileError, match="expected that of the person") as caught:
            load(record, source)
        assert "1961" not in str(caught.value)
    assert len(record) == 1


def dated(day, value, source=True):
    one = copy.deepcopy(EXAMPLES["Observation"])
    one["valueQuantity"]["value"] = value
    return bundle([one | {"meta": {"lastUpdated": f"2024-03-{day:02d}T00:00:00Z"}}], source)


def test_newer_versions_of_one_source_replace(record):
    assert load(record, dated(3, 70)).added == 1
    assert load(record, dated(5, 71)).replaced == 1
    old = load(record, dated(4, 72))
    assert (old.replaced, old.skipped) == (0, {"another version is in the record": 1})
    [entry] = record.list("Observation")
    assert record.get(entry.reference).document()["valueQuantity"]["value"] == 71


WRONG = [
    ({"status": "finall"}, r"entry\[1\]: Observation\.status: expected one of"),
    ({"effectiveDateTime": "2024-02-30"}, r"entry\[1\]: Observation\.effectiveDateTime: expected"),
    ({"effectiveDateTime": "2030-02-03"}, "not in the future"),
    ({"code": EXAMPLES["Condition"]["code"] | {"Quincy": 1}}, "only elements that FHIR"),
    ({"valueQuantity": {"value": 1, "system": fhir.UCUM, "code": "m"}}, "can be told in kg"),
]


@pytest.mark.parametrize(("change", "expected"), WRONG)
def test_what_is_wrong_is_refused_or_counted(record, change, expected):
    source = bundle([EXAMPLES["Condition"], EXAMPLES["Observation"] | change])
    with pytest.raises(ImportFileError, match=expected) as caught:
        load(record, source)
    assert "Quincy" not in str(caught.value)
    assert len(record) == 0
    found = load(record, source, partial=True)
    assert found.added == 1
    [reason] = found.skipped
    assert "expected" in reason
    assert "Quincy" not in reason


@pytest.mark.parametrize(
    "source",
    [b"{", b"[]", b'{"resourceType":"Bundle","entry":{}}', b'{"resourceType":"Bundle","entry":[1]}',
     b'{"resourceType":"Bundle","entry":[{"resource":[]}]}', b"{}", b'{"entry":[]}',
     b'{"resourceType":"Bundle","entry":[{"fullUrl":1}]}', b'{"a":' * 200_000, b"[" * 200_000],
)  # fmt: skip
def test_other_files_are_refused(record, source):
    with pytest.raises(ImportFileError, match="expected"):
        load(record, source)
    assert len(record) == 0


def test_one_resource_is_a_bundle_of_one(record):
    assert load(record, json.dumps(EXAMPLES["Condition"]).encode()).added == 1
    with pytest.raises(ImportFileError, match="status"):
        load(record, json.dumps(EXAMPLES["Observation"] | {"status": "finall"}).encode())


def test_an_empty_bundle_adds_nothing(record):
    assert load(record, b'{"resourceType":"Bundle","type":"collection"}').added == 0
    found = load(record, b'{"resourceType":"Bundle","entry":[{"fullUrl":"urn:x"}]}')
    assert found.skipped == {"entries without a resource": 1}


def uuid_of(number):
    return f"urn:uuid:00000000-0000-4000-8000-{number:012d}"


def test_a_summary_of_another_system(record):
    who = {"reference": uuid_of(2)}
    translated = {"url": "http://hl7.org/fhir/StructureDefinition/translation"}
    translated["extension"] = [
        {"url": "lang", "valueCode": "nl-NL"},
        {"url": "content", "valueString": "opvliegers"},
    ]
    flush = {"system": fhir.SNOMED, "code": "198436008", "display": "Menopausal flushing"}
    resources = [
        EXAMPLES["Composition"] | {"subject": who, "author": [who]},
        {"resourceType": "Patient", "gender": "female", "birthDate": "1972-05-01"},
        EXAMPLES["MedicationStatement"]
        | {"medicationReference": {"reference": uuid_of(4)}, "subject": who},
        {
            "resourceType": "Medication",
            "code": {"coding": [{"system": fhir.ATC, "code": "L02BG03"}]},
        },
        EXAMPLES["Condition"]
        | {
            "subject": who,
            "code": {"coding": [flush | {"_display": {"extension": [translated]}}]},
            "onsetDateTime": "2015",
        },
        {
            "resourceType": "AllergyIntolerance",
            "code": {
                "coding": [
                    {
                        "system": "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips",
                        "code": "no-allergy-info",
                    }
                ]
            },
            "patient": who,
        },
    ]
    del resources[2]["medicationCodeableConcept"]
    document = {
        "resourceType": "Bundle",
        "type": "document",
        "identifier": {"system": "urn:oid:1.2.3", "value": "1"},
        "timestamp": "2020-12-11T14:30:00.0607701+01:00",
        "entry": [
            {"fullUrl": uuid_of(place), "resource": each}
            for place, each in enumerate(resources, start=1)
        ],
    }
    found = load(record, json.dumps(document).encode())
    assert (found.added, found.skipped) == (4, {"Composition": 1, "says that nothing is known": 1})
    [taken] = record.list("MedicationStatement")
    statement = record.get(taken.reference).document()
    assert statement["subject"] == {"reference": fhir.SELF}
    assert record.get(statement["medicationReference"]["reference"]).kind == "Medication"
    assert record.count(code=(fhir.SNOMED, "198436008")) == 1
    none = json.dumps(document).replace("no-allergy-info", "no-known-allergies").encode()
    assert load(record, none).added == 1
    assert [each.reference for each in record.search("opvliegers flushing")]

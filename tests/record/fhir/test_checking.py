"""What enters a record is right, and what is wrong is told without a value."""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import OmpdError, ResourceError
from ompd.record.fhir import MOST_BYTES, checked
from tests.record.fhir.examples import EXAMPLES, TERMS, concept

pytest.importorskip("fhir.resources")
pytest.importorskip("ucumvert")

OBSERVED = "registered preliminary final amended corrected cancelled entered-in-error unknown"
#: The required value sets of the standard, typed in from it, not from the code.
REQUIRED = {
    ("Observation", "status"): OBSERVED,
    ("RiskAssessment", "status"): OBSERVED,
    ("DiagnosticReport", "status"): OBSERVED + " partial appended",
    ("Patient", "gender"): "male female other unknown",
    ("MedicationStatement", "status"): (
        "active completed entered-in-error intended stopped on-hold unknown not-taken"
    ),
    ("MedicationRequest", "status"): (
        "active on-hold cancelled completed entered-in-error stopped draft unknown"
    ),
    ("MedicationRequest", "intent"): (
        "proposal plan order original-order reflex-order filler-order instance-order option"
    ),
    ("MedicationRequest", "priority"): "routine urgent asap stat",
    ("AllergyIntolerance", "criticality"): "low high unable-to-assess",
    ("AllergyIntolerance", "type"): "allergy intolerance",
    ("DocumentReference", "status"): "current superseded entered-in-error",
    ("DocumentReference", "docStatus"): "preliminary final amended entered-in-error",
    ("QuestionnaireResponse", "status"): "in-progress completed amended entered-in-error stopped",
    ("Composition", "status"): "preliminary final amended entered-in-error",
    ("Bundle", "type"): (
        "message transaction transaction-response batch batch-response history searchset collection"
    ),
    ("Appointment", "status"): (
        "proposed pending booked arrived fulfilled cancelled noshow entered-in-error checked-in "
        "waitlist"
    ),
    ("CarePlan", "status"): "draft active on-hold revoked completed entered-in-error unknown",
    ("CarePlan", "intent"): "proposal plan order option",
    ("Task", "status"): (
        "draft requested received accepted rejected ready cancelled in-progress on-hold failed "
        "completed entered-in-error"
    ),
    ("Immunization", "status"): "completed entered-in-error not-done",
    ("Procedure", "status"): (
        "preparation in-progress not-done on-hold stopped completed entered-in-error unknown"
    ),
    ("Encounter", "status"): (
        "planned arrived triaged in-progress onleave finished cancelled entered-in-error unknown"
    ),
    ("DeviceUseStatement", "status"): (
        "active completed entered-in-error intended stopped on-hold"
    ),
}
CONCEPTS = {
    ("Condition", "clinicalStatus"): (
        "condition-clinical", "active recurrence relapse inactive remission resolved",
    ),
    ("Condition", "verificationStatus"): (
        "condition-ver-status", "unconfirmed provisional differential confirmed refuted",
    ),
    ("AllergyIntolerance", "clinicalStatus"): (
        "allergyintolerance-clinical", "active inactive resolved",
    ),
    ("AllergyIntolerance", "verificationStatus"): (
        "allergyintolerance-verification", "unconfirmed confirmed refuted",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", EXAMPLES)
def test_examples_are_right_and_canonical(kind):
    resource = checked(EXAMPLES[kind])
    assert (resource.kind, resource.id) == (kind, EXAMPLES[kind]["id"])
    assert json.loads(resource.json) == EXAMPLES[kind]
    assert checked(resource.json) == checked(resource.document()) == resource
    # Spaces and order are nothing that the resource says.
    assert checked(json.dumps(EXAMPLES[kind], indent=2).encode()) == resource
    assert repr(resource) == "<Resource>"


@pytest.mark.parametrize(("kind", "element"), REQUIRED)
def test_required_values(kind, element):
    for value in REQUIRED[kind, element].split():
        checked({**EXAMPLES[kind], element: value})
    for value in ("finall", "Final", REQUIRED[kind, element].split()[0] + "x", "+", "|"):
        with pytest.raises(ResourceError, match=rf"^{kind}\.{element}: expected one of") as caught:
            checked({**EXAMPLES[kind], element: value})
        assert "finall" not in str(caught.value)


@pytest.mark.parametrize(("kind", "element"), CONCEPTS)
def test_required_concepts(kind, element):
    system, allowed = CONCEPTS[kind, element]
    for code in allowed.split():
        checked({**EXAMPLES[kind], element: concept(TERMS + system, code)})
    for wrong in (concept(TERMS + system, "activ"), concept("urn:x", "active"), {"text": "active"}):
        with pytest.raises(ResourceError, match=rf"^{kind}\.{element}: expected a coding of"):
            checked({**EXAMPLES[kind], element: wrong})


def test_values_within_are_checked_too():
    wrong = copy.deepcopy(EXAMPLES["Bundle"])
    wrong["entry"][0]["resource"]["gender"] = "femal"
    with pytest.raises(ResourceError, match=r"^Bundle\.entry\[0\]\.resource\.gender: expected one"):
        checked(wrong)
    timed = {"dosage": [{"timing": {"repeat": {"period": 1, "periodUnit": "days"}}}]}
    with pytest.raises(ResourceError, match=r"dosage\[0\]\.timing\.repeat\.periodUnit: expected"):
        checked({**EXAMPLES["MedicationStatement"], **timed})
    contained = {"contained": [{**EXAMPLES["Observation"], "status": "finall"}]}
    with pytest.raises(ResourceError, match=r"contained\[0\]\.status: expected one of"):
        checked({**EXAMPLES["DiagnosticReport"], **contained})


LOINC, ICD10, SNOMED = (
    "http://loinc.org",
    "http://hl7.org/fhir/sid/icd-10",
    "http://snomed.info/sct",
)
ATC, UCUM = "http://www.whocc.no/atc", "http://unitsofmeasure.org"


@pytest.mark.parametrize(
    ("system", "good", "bad"),
    [
        (LOINC, "8867-4 2951-2 55423-8 LA6576-8", "8867-5 88674 8876-4 8867-4x"),
        (ICD10, "I25 I25.1 Z95.5 C50.911", "i25.1 25.1 I2 I25.12345 I25-1x"),
        (SNOMED, "38341003 73211009 22298006 195967001", "38341004 38314003 12345 383410030"),
        (ATC, "C C07 C07A C07AB C07AB02", "C7 07AB C07AB2 C07AB022"),
        (UCUM, "mm[Hg] 10*3/uL {score} % mg/dL", "mmHg mg%dL kilo beats/min"),
    ],
)
def test_codes(system, good, bad):
    for code in good.split():
        checked({**EXAMPLES["DiagnosticReport"], "code": concept(system, code)})
    for code in bad.split():
        with pytest.raises(ResourceError, match=r"code\.coding\[0\]\.code: expected a") as caught:
            checked({**EXAMPLES["DiagnosticReport"], "code": concept(system, code)})
        assert repr(code) not in str(caught.value)


def test_joined_concepts_of_snomed():
    for code in ("24484000 |Severe|", "22298006:246112005=24484000", "22298006 + 38341003"):
        checked({**EXAMPLES["DiagnosticReport"], "code": concept(SNOMED, code)})
        wrong = code.replace("0", "1", 1)
        with pytest.raises(ResourceError, match="SNOMED"):
            checked({**EXAMPLES["DiagnosticReport"], "code": concept(SNOMED, wrong)})


def quantity(**elements):
    return {**EXAMPLES["Observation"], "valueQuantity": elements}


def test_units():
    checked(quantity(value=155.4, unit="pounds", system=UCUM, code="[lb_av]"))
    # A unit in words alone is nobody's code.
    checked(quantity(value=155.4, unit="pounds"))
    checked(quantity(value=155.4, unit="pounds", system=UCUM))
    for wrong in (
        {"value": 1, "system": UCUM, "code": "kilos"},
        # A weight in centimetres.
        {"value": 1, "system": UCUM, "code": "cm"},
        {"value": 1, "code": "kg"},
        {"value": 1, "system": UCUM, "code": "kg", "comparator": "=<"},
    ):
        with pytest.raises(ResourceError, match=r"^Observation\.valueQuantity\.\w+: expected"):
            checked(quantity(**wrong))


def at(written):
    return {**EXAMPLES["Observation"], "effectiveDateTime": written}


@pytest.mark.parametrize(
    "written", ["2024", "2024-02", "2024-02-29", "2024-02-29T23:59:59.5-09:30"]
)
def test_dates(written):
    found = checked(at(written))
    assert found.when is not None
    assert found.when.tzinfo is not None
    assert found.document()["effectiveDateTime"] == written
    assert (found.when.year, found.when.month) == (2024, 2 if "-" in written else 1)


@pytest.mark.parametrize(
    "written",
    ["2023-02-29", "2024-13-01", "2024-02-03T10:00:00", "2024-02-03 10:00", "24-02-03", "1066",
     "1066-10-14", "2300-01-01", "03.02.2024", "2024-02-03T25:00:00Z", "today"],
)  # fmt: skip
def test_dates_that_are_none(written):
    with pytest.raises(ResourceError, match="effectiveDateTime: expected") as caught:
        checked(at(written))
    assert written not in str(caught.value)


def test_nothing_is_observed_before_it_happens():
    now = datetime(2024, 5, 1, 12, tzinfo=UTC)
    checked(at("2024-05-02T11:00:00Z"), now=now)
    with pytest.raises(ResourceError, match="effectiveDateTime: expected a moment that is not in"):
        checked(at("2024-05-02T13:00:00Z"), now=now)
    with pytest.raises(ResourceError, match="birthDate"):
        checked({**EXAMPLES["Patient"], "birthDate": "2024-06-01"}, now=now)
    period = {"start": "2024-02-03T10:00:00Z", "end": "2024-01-03T10:00:00Z"}
    wrong = {**EXAMPLES["Encounter"], "period": period}
    with pytest.raises(ResourceError, match=r"Encounter\.period\.end: expected"):
        checked(wrong, now=now + timedelta(days=99))


SECRET = "Quincy"  # noqa: S105


@pytest.mark.parametrize(
    "change",
    [
        {SECRET: 1},
        {"code": {SECRET: "x"}},
        {"code": {"text": {SECRET: 1}}},
        {SECRET: None},
        {"code": SECRET},
        {"note": [{"text": "ok", "time": SECRET}]},
        {"id": f"{SECRET} {SECRET}"},
        {"valueQuantity": {"value": SECRET}},
        {"contained": [{"resourceType": SECRET}]},
        {"resourceType": SECRET},
        {"status": SECRET},
        {"language": f"{SECRET} 1"},
        {"valueString": SECRET},
        {"note": []},
        {"code": {}},
        {"code": {"text": " "}},
        {"code": {"text": None}},
        {"fhir_comments": [SECRET]},
        {"dataAbsentReason": {"text": SECRET}},
        {"effectivePeriod": {"start": "2024"}},
    ],
)
def test_other_forms_are_refused_without_a_value(change):
    with pytest.raises(ResourceError, match="expected") as caught:
        checked({**EXAMPLES["Observation"], **change})
    assert SECRET not in str(caught.value)
    # Nor does anything that hangs on the error tell it.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "source",
    [b"", b"{", b"[]", b"null", b'{"resourceType":"Patient"', b"\xff", b"[" * 10**6,
     b'{"a":' * 10**5, b'{"resourceType":"Observation","status":NaN}', b'{"a":1e999999}',
     b'{"a":0.' + b"1" * 60 + b"}"],
)  # fmt: skip
def test_what_is_no_json_is_refused(source):
    with pytest.raises(ResourceError, match=r"source: expected (a )?JSON"):
        checked(source)


def test_bounds():
    deep = {"text": "x"}
    for _ in range(50):
        deep = {"linkId": "x", "item": [deep]}
    with pytest.raises(ResourceError, match="levels"):
        checked({**EXAMPLES["QuestionnaireResponse"], "item": [deep]})
    long = {**EXAMPLES["Observation"], "note": [{"text": "x" * MOST_BYTES}]}
    with pytest.raises(ResourceError, match="bytes"):
        checked(long)
    with pytest.raises(ResourceError, match="bytes"):
        checked(json.dumps(long).encode())
    assert checked(long, most=2 * MOST_BYTES).id == "weight"
    many = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": long}]}
    assert checked(many).kind == "Bundle"
    with pytest.raises(ResourceError, match="16,777,216 bytes"):
        checked(many | {"entry": many["entry"] * 16})


def test_a_document_begins_with_its_composition():
    whole = {
        "resourceType": "Bundle",
        "type": "document",
        "identifier": {"value": "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"},
        "timestamp": "2024-02-03T10:15:00Z",
        "entry": [{"resource": EXAMPLES["Composition"]}, {"resource": EXAMPLES["Patient"]}],
    }
    assert checked(whole).when == datetime(2024, 2, 3, 10, 15, tzinfo=UTC)
    for wrong in (
        {**whole, "entry": whole["entry"][::-1]},
        {key: value for key, value in whole.items() if key != "timestamp"},
        {key: value for key, value in whole.items() if key != "entry"},
    ):
        with pytest.raises(ResourceError, match="Bundle"):
            checked(wrong)


def test_statuses_that_contradict():
    condition = EXAMPLES["Condition"]
    ended = {**condition, "abatementDateTime": "2022"}
    with pytest.raises(ResourceError, match="clinicalStatus"):
        checked(ended)
    checked({**ended, "clinicalStatus": concept(f"{TERMS}condition-clinical", "resolved")})
    error = concept(f"{TERMS}condition-ver-status", "entered-in-error")
    with pytest.raises(ResourceError, match="clinicalStatus"):
        checked({**condition, "verificationStatus": error})


@given(st.decimals(min_value=-(10**9), max_value=10**9, allow_nan=False, places=4))
def test_digits_are_kept(number):
    source = json.dumps(EXAMPLES["Observation"]).replace("70.5", format(number, "f"))
    found = checked(source.encode())
    assert found.document()["valueQuantity"]["value"] == Decimal(format(number, "f"))
    assert format(number, "f").encode() in found.json
    assert checked(found.document()) == found


def test_an_id_follows_from_the_content():
    one = {key: value for key, value in EXAMPLES["Observation"].items() if key != "id"}
    found = checked(one)
    assert re.fullmatch("[0-9a-f]{32}", found.id)
    assert checked(dict(reversed(one.items()))) == found
    assert checked({**one, "status": "amended"}).id != found.id
    assert issubclass(ResourceError, (OmpdError, ValueError))

"""Resources written by hand, one of each kind that a record mostly holds; nobody's."""

from __future__ import annotations

PERSON = {"reference": "Patient/self"}
TERMS = "http://terminology.hl7.org/CodeSystem/"


def concept(system: str, code: str) -> dict[str, object]:
    return {"coding": [{"system": system, "code": code}]}


EXAMPLES = {
    "Patient": {
        "resourceType": "Patient",
        "id": "self",
        "name": [{"use": "official", "family": "Nobody", "given": ["Ann"]}],
        "gender": "female",
        "birthDate": "1960-05",
    },
    "Observation": {
        "resourceType": "Observation",
        "id": "weight",
        "status": "final",
        "code": concept("http://loinc.org", "29463-7"),
        "subject": PERSON,
        "effectiveDateTime": "2024-02-03T10:15:00+01:00",
        "valueQuantity": {"value": 70.5, "system": "http://unitsofmeasure.org", "code": "kg"},
    },
    "Condition": {
        "resourceType": "Condition",
        "id": "heart",
        "clinicalStatus": concept(f"{TERMS}condition-clinical", "active"),
        "verificationStatus": concept(f"{TERMS}condition-ver-status", "confirmed"),
        "code": concept("http://hl7.org/fhir/sid/icd-10", "I25.1"),
        "subject": PERSON,
        "onsetDateTime": "2020",
    },
    "MedicationStatement": {
        "resourceType": "MedicationStatement",
        "id": "beta",
        "status": "active",
        "medicationCodeableConcept": concept("http://www.whocc.no/atc", "C07AB02"),
        "subject": PERSON,
        "effectivePeriod": {"start": "2021-03-01"},
    },
    "MedicationRequest": {
        "resourceType": "MedicationRequest",
        "id": "order",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": "Metoprolol"},
        "subject": PERSON,
    },
    "AllergyIntolerance": {
        "resourceType": "AllergyIntolerance",
        "id": "nut",
        "clinicalStatus": concept(f"{TERMS}allergyintolerance-clinical", "active"),
        "verificationStatus": concept(f"{TERMS}allergyintolerance-verification", "confirmed"),
        "criticality": "high",
        "category": ["food"],
        "code": {"text": "Peanut"},
        "patient": PERSON,
    },
    "DocumentReference": {
        "resourceType": "DocumentReference",
        "id": "note",
        "status": "current",
        "content": [{"attachment": {"contentType": "text/plain", "data": "ZGl6enk="}}],
    },
    "QuestionnaireResponse": {
        "resourceType": "QuestionnaireResponse",
        "id": "answers",
        "status": "completed",
        "authored": "2024-02-03T10:15:00Z",
        "item": [{"linkId": "age", "answer": [{"valueInteger": 63}]}],
    },
    "DiagnosticReport": {
        "resourceType": "DiagnosticReport",
        "id": "report",
        "status": "final",
        "code": {"text": "Pre-diagnosis"},
        "subject": PERSON,
    },
    "RiskAssessment": {
        "resourceType": "RiskAssessment",
        "id": "risk",
        "status": "final",
        "subject": PERSON,
        "prediction": [{"outcome": {"text": "Heart disease"}, "probabilityDecimal": 0.25}],
    },
    "Composition": {
        "resourceType": "Composition",
        "id": "summary",
        "status": "final",
        "type": concept("http://loinc.org", "60591-5"),
        "date": "2024-02-03",
        "author": [PERSON],
        "title": "Summary",
    },
    "Bundle": {
        "resourceType": "Bundle",
        "id": "bundle",
        "type": "collection",
        "entry": [{"resource": {"resourceType": "Patient", "id": "self", "gender": "female"}}],
    },
    "Appointment": {
        "resourceType": "Appointment",
        "id": "visit",
        "status": "booked",
        "start": "2030-02-03T10:15:00Z",
        "end": "2030-02-03T10:30:00Z",
        "participant": [{"actor": PERSON, "status": "accepted"}],
    },
    "CarePlan": {
        "resourceType": "CarePlan",
        "id": "plan",
        "status": "active",
        "intent": "plan",
        "subject": PERSON,
    },
    "Task": {"resourceType": "Task", "id": "task", "status": "requested", "intent": "order"},
    "Immunization": {
        "resourceType": "Immunization",
        "id": "shot",
        "status": "completed",
        "vaccineCode": {"text": "Tetanus"},
        "patient": PERSON,
        "occurrenceDateTime": "2019-01",
    },
    "Procedure": {
        "resourceType": "Procedure",
        "id": "stent",
        "status": "completed",
        "subject": PERSON,
    },
    "Encounter": {
        "resourceType": "Encounter",
        "id": "stay",
        "status": "finished",
        "class": {"system": f"{TERMS}v3-ActCode", "code": "IMP"},
    },
    "DeviceUseStatement": {
        "resourceType": "DeviceUseStatement",
        "id": "pump",
        "status": "active",
        "subject": PERSON,
        "device": {"display": "Pump"},
    },
}

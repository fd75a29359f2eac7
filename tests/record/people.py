"""Resources of invented people, small and quick to make: nothing checks them here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ompd.record.fhir.resource import resource_of

LOINC = "http://loinc.org"
START = datetime(2024, 1, 1, 8, tzinfo=UTC)


def observation(
    name, *, code="8867-4", value=70, unit="/min", day=0, text="heart rate", note="", **more
):
    document = {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": LOINC, "code": code}], "text": text},
        "effectiveDateTime": (START + timedelta(days=day)).isoformat(),
        "valueQuantity": {
            "value": value,
            "unit": unit,
            "system": "http://unitsofmeasure.org",
            "code": unit,
        },
    }
    if note:
        document["note"] = [{"text": note}]
    return resource_of(document | more)


def condition(name, code, *, system="http://snomed.info/sct", text="", day=0, **more):
    return resource_of(
        {
            "resourceType": "Condition",
            "id": name,
            "code": {"coding": [{"system": system, "code": code}], "text": text or code},
            "subject": {"display": "the owner"},
            "recordedDate": (START + timedelta(days=day)).isoformat(),
        }
        | more
    )

"""Files as other systems and devices write them, about nobody; and a record in memory."""

from __future__ import annotations

import io
import json
import zipfile

from ompd.record import Added

PERSON = (
    '<Me HKCharacteristicTypeIdentifierDateOfBirth="1960-05-01" '
    'HKCharacteristicTypeIdentifierBiologicalSex="HKBiologicalSexFemale"/>'
)
#: As Apple's exports begin: element types, and attributes without defaults.
HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE HealthData [
<!-- HealthKit Export Version: 13 -->
<!ELEMENT HealthData (ExportDate,Me,(Record|Correlation|Workout|ActivitySummary)*)>
<!ATTLIST HealthData
  locale CDATA #REQUIRED
>
<!ELEMENT Record ((MetadataEntry)*)>
<!ATTLIST Record
  type       CDATA #REQUIRED
  unit       CDATA #IMPLIED
  value      CDATA #IMPLIED
>
]>
"""


def record(form, value, unit, start="2023-04-05 06:07:08 +0200", end=None, source="Ann's Watch"):
    return (
        f'<Record type="{form}" sourceName="{source}" sourceVersion="9.4" '
        f'device="&lt;&lt;HKDevice: 0x28&gt;, name:Watch&gt;" unit="{unit}" '
        f'creationDate="{start}" startDate="{start}" endDate="{end or start}" value="{value}">'
        '<MetadataEntry key="HKMetadataKeyHeartRateMotionContext" value="1"/></Record>'
    )


QUANTITY = "HKQuantityTypeIdentifier"
RECORDS = [
    record(f"{QUANTITY}HeartRate", 72, "count/min"),
    record(f"{QUANTITY}BodyMass", 155.4, "lb", "2023-04-05 06:08:08 +0200"),
    record(f"{QUANTITY}BodyTemperature", 98.6, "degF", "2023-04-05 06:09:08 +0200"),
    record(f"{QUANTITY}OxygenSaturation", 0.97, "%", "2023-04-05 06:10:08 -0330"),
    record(f"{QUANTITY}BloodGlucose", 5.4, "mmol&lt;180.15588000005408&gt;/L"),
    record(
        f"{QUANTITY}StepCount", 531, "count", "2023-04-05 07:00:00 +0200",
        "2023-04-05 07:10:00 +0200",
    ),
    record(f"{QUANTITY}BodyMassIndex", 24.5, "count"),
    record(f"{QUANTITY}DietaryCaffeine", 80, "mg"),
    record("HKCategoryTypeIdentifierSleepAnalysis", "HKCategoryValueSleepAnalysisAsleep", ""),
    '<Correlation type="HKCorrelationTypeIdentifierBloodPressure">'
    + record(f"{QUANTITY}BloodPressureSystolic", 120, "mmHg")
    + "</Correlation>",
    record(f"{QUANTITY}BloodPressureSystolic", 120, "mmHg"),
    '<Workout workoutActivityType="HKWorkoutActivityTypeRunning" duration="31"/>',
]  # fmt: skip


def apple(records=RECORDS, head=HEAD, person=PERSON):
    body = "\n ".join(records)
    return (
        f'{head}<HealthData locale="de_DE">\n <ExportDate value="2023-05-01 10:00:00 +0200"/>\n '
        f"{person}\n {body}\n</HealthData>\n"
    ).encode()


def zipped(xml, name="apple_health_export/Exportieren.xml", **others):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("apple_health_export/export_cda.xml", "<ClinicalDocument/>")
        for other, content in others.items():
            archive.writestr(other, content)
        archive.writestr(name, xml)
    return stream.getvalue()


SERVER = "https://hospital.example/fhir"


def bundle(resources, urls=True):
    entries = [
        ({"fullUrl": f"{SERVER}/{each['resourceType']}/{each['id']}"} if urls else {})
        | {"resource": each}
        for each in resources
    ]
    return json.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries}).encode()


TABLE = b"""when,code,value,unit,name
2024-02-03T10:15+01:00,8867-4,72,bpm,
2024-02-03,29463-7,70.5,kg,
2024-02-04T10:15:00Z,72166-2,true,,Smokes
"2024-02-05T10:15:00Z",44833-2,"well, 'mostly'",,Mood
"""


class Box(dict):
    """What an import needs of a record, without its disk."""

    def get(self, reference):
        return self[reference]

    def put_all(self, resources):
        new = {f"{each.kind}/{each.id}": each for each in resources}
        added = len(set(new) - set(self))
        self.update(new)
        return Added(added, len(new) - added, 0)

"""What is measured often: codes of LOINC with a name and a unit, and the kinds of Apple Health.

The names are plain words for people, not those of LOINC.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Measure(NamedTuple):
    """What a code of LOINC measures.

    Attributes
    ----------
    name : str
        In English.
    unit : str
        Of UCUM; empty for a panel of others.
    category : str
        Of observations in FHIR.
    """

    name: str
    unit: str
    category: str


_VITAL, _LAB, _ACTIVITY = "vital-signs", "laboratory", "activity"

BLOOD_PRESSURE, SYSTOLIC, DIASTOLIC = "85354-9", "8480-6", "8462-4"
HEART_RATE, BODY_WEIGHT, BODY_HEIGHT, BMI = "8867-4", "29463-7", "8302-2", "39156-5"

MEASURES = {
    BLOOD_PRESSURE: Measure("Blood pressure", "", _VITAL),
    SYSTOLIC: Measure("Systolic blood pressure", "mm[Hg]", _VITAL),
    DIASTOLIC: Measure("Diastolic blood pressure", "mm[Hg]", _VITAL),
    HEART_RATE: Measure("Heart rate", "/min", _VITAL),
    "40443-4": Measure("Resting heart rate", "/min", _VITAL),
    "80404-7": Measure("Heart rate variability", "ms", _VITAL),
    "9279-1": Measure("Respiratory rate", "/min", _VITAL),
    "59408-5": Measure("Oxygen saturation", "%", _VITAL),
    "2708-6": Measure("Oxygen saturation in arterial blood", "%", _VITAL),
    "8310-5": Measure("Body temperature", "Cel", _VITAL),
    BODY_WEIGHT: Measure("Body weight", "kg", _VITAL),
    BODY_HEIGHT: Measure("Body height", "cm", _VITAL),
    BMI: Measure("Body mass index", "kg/m2", _VITAL),
    "8280-0": Measure("Waist circumference", "cm", _VITAL),
    "41982-0": Measure("Body fat", "%", _VITAL),
    "88334-8": Measure("Lean body mass", "kg", _VITAL),
    "55423-8": Measure("Steps", "{steps}", _ACTIVITY),
    "55430-3": Measure("Distance walked", "km", _ACTIVITY),
    "41981-2": Measure("Energy burned", "kcal", _ACTIVITY),
    "9052-2": Measure("Energy eaten", "kcal", _ACTIVITY),
    "41653-7": Measure("Glucose in capillary blood", "mg/dL", _LAB),
    "14743-9": Measure("Glucose in capillary blood, molar", "mmol/L", _LAB),
    "2339-0": Measure("Glucose in blood", "mg/dL", _LAB),
    "1558-6": Measure("Fasting glucose", "mg/dL", _LAB),
    "15074-8": Measure("Glucose in blood, molar", "mmol/L", _LAB),
    "4548-4": Measure("Haemoglobin A1c", "%", _LAB),
    "2093-3": Measure("Cholesterol", "mg/dL", _LAB),
    "14647-2": Measure("Cholesterol, molar", "mmol/L", _LAB),
    "2085-9": Measure("HDL cholesterol", "mg/dL", _LAB),
    "13457-7": Measure("LDL cholesterol", "mg/dL", _LAB),
    "2571-8": Measure("Triglycerides", "mg/dL", _LAB),
    "2160-0": Measure("Creatinine", "mg/dL", _LAB),
    "718-7": Measure("Haemoglobin", "g/dL", _LAB),
    "2951-2": Measure("Sodium", "mmol/L", _LAB),
    "2823-3": Measure("Potassium", "mmol/L", _LAB),
}

#: Ions of one charge, of which an equivalent is a mole: sodium, potassium and chloride.
UNIVALENT = frozenset({"2951-2", "2947-0", "2823-3", "6298-4", "2075-0", "2069-3"})

#: Units by code, of those that have one.
LOINC_UNITS = {code: measure.unit for code, measure in MEASURES.items() if measure.unit}

_QUANTITY = "HKQuantityTypeIdentifier"

#: Codes of LOINC for the quantities of Apple Health.
APPLE_TYPES = {
    f"{_QUANTITY}ActiveEnergyBurned": "41981-2",
    f"{_QUANTITY}BloodGlucose": "41653-7",
    f"{_QUANTITY}BloodPressureDiastolic": DIASTOLIC,
    f"{_QUANTITY}BloodPressureSystolic": SYSTOLIC,
    f"{_QUANTITY}BodyFatPercentage": "41982-0",
    f"{_QUANTITY}BodyMass": BODY_WEIGHT,
    f"{_QUANTITY}BodyMassIndex": BMI,
    f"{_QUANTITY}BodyTemperature": "8310-5",
    f"{_QUANTITY}DietaryEnergyConsumed": "9052-2",
    f"{_QUANTITY}DistanceWalkingRunning": "55430-3",
    f"{_QUANTITY}HeartRate": HEART_RATE,
    f"{_QUANTITY}HeartRateVariabilitySDNN": "80404-7",
    f"{_QUANTITY}Height": BODY_HEIGHT,
    f"{_QUANTITY}LeanBodyMass": "88334-8",
    f"{_QUANTITY}OxygenSaturation": "59408-5",
    f"{_QUANTITY}RespiratoryRate": "9279-1",
    f"{_QUANTITY}RestingHeartRate": "40443-4",
    f"{_QUANTITY}StepCount": "55423-8",
    f"{_QUANTITY}WaistCircumference": "8280-0",
}


def in_moles(code: str, unit: str) -> str:
    """Return a unit with moles for equivalents, if these are the same of what a code measures."""
    return (
        re.sub(r"(?<![A-Za-z])([a-z]?)eq(?![A-Za-z])", r"\1mol", unit)
        if code in UNIVALENT
        else unit
    )

"""Resources of FHIR R4B that a health record is made of.

    bytes or mapping -> checked -> Resource -> record, export

Needs the extra `care`; importing this package does not, using it without says what to install.
"""

from __future__ import annotations

from ompd.record.fhir.answering import answers
from ompd.record.fhir.builders import (
    allergy,
    condition,
    event,
    medication,
    note,
    observation,
    patient,
)
from ompd.record.fhir.checking import MOST_BUNDLE, MOST_BYTES, checked
from ompd.record.fhir.dates import moment_of, written
from ompd.record.fhir.elements import SELF, Value
from ompd.record.fhir.readings import Reading, named, readings
from ompd.record.fhir.resource import Document, Resource, words_of
from ompd.record.fhir.terms import ATC, ICD10, LOINC, OWN, SNOMED, UCUM
from ompd.record.fhir.units import converted, is_convertible, is_unit, unit_of
from ompd.record.fhir.vocabulary import MEASURES, Measure

__all__ = [
    "ATC",
    "ICD10",
    "LOINC",
    "MEASURES",
    "MOST_BUNDLE",
    "MOST_BYTES",
    "OWN",
    "SELF",
    "SNOMED",
    "UCUM",
    "Document",
    "Measure",
    "Reading",
    "Resource",
    "Value",
    "allergy",
    "answers",
    "checked",
    "condition",
    "converted",
    "event",
    "is_convertible",
    "is_unit",
    "medication",
    "moment_of",
    "named",
    "note",
    "observation",
    "patient",
    "readings",
    "unit_of",
    "words_of",
    "written",
]

"""From what the EHR prefetched to a row of features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import msgspec

from ompd.errors import ParameterError
from ompd.record.vector import years
from ompd.schema import Feature, Schema
from ompd.service.cds.config import Service, Source, conversion
from ompd.service.cds.fhir import FINAL, LOINC, Reading, birth_and_gender, latest

#: Key of the patient among what is prefetched.
PATIENT = "patient"


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """Features of one patient.

    Attributes
    ----------
    values : dict of str to float or str or None
        By name; None where the record has none.
    readings : dict of str to Reading
        The observations that they are from.
    absent : tuple of str
        Keys of the prefetch that the EHR left out.
    """

    values: dict[str, float | str | None]
    readings: dict[str, Reading]
    absent: tuple[str, ...]


def key_of(source: Source) -> str:
    """Return the key under which a feature's resource is prefetched; shared by one panel's."""
    if source.patient:
        return PATIENT
    return "-".join(("loinc", *((source.panel,) if source.panel else source.loinc)))


def template_of(source: Source) -> str:
    """Return the FHIR query of a feature, as a prefetch template."""
    if source.patient:
        return "Patient/{{context.patientId}}"
    codes = (source.panel,) if source.panel else source.loinc
    return (
        "Observation?patient={{context.patientId}}"
        f"&code={','.join(f'{LOINC}|{code}' for code in codes)}"
        f"&status={','.join(FINAL)}&_sort=-date&_count=1"
    )


def templates(service: Service) -> dict[str, str]:
    """Return all prefetch templates of a service, by key."""
    return {key_of(source): template_of(source) for source in service.features.values()}


def check(service: Service, schema: Schema) -> None:
    """Refuse a configuration that does not fit the table.

    Raises
    ------
    ParameterError
        If it names a feature or class that the schema does not have, or leaves out a feature that
        may not be missing.
    """
    names = {feature.name for feature in schema.features}
    if not set(service.features) <= names:
        raise ParameterError("cds features: expected only names of the table's features")
    needed = {feature.name for feature in schema.features if feature.complete}
    if not needed <= set(service.features):
        missing = min(needed - set(service.features))
        raise ParameterError(f"cds features: {missing!r} may not be missing")
    if not {*service.indicators, *service.outcomes} <= set(schema.classes):
        raise ParameterError("cds indicators, outcomes: expected only names of the table's classes")


def row_of(
    service: Service,
    schema: Schema,
    prefetch: Mapping[str, msgspec.Raw],
    patient: str,
    now: float,
) -> Row:
    """Read the features of a patient.

    Parameters
    ----------
    service : Service
    schema : Schema
    prefetch : mapping of str to Raw
        What the EHR sent; ``null`` where its record has nothing.
    patient : str
        Id of the patient.
    now : float
        Seconds since the epoch.

    Raises
    ------
    FeatureError
        If a resource is of another kind than asked for, or of another patient.
    """
    values: dict[str, float | str | None] = {}
    readings = {}
    absent = set()
    for feature in schema.features:
        source = service.features.get(feature.name)
        values[feature.name] = None
        if source is None:
            continue
        raw = prefetch.get(key_of(source))
        if raw is None:
            absent.add(key_of(source))
        elif bytes(raw) == b"null":
            pass
        elif source.patient:
            values[feature.name] = _of_patient(raw, source, patient, now)
        else:
            reading = latest(raw, patient, source.loinc, source.panel)
            if reading is not None and _recent(reading, source, now):
                values[feature.name] = _value(reading, source, feature)
                readings[feature.name] = reading
    return Row(values, readings, tuple(sorted(absent)))


def _of_patient(raw: msgspec.Raw, source: Source, patient: str, now: float) -> float | str | None:
    birth, gender = birth_and_gender(raw, patient)
    if source.patient == "gender":
        return _meant(gender, source) if gender else None
    age = years(birth, date.fromtimestamp(now))
    return None if age is None else float(age)


def _recent(reading: Reading, source: Source, now: float) -> bool:
    if not source.max_age_days:
        return True
    if reading.at is None:
        return False
    age = datetime.fromtimestamp(now, UTC) - reading.at
    return age.total_seconds() <= source.max_age_days * 86_400


def _value(reading: Reading, source: Source, feature: Feature) -> float | str | None:
    """Return what a reading means for a table; None for what the configuration cannot tell."""
    if reading.quantity is None:
        meanings = (_meant(word, source) for word in reading.words)
        return next((each for each in meanings if each is not None), None)
    if reading.unit == source.unit or (not source.unit and reading.unit == "1"):
        number = reading.quantity
    elif reading.unit in source.also:
        factor, offset = conversion(source.also[reading.unit])
        number = reading.quantity * factor + offset
    else:
        return None
    # Grades are whole; those of a conversion are not, to the last bit.
    return number if feature.kind == "numeric" else round(number, 9)


def _meant(word: str, source: Source) -> float | str | None:
    return source.codes.get(word) if source.codes else word

"""From a record to the features of a hospital's table: the newest values, in the table's units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from ompd.confidential import Confidential
from ompd.errors import RecordError, UnitError
from ompd.record.fhir import LOINC, Document, Reading, Resource, converted, named, readings, unit_of
from ompd.record.fhir.readings import FINAL
from ompd.record.fhir.vocabulary import in_moles
from ompd.schema import Feature, Schema

if TYPE_CHECKING:
    from ompd.record.reading import Reader

#: LOINC codes of what a record's Patient tells as well.
AGE = "30525-0"
SEX = ("46098-0", "76689-9", "21840-4", "72143-1")

#: What a feature can be set to; None stands for a gap.
FeatureValue = float | str | bool | None

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_VERIFIED = "verificationStatus"
_ACTIVE = {"active", "recurrence", "relapse"}
# What is no diagnosis: withdrawn, or one of several that may be.
_VOID = {"entered-in-error", "differential"}
# Units of what has none.
_BARE = re.compile(r"1?(?:\{[^{}]*\})?")


class _Gap(Exception):  # noqa: N818
    """Why a feature has no value."""


@dataclass(frozen=True, slots=True, repr=False)
class Source(Confidential):
    """Where a value is from.

    Attributes
    ----------
    reference : str
        Of the resource.
    when : datetime or None
    """

    reference: str
    when: datetime | None


@dataclass(frozen=True, slots=True, repr=False)
class Vector(Confidential):
    """Features of a person, as `User.ask` takes them.

    Attributes
    ----------
    values : dict of str to float, str, bool or None
        By name, in the schema's order; None for a gap.
    gaps : dict of str to str
        Why a feature has no value.
    sources : dict of str to Source
        Of those that have one.
    """

    values: dict[str, FeatureValue]
    gaps: dict[str, str]
    sources: dict[str, Source]

    @property
    def basis(self) -> list[str]:
        """References of all sources, each once."""
        return sorted({source.reference for source in self.sources.values()})


def vector(record: Reader, schema: Schema, at: datetime | None = None) -> Vector:
    """Return what a record says about the features of a schema.

    A feature's value is that of the newest observation of its code from before a time; it is not
    replaced by an older one that would be easier to understand; one that was entered in error is
    none. Diagnoses are true or false. Age is that of the record's Patient's date of birth, if there
    is one, and sex the Patient's where none was observed.

    Parameters
    ----------
    record : Record, or what is shared of one
    schema : Schema
        Its features name codes, and units of UCUM; the others are gaps.
    at : datetime, optional
        With a zone; now by default.

    Raises
    ------
    RecordError
        If the time has no zone.
    BackendUnavailableError
        Without the extra `care`.
    """
    moment = datetime.now(UTC) if at is None else at
    if moment.tzinfo is None:
        raise RecordError("at: expected a time with a zone")
    values: dict[str, FeatureValue] = {}
    gaps, sources = {}, {}
    for feature in schema.features:
        values[feature.name] = None
        try:
            value, source = _found(record, feature, moment)
        except _Gap as gap:
            gaps[feature.name] = str(gap)
        else:
            values[feature.name] = value
            sources[feature.name] = source
    return Vector(values, gaps, sources)


def years(birth: str, today: date) -> int | None:
    """Return whole years since a date of birth; None if it is no whole date or ahead."""
    try:
        born = date.fromisoformat(birth) if _DAY.fullmatch(birth) else None
    except ValueError:
        return None
    if born is None or born > today:
        return None
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _found(record: Reader, feature: Feature, at: datetime) -> tuple[FeatureValue, Source]:
    coding = feature.coding
    if coding is None:
        raise _Gap("the table does not say which code it has")
    # Whoever was observed to be 50 is older since.
    if coding == (LOINC, AGE):
        for entry in record.list("Patient", limit=1):
            age = _age(record.get(entry.reference), feature, at)
            if age is not None:
                return age, Source(entry.reference, entry.when)
    for entry in record.list("Observation", code=coding, until=at):
        resource = record.get(entry.reference)
        document = resource.document()
        if document["status"] in FINAL and _is_of(document, coding):
            return _observed(resource, feature, coding), Source(entry.reference, entry.when)
    for entry in record.list("Condition", code=coding):
        document = record.get(entry.reference).document()
        before = entry.when is None or entry.when < at
        if before and _is_of(document, coding) and not _states(document, _VERIFIED) & _VOID:
            return _diagnosed(document, feature), Source(entry.reference, entry.when)
    if coding[0] == LOINC and coding[1] in SEX:
        for entry in record.list("Patient", limit=1):
            sex = _sex(record.get(entry.reference), feature)
            return sex, Source(entry.reference, entry.when)
    raise _Gap("the record has none before that time")


def _is_of(document: Document, coding: tuple[str, str]) -> bool:
    """Tell whether a resource is of a code, and does not only name it: as a cause, say."""
    parts = (document, *document.get("component", ()))
    return any(coding in named(part.get("code", {}))[0] for part in parts)


def _states(document: Document, name: str) -> set[str]:
    return {each.get("code", "") for each in document.get(name, {}).get("coding", ())}


def _observed(resource: Resource, feature: Feature, coding: tuple[str, str]) -> FeatureValue:
    found = [each for each in readings(resource) if coding in each.codes]
    if not found:
        raise _Gap("the newest one has no value")
    reading = found[0]
    if reading.number is None:
        return _meant(reading.words, feature)
    if feature.levels and not reading.unit and set(feature.levels) == {"False", "True"}:
        return bool(reading.number)
    return _within(_number(reading, feature, coding), feature)


def _number(reading: Reading, feature: Feature, coding: tuple[str, str]) -> float:
    number = reading.number or 0.0
    wanted, given = feature.unit, reading.unit
    if wanted == given or (_BARE.fullmatch(wanted) and _BARE.fullmatch(given)):
        return number
    if not wanted:
        raise _Gap("the newest one has a unit, and the table has none")
    if not given:
        raise _Gap("the newest one has no unit")
    known, target = unit_of(given), unit_of(wanted)
    if known is None or target is None:
        raise _Gap("its unit is not known")
    try:
        code = coding[1] if coding[0] == LOINC else ""
        found = converted(number, in_moles(code, known), in_moles(code, target))
    except UnitError:
        raise _Gap("the newest one has a unit of another dimension") from None
    # Grades are whole; those of a conversion are not, to the last bit.
    return found if feature.kind == "numeric" else round(found, 9)


def _within(number: float, feature: Feature) -> float:
    if not feature.low <= number <= feature.high:
        raise _Gap(f"the newest one is not from {feature.low:g} to {feature.high:g}")
    if feature.kind != "numeric" and number != int(number):
        raise _Gap("the newest one is no whole number")
    return number


def _meant(words: Sequence[str], feature: Feature) -> FeatureValue:
    if feature.since:
        days = [word[:10] for word in words if _DAY.fullmatch(word[:10])]
        if days:
            return days[0]
    levels = {level.casefold(): level for level in feature.levels}
    for word in words:
        if word in feature.levels:
            return word
        if word.casefold() in levels:
            return levels[word.casefold()]
    raise _Gap("the newest one has none of the table's values")


def _diagnosed(document: Document, feature: Feature) -> FeatureValue:
    ended = any(name.startswith("abatement") for name in document)
    active = bool(_states(document, "clinicalStatus") & _ACTIVE) or (
        "clinicalStatus" not in document and not ended
    )
    holds = active and "refuted" not in _states(document, _VERIFIED)
    if set(feature.levels) == {"False", "True"}:
        return holds
    if not feature.levels and (feature.low, feature.high) == (0, 1):
        return float(holds)
    raise _Gap("a diagnosis is true or false, and the table has other values")


def _sex(resource: Resource, feature: Feature) -> FeatureValue:
    gender = resource.document().get("gender")
    if gender is None:
        raise _Gap("the record does not say it of the person")
    return _meant((gender, gender[:1]), feature)


def _age(resource: Resource, feature: Feature, at: datetime) -> float | None:
    age = years(resource.document().get("birthDate", ""), at.date())
    if age is None:
        return None
    if feature.unit and unit_of(feature.unit) != "a":
        raise _Gap("its unit is not known")
    return _within(float(age), feature)

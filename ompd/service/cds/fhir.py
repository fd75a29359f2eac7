"""The part of FHIR R4 that features are read from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from ompd.errors import FeatureError

T = TypeVar("T")

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"

#: Results that a laboratory stands by.
FINAL = ("final", "amended", "corrected")

#: An id of a resource.
ID = re.compile(r"[A-Za-z0-9.-]{1,64}")


class _Element(msgspec.Struct, frozen=True, rename="camel"):
    """What is not named here is skipped: other parts of FHIR are none of our business."""

    def __repr__(self) -> str:
        # Values of patients.
        return f"<{type(self).__name__}>"


class _Coding(_Element, frozen=True):
    system: str = ""
    code: str = ""


class _Concept(_Element, frozen=True):
    coding: tuple[_Coding, ...] = ()

    def has(self, system: str, codes: tuple[str, ...]) -> bool:
        """Tell whether one of these codes is in it."""
        return any(each.system == system and each.code in codes for each in self.coding)


class _Quantity(_Element, frozen=True):
    value: float | None = None
    comparator: str = ""
    unit: str = ""
    system: str = ""
    code: str = ""


class _Reference(_Element, frozen=True):
    reference: str = ""


class _Period(_Element, frozen=True):
    start: str = ""
    end: str = ""


class _Valued(_Element, frozen=True):
    code: _Concept
    value_quantity: _Quantity | None = None
    value_integer: int | None = None
    value_boolean: bool | None = None
    value_string: str | None = None
    value_codeable_concept: _Concept | None = None


class _Observation(_Valued, frozen=True):
    status: str = ""
    id: str = ""
    subject: _Reference = _Reference()
    effective_date_time: str = ""
    effective_instant: str = ""
    effective_period: _Period = _Period()
    issued: str = ""
    component: tuple[_Valued, ...] = ()

    @property
    def moment(self) -> datetime | None:
        """When it was true of the patient, in UTC."""
        period = self.effective_period
        written = self.effective_date_time or self.effective_instant or period.end or period.start
        return moment(written or self.issued)


class _Patient(_Element, frozen=True):
    id: str = ""
    gender: str = ""
    birth_date: str = ""


class _Entry(_Element, frozen=True):
    resource: msgspec.Raw = msgspec.Raw(b"null")


class _Bundle(_Element, frozen=True):
    entry: tuple[_Entry, ...] = ()


class _Any(_Element, frozen=True):
    resource_type: str


class Reading(msgspec.Struct, frozen=True):
    """A value as a record has it.

    Attributes
    ----------
    quantity : float or None
    unit : str
        Of a quantity.
    words : tuple of str
        Codes and texts that a value has which is none.
    observation : str
        Id of the observation; empty without one.
    at : datetime or None
    """

    quantity: float | None = None
    unit: str = ""
    words: tuple[str, ...] = ()
    observation: str = ""
    at: datetime | None = None

    def __repr__(self) -> str:
        return "<Reading>"


def birth_and_gender(raw: msgspec.Raw, patient: str) -> tuple[str, str]:
    """Return date of birth and gender of a Patient, empty where they are not told.

    Raises
    ------
    FeatureError
        If it is no Patient, or another one.
    """
    found = _decoded(raw, "Patient", _Patient)
    if found.id and found.id != patient:
        raise FeatureError("prefetch: the Patient is another one than the context's")
    return found.birth_date, found.gender


def latest(
    raw: msgspec.Raw, patient: str, codes: tuple[str, ...], panel: str = ""
) -> Reading | None:
    """Return the latest final value of an observation; None if there is none.

    Parameters
    ----------
    raw : Raw
        An Observation or a Bundle.
    patient : str
        Id of the patient whose they must be, where they say so.
    codes : tuple of str
        LOINC codes, any of which will do.
    panel : str
        LOINC code of the observation that has these as components.

    Raises
    ------
    FeatureError
        If it is neither, or of another patient.
    """
    chosen = None
    for found in _observations(raw):
        if found.subject.reference and not _names(found.subject.reference, patient):
            raise FeatureError("prefetch: an Observation is of another patient than the context's")
        if found.status not in FINAL or not found.code.has(LOINC, (panel,) if panel else codes):
            continue
        if chosen is None or _order(found) > _order(chosen):
            chosen = found
    if chosen is None:
        return None
    valued: _Valued | None = chosen
    if panel:
        valued = next((part for part in chosen.component if part.code.has(LOINC, codes)), None)
    return None if valued is None else _reading(valued, chosen)


def _reading(valued: _Valued, whole: _Observation) -> Reading | None:
    observation = whole.id if ID.fullmatch(whole.id) else ""
    quantity = valued.value_quantity
    if quantity is not None:
        # Above or below a bound is no number.
        if quantity.value is None or quantity.comparator:
            return None
        unit = quantity.code if quantity.system in {"", UCUM} else ""
        return Reading(quantity.value, unit or quantity.unit, (), observation, whole.moment)
    words: tuple[str, ...] = ()
    if valued.value_codeable_concept is not None:
        words = tuple(each.code for each in valued.value_codeable_concept.coding if each.code)
    elif valued.value_boolean is not None:
        words = ("true" if valued.value_boolean else "false",)
    elif valued.value_string is not None:
        words = (valued.value_string,)
    elif valued.value_integer is not None:
        return Reading(float(valued.value_integer), "", (), observation, whole.moment)
    return Reading(None, "", words, observation, whole.moment) if words else None


def _observations(raw: msgspec.Raw) -> Iterator[_Observation]:
    if _kind(raw) != "Bundle":
        yield _decoded(raw, "Observation", _Observation)
        return
    for entry in _decoded(raw, "Bundle", _Bundle).entry:
        # Servers tell of trouble in an OperationOutcome among what they found.
        if _kind(entry.resource) == "Observation":
            yield _decoded(entry.resource, "Observation", _Observation)


def _kind(raw: msgspec.Raw) -> str:
    return _decode(raw, _Any).resource_type


def _decoded(raw: msgspec.Raw, kind: str, form: type[T]) -> T:
    if _kind(raw) != kind:
        raise FeatureError(f"prefetch: expected a resource of type {kind}")
    return _decode(raw, form)


def _decode(raw: msgspec.Raw, form: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=form)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # Without its words, which would name keys of what came.
        problem = "prefetch: expected resources of FHIR R4"
    raise FeatureError(problem)


def _names(reference: str, patient: str) -> bool:
    """Tell whether a reference, relative or absolute, with version or without, is to a patient."""
    parts = reference.split("/")
    place = len(parts) - 1 - parts[::-1].index("Patient") if "Patient" in parts else -1
    return 0 <= place < len(parts) - 1 and parts[place + 1] == patient


def _order(found: _Observation) -> tuple[datetime, datetime]:
    first = datetime.min.replace(tzinfo=UTC)
    return found.moment or first, moment(found.issued) or first


def moment(written: str) -> datetime | None:
    """Return a FHIR date, dateTime or instant in UTC: its first moment; None if it is none."""
    parts = written.count("-")
    if "T" not in written and parts < 2:
        written += "-01" * (2 - parts)
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    try:
        # Dates have no zone.
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        return None

"""Medicines of a person, as the record's MedicationStatements have them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self

from ompd.confidential import Confidential
from ompd.record.errors import DiaryError
from ompd.record.fhir import Resource, medication, moment_of, named

#: States of what is taken now, or is meant to be.
TAKEN = frozenset({"active", "intended", "on-hold", "unknown"})
#: Most times of a day.
MOST_TIMES = 24


@dataclass(frozen=True, slots=True, repr=False)
class Medicine(Confidential):
    """A medicine that is or was taken.

    Attributes
    ----------
    id : str
        Of its MedicationStatement.
    name : str
    dose : float or None
        How much at a time.
    unit : str
        Of the dose.
    times : tuple of time
        Of every day; empty if not known.
    text : str
        How it is taken, in words.
    since, until : datetime or None
    active : bool
        Whether it is taken now.
    """

    id: str
    name: str
    dose: float | None = None
    unit: str = ""
    times: tuple[time, ...] = ()
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    active: bool = True

    @classmethod
    def from_resource(cls, resource: Resource) -> Self:
        """Return what a MedicationStatement says, one's own or imported."""
        document = resource.document()
        concept = document.get("medicationCodeableConcept")
        reference = document.get("medicationReference", {})
        name = named(concept)[1] if concept else reference.get("display", "")
        dosage: dict[str, Any] = next(iter(document.get("dosage", ())), {})
        rates = dosage.get("doseAndRate") or [{}]
        quantity = rates[0].get("doseQuantity", {})
        repeat = dosage.get("timing", {}).get("repeat", {})
        period = document.get("effectivePeriod", {})
        since = period.get("start") or document.get("effectiveDateTime")
        return cls(
            resource.id,
            name,
            float(quantity["value"]) if "value" in quantity else None,
            quantity.get("unit") or quantity.get("code", ""),
            tuple(time.fromisoformat(each) for each in repeat.get("timeOfDay", ())),
            dosage.get("text", ""),
            moment_of(since) if since else None,
            moment_of(period["end"]) if "end" in period else None,
            document["status"] in TAKEN and not _is_over(period.get("end", "")),
        )


def _is_over(end: str) -> bool:
    """Tell whether an end, which a whole day may be, has passed."""
    until = moment_of(end)
    return until is not None and until + timedelta(days="T" not in end) <= datetime.now(UTC)


def statement(
    id: str,
    name: str,
    dose: float | None,
    unit: str | None,
    times: tuple[time, ...],
    *,
    code: str | None,
    text: str | None,
    since: datetime | date | None,
) -> Resource:
    """Return the MedicationStatement of a medicine; `Diary.take` says what the parameters are.

    Raises
    ------
    DiaryError, ResourceError
    """
    if not isinstance(name, str) or not name.strip():
        raise DiaryError("name: expected a text that is not blank")
    if not all(isinstance(each, time) and each.tzinfo is None for each in times):
        raise DiaryError("times: expected times of the day without a zone")
    if len(set(times)) != len(times) or len(times) > MOST_TIMES:
        raise DiaryError(f"times: expected at most {MOST_TIMES}, each once")
    timing = {
        "frequency": len(times),
        "period": 1,
        "periodUnit": "d",
        "timeOfDay": [f"{each:%H:%M:%S}" for each in times],
    }
    return medication(
        name.strip(), code=code, since=since, dose=dose, unit=unit, text=text,
        timing=timing if times else None, id=id,
    )  # fmt: skip

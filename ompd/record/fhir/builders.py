"""Resources that a person's own device writes. What is made here is checked like what is read."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from ompd.record.fhir.checking import checked
from ompd.record.fhir.dates import written
from ompd.record.fhir.elements import (
    CATEGORIES,
    SELF,
    Value,
    concept_of,
    date_of,
    moment,
    period_of,
    quantity_of,
    some,
    status_of,
    valued,
)
from ompd.record.fhir.resource import Resource
from ompd.record.fhir.terms import LOINC, OWN
from ompd.record.fhir.vocabulary import MEASURES


def patient(
    name: str | None = None,
    *,
    born: date | None = None,
    gender: str | None = None,
) -> Resource:
    """Return the person whose record it is.

    Parameters
    ----------
    name : str, optional
    born : date, optional
    gender : {"male", "female", "other", "unknown"}, optional

    Raises
    ------
    ResourceError
        If one is not of its form.
    """
    return checked(
        some(
            resourceType="Patient",
            id=SELF.partition("/")[2],
            name=[{"text": name}] if name else None,
            birthDate=date_of(born),
            gender=gender,
        )
    )


def observation(
    code: str,
    value: Value | None,
    unit: str | None = None,
    when: datetime | date | None = None,
    *,
    until: datetime | None = None,
    system: str = LOINC,
    display: str | None = None,
    category: str | None = None,
    device: str | None = None,
    parts: Sequence[tuple[str, float, str]] = (),
    id: str | None = None,
    now: datetime | None = None,
) -> Resource:
    """Return something that was measured or observed.

    Parameters
    ----------
    code : str
        What; of LOINC unless another system is named.
    value : bool, number, str, (system, code) or None
        None if only its parts have values.
    unit : str, optional
        Of UCUM, of a number.
    when : datetime or date, optional
        A day, or a moment with a zone; now.
    until : datetime, optional
        The end, of what took a while.
    system : str, default LOINC
    display : str, optional
        What the code means; that of `MEASURES` where it is listed there.
    category : str, optional
        Of FHIR, such as ``vital-signs``; that of `MEASURES`, or else ``survey``.
    device : str, optional
        What measured it, in words.
    parts : sequence of (code, value, unit)
        Components, in LOINC and UCUM, such as the two numbers of a blood pressure.
    id : str, optional
        Follows from the content if it is left out.
    now : datetime, optional
        Of `checked`.

    Raises
    ------
    ResourceError
        If something is not of its form.
    """
    known = MEASURES.get(code) if system == LOINC else None
    category = category or (known.category if known else "survey")
    return checked(
        some(
            resourceType="Observation",
            id=id,
            status="final",
            category=[{"coding": [{"system": CATEGORIES, "code": category}]}],
            code=concept_of(system, code, display),
            subject={"reference": SELF},
            device={"display": device} if device else None,
            **period_of("effective", when, until),
            **valued(value, unit),
            component=[
                {"code": concept_of(LOINC, name, None), **valued(number, measured)}
                for name, number, measured in parts
            ],
        ),
        now=now,
    )


def event(
    code: str,
    start: datetime,
    end: datetime | None = None,
    *,
    value: float | None = None,
    unit: str | None = None,
    display: str | None = None,
    system: str = OWN,
) -> Resource:
    """Return what a device noticed by itself, such as a fast heart, from one moment to another.

    Parameters
    ----------
    code : str
        Of this package's own codes unless another system is named.
    start : datetime
        With a zone, as `end`.
    end : datetime, optional
    value : float, optional
    unit : str, optional
        Of UCUM.
    display : str, optional
    system : str, default `OWN`

    Raises
    ------
    ResourceError
        If something is not of its form.
    """
    return observation(
        code, True if value is None else value, unit, start, until=end, system=system,
        display=display or code.replace("-", " "), category="activity",
    )  # fmt: skip


def condition(
    code: str | None,
    display: str,
    when: datetime | date | None = None,
    *,
    system: str = "http://hl7.org/fhir/sid/icd-10",
    clinical: str = "active",
    verification: str = "confirmed",
    ended: datetime | date | None = None,
    id: str | None = None,
) -> Resource:
    """Return an illness or a complaint.

    Parameters
    ----------
    code : str or None
        Of ICD-10 unless another system is named; None if only words are known.
    display : str
        In words.
    when : datetime or date, optional
        Since when.
    system : str
    clinical, verification : str
        Values of FHIR, such as ``active`` and ``confirmed``.
    ended : datetime or date, optional
    id : str, optional

    Raises
    ------
    ResourceError
        If something is not of its form.
    """
    return checked(
        some(
            resourceType="Condition",
            id=id,
            clinicalStatus=status_of("condition-clinical", clinical),
            verificationStatus=status_of("condition-ver-status", verification),
            code=concept_of(system, code, display),
            subject={"reference": SELF},
            onsetDateTime=date_of(when),
            abatementDateTime=date_of(ended),
        )
    )


def allergy(
    display: str,
    *,
    code: str | None = None,
    system: str = "http://snomed.info/sct",
    category: str | None = None,
    criticality: str | None = None,
    when: datetime | date | None = None,
    id: str | None = None,
) -> Resource:
    """Return an allergy or intolerance that is active and confirmed.

    Parameters
    ----------
    display : str
        In words.
    code : str, optional
        Of SNOMED CT unless another system is named.
    system : str
    category : {"food", "medication", "environment", "biologic"}, optional
    criticality : {"low", "high", "unable-to-assess"}, optional
    when : datetime or date, optional
    id : str, optional

    Raises
    ------
    ResourceError
        If something is not of its form.
    """
    return checked(
        some(
            resourceType="AllergyIntolerance",
            id=id,
            clinicalStatus=status_of("allergyintolerance-clinical", "active"),
            verificationStatus=status_of("allergyintolerance-verification", "confirmed"),
            category=[category] if category else None,
            criticality=criticality,
            code=concept_of(system, code, display),
            patient={"reference": SELF},
            onsetDateTime=date_of(when),
        )
    )


def medication(
    display: str,
    *,
    code: str | None = None,
    system: str = "http://www.whocc.no/atc",
    status: str = "active",
    since: datetime | date | None = None,
    until: datetime | date | None = None,
    dose: float | None = None,
    unit: str | None = None,
    text: str | None = None,
    timing: Mapping[str, Any] | None = None,
    id: str | None = None,
) -> Resource:
    """Return a medicine that is or was taken, as a MedicationStatement.

    Parameters
    ----------
    display : str
        Its name.
    code : str, optional
        Of ATC unless another system is named.
    system : str
    status : str, default "active"
        Of FHIR, such as ``stopped``.
    since, until : datetime or date, optional
    dose : float, optional
        How much at a time.
    unit : str, optional
        Of UCUM, such as ``mg`` or ``{tablet}``.
    text : str, optional
        How it is taken, in words.
    timing : mapping, optional
        FHIR's `Timing.repeat`.
    id : str, optional

    Raises
    ------
    ResourceError
        If something is not of its form.
    """
    dosage = some(
        text=text,
        timing={"repeat": dict(timing)} if timing else None,
        doseAndRate=[{"doseQuantity": quantity_of(dose, unit)}] if dose is not None else None,
    )
    return checked(
        some(
            resourceType="MedicationStatement",
            id=id,
            status=status,
            medicationCodeableConcept=concept_of(system, code, display),
            subject={"reference": SELF},
            effectivePeriod=some(start=date_of(since), end=date_of(until)),
            dosage=[dosage] if dosage else None,
        )
    )


def note(
    text: str, when: datetime | None = None, *, title: str | None = None, id: str | None = None
) -> Resource:
    """Return a text of somebody as a DocumentReference.

    Parameters
    ----------
    text : str
    when : datetime, optional
        With a zone; now.
    title : str, optional
    id : str, optional

    Raises
    ------
    ResourceError
        If something is not of its form, or the text is too long.
    """
    attachment = some(
        contentType="text/plain; charset=utf-8",
        data=base64.b64encode(text.encode()).decode(),
        title=title,
    )
    return checked(
        some(
            resourceType="DocumentReference",
            id=id,
            status="current",
            subject={"reference": SELF},
            date=written(moment(when)),
            description=title,
            content=[{"attachment": attachment}],
        )
    )

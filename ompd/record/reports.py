"""Pre-diagnoses as resources: what a hospital said becomes part of a record."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ompd.errors import RecordError
from ompd.roles.diagnosis import Diagnosis

if TYPE_CHECKING:
    from ompd.record.fhir import Resource

#: What stands below every one of them.
NO_DIAGNOSIS = "This is no diagnosis: it is for whoever makes one."
_NONE: Mapping[str, Mapping[str, str]] = {}


def percent(chance: float) -> str:
    """Return a probability for people; never a certainty that it is not."""
    if 0 < chance < 0.001:
        return "< 0.1 %"
    if 0.999 < chance < 1:
        return "> 99.9 %"
    return f"{100 * chance:.1f} %"


def assessment(
    diagnosis: Diagnosis,
    *,
    title: str,
    performer: str,
    subject: Mapping[str, str],
    at: datetime,
    basis: Iterable[str] = (),
    outcomes: Mapping[str, Mapping[str, str]] = _NONE,
) -> dict[str, Any]:
    """Return a preliminary RiskAssessment, as FHIR R4 and R4B have it in JSON; not checked.

    Parameters
    ----------
    diagnosis : Diagnosis
    title : str
        What was asked about.
    performer : str
        Who answered, for people.
    subject : mapping
        Reference to the patient.
    at : datetime
        With a zone.
    basis : iterable of str
        References of the resources that it was made of.
    outcomes : mapping of str to mapping
        Codings of classes.

    Notes
    -----
    Of `probability[x]`, R4 says that decimals are percentages, as ranges are, of 100 at most; its
    rule ras-2 checks the latter.
    """
    found: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "status": "preliminary",
        "method": {"text": _method(diagnosis)},
        "code": {"text": title},
        "subject": dict(subject),
        "occurrenceDateTime": _written(at),
        "performer": {"display": performer},
    }
    if listed := sorted(set(basis)):
        found["basis"] = [{"reference": each} for each in listed]
    found["prediction"] = [
        {
            "outcome": _outcome(name, outcomes.get(name)),
            "probabilityDecimal": round(100 * chance, 2),
            "rationale": _rationale(diagnosis, name, chance),
        }
        for name, chance in diagnosis.probabilities.items()
    ]
    if diagnosis.advice:
        found["note"] = [{"text": diagnosis.advice}]
    return found


def report_resources(
    diagnosis: Diagnosis,
    *,
    hospital: str,
    disease: str,
    when: datetime | None = None,
    basis: Iterable[str] = (),
    title: str = "",
) -> tuple[Resource, Resource]:
    """Return a pre-diagnosis as DiagnosticReport and RiskAssessment, the latter part of the former.

    Parameters
    ----------
    diagnosis : Diagnosis
    hospital : str
        Who answered, for people.
    disease : str
    when : datetime, optional
        With a zone; now by default.
    basis : iterable of str
        References of the resources that it was made of, as ``"Observation/abc"``.
    title : str, optional
        What was asked about; made of the name of the disease by default.

    Raises
    ------
    RecordError
        If there is no diagnosis but an error, or the time has no zone.
    ResourceError
        If a text is not of its form.
    BackendUnavailableError
        Without the extra `care`.
    """
    from ompd.record.fhir import SELF, checked

    if diagnosis.error:
        raise RecordError("diagnosis: there is none, but an error")
    at = datetime.now(UTC) if when is None else when
    if at.tzinfo is None:
        raise RecordError("when: expected a time with a zone")
    name = str(uuid.uuid4())
    title = title or f"Pre-diagnosis: {disease}"
    listed = sorted(set(basis))
    lines = [
        f"{diagnosis.label}: {percent(diagnosis.probabilities[diagnosis.label])}",
        *([diagnosis.advice] if diagnosis.advice else []),
        *_remarks(diagnosis),
        NO_DIAGNOSIS,
    ]
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "id": name,
        "status": "preliminary",
        "code": {"text": title},
        "subject": {"reference": SELF},
        "effectiveDateTime": _written(at),
        "issued": _written(at),
        "performer": [{"display": hospital}],
        "conclusion": "\n".join(lines),
        "conclusionCode": [{"text": diagnosis.label}],
    }
    observed = [each for each in listed if each.startswith("Observation/")]
    if observed:
        report["result"] = [{"reference": each} for each in observed]
    risk = assessment(
        diagnosis,
        title=title,
        performer=hospital,
        subject={"reference": SELF},
        at=at,
        basis=listed,
    )
    risk |= {"id": name, "parent": {"reference": f"DiagnosticReport/{name}"}}
    return checked(report), checked(risk)


def _remarks(diagnosis: Diagnosis) -> Sequence[str]:
    remarks = []
    if diagnosis.filled:
        remarks.append(f"Values that are missing were filled in: {diagnosis.filled}.")
    if diagnosis.certified:
        remarks.append("The hospital has verified that no record is more similar.")
    else:
        remarks.append("That no record is more similar is the cloud's word.")
    if diagnosis.profile:
        remarks.append(f"Profile: {diagnosis.profile}.")
    return remarks


def _method(diagnosis: Diagnosis) -> str:
    neighbours = f", {diagnosis.k} nearest neighbours" if diagnosis.k else ""
    return f"ompd {diagnosis.method}{neighbours}"


def _rationale(diagnosis: Diagnosis, name: str, chance: float) -> str:
    if not diagnosis.k:
        return percent(chance)
    return f"{percent(chance)}; {diagnosis.votes[name]} of {diagnosis.k} nearest neighbours"


def _outcome(name: str, coding: Mapping[str, str] | None) -> dict[str, Any]:
    return {"text": name} if coding is None else {"coding": [dict(coding)], "text": name}


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")

"""Cards: what a clinician sees of a pre-diagnosis."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ompd.roles import Diagnosis
from ompd.schema import Schema
from ompd.service.cds.config import Cds, Service
from ompd.service.cds.features import Row

#: Longest summary that the specification allows, in characters.
_MOST_SUMMARY = 139
# What would begin markup, links or rows of tables.
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+!|~&:@-])")


def source_of(config: Cds, hospital: str) -> dict[str, str]:
    """Return what a card says of where it is from."""
    label = config.label or f"Pre-diagnosis of {hospital}"
    return {"label": label} | ({"url": config.url} if config.url else {})


def title_of(service: Service, disease: str) -> str:
    """Return the name of a service for people."""
    return service.title or f"Pre-diagnosis: {disease}"


def diagnosis_card(
    config: Cds,
    hospital: str,
    disease: str,
    schema: Schema,
    row: Row,
    diagnosis: Diagnosis,
    context: tuple[str, str],
    now: float,
) -> dict[str, Any]:
    """Return the card of a diagnosis.

    Parameters
    ----------
    config : Cds
    hospital, disease : str
    schema : Schema
    row : Row
        What it was made of.
    diagnosis : Diagnosis
    context : tuple of str
        Ids of patient and encounter, the latter empty if there is none.
    now : float
        Seconds since the epoch.
    """
    service = config.services[disease]
    title = title_of(service, disease)
    source = source_of(config, hospital)
    chance = diagnosis.probabilities[diagnosis.label]
    assessment = _assessment(service, title, source["label"], row, diagnosis, context, now)
    return {
        "uuid": str(uuid.uuid4()),
        "summary": _short(title, f": {diagnosis.label}", f" ({_percent(chance)})"),
        "detail": _detail(schema, row, diagnosis),
        "indicator": service.indicators.get(diagnosis.label, "info"),
        "source": source,
        "suggestions": [
            {
                "label": "Record as a risk assessment",
                "uuid": str(uuid.uuid4()),
                "actions": [
                    {
                        "type": "create",
                        "description": f"Record {title} as a preliminary risk assessment",
                        "resource": assessment,
                    }
                ],
            }
        ],
        "selectionBehavior": "at-most-one",
    }


def lacking_card(
    config: Cds, hospital: str, disease: str, faults: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Return the card of a record that cannot be asked about.

    Parameters
    ----------
    config : Cds
    hospital, disease : str
    faults : sequence of tuple of str
        Features and what is expected of them.
    """
    title = title_of(config.services[disease], disease)
    listed = [f"- {_plain(name)}: {_plain(reason)}" for name, reason in faults]
    return {
        "uuid": str(uuid.uuid4()),
        "summary": _short(title, "", ": the record lacks values for it"),
        "detail": "\n".join(["A pre-diagnosis needs:", "", *listed]),
        "indicator": "info",
        "source": source_of(config, hospital),
    }


def _detail(schema: Schema, row: Row, diagnosis: Diagnosis) -> str:
    lines = [
        f"**{_plain(diagnosis.label)}**: {diagnosis.votes[diagnosis.label]} of the {diagnosis.k} "
        "most similar records.",
        "",
    ]
    if diagnosis.advice:
        lines += [_plain(diagnosis.advice), ""]
    lines += ["| Class | Probability | Records |", "| --- | --- | --- |"]
    lines += [
        f"| {_plain(name)} | {_percent(diagnosis.probabilities[name])} | {votes} |"
        for name, votes in diagnosis.votes.items()
    ]
    lines += ["", "| Feature | Value | Date |", "| --- | --- | --- |"]
    for feature in schema.features:
        value = row.values[feature.name]
        reading = row.readings.get(feature.name)
        at = f"{reading.at:%Y-%m-%d}" if reading is not None and reading.at is not None else ""
        shown = "missing" if value is None else f"{value:g}" if isinstance(value, float) else value
        unit = f" {feature.unit}" if feature.unit and value is not None else ""
        lines.append(f"| {_plain(feature.name)} | {_plain(f'{shown}{unit}')} | {at} |")
    lines.append("")
    if diagnosis.filled:
        lines += [f"Values that are missing were filled in: {diagnosis.filled}.", ""]
    if diagnosis.certified:
        lines.append("The hospital has verified that no record is more similar.")
    else:
        lines.append("That no record is more similar is the cloud's word.")
    lines.append("This is no diagnosis: it is for whoever makes one.")
    return "\n".join(lines)


def _assessment(
    service: Service,
    title: str,
    performer: str,
    row: Row,
    diagnosis: Diagnosis,
    context: tuple[str, str],
    now: float,
) -> dict[str, Any]:
    """Return a RiskAssessment of FHIR R4; it has no empty parts, which JSON of FHIR forbids."""
    patient, encounter = context
    method = f"ompd {diagnosis.method}, {diagnosis.k} nearest neighbours"
    found: dict[str, Any] = {
        "resourceType": "RiskAssessment",
        "status": "preliminary",
        "method": {"text": method},
        "code": {"text": title},
        "subject": {"reference": f"Patient/{patient}"},
        "occurrenceDateTime": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "performer": {"display": performer},
    }
    if encounter:
        found["encounter"] = {"reference": f"Encounter/{encounter}"}
    basis = {each.observation for each in row.readings.values() if each.observation}
    if basis:
        found["basis"] = [{"reference": f"Observation/{each}"} for each in sorted(basis)]
    found["prediction"] = [
        {
            "outcome": _outcome(service, name),
            # R4 says of `probability[x]` that decimals are percentages, as ranges are, of 100 at
            # most; its rule ras-2 checks the latter.
            "probabilityDecimal": round(100 * diagnosis.probabilities[name], 2),
            "rationale": f"{_percent(diagnosis.probabilities[name])}; {votes} of {diagnosis.k} "
            "nearest neighbours",
        }
        for name, votes in diagnosis.votes.items()
    ]
    if diagnosis.advice:
        found["note"] = [{"text": diagnosis.advice}]
    return found


def _outcome(service: Service, name: str) -> dict[str, Any]:
    coding = service.outcomes.get(name)
    if coding is None:
        return {"text": name}
    shown = {"display": coding.display} if coding.display else {}
    return {"coding": [{"system": coding.system, "code": coding.code} | shown], "text": name}


def _percent(chance: float) -> str:
    """Return a probability for people; never a certainty that it is not."""
    if 0 < chance < 0.001:
        return "< 0.1 %"
    if 0.999 < chance < 1:
        return "> 99.9 %"
    return f"{100 * chance:.1f} %"


def _short(title: str, label: str, end: str) -> str:
    """Join what a summary has; names give way to what it says."""
    room = _MOST_SUMMARY - len(end)
    label = _cut(label, room // 2) if len(title) + len(label) > room else label
    return _cut(title, room - len(label)) + label + end


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _plain(text: str) -> str:
    """Return a text as Markdown that shows it as it is, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))

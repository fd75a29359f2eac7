"""Cards: what a clinician sees of a pre-diagnosis."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ompd.record.reports import NO_DIAGNOSIS, assessment, percent
from ompd.roles import Diagnosis
from ompd.schema import Schema
from ompd.service.cds.config import Cds, Coding, Service
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
    patient, encounter = context
    risk = assessment(
        diagnosis,
        title=title,
        performer=source["label"],
        subject={"reference": f"Patient/{patient}"},
        at=datetime.fromtimestamp(now, UTC),
        basis=[
            f"Observation/{each.observation}" for each in row.readings.values() if each.observation
        ],
        outcomes={name: _coding(coding) for name, coding in service.outcomes.items()},
    )
    if encounter:
        risk["encounter"] = {"reference": f"Encounter/{encounter}"}
    return {
        "uuid": str(uuid.uuid4()),
        "summary": _short(title, f": {diagnosis.label}", f" ({percent(chance)})"),
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
                        "resource": risk,
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
        f"| {_plain(name)} | {percent(diagnosis.probabilities[name])} | {votes} |"
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
    lines.append(NO_DIAGNOSIS)
    return "\n".join(lines)


def _coding(coding: Coding) -> dict[str, str]:
    shown = {"display": coding.display} if coding.display else {}
    return {"system": coding.system, "code": coding.code} | shown


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

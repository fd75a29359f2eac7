"""Which resources make a summary, and in which part of it each stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from ompd.record.fhir import LOINC, SELF, Document, Resource

#: Newest observations of each code that a summary has.
NEWEST = 5


class Section(NamedTuple):
    """A part of a summary.

    Attributes
    ----------
    code : str
        Of LOINC, as the International Patient Summary names it.
    title, german : str
    absent : str
        Code for an entry that says that nothing is known, of a part that must be there.
    """

    code: str
    title: str
    german: str
    absent: str = ""


PROBLEMS = Section("11450-4", "Problems", "Probleme", "no-problem-info")
ALLERGIES = Section("48765-2", "Allergies", "Allergien", "no-allergy-info")
MEDICATION = Section("10160-0", "Medication", "Medikamente", "no-medication-info")
IMMUNIZATIONS = Section("11369-6", "Immunizations", "Impfungen")
PROCEDURES = Section("47519-4", "Procedures", "Eingriffe")
DEVICES = Section("46264-8", "Medical devices", "Medizinprodukte")
RESULTS = Section("30954-2", "Results", "Befunde")
VITAL_SIGNS = Section("8716-3", "Vital signs", "Vitalzeichen")
PAST = Section("11348-0", "Past illness", "Frühere Erkrankungen")
PLAN = Section("18776-5", "Plan of care", "Behandlungsplan")
SOCIAL = Section("29762-2", "Social history and activity", "Lebensweise und Aktivität")
RISKS = Section("75310-3", "Health concerns", "Gesundheitsrisiken")
#: Of print alone: a summary for others has no private notes.
NOTES = Section("51855-5", "Notes and answers", "Notizen und Antworten")

#: In their order; the required ones first.
SECTIONS = (
    PROBLEMS, ALLERGIES, MEDICATION, IMMUNIZATIONS, PROCEDURES, DEVICES, RESULTS, VITAL_SIGNS,
    PAST, PLAN, SOCIAL, RISKS, NOTES,
)  # fmt: skip

_BY_KIND = {
    "AllergyIntolerance": ALLERGIES,
    "CarePlan": PLAN,
    "DeviceUseStatement": DEVICES,
    "DiagnosticReport": RESULTS,
    "DocumentReference": NOTES,
    "Goal": PLAN,
    "Immunization": IMMUNIZATIONS,
    "MedicationRequest": MEDICATION,
    "MedicationStatement": MEDICATION,
    "Procedure": PROCEDURES,
    "QuestionnaireResponse": NOTES,
    "RiskAssessment": RISKS,
}
_BY_CATEGORY = {"vital-signs": VITAL_SIGNS, "laboratory": RESULTS, "imaging": RESULTS}


class Readable(Protocol):
    """What of a record, or of one that is shared, an export needs."""

    def list(self) -> Any:
        """Return entries, newest first."""
        ...

    def get(self, reference: str, /) -> Resource:
        """Return the resource of a reference."""
        ...

    def __contains__(self, reference: str, /) -> bool: ...


def section_of(document: Document) -> Section | None:
    """Return where a resource stands; None for one that a summary does not list by itself."""
    kind = document["resourceType"]
    if kind == "Observation":
        codes = {
            coding.get("code")
            for category in document.get("category", ())
            for coding in category.get("coding", ())
        }
        return next((_BY_CATEGORY[code] for code in _BY_CATEGORY if code in codes), SOCIAL)
    if kind == "Condition":
        clinical = document.get("clinicalStatus", {}).get("coding", ())
        states = {each.get("code") for each in clinical}
        abated = not states and any(name.startswith("abatement") for name in document)
        ended = abated or states & {"inactive", "resolved", "remission"}
        return PAST if ended else PROBLEMS
    return _BY_KIND.get(kind)


def in_order(record: Readable) -> list[Any]:
    """Return the entries of a record, newest first, and those of one time by their references.

    So equal records are exported alike, in whatever order they were filled.
    """
    named = sorted(record.list(), key=lambda entry: entry.reference)
    timed = [entry for entry in named if entry.when is not None]
    timed.sort(key=lambda entry: entry.when, reverse=True)
    return timed + [entry for entry in named if entry.when is None]


def chosen(record: Readable, *, notes: bool) -> dict[str, tuple[Section, Resource]]:
    """Return what a summary lists, by reference: of observations, the newest of each code.

    What was entered in error or refuted is left out.

    Parameters
    ----------
    record : Record
    notes : bool
        Whether notes and answers to questionnaires are among it.
    """
    found = {}
    seen: Counter[tuple[str, str]] = Counter()
    for entry in in_order(record):
        code = entry.codes[0] if entry.kind == "Observation" and entry.codes else None
        if code is not None and seen[code] >= NEWEST:
            continue
        resource = record.get(entry.reference)
        document = resource.document()
        section = section_of(document)
        if section is None or _is_void(document) or (section is NOTES and not notes):
            continue
        if code is not None:
            seen[code] += 1
        found[entry.reference] = (section, resource)
    return found


def _is_void(document: Document) -> bool:
    """Tell whether a resource was withdrawn, or says that something is not so."""
    verified = document.get("verificationStatus", {}).get("coding", ())
    states = {document.get("status"), *(each.get("code") for each in verified)}
    return bool(states & {"entered-in-error", "refuted"})


def referenced(record: Readable, resources: Iterable[Resource]) -> dict[str, Resource]:
    """Return what resources refer to in the record, directly or not, besides themselves.

    Notes and answers to questionnaires stay private: an observation says which it is from.
    """
    waiting = list(resources)
    known = {f"{each.kind}/{each.id}" for each in waiting} | {SELF}
    found: dict[str, Resource] = {}
    while waiting:
        for reference in references_in(waiting.pop().document()):
            if reference not in known and reference in record:
                known.add(reference)
                resource = record.get(reference)
                if section_of(resource.document()) is not NOTES:
                    found[reference] = resource
                    waiting.append(resource)
    return found


def references_in(value: Any) -> Iterator[str]:
    """Yield the references within a document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "reference" and isinstance(inner, str):
                yield inner
            else:
                yield from references_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references_in(inner)


def concept(section: Section) -> Document:
    """Return the code of a section."""
    return {"coding": [{"system": LOINC, "code": section.code}]}

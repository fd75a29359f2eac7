"""A record as a bundle: whole, to be read back; or its International Patient Summary.

The summary is a document of FHIR R4 after HL7's guide: a Composition with the sections that are
required, each with an entry that says so where nothing is known, and those of the others that have
something to say. Entries have names of their own, `urn:uuid:...`, that follow from their ids, so
that references hold and importing one of these documents finds what it knows.
"""

from __future__ import annotations

import html
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from ompd.record.exporting.describing import described
from ompd.record.exporting.sections import (
    SECTIONS,
    Readable,
    Section,
    chosen,
    concept,
    referenced,
)
from ompd.record.fhir import LOINC, SELF, Document, Resource, checked, written
from ompd.record.fhir.resource import encode
from ompd.record.fhir.terms import ABSENT
from ompd.record.importing.bundles import PLACEHOLDER, own_url, replace_references

_REASON = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_UNKNOWN = [{"url": _REASON, "valueCode": "unknown"}]
_STATES = "http://terminology.hl7.org/CodeSystem"


def everything(record: Readable) -> bytes:
    """Return the whole record as a Bundle of FHIR R4B in JSON, each resource checked once more.

    Importing it into an empty record gives an equal one.

    Parameters
    ----------
    record : Record
        One's own, or what another person shares.

    Raises
    ------
    ResourceError
        If there is a resource that was stored without a check, and is wrong.
    """
    references = sorted(entry.reference for entry in record.list())
    documents = {each: checked(record.get(each).json).document() for each in references}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": _entries(documents)}
    if not documents:
        del bundle["entry"]
    return encode(bundle)


def summary(record: Readable, *, language: str = "en", now: datetime | None = None) -> bytes:
    """Return an International Patient Summary as a document of FHIR R4B in JSON.

    Of observations it has the newest five of each code; private notes and answers are left out.

    Parameters
    ----------
    record : Record
    language : {"en", "de"}
        Of titles, and of its texts for people.
    now : datetime, optional
        With a zone; when the document is of.

    Raises
    ------
    ResourceError
        As `everything`.
    """
    now = now or datetime.now(UTC)
    listed = chosen(record, notes=False)
    resources = [resource for _, resource in listed.values()]
    others = referenced(record, resources)
    documents = {SELF: _person(record)}
    documents |= {reference: each.document() for reference, (_, each) in listed.items()}
    documents |= {reference: each.document() for reference, each in others.items()}
    parts = []
    for section in SECTIONS:
        within = [each for found, each in listed.values() if found is section]
        if within:
            parts.append(_section(record, section, within, language))
        elif section.absent:
            placeholder = _placeholder(section)
            documents[_reference(placeholder)] = placeholder.document()
            parts.append(_section(record, section, [placeholder], language))
    composition = _composition(parts, language, now)
    entries = _entries({f"Composition/{composition['id']}": composition} | documents)
    digest = uuid.uuid5(uuid.NAMESPACE_URL, encode(entries).hex())
    return checked(
        {
            "resourceType": "Bundle",
            "id": str(digest),
            "type": "document",
            "identifier": {"system": "urn:ietf:rfc:3986", "value": f"urn:uuid:{digest}"},
            "timestamp": written(now),
            "entry": entries,
        },
        now=now,
    ).json


def _entries(documents: dict[str, Document]) -> list[Document]:
    """Return documents, by reference, as entries whose references are to one another's URLs."""
    urls = {reference: own_url(reference) for reference in documents}
    for document in documents.values():
        # One that is to nothing in here stays as it is.
        replace_references(document, lambda reference: urls.get(reference, reference))
    return [{"fullUrl": urls[each], "resource": documents[each]} for each in documents]


def _reference(resource: Resource) -> str:
    return f"{resource.kind}/{resource.id}"


def _person(record: Readable) -> Document:
    """Return the person, with what the summary needs of them, known or not."""
    if SELF in record:
        document = record.get(SELF).document()
    else:
        document = {"resourceType": "Patient", "id": SELF.partition("/")[2]}
        document["meta"] = {"tag": [PLACEHOLDER]}
    document.setdefault("name", [{"_text": {"extension": _UNKNOWN}}])
    if "birthDate" not in document:
        document["_birthDate"] = {"extension": _UNKNOWN}
    return document


def _section(
    record: Readable, section: Section, resources: Iterable[Resource], language: str
) -> Document:
    items = []
    for resource in resources:
        title, value = described(resource, language, record)
        when = resource.when.date().isoformat() if resource.when else ""
        text = " – ".join(part for part in (when, title, value.replace("\n", "; ")) if part)
        items.append(f"<li>{html.escape(_printable(text))}</li>")
    return {
        "title": section.german if language == "de" else section.title,
        "code": concept(section),
        "text": {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><ul>{"".join(items)}</ul></div>',
        },
        "entry": [{"reference": _reference(each)} for each in resources],
    }


def _printable(text: str) -> str:
    """Return a text without what XHTML cannot have."""
    return "".join(each for each in text if each.isprintable() or each in "\n\t")


def _placeholder(section: Section) -> Resource:
    """Return an entry of a required section that says that nothing is known."""
    document: Document = {}
    code = {"coding": [{"system": ABSENT, "code": section.absent}]}
    subject = {"reference": SELF}
    if section.absent == "no-medication-info":
        document |= {"resourceType": "MedicationStatement", "status": "unknown"}
        document |= {"medicationCodeableConcept": code, "subject": subject}
        document["_effectiveDateTime"] = {"extension": _UNKNOWN}
    elif section.absent == "no-allergy-info":
        document |= {"resourceType": "AllergyIntolerance", "code": code, "patient": subject}
        document["clinicalStatus"] = _state("allergyintolerance-clinical", "active")
    else:
        document |= {"resourceType": "Condition", "code": code, "subject": subject}
        document["clinicalStatus"] = _state("condition-clinical", "active")
    return checked(document)


def _state(system: str, code: str) -> Document:
    return {"coding": [{"system": f"{_STATES}/{system}", "code": code}]}


def _composition(sections: list[Document], language: str, now: datetime) -> Document:
    title = "Patient summary" if language == "en" else "Patientenkurzakte"
    document = {
        "resourceType": "Composition",
        "status": "final",
        "language": language,
        "type": {"coding": [{"system": LOINC, "code": "60591-5"}]},
        "subject": {"reference": SELF},
        "date": written(now),
        "author": [{"reference": SELF}],
        "title": title,
        "confidentiality": "N",
        "section": sections,
    }
    return checked(document, now=now).document()

"""A checked resource of FHIR R4B, and what is looked for in it."""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from ompd.confidential import Confidential
from ompd.record.fhir.dates import moment_of

#: A document as JSON has it; numbers with a point are `Decimal`, whose digits FHIR preserves.
Document = dict[str, Any]

# Where each kind says when it was so, or else when it was written down; the first one counts.
_WHEN = {
    "AllergyIntolerance": ("onsetDateTime", "onsetPeriod", "recordedDate", "lastOccurrence"),
    "Appointment": ("start", "created"),
    "Bundle": ("timestamp",),
    "CarePlan": ("period", "created"),
    "Composition": ("date",),
    "Condition": ("onsetDateTime", "onsetPeriod", "recordedDate"),
    "DeviceUseStatement": ("timingDateTime", "timingPeriod", "recordedOn"),
    "DiagnosticReport": ("effectiveDateTime", "effectivePeriod", "issued"),
    "DocumentReference": ("date",),
    "Encounter": ("period",),
    "FamilyMemberHistory": ("date",),
    "Goal": ("startDate", "statusDate"),
    "Immunization": ("occurrenceDateTime", "recorded"),
    "MedicationRequest": ("authoredOn",),
    "MedicationStatement": ("effectiveDateTime", "effectivePeriod", "dateAsserted"),
    "Observation": ("effectiveDateTime", "effectiveInstant", "effectivePeriod", "issued"),
    "Procedure": ("performedDateTime", "performedPeriod"),
    "Questionnaire": ("date",),
    "QuestionnaireResponse": ("authored",),
    "RiskAssessment": ("occurrenceDateTime", "occurrencePeriod"),
    "ServiceRequest": ("occurrenceDateTime", "occurrencePeriod", "authoredOn"),
    "Specimen": ("receivedTime",),
    "Task": ("executionPeriod", "authoredOn", "lastModified"),
}

# Elements whose texts are names of machines, and not words of people.
_SILENT = {
    *("system", "url", "reference", "id", "fullUrl", "resourceType", "div", "data", "contentType"),
    *("language", "status", "code", "unit", "versionId", "lastUpdated", "profile", "hash"),
    *("questionnaire", "linkId", "timezone", "definitionCanonical"),
}
_TAG = re.compile(r"<[^>]*>")
_WORD = re.compile(r"\w+")
_CODED = re.compile(r"[0-9T:.+Z-]*[0-9][0-9T:.+Z-]*")


@dataclass(frozen=True, slots=True, repr=False)
class Resource(Confidential):
    """A resource that `checked` found right; as secret as what it tells of its person.

    Attributes
    ----------
    kind : str
        Such as ``Observation``.
    id : str
        1 to 64 of A-Z, a-z, 0-9, - and the point; unique within its kind.
    when : datetime or None
        When it was so, with a zone; None if it does not say.
    codes : tuple of (str, str)
        System and code of every coding in it, each once; what it is about comes first.
    words : tuple of str
        Words of its texts, each once, in compatible lower case (NFKC, case folded).
    json : bytes
        The resource as JSON in canonical form: no spaces, keys sorted, numbers as they were.
    """

    kind: str
    id: str
    when: datetime | None
    codes: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    json: bytes

    def document(self) -> Document:
        """Return a new copy of it as a dictionary."""
        found: Document = decode(self.json)
        return found


def decode(source: bytes) -> Any:
    """Return what JSON says, with all digits of its numbers.

    Raises
    ------
    msgspec.DecodeError, UnicodeError, RecursionError, ValueError
        If it is none.
    """
    return _decoder.decode(source)


def encode(document: Any) -> bytes:
    """Return a document as JSON in canonical form."""
    return _encoder.encode(document)


_encoder = msgspec.json.Encoder(order="sorted", decimal_format="number")


def _decimal(text: str) -> Decimal:
    # 18 digits are what FHIR has for numbers.
    if len(text) > 40:
        raise ValueError
    found = Decimal(text)
    if not -60 < found.adjusted() < 60 and found:
        raise ValueError
    return found


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=_decimal)


def resource_of(document: Document) -> Resource:
    """Return a resource of a document that is checked already, and has an id."""
    encoded = encode(document)
    # In its order, whatever order it came in.
    document = decode(encoded)
    return Resource(
        document["resourceType"],
        document["id"],
        when_of(document),
        tuple(_codes(document)),
        tuple(_words(document)),
        encoded,
    )


def when_of(document: Document) -> datetime | None:
    """Return when a resource was so; None if it does not say."""
    for name in _WHEN.get(document["resourceType"], ()):
        value = document.get(name)
        if isinstance(value, dict):
            value = value.get("start") or value.get("end")
        if isinstance(value, str):
            return moment_of(value)
    return None


def _codes(document: Document) -> dict[tuple[str, str], None]:
    found: dict[tuple[str, str], None] = {}
    # What a resource is about stands in one of these.
    for name in ("code", "medicationCodeableConcept", "vaccineCode", "type"):
        _collect(document.get(name), found)
    for name, value in document.items():
        if name != "meta":
            _collect(value, found)
    return found


def _collect(value: Any, found: dict[tuple[str, str], None]) -> None:
    if isinstance(value, list):
        for each in value:
            _collect(each, found)
    elif isinstance(value, dict):
        system, code = value.get("system"), value.get("code")
        # A quantity's code is its unit.
        if isinstance(system, str) and isinstance(code, str) and "value" not in value:
            found[system, code] = None
        for each in value.values():
            _collect(each, found)


def _words(document: Document) -> dict[str, None]:
    found: dict[str, None] = {}
    for text in _texts(document):
        for word in words_of(text):
            found[word] = None
    return found


def words_of(text: str) -> list[str]:
    """Return the words of a text in the form in which resources have theirs."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _texts(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, str):
        if name == "div":
            yield _TAG.sub(" ", value)
        elif name not in _SILENT and not _CODED.fullmatch(value):
            yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each, name)
    elif isinstance(value, dict):
        if str(value.get("contentType", "")).startswith("text/plain") and "data" in value:
            yield plain_text(value["data"])
        for inner, each in value.items():
            yield from _texts(each, inner)


def plain_text(data: str) -> str:
    """Return what a text that is attached as base64 says; empty if it is no text."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        return ""

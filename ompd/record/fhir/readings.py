"""Values of observations, whatever FHIR wraps them in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ompd.confidential import Confidential
from ompd.record.fhir.resource import Document, Resource, when_of
from ompd.record.fhir.terms import UCUM
from ompd.record.fhir.vocabulary import MEASURES

#: States of an observation whose value counts.
FINAL = frozenset({"final", "amended", "corrected"})


@dataclass(frozen=True, slots=True, repr=False)
class Reading(Confidential):
    """One value of an observation or of one of its components.

    Attributes
    ----------
    codes : tuple of (str, str)
        Systems and codes of what it is of.
    name : str
        The same in words.
    number : float or None
        A truth value is 1 or 0.
    unit : str
        Of UCUM if `coded`; empty without one.
    coded : bool
        Whether the unit is of UCUM.
    words : tuple of str
        Codes and texts of a value that is no number.
    when : datetime or None
    id : str
        Of the observation.
    """

    codes: tuple[tuple[str, str], ...]
    name: str
    number: float | None
    unit: str
    coded: bool
    words: tuple[str, ...]
    when: datetime | None
    id: str


def readings(resource: Resource) -> list[Reading]:
    """Return the values of an observation that stand: none of other kinds, or of preliminary ones.

    A number above or below a bound is none.
    """
    if resource.kind != "Observation":
        return []
    document = resource.document()
    if document["status"] not in FINAL:
        return []
    when = when_of(document)
    found = []
    for part in (document, *document.get("component", ())):
        value = _value(part)
        if value is not None:
            codes, name = named(part["code"])
            found.append(Reading(codes, name, *value, when, resource.id))
    return found


def named(concept: Document) -> tuple[tuple[tuple[str, str], ...], str]:
    """Return systems and codes of a concept, and its name for people."""
    codings = concept.get("coding", ())
    codes = tuple((each.get("system", ""), each["code"]) for each in codings if "code" in each)
    words = concept.get("text") or next(
        (each["display"] for each in codings if "display" in each), ""
    )
    if not words and codes:
        known = MEASURES.get(codes[0][1])
        words = known.name if known else codes[0][1]
    return codes, words


def _value(part: Document) -> tuple[float | None, str, bool, tuple[str, ...]] | None:
    quantity = part.get("valueQuantity")
    if quantity is not None:
        if "value" not in quantity or "comparator" in quantity:
            return None
        coded = quantity.get("system") == UCUM and "code" in quantity
        unit = quantity["code"] if coded else quantity.get("unit", "")
        return float(quantity["value"]), unit, coded, ()
    for name in ("valueInteger", "valueBoolean"):
        if name in part:
            return float(part[name]), "", False, ()
    words = _words(part)
    return (None, "", False, words) if words else None


def _words(part: Document) -> tuple[str, ...]:
    concept: Any = part.get("valueCodeableConcept")
    if concept is not None:
        codes = [each["code"] for each in concept.get("coding", ()) if "code" in each]
        return (*codes, *([concept["text"]] if "text" in concept else []))
    for name in ("valueString", "valueDateTime", "valueTime"):
        if name in part:
            return (part[name],)
    return ()

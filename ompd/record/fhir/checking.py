"""What a resource must be to enter a record."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, NamedTuple, NoReturn

import msgspec

from ompd.errors import ResourceError
from ompd.record.fhir.bindings import ANY_FORMS, CODES, CONCEPTS, FORMS, KINDS
from ompd.record.fhir.dates import SLACK, is_sane, moment_of
from ompd.record.fhir.library import model_of
from ompd.record.fhir.resource import Document, Resource, decode, encode, resource_of
from ompd.record.fhir.terms import UCUM, problem_of
from ompd.record.fhir.units import is_convertible, is_unit
from ompd.record.fhir.vocabulary import LOINC_UNITS, in_moles

#: Most bytes of a resource, and of a bundle, as JSON.
MOST_BYTES, MOST_BUNDLE = 1 << 20, 16 << 20
#: How deep objects and lists may lie in one another.
MOST_DEPTH = 40
#: Whole numbers are below; those with a point have an exponent of at most 60.
MOST_NUMBER = 10**18

_KEY = re.compile(r"_?[A-Za-z][A-Za-z0-9]{0,63}")

# What cannot have been before it was written down.
_HAPPENED = {
    *("Condition", "DiagnosticReport", "DocumentReference", "Immunization", "Observation"),
    "QuestionnaireResponse",
}


def checked(
    source: Mapping[str, Any] | bytes, *, now: datetime | None = None, most: int | None = None
) -> Resource:
    """Return a resource of FHIR R4B, once all of it is found right.

    Beyond the form of its elements: values of required value sets; codes of LOINC, SNOMED CT, ICD,
    ATC and UCUM by form and check digit; units that fit what is measured; dates that exist, have a
    zone where they have a time, and lie between 1850 and 2200, what happened not in the future.

    Parameters
    ----------
    source : mapping or bytes
        As JSON has it. One without an id gets one that follows from its content: the same content
        has the same id.
    now : datetime, optional
        With a zone; the present.
    most : int, optional
        Bytes of JSON that are accepted; 1 MiB, and 16 MiB of a Bundle.

    Raises
    ------
    ResourceError
        If anything is wrong. It names the place and what was expected, and never a value.
    BackendUnavailableError
        Without the extra `care`.
    """
    document = opened(source, most=most)
    kind = document["resourceType"]
    model = _validated(document, kind)
    _check_raw(document, kind)
    _check_model(model, kind, now or datetime.now(UTC))
    if "id" not in document:
        digest = hashlib.sha256(encode(document)).hexdigest()
        document = {"id": digest[:32], **document}
    return resource_of(document)


def opened(source: Mapping[str, Any] | bytes, *, most: int | None = None) -> Document:
    """Return a new document of a kind that a record keeps, of bounded size and depth.

    Parameters
    ----------
    source : mapping or bytes
    most : int, optional
        As of `checked`, which does this first.

    Raises
    ------
    ResourceError
        If it is none.
    """
    problem = ""
    found: Any = None
    size, dense = 0, False
    try:
        encoded = source if isinstance(source, bytes) else encode(dict(source))
        size = len(encoded)
        # Before all of it is taken apart, at many times its size.
        most = most or (MOST_BYTES if size <= MOST_BYTES else _most_of(encoded))
        dense = is_dense(encoded)
        if size <= most and not dense:
            found = decode(encoded)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, TypeError):
        # Without its words, which could quote what came.
        problem = "source: expected JSON"
    if most is not None and size > most:
        problem = f"source: expected at most {most:,} bytes"
    elif dense:
        problem = "source: expected JSON with less objects and lists"
    elif not problem and not isinstance(found, dict):
        problem = "source: expected a JSON object"
    if problem:
        raise ResourceError(problem)
    document: Document = found
    kind = document.get("resourceType")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ResourceError("resourceType: expected a kind of FHIR R4B that a record keeps")
    _check_depth(document, kind)
    return document


def is_dense(source: bytes) -> bool:
    """Tell whether JSON has more objects and lists than FHIR needs for its bytes.

    Each of them costs a hundred times its bytes, once taken apart and found wrong.
    """
    return source.count(b"{") + source.count(b"[") > 1000 + len(source) // 16


class _Head(msgspec.Struct, rename="camel"):
    resource_type: str = ""


def _most_of(encoded: bytes) -> int:
    """Return how many bytes a resource of its kind may have."""
    head = msgspec.json.decode(encoded, type=_Head)
    return MOST_BUNDLE if head.resource_type == "Bundle" else MOST_BYTES


def _check_depth(document: Document, kind: str) -> None:
    level: list[Any] = [document]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise ResourceError(f"{kind}: expected at most {MOST_DEPTH} levels")


def _check_raw(value: Any, path: str) -> None:
    """Refuse what JSON can say and FHIR cannot: nothing, in all its forms.

    Names of elements are known to be those of FHIR by now, and may be told.
    """
    if isinstance(value, dict):
        if not value:
            raise ResourceError(f"{path}: expected an element that is not empty")
        for name, inner in value.items():
            if name == "fhir_comments":
                raise ResourceError(f"{path}: expected only elements that FHIR R4B has there")
            if inner is None:
                raise ResourceError(f"{path}.{name}: expected a value, or no such element")
            _check_raw(inner, f"{path}.{name}")
    elif isinstance(value, list):
        if not value:
            raise ResourceError(f"{path}: expected an element that is not empty")
        for place, inner in enumerate(value):
            # Values and their extensions are told in two lists, which skip by null.
            if inner is not None:
                _check_raw(inner, f"{path}[{place}]")
    elif type(value) is int and abs(value) >= MOST_NUMBER:
        raise ResourceError(f"{path}: expected a number of at most 18 digits")
    elif isinstance(value, str) and not value.strip():
        raise ResourceError(f"{path}: expected a text that is not blank")


def _validated(document: Document, kind: str) -> Any:
    model = model_of(kind)
    problem = ""
    try:
        return model.model_validate(document)
    except ResourceError:
        raise
    # Validators of the library raise whatever they meet.
    except Exception as error:
        problem = _explained(error, kind)
    raise ResourceError(problem)


# What the library says in words that carry no value.
_EXPLAINED = {
    "missing": "expected to be there",
    "model_field_validation.missing": "expected to be there",
    "extra_forbidden": "expected only elements that FHIR R4B has there",
}


def _explained(error: Exception, kind: str) -> str:
    """Return where and what was expected; what came, and what the library says of it, is left."""
    errors: Any = getattr(error, "errors", None)
    try:
        first = errors(include_url=False, include_context=False, include_input=False)[0]
    except Exception:
        return f"{kind}: expected the form of FHIR R4B"
    place = list(first["loc"])
    # Names of elements that FHIR does not have are the sender's words.
    if first["type"] == "extra_forbidden":
        place = place[:-1]
    path = kind
    for part in place:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "root" and _KEY.fullmatch(str(part)):
            path += f".{part}"
    expected = _EXPLAINED.get(first["type"], "expected the form of FHIR R4B")
    return f"{path}: {expected}"


class _Field(NamedTuple):
    """What is checked of an element."""

    name: str
    allowed: frozenset[str] | None
    form: tuple[re.Pattern[str], str] | None
    concept: tuple[str, frozenset[str]] | None
    is_date: bool


@cache
def _fields_of(form: Any) -> dict[str, _Field]:
    found = {}
    own = form.__name__
    for attribute, field in form.model_fields.items():
        name = field.alias or attribute
        extra = field.json_schema_extra or {}
        listed = extra.get("enum_values")
        allowed = CODES.get((own, name))
        if allowed is None and listed and "+" not in listed:
            allowed = frozenset(listed)
        kinds = str(field.annotation)
        found[attribute] = _Field(
            name,
            allowed,
            FORMS.get((own, name)) or ANY_FORMS.get(name),
            CONCEPTS.get((own, name)),
            any(f"{each}()" in kinds for each in ("Date", "DateTime", "Instant")),
        )
    return found


def _check_model(model: Any, path: str, now: datetime) -> None:
    """Check a resource or an element, and all that it has."""
    form: Any = type(model)
    fields = _fields_of(form)
    for attribute in model.model_fields_set:
        value = getattr(model, attribute)
        field = fields.get(attribute)
        if value is None or field is None:
            continue
        for place, each in _each(value, f"{path}.{field.name}"):
            if hasattr(each, "model_fields_set"):
                if field.concept is not None:
                    _check_concept(each, place, *field.concept)
                _check_model(each, place, now)
            else:
                _check_plain(each, place, field)
    rule = _RULES.get(form.__name__)
    if rule is not None:
        rule(model, path, now)
    if form.__name__ in _HAPPENED:
        _check_happened(model, path, now)


def _each(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list):
        for place, each in enumerate(value):
            if each is not None:
                yield f"{path}[{place}]", each
    else:
        yield path, value


def _check_plain(value: Any, path: str, field: _Field) -> None:
    if field.allowed is not None and value not in field.allowed:
        _refuse(path, f"one of {', '.join(sorted(field.allowed))}")
    if field.form is not None and not field.form[0].fullmatch(str(value)):
        _refuse(path, field.form[1])
    if field.is_date and _moment(value) is None:
        _refuse(path, "a date of FHIR between 1850 and 2200, with a zone if it has a time")


def _moment(value: Any) -> datetime | None:
    """Return the first moment of a date as the library has it; None if it is not sane."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None and is_sane(value) else None
    return moment_of(value.isoformat() if isinstance(value, date) else str(value))


def _refuse(path: str, expected: str) -> NoReturn:
    raise ResourceError(f"{path}: expected {expected}")


def _check_concept(concept: Any, path: str, system: str, allowed: frozenset[str]) -> None:
    codes = [each.code for each in concept.coding or () if each.system == system]
    if not codes or not allowed.issuperset(codes):
        _refuse(path, f"a coding of {system} with one of {', '.join(sorted(allowed))}")


def _check_coding(coding: Any, path: str, now: datetime) -> None:
    if coding.system is not None and coding.code is not None:
        expected = problem_of(str(coding.system), coding.code)
        if expected:
            _refuse(f"{path}.code", expected)


def _check_quantity(quantity: Any, path: str, now: datetime) -> None:
    if quantity.code is not None and quantity.system is None:
        _refuse(f"{path}.system", "the system of the unit's code")
    of_ucum = quantity.system is not None and str(quantity.system) == UCUM
    if of_ucum and quantity.code is not None and not is_unit(quantity.code):
        _refuse(f"{path}.code", "a unit of UCUM, such as mm[Hg] or mg/dL")


def _check_period(period: Any, path: str, now: datetime) -> None:
    if period.start is not None and period.end is not None:
        start, end = _moment(period.start), _moment(period.end)
        # A day that ends on itself has its first moment told twice.
        if start is not None and end is not None and start > end + SLACK:
            _refuse(f"{path}.end", "a moment that is not before the start")


def _check_measured(model: Any, path: str, now: datetime) -> None:
    """Check that an observation's unit, or its component's, measures what its code is of."""
    quantity = model.valueQuantity
    if getattr(model, "dataAbsentReason", None) is not None and quantity is not None:
        _refuse(f"{path}.dataAbsentReason", "to be there only without a value")
    if quantity is None or quantity.code is None or str(quantity.system) != UCUM:
        return
    for coding in model.code.coding or ():
        unit = (
            LOINC_UNITS.get(coding.code or "") if str(coding.system).endswith("loinc.org") else None
        )
        written = in_moles(coding.code or "", quantity.code)
        if unit is not None and not is_convertible(written, unit):
            _refuse(f"{path}.valueQuantity.code", f"a unit that can be told in {unit}")


def _check_condition(model: Any, path: str, now: datetime) -> None:
    verified = {each.code for each in (getattr(model.verificationStatus, "coding", None) or ())}
    clinical = {each.code for each in (getattr(model.clinicalStatus, "coding", None) or ())}
    if "entered-in-error" in verified and clinical:
        _refuse(f"{path}.clinicalStatus", "not to be there in what was entered in error")
    ended = any(
        getattr(model, f"abatement{each}", None) is not None
        for each in ("Age", "DateTime", "Period", "Range", "String")
    )
    if ended and clinical and not clinical & {"inactive", "resolved", "remission"}:
        _refuse(f"{path}.clinicalStatus", "inactive, resolved or remission in what has abated")


def _check_bundle(model: Any, path: str, now: datetime) -> None:
    entries = model.entry or ()
    if model.type != "document":
        return
    first = entries[0].resource if entries else None
    if type(first).__name__ != "Composition":
        _refuse(f"{path}.entry[0].resource", "the Composition of a document")
    if model.identifier is None or model.timestamp is None:
        _refuse(path, "the identifier and timestamp of a document")


def _check_patient(model: Any, path: str, now: datetime) -> None:
    born = None if model.birthDate is None else _moment(model.birthDate)
    if born is not None and born > now + SLACK:
        _refuse(f"{path}.birthDate", "a date that is not in the future")


def _check_happened(model: Any, path: str, now: datetime) -> None:
    for name in ("effectiveDateTime", "effectiveInstant", "issued", "onsetDateTime", "recordedDate",
                 "authored", "date", "occurrenceDateTime"):  # fmt: skip
        value = getattr(model, name, None)
        moment = None if value is None else _moment(value)
        if moment is not None and moment > now + SLACK:
            _refuse(f"{path}.{name}", "a moment that is not in the future")


_RULES = {
    "AllergyIntolerance": _check_condition,
    "Bundle": _check_bundle,
    "Coding": _check_coding,
    "Condition": _check_condition,
    "Observation": _check_measured,
    "ObservationComponent": _check_measured,
    "Patient": _check_patient,
    "Period": _check_period,
    **dict.fromkeys(("Age", "Count", "Distance", "Duration", "Quantity"), _check_quantity),
}

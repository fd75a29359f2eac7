"""Systems of codes, and what a code of each looks like.

A code that was cut, or typed wrongly, mostly fails its system's form or check digit. Whether a
well-formed code exists cannot be told without the system's tables, which are not shipped.
"""

from __future__ import annotations

import re

from ompd.record.fhir.units import is_unit

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
ICD10 = "http://hl7.org/fhir/sid/icd-10"
ICD10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD10_GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
ICD9_CM = "http://hl7.org/fhir/sid/icd-9-cm"
ICD11 = "http://id.who.int/icd/release/11/mms"
ATC = "http://www.whocc.no/atc"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
PZN = "http://fhir.de/CodeSystem/ifa/pzn"

#: What says, in a patient summary, that nothing is known.
ABSENT = "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips"

#: Codes of this package's own; opaque to others.
OWN = "urn:ompd:codes"

_ICD10 = re.compile(r"[A-Z][0-9][0-9A-Z](\.?[0-9A-Z-]{1,4})?")
_FORMS = {
    ICD10: (_ICD10, "a code of ICD-10, such as I25.1"),
    ICD10_CM: (_ICD10, "a code of ICD-10-CM, such as I25.10"),
    # A dagger, a star or an exclamation mark says how it was used.
    ICD10_GM: (re.compile(_ICD10.pattern + r"[+*!†]?"), "a code of ICD-10-GM, such as I25.11"),
    ICD9_CM: (
        re.compile(r"(E[0-9]{3}(\.?[0-9])?|[V0-9][0-9]{1,2}(\.?[0-9]{1,2})?)"),
        "a code of ICD-9-CM, such as 414.01",
    ),
    ICD11: (
        re.compile(r"[0-9A-HJ-NP-Z][A-HJ-NP-Z][0-9][0-9A-Z](\.[0-9A-HJ-NP-Z]{1,2})?([&/].{1,60})?"),
        "a code of ICD-11, such as BA80.0",
    ),
    ATC: (
        re.compile(r"[A-Z]([0-9]{2}([A-Z]([A-Z]([0-9]{2})?)?)?)?"),
        "a code of ATC, such as C07AB02",
    ),
    RXNORM: (re.compile(r"[1-9][0-9]{0,7}"), "a number of RxNorm"),
    PZN: (re.compile(r"[0-9]{7,8}"), "a PZN"),
}

# Parts, answers, lists and groups of LOINC have letters before their digits.
_LOINC = re.compile(r"(LP|LA|LL|LG)?([0-9]{1,8})-([0-9])")
_SCTID = re.compile(r"[1-9][0-9]{5,17}")
# Concepts that are refined or joined; each may have a term between bars.
_EXPRESSION = re.compile(r"[1-9][0-9]{5,17}( ?\|[^|]*\|)?( ?[:+,={}()] ?.{0,2000})?")


def problem_of(system: str, code: str) -> str:
    """Return what was expected of a code; empty if it is of its system's form.

    Parameters
    ----------
    system : str
        Codes of systems that are not known here are all fine.
    code : str
    """
    if system == LOINC:
        return "" if _is_loinc(code) else "a code of LOINC with its check digit, such as 8867-4"
    if system == SNOMED:
        concept = code if _EXPRESSION.fullmatch(code) is None else code[: _digits(code)]
        return "" if _is_sctid(concept) else "an identifier of SNOMED CT with its check digit"
    if system == UCUM:
        return "" if is_unit(code) else "a unit of UCUM, such as mm[Hg] or mg/dL"
    if system in _FORMS:
        form, expected = _FORMS[system]
        return "" if form.fullmatch(code) else expected
    return ""


def _is_loinc(code: str) -> bool:
    found = _LOINC.fullmatch(code)
    if found is None:
        return False
    # Only numbers of tests and panels have the check digit of their digits alone.
    return bool(found[1]) or _luhn(found[2]) == int(found[3])


def _digits(code: str) -> int:
    return len(code) - len(code.lstrip("0123456789"))


def _luhn(digits: str) -> int:
    """Return the check digit of modulus 10 with every other digit doubled, from the last on."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 if place % 2 else 2)
        total += value - 9 if value > 9 else value
    return -total % 10


def _product(left: int, right: int) -> int:
    """Return a product in the dihedral group of order 10: turns are 0 to 4, mirrorings 5 to 9."""
    sign = 1 if left < 5 else -1
    turn = (left + sign * right) % 5
    return turn if (left < 5) == (right < 5) else 5 + turn


_SWAPS = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _is_sctid(code: str) -> bool:
    """Tell whether Verhoeff's check digit is right, and the number that of a concept."""
    if not _SCTID.fullmatch(code) or code[-3:-1] not in {"00", "10"}:
        return False
    total = 0
    for place, digit in enumerate(reversed(code)):
        value = int(digit)
        for _ in range(place % 8):
            value = _SWAPS[value]
        total = _product(total, value)
    return total == 0

"""Resources in plain words, for pages and print alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from ompd.record.fhir import LOINC, Document, Resource, named
from ompd.record.fhir.resource import plain_text

LANGUAGES = ("en", "de")

_GERMAN = {
    "85354-9": "Blutdruck",
    "8480-6": "Systolischer Blutdruck",
    "8462-4": "Diastolischer Blutdruck",
    "8867-4": "Puls",
    "40443-4": "Ruhepuls",
    "80404-7": "Herzfrequenzvariabilität",
    "9279-1": "Atemfrequenz",
    "59408-5": "Sauerstoffsättigung",
    "2708-6": "Sauerstoffsättigung, arteriell",
    "8310-5": "Körpertemperatur",
    "29463-7": "Körpergewicht",
    "8302-2": "Körpergröße",
    "39156-5": "Body-Mass-Index",
    "8280-0": "Bauchumfang",
    "41982-0": "Körperfett",
    "88334-8": "Fettfreie Körpermasse",
    "55423-8": "Schritte",
    "55430-3": "Gegangene Strecke",
    "41981-2": "Verbrauchte Energie",
    "9052-2": "Aufgenommene Energie",
    "41653-7": "Glukose im Kapillarblut",
    "14743-9": "Glukose im Kapillarblut, molar",
    "2339-0": "Glukose im Blut",
    "1558-6": "Nüchternglukose",
    "15074-8": "Glukose im Blut, molar",
    "4548-4": "Hämoglobin A1c",
    "2093-3": "Cholesterin",
    "14647-2": "Cholesterin, molar",
    "2085-9": "HDL-Cholesterin",
    "13457-7": "LDL-Cholesterin",
    "2571-8": "Triglyzeride",
    "2160-0": "Kreatinin",
    "718-7": "Hämoglobin",
    "2951-2": "Natrium",
    "2823-3": "Kalium",
}
_WORDS = {
    "true": ("yes", "ja"),
    "false": ("no", "nein"),
    "active": ("active", "aktiv"),
    "unconfirmed": ("unconfirmed", "nicht bestätigt"),
    "provisional": ("provisional", "vorläufig"),
    "differential": ("one of several", "eine von mehreren"),
    "refuted": ("refuted", "ausgeschlossen"),
    "inactive": ("inactive", "inaktiv"),
    "resolved": ("resolved", "abgeklungen"),
    "remission": ("in remission", "in Remission"),
    "completed": ("completed", "abgeschlossen"),
    "in-progress": ("in progress", "im Gange"),
    "stopped": ("stopped", "beendet"),
    "on-hold": ("on hold", "ausgesetzt"),
    "intended": ("intended", "beabsichtigt"),
    "not-taken": ("not taken", "nicht genommen"),
    "entered-in-error": ("entered in error", "irrtümlich"),
    "preliminary": ("preliminary", "vorläufig"),
    "final": ("final", "endgültig"),
    "high": ("high risk", "hohes Risiko"),
    "low": ("low risk", "geringes Risiko"),
    "male": ("male", "männlich"),
    "female": ("female", "weiblich"),
    "note": ("Note", "Notiz"),
    "answers": ("Answers", "Antworten"),
    "risk": ("Risk assessment", "Risikoeinschätzung"),
    "report": ("Report", "Befund"),
    "without": ("without an answer", "ohne Antwort"),
}
_UNITS = {
    "mm[Hg]": "mmHg",
    "Cel": "°C",
    "[degF]": "°F",
    "[lb_av]": "lb",
    "[stone_av]": "st",
    "[in_i]": "in",
    "[ft_i]": "ft",
    "[mi_i]": "mi",
    "[oz_av]": "oz",
    "kg/m2": "kg/m²",
    "a": "yr",
    "1": "",
}
_REMARK = re.compile(r"\{([^{}]*)\}")


class Described(NamedTuple):
    """A resource in words.

    Attributes
    ----------
    title : str
        What it is about.
    value : str
        What it says; lines are separated by line feeds. Empty if it says nothing more.
    """

    title: str
    value: str


def word(name: str, language: str) -> str:
    """Return a word of this module in a language; the name itself if it has none."""
    found = _WORDS.get(name)
    return name if found is None else found[LANGUAGES.index(language)]


def unit_for_people(code: str) -> str:
    """Return a unit of UCUM as people write it."""
    return _UNITS.get(code) or _REMARK.sub(r"\1", code) if code not in {"1", ""} else ""


class Gettable(Protocol):
    """What has the resources that others refer to."""

    def get(self, reference: str, /) -> Resource:
        """Return the resource of a reference."""
        ...

    def __contains__(self, reference: str, /) -> bool: ...


def described(
    resource: Resource, language: str = "en", record: Gettable | None = None
) -> Described:
    """Return title and value of a resource.

    Parameters
    ----------
    resource : Resource
    language : {"en", "de"}
        Of the words that are not the resource's own.
    record : Record, optional
        Where the medicine or device is that a resource names by its reference alone.
    """
    document = resource.document()
    kind = resource.kind
    if kind == "Observation":
        return Described(_name(document["code"], language), _observed(document, language))
    if kind == "DocumentReference":
        title = document.get("description") or word("note", language)
        return Described(title, "\n".join(_attached(document)))
    if kind == "QuestionnaireResponse":
        lines = list(_answered(document.get("item", ()), language))
        return Described(word("answers", language), "\n".join(lines))
    if kind == "RiskAssessment":
        title = _name(document.get("code", {}), language) or word("risk", language)
        return Described(title, "\n".join(_predicted(document, language)))
    if kind == "DiagnosticReport":
        title = _name(document["code"], language) or word("report", language)
        return Described(title, document.get("conclusion", ""))
    if kind == "Patient":
        return Described(_person(document), "")
    title = _title(document, language) or _title_of_other(document, language, record)
    return Described(title or kind, _state(document, language))


def measure_name(code: str, language: str) -> str:
    """Return what something that is measured often is called; its code if it is not known.

    Parameters
    ----------
    code : str
        Of LOINC.
    language : {"en", "de"}
    """
    return _name({"coding": [{"system": LOINC, "code": code}]}, language)


def _name(concept: Document, language: str) -> str:
    codes, words = named(concept)
    if language == "de":
        return next((_GERMAN[code] for _, code in codes if code in _GERMAN), words)
    return words


def _title(document: Document, language: str) -> str:
    for element in ("code", "medicationCodeableConcept", "vaccineCode", "type", "category"):
        concept = document.get(element)
        concept = concept[0] if isinstance(concept, list) and concept else concept
        if isinstance(concept, dict) and (name := _name(concept, language)):
            return name
    for element in ("title", "description", "name", "deviceName"):
        if isinstance(document.get(element), str):
            return str(document[element])
    return str(_other(document).get("display", ""))


def _other(document: Document) -> Document:
    """Return the reference to what a resource is about, if it does not say so itself."""
    found = document.get("medicationReference", document.get("device"))
    return found if isinstance(found, dict) else {}


def _title_of_other(document: Document, language: str, record: Gettable | None) -> str:
    reference = _other(document).get("reference", "")
    if record is None or reference not in record:
        return ""
    return _title(record.get(reference).document(), language)


def _state(document: Document, language: str) -> str:
    parts = []
    clinical = document.get("clinicalStatus", {}).get("coding", ())
    state = clinical[0].get("code") if clinical else document.get("status")
    if state:
        parts.append(word(state, language))
    # What a person says of themselves is not what somebody found.
    verified = document.get("verificationStatus", {}).get("coding", ())
    codes = [each["code"] for each in verified if "code" in each]
    parts += [word(code, language) for code in codes if code != "confirmed"]
    if "criticality" in document:
        parts.append(word(document["criticality"], language))
    for dosage in (*document.get("dosage", ()), *document.get("dosageInstruction", ())):
        rates = dosage.get("doseAndRate", ())
        doses = [
            _quantity(each["doseQuantity"], language) for each in rates if "doseQuantity" in each
        ]
        parts += [*doses, *([dosage["text"]] if "text" in dosage else [])]
    return ", ".join(parts)


def _quantity(quantity: Document, language: str) -> str:
    number = _number(quantity.get("value", ""), language)
    if "comparator" in quantity:
        number = f"{quantity['comparator']} {number}"
    unit = quantity.get("unit") or quantity.get("code", "")
    return f"{number} {unit_for_people(unit)}".strip()


def _number(value: object, language: str) -> str:
    """Return a number with all its digits, as the language writes it."""
    text = str(value)
    return text.replace(".", ",") if language == "de" else text


def _observed(document: Document, language: str) -> str:
    own = _value(document, language)
    parts = [own] if own else []
    components = document.get("component", ())
    pressure = [
        part.get("valueQuantity")
        for code in ("8480-6", "8462-4")
        for part in components
        if code in {each for _, each in named(part["code"])[0]}
    ]
    if len(components) == len(pressure) == 2 and all(pressure):
        first, second = pressure
        return f"{_number(first['value'], language)}/{_quantity(second, language)}"
    for part in components:
        value = _value(part, language)
        if value:
            parts.append(f"{_name(part['code'], language)}: {value}")
    return "\n".join(parts)


def _value(part: Document, language: str, prefix: str = "value") -> str:
    for name, value in part.items():
        if not name.startswith(prefix):
            continue
        if name.endswith("Quantity"):
            return _quantity(value, language)
        if name.endswith("Boolean"):
            return word(str(value).lower(), language)
        if name.endswith("CodeableConcept"):
            return _name(value, language)
        if name.endswith("Coding"):
            return str(value.get("display") or value.get("code", ""))
        if name.endswith("Period"):
            return f"{value.get('start', '')} – {value.get('end', '')}"
        if not isinstance(value, (dict, list)):
            return str(value)
    return ""


def _attached(document: Document) -> Iterator[str]:
    for content in document.get("content", ()):
        attachment = content["attachment"]
        if str(attachment.get("contentType", "")).startswith("text/plain"):
            yield plain_text(attachment.get("data", ""))
        else:
            yield str(attachment.get("title") or attachment.get("contentType", ""))


def _answered(items: Any, language: str) -> Iterator[str]:
    for item in items:
        given = [_value(each, language) for each in item.get("answer", ())]
        told = ", ".join(each for each in given if each)
        if "item" not in item or told:
            question = item.get("text") or item["linkId"]
            yield f"{question}: {told or word('without', language)}"
        yield from _answered(item.get("item", ()), language)


def _predicted(document: Document, language: str) -> Iterator[str]:
    for each in document.get("prediction", ()):
        outcome = _name(each.get("outcome", {}), language)
        if "probabilityDecimal" in each:
            # Of 100, as R4 has it.
            outcome = f"{outcome}: {each['probabilityDecimal']} %"
        yield outcome
    yield from (each["text"] for each in document.get("note", ()))


def _person(document: Document) -> str:
    for name in document.get("name", ()):
        if "text" in name:
            return str(name["text"])
        parts = [*name.get("given", ()), name.get("family", "")]
        if any(parts):
            return " ".join(part for part in parts if part)
    return ""

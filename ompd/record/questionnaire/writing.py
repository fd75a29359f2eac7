"""An interview as resources of FHIR: the answers, and what follows from them for the record."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from ompd.record.errors import AnswerError, QuestionnaireError
from ompd.record.fhir import MEASURES, SELF, UCUM, Document, Resource, checked, written
from ompd.record.questionnaire.form import Code, Question, Text
from ompd.record.questionnaire.posterior import Answer, check_answer
from ompd.record.questionnaire.questionnaire import Questionnaire

#: Extension of a response: the level at which it is answered.
LEVEL = "urn:ompd:questionnaire-level"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_VERIFIED = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
#: Digits of a number that somebody answered; more are those of its binary form.
_DIGITS = 12


class About(NamedTuple):
    """What all resources of an interview say.

    Attributes
    ----------
    id : str
        Of the QuestionnaireResponse.
    when : datetime
        With a zone.
    language : str
    """

    id: str
    when: datetime
    language: str


def words(text: Text, language: str) -> str:
    """Return a text in a language; in English if it is not in that."""
    return text.get(language) or text["en"]


def response(
    questionnaire: Questionnaire,
    level: str,
    answers: Mapping[str, Answer],
    about: About,
    *,
    finished: bool,
) -> Resource:
    """Return the answers as a QuestionnaireResponse, in the order in which they were given."""
    id, when, language = about
    items = []
    for name, answer in answers.items():
        question = questionnaire.question(name)
        item: Document = {"linkId": name, "text": words(question.text, language)}
        if answer is None:
            item["extension"] = [{"url": _ABSENT, "valueCode": "asked-unknown"}]
        elif isinstance(answer, str):
            item["answer"] = [{"valueCoding": _option(questionnaire, question, answer, language)}]
        else:
            item["answer"] = [{"valueQuantity": _quantity(answer, question.unit)}]
        items.append(item)
    document = {
        "resourceType": "QuestionnaireResponse",
        "id": id,
        "language": language,
        "extension": [{"url": LEVEL, "valueCode": level}],
        "questionnaire": questionnaire.canonical,
        "status": "completed" if finished else "in-progress",
        "subject": {"reference": SELF},
        "authored": written(when),
    }
    return checked(document | ({"item": items} if items else {}))


def is_of(document: Document, questionnaire: Questionnaire) -> bool:
    """Tell whether a QuestionnaireResponse answers this version of a questionnaire."""
    return document.get("questionnaire") == questionnaire.canonical


def answers_of(document: Document, questionnaire: Questionnaire) -> tuple[str, dict[str, Answer]]:
    """Return level and answers of what `response` made.

    Raises
    ------
    QuestionnaireError
        If they are none of this questionnaire's.
    """
    levels = [
        each.get("valueCode") for each in document.get("extension", ()) if each["url"] == LEVEL
    ]
    if not is_of(document, questionnaire) or not levels:
        raise QuestionnaireError("response: expected one to this version of the questionnaire")
    asked = {question.id for question in questionnaire.asked(levels[0])}
    found: dict[str, Answer] = {}
    for item in document.get("item", ()):
        name = item["linkId"]
        if name not in asked:
            raise QuestionnaireError("response: expected only questions of its level")
        given = item.get("answer")
        value: Any = None
        if given:
            coding, quantity = given[0].get("valueCoding"), given[0].get("valueQuantity")
            # Of another form than `response` makes: no answer of this questionnaire.
            value = (coding or {}).get("code", "")
            if quantity and "value" in quantity:
                value = float(quantity["value"])
        problem = ""
        try:
            found[name] = check_answer(questionnaire.question(name), value)
        except AnswerError as error:
            problem = str(error)
        if problem:
            raise QuestionnaireError(f"response: {problem}")
    return levels[0], found


def observations(
    questionnaire: Questionnaire,
    answers: Mapping[str, Answer],
    about: About,
) -> list[Resource]:
    """Return what was answered as Observations, and what options say of illness as Conditions.

    Their ids follow from that of the response, so that doing it again changes nothing.
    """
    id, when, language = about
    found = []
    for name, answer in answers.items():
        if answer is None:
            continue
        question = questionnaire.question(name)
        codings = [_coding(question.code)] if question.code else []
        document: Document = {
            "resourceType": "Observation",
            "id": made_id(id, name),
            "language": language,
            "status": "final",
            "category": [{"coding": [{"system": _CATEGORY, "code": "survey"}]}],
            "code": {
                "coding": [*codings, {"system": questionnaire.system, "code": name}],
                "text": _title(question, language),
            },
            "subject": {"reference": SELF},
            "effectiveDateTime": written(when),
            "derivedFrom": [{"reference": f"QuestionnaireResponse/{id}"}],
        }
        if isinstance(answer, str):
            coding = _option(questionnaire, question, answer, language)
            document["valueCodeableConcept"] = {"coding": [coding], "text": coding["display"]}
        else:
            document["valueQuantity"] = _quantity(answer, question.unit)
        found.append(checked(document))
        condition = _condition(question, answer)
        if condition is not None:
            found.append(
                checked(
                    {
                        "resourceType": "Condition",
                        "id": made_id(id, f"{name} condition"),
                        "language": language,
                        # It is what the person says; nobody has looked.
                        "clinicalStatus": _status(_CLINICAL, "active"),
                        "verificationStatus": _status(_VERIFIED, "unconfirmed"),
                        "code": {
                            "coding": [_coding(condition)],
                            "text": _display(question, answer, language),
                        },
                        "subject": {"reference": SELF},
                        "recordedDate": written(when),
                        "evidence": [
                            {"detail": [{"reference": f"Observation/{made_id(id, name)}"}]}
                        ],
                    }
                )
            )
    return found


def assessment(
    questionnaire: Questionnaire,
    level: str,
    probability: float,
    reasons: list[tuple[str, Answer, float]],
    about: About,
) -> Resource:
    """Return the calibrated probability, and which answers counted, as a RiskAssessment."""
    id, when, language = about
    outcome = questionnaire.outcomes[1]
    concept: Document = {"text": words(outcome.text, language)}
    if outcome.code:
        concept["coding"] = [_coding(outcome.code)]
    rationale = "; ".join(
        f"{words(questionnaire.question(name).text, language)} "
        f"{_display(questionnaire.question(name), answer, language)} ({gain:+.2f})"
        for name, answer, gain in reasons
        if answer is not None
    )
    prediction: Document = {
        "outcome": concept,
        # Percent, as FHIR has it.
        "probabilityDecimal": Decimal(f"{100 * probability:.2f}"),
        "rationale": rationale,
    }
    place = words(questionnaire.level(level).text, language)
    return checked(
        {
            "resourceType": "RiskAssessment",
            "id": made_id(id, "risk"),
            "language": language,
            "status": "final",
            "method": {
                "coding": [{"system": questionnaire.system, "code": f"{questionnaire.version}"}],
                "text": f"{words(questionnaire.title, language)} ({place})",
            },
            "code": {"text": words(questionnaire.title, language)},
            "subject": {"reference": SELF},
            "occurrenceDateTime": written(when),
            "basis": [{"reference": f"QuestionnaireResponse/{id}"}],
            "prediction": [prediction],
            "note": [{"text": words(questionnaire.about, language)}],
        }
    )


def made_id(id: str, part: str) -> str:
    """Return the id of a resource that follows from a response."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:ompd:response:{id}:{part}"))


def _option(
    questionnaire: Questionnaire, question: Question, answer: str, language: str
) -> Document:
    return {
        "system": questionnaire.system,
        "code": answer,
        "display": _display(question, answer, language),
    }


def _display(question: Question, answer: Answer, language: str) -> str:
    if isinstance(answer, str):
        text = next(option.text for option in question.options if option.id == answer)
        return words(text, language)
    return f"{answer:g} {question.unit}".strip()


def _condition(question: Question, answer: Answer) -> Code | None:
    return next((each.condition for each in question.options if each.id == answer), None)


def _quantity(value: float, unit: str) -> Document:
    number = Decimal(f"{value:.{_DIGITS}g}")
    return (
        {"value": number, "unit": unit, "system": UCUM, "code": unit} if unit else {"value": number}
    )


def _title(question: Question, language: str) -> str:
    """Return what an answer is of: the measure, or the question as it was asked."""
    measure = MEASURES.get(question.code.code) if question.code and language == "en" else None
    return measure.name if measure else words(question.text, language)


def _coding(code: Code) -> Document:
    found = {"system": code.system, "code": code.code}
    return found | ({"display": code.display} if code.display else {})


def _status(system: str, code: str) -> Document:
    return {"coding": [{"system": system, "code": code}]}

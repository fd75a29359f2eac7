"""Questionnaires: one question a page, each answer kept before the next page is there."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from ompd.errors import OmpdError, StoreError, UnknownResourceError
from ompd.portal.numbers import number_of
from ompd.portal.pages.page import Page
from ompd.portal.texts import in_language
from ompd.portal.visit import Visit
from ompd.record.exporting import unit_for_people
from ompd.record.questionnaire import Interview, Question, Questionnaire, available, load

#: What "I don't know" sends, which no option is called.
_UNKNOWN = "?"


def _chosen(visit: Visit) -> Questionnaire:
    name = visit.names["name"]
    if name not in available():
        raise UnknownResourceError("questionnaire: there is none of this name")
    return load(name)


def _list(visit: Visit) -> Response:
    shown = []
    for name in available():
        questionnaire = load(name)
        interview = underway(visit, questionnaire)
        shown.append(
            {
                "name": name,
                "questionnaire": questionnaire,
                "underway": None if interview is None else len(interview.answers),
            }
        )
    return visit.page("questionnaires.html", shown=shown)


def underway(visit: Visit, questionnaire: Questionnaire) -> Interview | None:
    """Return the interview that is not finished; None if there is none."""
    return Interview.resume(visit.house.own, questionnaire, language=visit.words.language)


def _begin(visit: Visit) -> Response:
    questionnaire = _chosen(visit)
    level = visit.form.text("level") or None
    interview = underway(visit, questionnaire)
    if interview is None:
        Interview.begin(visit.house.own, questionnaire, level, language=visit.words.language)
    else:
        interview.restart(level)
    return visit.go(f"/questions/{questionnaire.id}")


def _ask(visit: Visit) -> Response:
    questionnaire = _chosen(visit)
    interview = underway(visit, questionnaire)
    if interview is None:
        return visit.go("/questions")
    again = visit.query.get("again", "")
    if again in interview.answers:
        question: Question | None = questionnaire.question(again)
    else:
        question = interview.next(all="more" in visit.query)
    if question is None:
        return _review(visit, interview)
    return _question(visit, interview, question)


def _question(
    visit: Visit,
    interview: Interview,
    question: Question,
    *,
    typed: str | None = None,
    wrong: Mapping[str, str] | None = None,
) -> Response:
    source = None
    if typed is None:
        answers = interview.answers
        before = answers.get(question.id)
        if question.id not in answers and (known := interview.known().get(question.id)):
            before, source = known.answer, known.when
        typed = visit.words.number(before) if isinstance(before, float) else before or ""
    return visit.page(
        "question.html",
        status=400 if wrong else 200,
        questionnaire=interview.questionnaire,
        question=question,
        typed=typed,
        wrong=wrong["text"] if wrong else "",
        source=source,
        unknown=_UNKNOWN,
        more="?more=1" if "more" in visit.query else "",
        answers=_answers(visit, interview),
    )


def _review(visit: Visit, interview: Interview) -> Response:
    return visit.page(
        "answered.html",
        questionnaire=interview.questionnaire,
        answers=_answers(visit, interview),
        probability=interview.probability,
        outcome=interview.questionnaire.outcomes[1],
        sure=interview.sure,
        left=len(interview.left),
        counted=[
            (in_language(question.text, visit.words.language), _said(visit, question, answer), gain)
            for question, answer, gain in interview.contributions
            if gain
        ],
    )


def _said(visit: Visit, question: Question, answer: str | float | None) -> str:
    """Return an answer in words."""
    if answer is None:
        return visit.words("questions.unknown")
    if not isinstance(answer, str):
        return f"{visit.words.number(answer)} {unit_for_people(question.unit)}".strip()
    texts = next((option.text for option in question.options if option.id == answer), {})
    return in_language(texts, visit.words.language)


def _answers(visit: Visit, interview: Interview) -> list[tuple[str, str, str]]:
    """Return the answers until now: id of the question, question, answer."""
    found = []
    for name, answer in interview.answers.items():
        question = interview.questionnaire.question(name)
        asked = in_language(question.text, visit.words.language)
        found.append((name, asked, _said(visit, question, answer)))
    return found


def _answer(visit: Visit) -> Response:
    questionnaire = _chosen(visit)
    interview = underway(visit, questionnaire)
    if interview is None:
        return visit.go("/questions")
    question = questionnaire.question(visit.form.text("question"))
    typed = visit.form.text("answer")
    try:
        answer: str | float | None = typed
        if typed == _UNKNOWN or visit.form.get("skip"):
            answer = None
        elif question.kind == "number":
            answer = number_of("answer", typed)
        interview.answer(question.id, answer)
    except StoreError:
        raise
    except OmpdError as error:
        return _question(visit, interview, question, typed=typed, wrong=visit.reason(error))
    more = "?more=1" if "more" in visit.query else ""
    return visit.go(f"/questions/{questionnaire.id}{more}")


def _back(visit: Visit) -> Response:
    questionnaire = _chosen(visit)
    interview = underway(visit, questionnaire)
    if interview is not None and interview.answers:
        last = list(interview.answers)[-1]
        return visit.go(f"/questions/{questionnaire.id}?again={last}")
    return visit.go("/questions")


def _finish(visit: Visit) -> Response:
    interview = underway(visit, _chosen(visit))
    if interview is None:
        return visit.go("/questions")
    written = interview.finish()
    said = visit.words.count("questions.kept", len(written))
    return visit.go(f"/record/{visit.house.handle(f'{written[0].kind}/{written[0].id}')}", said)


PAGES = [
    Page("GET", "/questions", _list),
    Page("POST", "/questions/{name}/begin", _begin),
    Page("GET", "/questions/{name}", _ask),
    Page("POST", "/questions/{name}", _answer),
    Page("POST", "/questions/{name}/back", _back),
    Page("POST", "/questions/{name}/finish", _finish),
]

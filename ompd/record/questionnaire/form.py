"""What a questionnaire is: outcomes, levels, questions, and what was learned of their answers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal

import msgspec

from ompd.params import MAX_TEXT
from ompd.record.errors import QuestionnaireError

#: Name of the form of the file.
FORM = "ompd questionnaire 1"
#: Languages that every text is in; it may be in others, too.
LANGUAGES = ("en", "de")
MAX_QUESTIONS = 1024
MAX_OPTIONS = 256
MAX_LEVELS = 16
#: Rows that a questionnaire may have been learned from.
MAX_ROWS = 10**9

_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
#: Longer than names: sentences.
_MOST_LETTERS = 4 * MAX_TEXT

Text = dict[str, str]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the file; other fields than its own are refused."""


class Code(_Part, frozen=True):
    """A code of a system of codes, such as LOINC or ICD-10.

    Parameters
    ----------
    system, code : str
        As FHIR has them: a URI, and a code of it.
    display : str
        Its words in that system.
    """

    system: str
    code: str
    display: str = ""


class Outcome(_Part, frozen=True, kw_only=True):
    """One of the two things that a questionnaire tells apart.

    Parameters
    ----------
    id : str
        Small letters, digits and underscores; so are all ids.
    text : dict of str
        Words for it by language, ``{"en": ..., "de": ...}``; so are all texts.
    code : Code, optional
        Of a diagnosis.
    """

    id: str
    text: Text
    code: Code | None = None


class Figures(_Part, frozen=True, kw_only=True):
    """How a level does on rows that it was not learned from.

    Parameters
    ----------
    accuracy : float
        Share of rows whose likelier outcome is theirs, once all questions are answered.
    auc : float
        Chance that a row with the outcome is the likelier one of two.
    calibration_error : float
        Mean distance of probability and frequency in ten bins of probability, where the interview
        stops.
    questions : float
        Mean number of questions until it stops.
    stopped_accuracy : float
        Share of rows whose likelier outcome is theirs where the interview stops.
    """

    accuracy: float
    auc: float
    calibration_error: float
    questions: float
    stopped_accuracy: float


class Level(_Part, frozen=True, kw_only=True):
    """Where somebody is who answers; each level has the questions of those before it, too.

    Parameters
    ----------
    id, text
        As of an outcome.
    slope, offset : float
        What makes a calibrated probability of log-odds z: that of the log-odds
        ``slope * z + offset``. The slope is above 0.
    figures : Figures, optional
        Of cross-validation.
    """

    id: str
    text: Text
    slope: float = 1.0
    offset: float = 0.0
    figures: Figures | None = None


class Option(_Part, frozen=True, kw_only=True):
    """One answer of a question with a choice.

    Parameters
    ----------
    id, text
        As of an outcome.
    condition : Code, optional
        What whoever answers so has, for the record.
    """

    id: str
    text: Text
    condition: Code | None = None


class Question(_Part, frozen=True, kw_only=True):
    """What is asked, the domain of its answers, and how often they were given.

    Parameters
    ----------
    id, text
        As of an outcome.
    kind : {"choice", "number"}
    level : str
        Id of the first level that can answer it.
    help : dict of str
        What more there is to say, by language.
    options : tuple of Option
        Two or more for a choice, none for a number.
    unit : str
        Of a number, in UCUM: ``"mm[Hg]"``.
    low, high : float
        Least and largest number that is accepted.
    code : Code, optional
        Of the observation that the answer is. Without one it gets a code of this questionnaire.
    cuts : tuple of float
        Rising; where the domain of a number is cut. A number at a cut belongs to what is above.
    counts : two tuples of int
        How often each answer was given, under the first outcome and under the second: one number
        per option, or per part of the domain. Empty if nothing was learned yet.
    """

    id: str
    text: Text
    kind: Literal["choice", "number"]
    level: str
    help: Text = {}
    options: tuple[Option, ...] = ()
    unit: str = ""
    low: float = 0.0
    high: float = 0.0
    code: Code | None = None
    cuts: tuple[float, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()

    @property
    def answers(self) -> int:
        """How many answers it tells apart."""
        return len(self.options) if self.kind == "choice" else len(self.cuts) + 1


class Origin(_Part, frozen=True, kw_only=True):
    """What a questionnaire was learned from."""

    title: str
    citation: str = ""
    url: str = ""
    licence: str = ""


def check_text(text: Any, where: str, *, empty: bool = False) -> None:
    """Check words for people: in all `LANGUAGES`, and not too long.

    Raises
    ------
    QuestionnaireError
    """
    if empty and not text:
        return
    for language in LANGUAGES:
        if language not in text:
            raise QuestionnaireError(f"{where}: expected words in {' and '.join(LANGUAGES)}")
    for language, words in text.items():
        if not _LANGUAGE.fullmatch(language):
            raise QuestionnaireError(f"{where}: expected a language such as en or de-AT")
        if not words.strip() or len(words) > _MOST_LETTERS:
            raise QuestionnaireError(f"{where}: expected 1 to {_MOST_LETTERS} characters")


def check_ids(parts: Iterable[Any], where: str) -> None:
    """Check the ids and texts of parts of one kind.

    Raises
    ------
    QuestionnaireError
    """
    seen = set()
    for part in parts:
        if not _NAME.fullmatch(part.id):
            raise QuestionnaireError(
                f"{where}: expected an id of at most 64 small letters, digits and _"
            )
        if part.id in seen:
            raise QuestionnaireError(f"{where} {part.id}: expected each id once")
        seen.add(part.id)
        check_text(part.text, f"{where} {part.id}")


def check_code(code: Code | None, where: str) -> None:
    """Check the form of a code; whether its system has it is not checked.

    Raises
    ------
    QuestionnaireError
    """
    if code is None:
        return
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", code.system) or len(code.system) > MAX_TEXT:
        raise QuestionnaireError(f"{where}: expected a URI as system of the code")
    if not re.fullmatch(r"\S+( \S+)*", code.code) or len(code.code) > MAX_TEXT:
        raise QuestionnaireError(f"{where}: expected a code without blanks around it")


def check_question(question: Question, levels: Iterable[str], rows: tuple[int, ...]) -> None:
    """Check a question whose id and text are good.

    Raises
    ------
    QuestionnaireError
        If the parts contradict one another.
    """
    where = f"question {question.id}"
    if question.level not in levels:
        raise QuestionnaireError(f"{where}: expected the id of a level")
    check_text(question.help, f"{where}, help", empty=True)
    check_code(question.code, where)
    if question.kind == "choice":
        if not 2 <= len(question.options) <= MAX_OPTIONS:
            raise QuestionnaireError(f"{where}: expected 2 to {MAX_OPTIONS} options")
        if question.cuts or question.unit or question.low or question.high:
            raise QuestionnaireError(f"{where}: only numbers have cuts, unit, low and high")
        check_ids(question.options, f"{where}, option")
        for option in question.options:
            check_code(option.condition, f"{where}, option {option.id}")
    else:
        if question.options:
            raise QuestionnaireError(f"{where}: only a choice has options")
        ends = (question.low, *question.cuts, question.high)
        if not all(map(math.isfinite, ends)) or question.low >= question.high:
            raise QuestionnaireError(f"{where}: expected finite low < high and finite cuts")
        if any(a >= b for a, b in pairwise(ends)):
            raise QuestionnaireError(f"{where}: expected rising cuts between low and high")
        if len(question.cuts) >= MAX_OPTIONS:
            raise QuestionnaireError(f"{where}: expected fewer than {MAX_OPTIONS} cuts")
    if not question.counts:
        return
    if [len(counts) for counts in question.counts] != [question.answers] * 2:
        raise QuestionnaireError(
            f"{where}: expected {question.answers} counts under each of two outcomes"
        )
    for counts, most in zip(question.counts, rows, strict=True):
        if any(count < 0 for count in counts) or sum(counts) > most:
            raise QuestionnaireError(
                f"{where}: expected counts from 0 that add up to at most the outcome's rows"
            )

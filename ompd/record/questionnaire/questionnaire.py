"""A questionnaire as a whole, and its file."""

from __future__ import annotations

import contextlib
import hashlib
import math
from importlib import resources
from pathlib import Path
from typing import Self

import msgspec

from ompd.errors import DatasetError
from ompd.record.errors import QuestionnaireError
from ompd.record.questionnaire.form import (
    FORM,
    MAX_LEVELS,
    MAX_QUESTIONS,
    MAX_ROWS,
    Level,
    Origin,
    Outcome,
    Question,
    Text,
    check_code,
    check_ids,
    check_question,
    check_text,
)
from ompd.schema.delimited import read_file

#: Largest file, in bytes.
MAX_FILE = 8 << 20
#: What may be added to counts: less would say of an answer that was not given yet that it never is.
SMOOTHING = (1e-3, 1e3)


class Questionnaire(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """Questions that tell two outcomes apart, and how often each answer was given under either.

    Parameters
    ----------
    form : str
        `FORM`.
    id : str
        Its name; small letters, digits and underscores.
    version : int
        From 1; another version asks or counts otherwise.
    title, about : dict of str
        For people, by language.
    outcomes : two Outcome
        The second is the one whose probability is told.
    levels : tuple of Level
        In order: each has the questions of those before it, too.
    questions : tuple of Question
    origin : Origin
        What it was learned from.
    stop : float, default 0.95
        An interview stops once either outcome has this calibrated probability; above 1/2, and 1
        for never.
    smoothing : float, default 1
        Added to every count, so that no answer has probability 0; in `SMOOTHING`.
    rows : two int
        How many rows of each outcome it was learned from; empty if of none.
    sha256 : str
        Of the file without this field, in hexadecimal; a file that says none is not compared.

    Raises
    ------
    QuestionnaireError
        If these contradict one another.
    """

    form: str
    id: str
    version: int
    title: Text
    about: Text
    outcomes: tuple[Outcome, ...]
    levels: tuple[Level, ...]
    questions: tuple[Question, ...]
    origin: Origin
    stop: float = 0.95
    smoothing: float = 1.0
    rows: tuple[int, ...] = ()
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.form != FORM:
            raise QuestionnaireError(f"questionnaire: expected the form {FORM!r}")
        if self.version < 1:
            raise QuestionnaireError("questionnaire: expected a version from 1")
        check_ids([Outcome(id=self.id, text=self.title)], "questionnaire")
        check_text(self.about, "questionnaire, about")
        if len(self.outcomes) != 2:
            raise QuestionnaireError("questionnaire: expected two outcomes")
        check_ids(self.outcomes, "outcome")
        for outcome in self.outcomes:
            check_code(outcome.code, f"outcome {outcome.id}")
        self._check_levels()
        if not 0.5 < self.stop <= 1:
            raise QuestionnaireError("stop: expected a probability above 0.5, at most 1")
        if not SMOOTHING[0] <= self.smoothing <= SMOOTHING[1]:
            raise QuestionnaireError(f"smoothing: expected {SMOOTHING[0]:g} to {SMOOTHING[1]:g}")
        if not 1 <= len(self.questions) <= MAX_QUESTIONS:
            raise QuestionnaireError(f"questionnaire: expected 1 to {MAX_QUESTIONS} questions")
        check_ids(self.questions, "question")
        if self.rows and not (len(self.rows) == 2 and all(0 < n <= MAX_ROWS for n in self.rows)):
            raise QuestionnaireError(f"rows: expected two numbers from 1 to {MAX_ROWS}")
        ids = {level.id for level in self.levels}
        for question in self.questions:
            check_question(question, ids, self.rows or (0, 0))
            if bool(question.counts) != bool(self.rows):
                raise QuestionnaireError(
                    f"question {question.id}: expected counts if and only if rows are told"
                )

    def _check_levels(self) -> None:
        if not 1 <= len(self.levels) <= MAX_LEVELS:
            raise QuestionnaireError(f"questionnaire: expected 1 to {MAX_LEVELS} levels")
        check_ids(self.levels, "level")
        for level in self.levels:
            numbers = (level.slope, level.offset)
            if not all(map(math.isfinite, numbers)) or level.slope <= 0:
                raise QuestionnaireError(
                    f"level {level.id}: expected a finite slope above 0 and a finite offset"
                )

    @property
    def trained(self) -> bool:
        """Whether it knows how often answers are given."""
        return bool(self.rows)

    @property
    def system(self) -> str:
        """URI under which the ids of its questions and options are codes."""
        return f"urn:ompd:questionnaire:{self.id}"

    @property
    def canonical(self) -> str:
        """URI of this version, as FHIR refers to a questionnaire."""
        return f"{self.system}|{self.version}"

    def question(self, name: str) -> Question:
        """Return a question by id.

        Raises
        ------
        QuestionnaireError
        """
        for question in self.questions:
            if question.id == name:
                return question
        raise QuestionnaireError(f"questionnaire {self.id}: expected the id of a question")

    def level(self, name: str) -> Level:
        """Return a level by id.

        Raises
        ------
        QuestionnaireError
        """
        for level in self.levels:
            if level.id == name:
                return level
        known = ", ".join(level.id for level in self.levels)
        raise QuestionnaireError(f"level: expected one of {known}")

    def asked(self, level: str) -> tuple[Question, ...]:
        """Return the questions of a level, those of earlier ones among them.

        Raises
        ------
        QuestionnaireError
            If there is no such level.
        """
        self.level(level)
        ids = [each.id for each in self.levels]
        found = set(ids[: ids.index(level) + 1])
        return tuple(question for question in self.questions if question.level in found)

    def to_json(self) -> bytes:
        """Return the file, with its checksum; equal questionnaires have equal files."""
        plain = msgspec.structs.replace(self, sha256="")
        digest = hashlib.sha256(_encoded(plain)).hexdigest()
        return _encoded(msgspec.structs.replace(plain, sha256=digest))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read a file.

        Raises
        ------
        QuestionnaireError
            If it is not of this form, contradicts itself, or was changed after its checksum.
        """
        if len(data) > MAX_FILE:
            raise QuestionnaireError(f"questionnaire: expected at most {MAX_FILE} bytes")
        found: Self | None = None
        problem = "is no JSON"
        try:
            found = msgspec.json.decode(data, type=cls)
        except QuestionnaireError:
            raise
        except msgspec.ValidationError as error:
            # Where, and which type is expected: nothing of what the file says.
            problem = _told(error)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        if found is None:
            raise QuestionnaireError(f"questionnaire: {problem}")
        if found.sha256 and found.to_json() != _encoded(found):
            raise QuestionnaireError("questionnaire: its SHA-256 is that of another one")
        return found


def _told(error: msgspec.ValidationError) -> str:
    cause = error.__cause__
    return str(cause) if isinstance(cause, QuestionnaireError) else str(error)


def _encoded(questionnaire: Questionnaire) -> bytes:
    return msgspec.json.format(msgspec.json.encode(questionnaire), indent=1) + b"\n"


def available() -> tuple[str, ...]:
    """Names of the questionnaires that ship with the package."""
    files = resources.files("ompd.record.questionnaire").joinpath("models").iterdir()
    return tuple(
        sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))
    )


def load(source: str | Path) -> Questionnaire:
    """Read a questionnaire.

    Parameters
    ----------
    source : str or path
        A name of `available`, or else the path of a file of the same form.

    Raises
    ------
    QuestionnaireError
        If there is none, it is not of the form, contradicts itself, or was changed after its
        checksum.
    """
    if isinstance(source, str) and source in available():
        file = resources.files("ompd.record.questionnaire").joinpath("models", f"{source}.json")
        return Questionnaire.from_json(file.read_bytes())
    data = None
    with contextlib.suppress(DatasetError, TypeError):
        data = read_file(Path(source), MAX_FILE)
    if data is None:
        raise QuestionnaireError(
            f"questionnaire: expected a file of at most {MAX_FILE} bytes, or one of "
            f"{', '.join(available())}"
        )
    return Questionnaire.from_json(data)

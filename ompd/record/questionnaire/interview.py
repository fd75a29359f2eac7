"""One person's way through a questionnaire, kept in the record after every answer."""

from __future__ import annotations

import contextlib
import threading
import uuid
from datetime import UTC, datetime
from typing import NamedTuple, Self

from ompd.confidential import Confidential
from ompd.record.errors import AnswerError, QuestionnaireError
from ompd.record.fhir import Resource
from ompd.record.questionnaire.form import Question
from ompd.record.questionnaire.known import Known, known
from ompd.record.questionnaire.posterior import Answer, Posterior, check_answer
from ompd.record.questionnaire.questionnaire import Questionnaire
from ompd.record.questionnaire.writing import (
    About,
    answers_of,
    assessment,
    is_of,
    observations,
    response,
)
from ompd.record.record import Record

# Two pages of the same person may answer at once: each reads, changes and writes the response.
_writing = threading.RLock()


class Contribution(NamedTuple):
    """How an answer counted.

    Attributes
    ----------
    question : Question
    answer : str, float or None
    gain : float
        What it added to the log-odds of the second outcome, in nats: above 0 it speaks for that,
        below 0 against it, 0 for a question without an answer.
    """

    question: Question
    answer: Answer
    gain: float


class Interview(Confidential):
    """Answers to a questionnaire in a record. Made by `open`, `begin` and `resume`.

    Every answer is in the record, on the disk, once the call that gives it returns; the interview
    holds no other state, so a process that ends anywhere loses nothing. Several interviews over
    one record see one another's answers.

    Attributes
    ----------
    id : str
        Of the QuestionnaireResponse.
    questionnaire : Questionnaire

    Raises
    ------
    StoreError
        From every method that writes, if the disk is full or refuses; nothing has changed then.
    """

    def __init__(
        self, record: Record, questionnaire: Questionnaire, id: str, language: str = "en"
    ) -> None:
        self._record = record
        self.questionnaire = questionnaire
        self.id = id
        self._language = language
        self._answers: dict[str, Answer] = {}
        self._version = 0
        self._refresh()

    @classmethod
    def open(
        cls,
        record: Record,
        questionnaire: Questionnaire,
        level: str | None = None,
        *,
        language: str = "en",
        when: datetime | None = None,
    ) -> Self:
        """Go on with the newest unfinished interview, or begin one if there is none.

        Parameters
        ----------
        record : Record
        questionnaire : Questionnaire
            Trained.
        level : str, optional
            Where a new one is answered; the first level. It does not change one that was begun.
        language : str, default "en"
            In which the record says what was asked and answered.
        when : datetime, optional
            With a zone; now.

        Raises
        ------
        QuestionnaireError
            If the questionnaire is not trained, or has no such level.
        """
        found = cls.resume(record, questionnaire, language=language)
        return found or cls.begin(record, questionnaire, level, language=language, when=when)

    @classmethod
    def begin(
        cls,
        record: Record,
        questionnaire: Questionnaire,
        level: str | None = None,
        *,
        language: str = "en",
        when: datetime | None = None,
    ) -> Self:
        """Begin a new interview; parameters and errors as of `open`."""
        name = questionnaire.levels[0].id if level is None else level
        # Errors before the record changes.
        Posterior(questionnaire, name)
        id = str(uuid.uuid4())
        record.add(
            response(questionnaire, name, {}, About(id, _moment(when), language), finished=False)
        )
        return cls(record, questionnaire, id, language)

    @classmethod
    def resume(
        cls,
        record: Record,
        questionnaire: Questionnaire,
        id: str | None = None,
        *,
        language: str = "en",
    ) -> Self | None:
        """Return the newest unfinished interview, None without one; or that of an id.

        Raises
        ------
        UnknownResourceError
            If the record has no response of this id.
        QuestionnaireError
            If it is to another questionnaire, or to another version.
        """
        if id is not None:
            return cls(record, questionnaire, id, language)
        for entry in record.list("QuestionnaireResponse"):
            document = record.get(entry.reference).document()
            if document["status"] == "in-progress" and is_of(document, questionnaire):
                # An imported one may be of the same questionnaire, and of no use.
                with contextlib.suppress(QuestionnaireError):
                    return cls(record, questionnaire, entry.id, language)
        return None

    # --- what is known ------------------------------------------------------------------------

    @property
    def level(self) -> str:
        """Id of the level whose questions are asked."""
        self._refresh()
        return self._level

    @property
    def finished(self) -> bool:
        """Whether `finish` was called: nothing is asked any more, and answers stay."""
        self._refresh()
        return self._finished

    @property
    def answers(self) -> dict[str, Answer]:
        """Answers by question, in the order in which they were given; None for not knowing."""
        self._refresh()
        return dict(self._answers)

    @property
    def log_odds(self) -> float:
        """Log-odds of the second outcome, as the answers have them."""
        self._refresh()
        return self._posterior.log_odds(self._answers)

    @property
    def probability(self) -> float:
        """Calibrated probability of the second outcome."""
        return self._posterior.calibrated(self.log_odds)

    @property
    def sure(self) -> bool:
        """Whether either outcome is as probable as it takes to stop."""
        probability = self.probability
        return max(probability, 1 - probability) >= self.questionnaire.stop

    @property
    def left(self) -> tuple[Question, ...]:
        """Questions without an answer, in the questionnaire's order."""
        self._refresh()
        return tuple(each for each in self._posterior.questions if each.id not in self._answers)

    @property
    def contributions(self) -> list[Contribution]:
        """How each answer counted, the weightiest first."""
        self._refresh()
        found = [
            Contribution(self.questionnaire.question(name), answer, gain)
            for name, answer in self._answers.items()
            for gain in [self._posterior.gain(name, answer)]
        ]
        return sorted(found, key=lambda each: -abs(each.gain))

    def known(self, at: datetime | None = None) -> dict[str, Known]:
        """Return answers to questions of the level that the record has already, to be confirmed.

        Of measures the newest, in the question's unit; age and sex also those of the Patient. They
        do not count before they are given as answers.

        Parameters
        ----------
        at : datetime, optional
            With a zone; what was so before. Now.
        """
        self._refresh()
        found = known(self._record, self.questionnaire, self._level, at)
        return {name: each for name, each in found.items() if name not in self._answers}

    def next(self, *, all: bool = False) -> Question | None:
        """Return the question that is expected to tell most.

        Parameters
        ----------
        all : bool, default False
            Whether to go on when `sure`, until there is no question left.

        Returns
        -------
        Question or None
            None if the interview is finished, sure, or has asked everything.
        """
        if self.finished or (self.sure and not all):
            return None
        return self._posterior.next_question(self.log_odds, self._answers)

    # --- answering ----------------------------------------------------------------------------

    def answer(self, question: str, answer: str | float | None) -> None:
        """Give an answer, or change it; it is in the record when this returns.

        Parameters
        ----------
        question : str
            Id of any question of the level, whether it was asked or not.
        answer : str, float or None
            Id of an option; a number in the question's unit; None for not knowing.

        Raises
        ------
        AnswerError
            If the level has no such question, or the question no such answer, or the interview is
            finished.
        """
        with _writing:
            self._refresh()
            asked = self._posterior.questions[self._posterior.place(question)]
            self._save(self._answers | {question: check_answer(asked, answer)})

    def forget(self, question: str) -> None:
        """Take an answer back, as if it had never been given; it may be asked again.

        Raises
        ------
        AnswerError
            If there is none, or the interview is finished.
        """
        with _writing:
            self._refresh()
            if question not in self._answers:
                raise AnswerError("question: expected one that has an answer")
            self._save({name: each for name, each in self._answers.items() if name != question})

    def restart(self, level: str | None = None, *, when: datetime | None = None) -> None:
        """Begin anew; an unfinished interview leaves the record, a finished one stays.

        Raises
        ------
        QuestionnaireError
            If there is no such level.
        """
        with _writing:
            self._refresh()
            name = self._level if level is None else level
            Posterior(self.questionnaire, name)
            old, id = f"QuestionnaireResponse/{self.id}", str(uuid.uuid4())
            about = About(id, _moment(when), self._language)
            fresh = response(self.questionnaire, name, {}, about, finished=False)
            self._record.put_all([fresh], remove=[] if self._finished else [old])
            self.id, self._version = id, 0
            self._refresh()

    def finish(self, *, when: datetime | None = None) -> tuple[Resource, ...]:
        """End the interview, and write what follows from it into the record, all at once.

        Parameters
        ----------
        when : datetime, optional
            With a zone; now.

        Returns
        -------
        tuple of Resource
            The RiskAssessment, then the QuestionnaireResponse, the Observations and Conditions.

        Raises
        ------
        AnswerError
            If nothing was answered, or the interview is finished.
        """
        with _writing:
            self._refresh()
            self._check_open()
            if all(answer is None for answer in self._answers.values()):
                raise AnswerError("interview: expected at least one answer")
            about = About(self.id, _moment(when), self._language)
            risk = assessment(
                self.questionnaire, self._level, self.probability,
                [(each.question.id, each.answer, each.gain) for each in self.contributions],
                about,
            )  # fmt: skip
            written = response(self.questionnaire, self._level, self._answers, about, finished=True)
            found = (risk, written, *observations(self.questionnaire, self._answers, about))
            self._record.put_all(found)
            self._refresh()
            return found

    # --- the record ---------------------------------------------------------------------------

    def _refresh(self) -> None:
        reference = f"QuestionnaireResponse/{self.id}"
        version = self._record.entry(reference).version
        if version == self._version:
            return
        document = self._record.get(reference).document()
        level, answers = answers_of(document, self.questionnaire)
        posterior = Posterior(self.questionnaire, level)
        self._level, self._answers, self._posterior = level, answers, posterior
        self._finished: bool = document["status"] != "in-progress"
        self._version = version

    def _check_open(self) -> None:
        if self._finished:
            raise AnswerError("interview: is finished; begin another one")

    def _save(self, answers: dict[str, Answer]) -> None:
        self._check_open()
        begun = self._record.entry(f"QuestionnaireResponse/{self.id}").when
        about = About(self.id, _moment(begun), self._language)
        self._record.put_all(
            [response(self.questionnaire, self._level, answers, about, finished=False)]
        )
        self._refresh()


def _moment(when: datetime | None) -> datetime:
    if when is None:
        return datetime.now(UTC)
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise QuestionnaireError("when: expected a datetime with a zone")
    return when

"""Naive Bayes over the answers given so far.

Answers count as independent once the outcome is known. Each adds the logarithm of how much more
often it is given under the second outcome than under the first; a question without an answer adds
nothing, as if it had not been there.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np

from ompd._kernels.questions import interviews, most_telling
from ompd.arrays import F64, I64, Bools
from ompd.record.errors import AnswerError, QuestionnaireError
from ompd.record.questionnaire.form import FORM, Level, Option, Origin, Outcome, Question
from ompd.record.questionnaire.questionnaire import Questionnaire

#: What somebody answers: the id of an option, a number, or None for not knowing.
Answer = str | float | None


def check_answer(question: Question, answer: object) -> Answer:
    """Return an answer as it is kept: text, float or None.

    Raises
    ------
    AnswerError
        If it is none of the question's options, or no number of its domain.
    """
    where = f"question {question.id}"
    if answer is None:
        return None
    if question.kind == "choice":
        if not isinstance(answer, str) or all(answer != each.id for each in question.options):
            raise AnswerError(f"{where}: expected the id of one of its options")
        return answer
    if isinstance(answer, bool) or not isinstance(answer, (int, float, np.integer, np.floating)):
        raise AnswerError(f"{where}: expected a number, got {type(answer).__name__}")
    if not question.low <= answer <= question.high:
        unit = f" {question.unit}" if question.unit else ""
        raise AnswerError(f"{where}: expected {question.low:g} to {question.high:g}{unit}")
    return float(answer)


def place_of(question: Question, answer: Answer) -> int:
    """Return the place of a checked answer among those the question tells apart; -1 for none."""
    if answer is None:
        return -1
    if isinstance(answer, str):
        return next(i for i, option in enumerate(question.options) if option.id == answer)
    return bisect_right(question.cuts, answer)


class Posterior:
    """The questions of one level as tables.

    Parameters
    ----------
    questionnaire : Questionnaire
        Trained.
    level : str
        Id of a level.

    Raises
    ------
    QuestionnaireError
        If it is not trained, or there is no such level.
    """

    def __init__(self, questionnaire: Questionnaire, level: str) -> None:
        if not questionnaire.trained:
            raise QuestionnaireError(f"questionnaire {questionnaire.id}: nothing was learned yet")
        self.level: Level = questionnaire.level(level)
        self.questions = questionnaire.asked(level)
        self._places = {question.id: i for i, question in enumerate(self.questions)}
        absent, present = questionnaire.rows
        self.prior = math.log(present) - math.log(absent)
        smoothing = questionnaire.smoothing
        #: Where each question's answers begin in the tables, int64 of shape (questions + 1,).
        self.starts: I64 = np.cumsum([0, *(question.answers for question in self.questions)])
        tables = [
            np.asarray(counts, np.float64) + smoothing
            for question in self.questions
            for counts in question.counts
        ]
        shares = [table / table.sum() for table in tables]
        #: Probability of each answer under the first and the second outcome.
        self.absent: F64 = np.concatenate(shares[0::2])
        self.present: F64 = np.concatenate(shares[1::2])
        #: Entropy of each question's answer under either, float64 of shape (2, questions).
        self.noise: F64 = np.array(
            [[-float(s @ np.log(s)) for s in shares[k::2]] for k in (0, 1)], np.float64
        )

    @cached_property
    def gains(self) -> F64:
        """What each answer adds to the log-odds of the second outcome."""
        return np.log(self.present) - np.log(self.absent)

    def __contains__(self, question: object) -> bool:
        return question in self._places

    def place(self, question: str) -> int:
        """Return a question's place among those of the level.

        Raises
        ------
        AnswerError
            If the level has no such question.
        """
        if question not in self._places:
            raise AnswerError("question: expected the id of one that this level asks")
        return self._places[question]

    def gain(self, question: str, answer: Answer) -> float:
        """Return what a checked answer adds to the log-odds of the second outcome; 0 for none."""
        place = self.place(question)
        found = place_of(self.questions[place], answer)
        return 0.0 if found < 0 else float(self.gains[self.starts[place] + found])

    def log_odds(self, answers: Mapping[str, Answer]) -> float:
        """Return the log-odds of the second outcome, given checked answers."""
        return self.prior + math.fsum(self.gain(name, each) for name, each in answers.items())

    def calibrated(self, log_odds: float) -> float:
        """Return the probability of the second outcome that its log-odds mean at this level."""
        value = self.level.slope * log_odds + self.level.offset
        # Neither overflows nor rounds to 1 early.
        small = math.exp(-abs(value))
        return 1 / (1 + small) if value >= 0 else small / (1 + small)

    def next_question(self, log_odds: float, answered: Iterable[str]) -> Question | None:
        """Return the question after whose answer the least entropy of the outcome is expected.

        Parameters
        ----------
        log_odds : float
            Of what was answered so far.
        answered : iterable of str
            Ids of questions that are not asked any more, of those there are.

        Returns
        -------
        Question or None
            None if no question is left. Of equally telling ones the first.
        """
        open_: Bools = np.ones(len(self.questions), np.bool_)
        for name in answered:
            open_[self._places[name]] = False
        found = most_telling(
            float(log_odds), self.starts, self.absent, self.present, self.noise, open_
        )
        return None if found < 0 else self.questions[found]

    def interviews(self, places: I64) -> tuple[F64, I64]:
        """Ask many people at once everything that they can answer.

        Parameters
        ----------
        places : int64 array of shape (n, questions)
            Of their answers, -1 for none.

        Returns
        -------
        odds : float64 array of shape (n, questions + 1)
            Log-odds before the first answer and after each; behind a person's last they stay.
        asked : int64 array of shape (n, questions)
            Places of the questions in the order in which they were asked; -1 behind the last.
        """
        count = len(places)
        odds = np.empty((count, len(self.questions) + 1))
        asked = np.empty((count, len(self.questions)), np.int64)
        tables = (self.starts, self.absent, self.present, self.noise)
        # A copy: kernels know one form of arrays.
        interviews(self.prior, *tables, np.array(places, np.int64, order="C"), odds, asked)
        return odds, asked


def warmup_questionnaire() -> None:
    """Compile what chooses questions."""
    text = {"en": "x", "de": "x"}
    options = tuple(Option(id=name, text=text) for name in ("a", "b"))
    question = Question(
        id="q", text=text, kind="choice", level="l", options=options, counts=((1, 2), (2, 1))
    )
    posterior = Posterior(
        Questionnaire(
            form=FORM, id="q", version=1, title=text, about=text, rows=(3, 3),
            outcomes=(Outcome(id="a", text=text), Outcome(id="b", text=text)),
            levels=(Level(id="l", text=text),), questions=(question,), origin=Origin(title="x"),
        ),
        "l",
    )  # fmt: skip
    posterior.next_question(0.0, ())
    posterior.interviews(np.zeros((1, 1), np.int64))

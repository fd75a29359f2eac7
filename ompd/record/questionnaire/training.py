"""A questionnaire learned from a table of patients, calibrated on rows that it had not seen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import msgspec
import numpy as np

from ompd.arrays import F64, I64, Bools
from ompd.datasets import Dataset
from ompd.record.errors import QuestionnaireError
from ompd.record.questionnaire.form import Question
from ompd.record.questionnaire.posterior import Posterior
from ompd.record.questionnaire.questionnaire import Questionnaire
from ompd.record.questionnaire.sigmoid import fit_sigmoid
from ompd.schema import Feature

#: A number's domain is cut at these quantiles of what was measured.
QUANTILES = (0.25, 0.5, 0.75)
#: Parts of which each in turn is left out to calibrate.
FOLDS = 10
#: Digits that calibration is kept with; more would say more than the rows do.
_DIGITS = 4


@dataclass(frozen=True)
class Cases:
    """What patients answered, and how it came out.

    Attributes
    ----------
    columns : tuple of float64 arrays of shape (n,)
        Of each question: the number, or the place of the option; NaN for none.
    truth : int64 array of shape (n,)
        0 for the first outcome, 1 for the second.
    """

    columns: tuple[F64, ...]
    truth: I64

    @classmethod
    def of(cls, questionnaire: Questionnaire, data: Dataset) -> Self:
        """Read a table: features by the ids of questions, classes by those of outcomes.

        Raises
        ------
        QuestionnaireError
            If a question has no feature or an option no value, a number lies outside its question's
            domain, or classes are not the outcomes.
        """
        if data.schema.classes != tuple(outcome.id for outcome in questionnaire.outcomes):
            raise QuestionnaireError("classes: expected the ids of the outcomes, in order")
        features = {feature.name: i for i, feature in enumerate(data.schema.features)}
        columns = []
        for question in questionnaire.questions:
            if question.id not in features:
                raise QuestionnaireError(f"question {question.id}: expected a feature of this name")
            place = features[question.id]
            columns.append(_column(question, data.schema.features[place], data.features[:, place]))
        return cls(tuple(columns), data.labels)

    def __len__(self) -> int:
        return len(self.truth)

    def take(self, rows: I64) -> Self:
        """Return some of the patients."""
        return type(self)(tuple(column[rows] for column in self.columns), self.truth[rows])

    def places(self, questionnaire: Questionnaire, level: str) -> I64:
        """Return which answers of a trained questionnaire's level they are; -1 for none."""
        wanted = {question.id for question in questionnaire.asked(level)}
        found = [
            np.where(
                np.isnan(column),
                -1,
                np.nan_to_num(column)
                if question.kind == "choice"
                else np.searchsorted(question.cuts, column, side="right"),
            )
            for question, column in zip(questionnaire.questions, self.columns, strict=True)
            if question.id in wanted
        ]
        return np.stack(found, axis=1).astype(np.int64)


def folds_of(truth: I64, count: int, seed: int = 0) -> Iterator[tuple[I64, I64]]:
    """Split rows into parts with equal shares of either outcome.

    Parameters
    ----------
    truth : int64 array of shape (n,)
    count : int
        Number of parts.
    seed : int
        Another one splits otherwise. The same rows are split alike on every machine and by every
        version of NumPy.

    Yields
    ------
    rest, part : int64 arrays
        Rows outside a part and in it.
    """
    shuffled = sorted(
        range(len(truth)), key=lambda row: hashlib.sha256(b"%d %d" % (seed, row)).digest()
    )
    order = np.array(shuffled, np.int64)
    order = order[np.argsort(truth[order], kind="stable")]
    part = np.empty(len(truth), np.int64)
    part[order] = np.arange(len(truth)) % count
    for each in range(count):
        yield np.flatnonzero(part != each), np.flatnonzero(part == each)


def learn(questionnaire: Questionnaire, cases: Cases) -> Questionnaire:
    """Count answers, and cut numbers' domains at quantiles; calibration and figures stay.

    Raises
    ------
    QuestionnaireError
        If an outcome has no row.
    """
    rows = tuple(int((cases.truth == k).sum()) for k in (0, 1))
    if 0 in rows:
        raise QuestionnaireError("training: expected rows of both outcomes")
    questions = []
    for question, column in zip(questionnaire.questions, cases.columns, strict=True):
        known = column[~np.isnan(column)]
        cuts: tuple[float, ...] = ()
        if question.kind == "number" and known.size:
            found = np.unique(np.quantile(known, QUANTILES))
            # No answer lies below the least one.
            cuts = tuple(found[(found > known.min()) & (found > question.low)].tolist())
        cut = msgspec.structs.replace(question, cuts=cuts, counts=())
        counts = []
        for k in (0, 1):
            values = column[(cases.truth == k) & ~np.isnan(column)]
            if question.kind == "number":
                values = np.searchsorted(cuts, values, side="right")
            counts.append(
                tuple(np.bincount(values.astype(np.int64), minlength=cut.answers).tolist())
            )
        questions.append(msgspec.structs.replace(cut, counts=tuple(counts)))
    return msgspec.structs.replace(questionnaire, questions=tuple(questions), rows=rows, sha256="")


def calibrate(
    questionnaire: Questionnaire, cases: Cases, folds: int = FOLDS, seed: int = 0
) -> Questionnaire:
    """Learn what log-odds mean at every level, from rows that were left out of learning.

    Each row is asked in the adaptive order, once with all of its answers and once as if half of
    them, drawn at random, were not known. Its log-odds after every answer count alike. So an
    interview is calibrated wherever it stops, and hardly worse for who does not know much.
    """
    parts = [
        (learn(questionnaire, cases.take(rest)), cases.take(part), part)
        for rest, part in folds_of(cases.truth, folds, seed)
    ]
    levels = []
    for level in questionnaire.levels:
        scores, truths, weights = [], [], []
        for learned, held, rows in parts:
            places = held.places(learned, level.id)
            halved = np.where(_halves(rows, places.shape[1], seed), places, -1)
            for answers in (places, halved):
                odds, asked = Posterior(learned, level.id).interviews(answers)
                given = asked >= 0
                scores.append(odds[:, 1:][given])
                truths.append(np.broadcast_to(held.truth[:, None], given.shape)[given])
                share = given / np.maximum(given.sum(axis=1, keepdims=True), 1)
                weights.append(share[given] / 2)
        slope, offset = fit_sigmoid(
            np.concatenate(scores), np.concatenate(truths).astype(float), np.concatenate(weights)
        )
        levels.append(
            msgspec.structs.replace(
                level, slope=round(slope, _DIGITS), offset=round(offset, _DIGITS)
            )
        )
    return msgspec.structs.replace(questionnaire, levels=tuple(levels), sha256="")


def train(questionnaire: Questionnaire, data: Dataset) -> Questionnaire:
    """Learn a questionnaire's answers and its calibration from a table.

    Parameters
    ----------
    questionnaire : Questionnaire
        Its texts, options, domains and codes; what it knew of answers is forgotten.
    data : Dataset
        Its features are named as the questions, its classes as the outcomes. An option of a choice
        is a level of the feature, or else the number itself.

    Returns
    -------
    Questionnaire
        The same for the same table, bit by bit.

    Raises
    ------
    QuestionnaireError
        If the table does not fit.

    Notes
    -----
    Figures are kept as they were: they say how such a questionnaire did in cross-validation, which
    is not done here.
    """
    cases = Cases.of(questionnaire, data)
    return learn(calibrate(questionnaire, cases), cases)


def _halves(rows: I64, questions: int, seed: int) -> Bools:
    """Return which questions of each row count as answered: half, the same on every machine."""
    drawn = [
        hashlib.shake_128(b"half %d %d" % (seed, row)).digest(-(-questions // 8))
        for row in rows.tolist()
    ]
    bits = np.unpackbits(np.frombuffer(b"".join(drawn), np.uint8).reshape(len(rows), -1), axis=1)
    return bits[:, :questions].astype(np.bool_)


def _column(question: Question, feature: Feature, values: F64) -> F64:
    where = f"question {question.id}"
    known = values[~np.isnan(values)]
    if question.kind == "number":
        if known.size and not (question.low <= known.min() and known.max() <= question.high):
            raise QuestionnaireError(f"{where}: expected numbers of its domain")
        return values
    places = {option.id: i for i, option in enumerate(question.options)}
    found = np.full(len(values), np.nan)
    for value in np.unique(known).tolist():
        name = feature.levels[int(value - feature.low)] if feature.levels else f"{value:g}"
        if name not in places:
            raise QuestionnaireError(f"{where}: expected an option for each value of the feature")
        found[values == value] = places[name]
    return found

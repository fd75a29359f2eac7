"""What a record knows already of what a questionnaire asks."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from ompd.record.questionnaire.form import Question
from ompd.record.questionnaire.posterior import Answer
from ompd.record.questionnaire.questionnaire import Questionnaire
from ompd.record.reading import Reader
from ompd.record.vector import vector
from ompd.schema import Feature, Schema

# Places of options are numbers that no option's id writes.
_FIRST = 1e9


class Known(NamedTuple):
    """An answer that the record has.

    Attributes
    ----------
    answer : str or float
    when : datetime or None
        When it was so.
    """

    answer: Answer
    when: datetime | None


def known(
    record: Reader, questionnaire: Questionnaire, level: str, at: datetime | None = None
) -> dict[str, Known]:
    """Return answers that the record has, by question: newest values, converted to its units.

    Parameters
    ----------
    record : Record
    questionnaire : Questionnaire
    level : str
    at : datetime, optional
        With a zone; what was so before. Now.
    """
    asked = questionnaire.asked(level)
    schema = Schema(tuple(_feature(questionnaire, each) for each in asked), ("a", "b"))
    found = vector(record, schema, at)
    return {
        name: Known(float(value) if isinstance(value, (int, float)) else value, source.when)
        for name, source in found.sources.items()
        for value in [found.values[name]]
    }


def _feature(questionnaire: Questionnaire, question: Question) -> Feature:
    own = f"{questionnaire.system}|{question.id}"
    code = f"{question.code.system}|{question.code.code}" if question.code else own
    if question.kind == "number":
        return Feature(
            question.id, "numeric", question.low, question.high, unit=question.unit, code=code
        )
    return Feature(
        question.id, "nominal", _FIRST, _FIRST + len(question.options) - 1, code=code,
        levels=tuple(option.id for option in question.options),
    )  # fmt: skip

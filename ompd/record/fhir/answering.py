"""Answers to a questionnaire, as a resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ompd.record.fhir.checking import checked
from ompd.record.fhir.dates import written
from ompd.record.fhir.elements import SELF, Value, moment, quantity_of, some
from ompd.record.fhir.resource import Document, Resource


def answers(
    questionnaire: str,
    given: Sequence[tuple[str, str, Value | None]],
    when: datetime | None = None,
    *,
    status: str = "completed",
    unit_of: Mapping[str, str] | None = None,
    id: str | None = None,
) -> Resource:
    """Return the answers to a questionnaire, in their order.

    Parameters
    ----------
    questionnaire : str
        Its URI.
    given : sequence of (id, question, value)
        A value is a truth value, number, text or (system, code); None for a question that was
        asked and not answered.
    when : datetime, optional
        With a zone; now.
    status : {"in-progress", "completed", "amended", "stopped", "entered-in-error"}
    unit_of : mapping, optional
        Units of UCUM by the ids of questions that numbers answer.
    id : str, optional

    Raises
    ------
    ResourceError
        If something is not of its form.
    """
    units = unit_of or {}
    return checked(
        some(
            resourceType="QuestionnaireResponse",
            id=id,
            questionnaire=questionnaire,
            status=status,
            subject={"reference": SELF},
            authored=written(moment(when)),
            item=[
                some(
                    linkId=name,
                    text=question,
                    answer=[_answer(value, units.get(name))] if value is not None else None,
                )
                for name, question, value in given
            ],
        )
    )


def _answer(value: Value, unit: str | None) -> Document:
    if isinstance(value, tuple):
        return {"valueCoding": {"system": value[0], "code": value[1]}}
    if isinstance(value, (bool, str)):
        return {"valueBoolean" if isinstance(value, bool) else "valueString": value}
    if unit is not None:
        return {"valueQuantity": quantity_of(value, unit)}
    return {"valueInteger" if isinstance(value, int) else "valueDecimal": value}

"""Questions that tell two outcomes apart, the most telling one first, answered into the record.

from ompd.record.questionnaire import Interview, load

interview = Interview.open(record, load("heart"), "home")
while question := interview.next():
    interview.answer(question.id, ask(question))
interview.finish()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.record.questionnaire.form import (
        Code,
        Figures,
        Level,
        Option,
        Origin,
        Outcome,
        Question,
    )
    from ompd.record.questionnaire.interview import Contribution, Interview
    from ompd.record.questionnaire.known import Known
    from ompd.record.questionnaire.posterior import Posterior
    from ompd.record.questionnaire.questionnaire import Questionnaire, available, load
    from ompd.record.questionnaire.training import train

# Lazily: training and interviews need what a questionnaire alone does not.
_HOMES = {
    "Code": "form",
    "Contribution": "interview",
    "Figures": "form",
    "Interview": "interview",
    "Known": "known",
    "Level": "form",
    "Option": "form",
    "Origin": "form",
    "Outcome": "form",
    "Posterior": "posterior",
    "Question": "form",
    "Questionnaire": "questionnaire",
    "available": "questionnaire",
    "load": "questionnaire",
    "train": "training",
}

__all__ = [
    "Code",
    "Contribution",
    "Figures",
    "Interview",
    "Known",
    "Level",
    "Option",
    "Origin",
    "Outcome",
    "Posterior",
    "Question",
    "Questionnaire",
    "available",
    "load",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.record.questionnaire' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ompd.record.questionnaire.{_HOMES[name]}"), name)

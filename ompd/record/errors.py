"""Errors of questionnaires and of the diary, which only records have; all others are shared ones.

Like those of `ompd.errors` they tell what was expected, and never a person's value.
"""

from __future__ import annotations

from ompd.errors import OmpdError


class QuestionnaireError(OmpdError, ValueError):
    """A questionnaire contradicts itself, cannot be read, or is not the one that was begun."""


class AnswerError(OmpdError, ValueError):
    """An answer is none of its question's, or cannot be given now."""


class DiaryError(OmpdError, ValueError):
    """A reminder, a medicine or a measure of the diary contradicts itself or cannot be read."""


class ChildError(OmpdError, ValueError):
    """The classes of body mass are those of adults, and this person is none."""

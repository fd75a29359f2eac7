"""From dated notes to a course: how often each day's notes assert each concept."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.confidential import Confidential
from ompd.errors import LexiconError, NoteError, ParameterError
from ompd.text.annotation import Annotator, checked
from ompd.text.layout import MAX_COUNT, MAX_DAYS
from ompd.text.lexicon import Lexicon

#: Most notes of a course.
MAX_NOTES = 4096

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, repr=False)
class Note:
    """A note of a day.

    Parameters
    ----------
    day : datetime.date
        When what it says was so.
    text : str or bytes
        Of 1 to 65,536 characters, not all of them blank; bytes are UTF-8.

    Raises
    ------
    NoteError
        If the day is no date, or the text empty, too long or of an unknown encoding.
    """

    day: datetime.date
    text: str | bytes

    def __post_init__(self) -> None:
        if not _is_day(self.day):
            raise NoteError(f"day: expected a date, got {type(self.day).__name__}")
        object.__setattr__(self, "text", _decoded(self.text))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Course(Confidential):
    """What the notes of some days assert; a patient's, and as secret as the notes.

    Parameters
    ----------
    lexicon : Lexicon
        Names the rows.
    first : datetime.date
        Day of the first column.
    counts : int array of shape (F, T)
        From 0 to 15, for the F concepts of the lexicon and 1 to 60 days T.

    Raises
    ------
    NoteError
        If an argument is not of that form.
    """

    lexicon: Lexicon
    first: datetime.date
    counts: Counts = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.lexicon, Lexicon):
            raise NoteError(f"lexicon: expected a Lexicon, got {type(self.lexicon).__name__}")
        if not _is_day(self.first):
            raise NoteError(f"first: expected a date, got {type(self.first).__name__}")
        object.__setattr__(self, "counts", checked_counts(self.lexicon, self.counts))

    @classmethod
    def from_notes(
        cls,
        notes: Iterable[Note],
        annotator: Annotator,
        *,
        last: datetime.date,
        days: int = MAX_DAYS,
    ) -> Course:
        """Count the asserted mentions of each day.

        Parameters
        ----------
        notes : iterable of Note
            At least one and at most 4,096, in any order; of those older than the first day
            nothing is counted.
        annotator : Annotator
        last : datetime.date
            The last day of the course, such as today: a note of a later one is refused.
        days : int, default 60
            How many days there are, 1 to 60.

        Raises
        ------
        NoteError
            If there are no notes or too many, one is none, or of a day after the last.
        ParameterError
            If `days` is out of range or `last` no date.
        LexiconError
            If the annotator finds what is not in its lexicon.
        """
        if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= MAX_DAYS:
            raise ParameterError(f"days: expected an integer from 1 to {MAX_DAYS}")
        if not _is_day(last):
            raise ParameterError(f"last: expected a date, got {type(last).__name__}")
        kept = _checked_notes(notes, last)
        lexicon = annotator.lexicon
        rows = {name: row for row, name in enumerate(lexicon.names)}
        counts = np.zeros((len(rows), days), np.int64)
        for note in kept:
            column = days - 1 - (last - note.day).days
            if column < 0:
                continue
            for mention in annotator.annotate(str(note.text)):
                if mention.concept not in rows:
                    raise LexiconError("annotator: expected mentions of its lexicon's concepts")
                if mention.status == "asserted":
                    counts[rows[mention.concept], column] += 1
        first = last - datetime.timedelta(days - 1)
        return cls(lexicon, first, np.minimum(counts, MAX_COUNT))

    @property
    def days(self) -> int:
        """How many days it has."""
        return int(self.counts.shape[1])


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Template(Confidential):
    """A course that a physician looks for in those of patients.

    Parameters
    ----------
    lexicon : Lexicon
        The one of the courses; its weights say how much each concept counts.
    counts : int array of shape (F, L)
        From 0 to 15, for 1 to 60 days L; not all 0.

    Raises
    ------
    NoteError
        If an argument is not of that form.
    """

    lexicon: Lexicon
    counts: Counts = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.lexicon, Lexicon):
            raise NoteError(f"lexicon: expected a Lexicon, got {type(self.lexicon).__name__}")
        counts = checked_counts(self.lexicon, self.counts)
        if not counts.any():
            raise NoteError("template: expected a count above 0 somewhere")
        object.__setattr__(self, "counts", counts)

    @property
    def days(self) -> int:
        """How many days it has."""
        return int(self.counts.shape[1])

    @property
    def energy(self) -> int:
        """Sum of the weighted squares of its counts."""
        return int((weights(self.lexicon)[:, None] * self.counts**2).sum())


def weights(lexicon: Lexicon) -> Counts:
    """Weights of a lexicon as an array of shape (F,)."""
    return np.array(lexicon.weights, np.int64)


def checked_counts(lexicon: Lexicon, counts: Any) -> Counts:
    """Return counts as a read-only int64 array of their own.

    Raises
    ------
    NoteError
    """
    array = np.asarray(counts)
    if array.dtype.kind not in "iu":
        raise NoteError(f"counts: expected integers, got {array.dtype}")
    rows = len(lexicon.concepts)
    if array.ndim != 2 or array.shape[0] != rows or not 1 <= array.shape[1] <= MAX_DAYS:
        raise NoteError(
            f"counts: expected shape ({rows}, 1 to {MAX_DAYS}), got {tuple(array.shape)}"
        )
    if array.min() < 0 or array.max() > MAX_COUNT:
        raise NoteError(f"counts: expected 0 to {MAX_COUNT}")
    own = np.array(array, np.int64, order="C")
    own.setflags(write=False)
    return own


def _checked_notes(notes: Iterable[Note], last: datetime.date) -> Sequence[Note]:
    kept: list[Note] = []
    for note in notes:
        if not isinstance(note, Note):
            raise NoteError(f"notes: expected objects of Note, got {type(note).__name__}")
        if note.day > last:
            raise NoteError("notes: expected none of a day after the last")
        if len(kept) == MAX_NOTES:
            raise NoteError(f"notes: expected at most {MAX_NOTES}")
        kept.append(note)
    if not kept:
        raise NoteError("notes: expected at least one; none says nothing, not that all is well")
    return kept


def _is_day(value: object) -> bool:
    # A time of day is a date too, and does not compare with one.
    return isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)


def _decoded(text: object) -> str:
    if isinstance(text, bytes):
        problem = False
        try:
            text = text.decode()
        except UnicodeDecodeError:
            # Its message would quote the note.
            problem = True
        if problem:
            raise NoteError("note: expected UTF-8")
    whole = checked(text)
    if not whole.strip():
        raise NoteError("note: is empty")
    if "\x00" in whole or any(0xD800 <= ord(sign) < 0xE000 for sign in whole):
        raise NoteError("note: expected text, got bytes of another encoding")
    return whole

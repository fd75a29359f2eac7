"""What an annotator finds in a note, and what any annotator offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from ompd.errors import NoteError
from ompd.text.lexicon import Lexicon

#: What a note says of a concept; see `Mention`.
Status = Literal["asserted", "negated", "hypothetical", "family"]

#: Most characters of a note; the longest of real ones have some thousands.
MAX_NOTE = 1 << 16


@dataclass(frozen=True, slots=True, repr=False)
class Mention:
    """A concept where a note names it.

    Parameters
    ----------
    concept : str
        Its name in the lexicon.
    start, end : int
        Characters of the note, the end exclusive.
    status : str
        ``"asserted"``: the patient has or had it. ``"negated"``: nobody is said to have it.
        ``"hypothetical"``: suspected, feared, to be excluded, planned for, or what to look out
        for. ``"family"``: a relative or somebody else around the patient has or had it.
    """

    concept: str
    start: int
    end: int
    status: Status

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Annotator(Protocol):
    """Finds the concepts of a lexicon in notes."""

    @property
    def lexicon(self) -> Lexicon:
        """What it looks for."""

    def annotate(self, text: str) -> list[Mention]:
        """Return all mentions in a note, in their order, none of which overlap.

        Raises
        ------
        NoteError
            If the note is no text, or has more than 65,536 characters.
        """


def checked(text: object) -> str:
    """Return a note that an annotator may read.

    Raises
    ------
    NoteError
    """
    if not isinstance(text, str):
        raise NoteError(f"note: expected a text, got {type(text).__name__}")
    if len(text) > MAX_NOTE:
        raise NoteError(f"note: expected at most {MAX_NOTE} characters, got {len(text)}")
    return text

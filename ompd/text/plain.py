"""An annotator without dependencies: a lexicon, cues and their reach."""

from __future__ import annotations

import re
from typing import NamedTuple

from ompd.text.annotation import Mention, Status, checked
from ompd.text.cues import (
    BULLET,
    FAMILY_BEFORE,
    FORWARD,
    LIST,
    MASK,
    NEGATED_BEFORE,
    ONE,
    POSSIBLE_BEFORE,
)
from ompd.text.finding import Finder, Found
from ompd.text.lexicon import Lexicon
from ompd.text.sections import Section, sentences

_BEHIND: tuple[tuple[re.Pattern[str], Status], ...] = (
    (NEGATED_BEFORE, "negated"),
    (POSSIBLE_BEFORE, "hypothetical"),
    (FAMILY_BEFORE, "family"),
)


class _Reach(NamedTuple):
    """Which cues hold at a place in a sentence."""

    negated: bool = False
    # A condition or a warning holds to the end of the sentence, a doubt to the next "but", a
    # question mark to the next comma.
    condition: bool = False
    possible: bool = False
    query: bool = False
    family: bool = False
    history: bool = False


class PlainAnnotator:
    """Classes each mention by the cues around it and the section that it stands in.

    A negation ("no", "nil", "denies", ...) holds for all that follows in its sentence, also in
    lists with commas or slashes, until a "but" or until something is said to be there (", has
    ..."); some, as "is absent" or ": nil", hold for what is before them. Sentences end at points,
    semicolons and ends of lines. Whatever is under a heading of plans, advice, ideas or
    differential diagnoses, or follows a word of condition, warning or doubt, is hypothetical.
    Negated comes before family: what no relative has, nobody is said to have.

    Parameters
    ----------
    lexicon : Lexicon
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._finder = Finder(lexicon)

    @property
    def lexicon(self) -> Lexicon:
        """What it looks for."""
        return self._lexicon

    def annotate(self, text: str) -> list[Mention]:
        """Return all mentions in a note, in their order, none of which overlap.

        Parameters
        ----------
        text : str
            At most 65,536 characters.

        Raises
        ------
        NoteError
            If the note is no text or too long.
        """
        text = checked(text)
        found = list(self._finder.find(text))
        masked = _masked(text, found)
        status: dict[int, Status] = {}
        carried = _Reach()
        for section, start, end in sentences(masked):
            sentence = masked[start:end]
            item = bool(BULLET.match(sentence))
            before = carried if item else _Reach()
            if MASK not in sentence and not sentence.rstrip().endswith(":"):
                carried = before
                continue
            after = _class(sentence, start, section, before, status)
            # "Denies:" reaches into all items of the list behind it, but none into the next.
            carried = before if item else after
        return [Mention(each.concept, each.start, each.end, status[each.start]) for each in found]


def _masked(text: str, found: list[Found]) -> str:
    parts = []
    end = 0
    # Whatever the note has of the mask itself is none of a mention.
    plain = text.replace(MASK, " ")
    for each in found:
        parts += [plain[end : each.start], MASK * (each.end - each.start)]
        end = each.end
    return "".join(parts) + plain[end:]


def _class(
    sentence: str, start: int, section: Section, reach: _Reach, status: dict[int, Status]
) -> _Reach:
    """Class the mentions of a sentence; return what reaches into a list behind it."""
    any_mention = False
    # What holds outside a parenthesis holds again behind it; what began in it does not.
    outside: list[_Reach] = []
    for match in FORWARD.finditer(sentence):
        kind = match.lastgroup
        if kind == "open" or (kind == "affirm" and match[0].startswith("(")):
            outside.append(reach)
        if kind == "mention":
            any_mention = True
            status[start + match.start()] = _status(section, reach)
        elif kind in {"stop", "affirm"}:
            reach = _Reach(condition=reach.condition and kind == "affirm")
        elif kind == "reason":
            reach = reach._replace(negated=False)
        elif kind == "negation":
            # "To exclude" before it would make the negated possible.
            reach = reach._replace(negated=True, possible=False, query=False)
        elif kind == "close":
            reach = outside.pop() if outside else reach
        elif kind == "comma":
            reach = reach._replace(query=False, history=False)
        elif kind == "relative":
            reach = reach._replace(family=True)
        elif kind in {"condition", "possible", "query", "history"}:
            reach = reach._replace(**{kind: True})
    _backwards(sentence, start, section, status)
    opens = not any_mention and sentence.rstrip().endswith(":")
    return reach if opens else _Reach()


def _status(section: Section, reach: _Reach) -> Status:
    if section == "plan" or reach.condition or reach.possible or reach.query:
        return "hypothetical"
    if reach.negated:
        return "negated"
    if section == "family" or reach.family or reach.history:
        return "family"
    return "asserted"


def _backwards(
    sentence: str,
    start: int,
    section: Section,
    status: dict[int, Status],
) -> None:
    """Class anew what is before a cue that holds backwards."""
    if section == "plan":
        return
    for each in LIST.finditer(sentence):
        new = next((kind for cue, kind in _BEHIND if cue.match(sentence, each.end())), None)
        if new is not None:
            for one in ONE.finditer(sentence, each.start(), each.end()):
                if status[start + one.start()] == "asserted":
                    status[start + one.start()] = new

"""Where a text names the concepts of a lexicon."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from ompd.text.lexicon import Lexicon, is_capital

_WORD = re.compile(r"\w+")


class Found(NamedTuple):
    """A concept by its name, and the characters that name it."""

    concept: str
    start: int
    end: int


class Finder:
    """Looks for synonyms, of those that begin at one place for the longest.

    Parameters
    ----------
    lexicon : Lexicon
    """

    def __init__(self, lexicon: Lexicon) -> None:
        # By first words: a text has many words and few of them begin a synonym.
        begun: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for concept in lexicon.concepts:
            for synonym in concept.synonyms:
                first = _WORD.match(synonym)
                if first:
                    begun[first[0].lower()].append((synonym, concept.name))
        self._begun: dict[str, list[tuple[re.Pattern[str], str]]] = {
            first: [
                (_pattern(synonym), concept)
                for synonym, concept in sorted(found, key=lambda pair: -len(pair[0]))
            ]
            for first, found in begun.items()
        }

    def find(self, text: str) -> Iterator[Found]:
        """Yield what is found, from left to right and without overlaps."""
        end = 0
        for word in _WORD.finditer(text):
            start = word.start()
            if start < end:
                continue
            for pattern, concept in self._begun.get(word[0].lower(), ()):
                if match := pattern.match(text, start):
                    end = match.end()
                    yield Found(concept, start, end)
                    break


def _pattern(synonym: str) -> re.Pattern[str]:
    # Not over the end of a line: a new one begins a new statement.
    parts = map(re.escape, re.split(r"[ -]", synonym))
    return re.compile(
        r"[ \t-]+".join(parts) + r"(?!\w)", 0 if is_capital(synonym) else re.IGNORECASE
    )

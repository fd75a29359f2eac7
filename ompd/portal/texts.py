"""All that the pages say, in each language, from one catalogue."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from importlib.resources import files
from typing import Any

#: Languages of the catalogue; the first is what others fall back to.
LANGUAGES = ("en", "de")
_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
}


@cache
def catalogue() -> Mapping[str, Mapping[str, str]]:
    """Return every text: by key, then by language."""
    read = tomllib.loads(files("ompd.portal").joinpath("texts.toml").read_text("utf-8"))
    return {
        f"{group}.{name}": texts
        for group, entries in read.items()
        for name, texts in entries.items()
    }


class Texts:
    """The catalogue in one language, and how that language writes numbers and days.

    Parameters
    ----------
    language : {"en", "de"}
    """

    def __init__(self, language: str) -> None:
        self.language = language

    def __call__(self, key: str, /, **values: object) -> str:
        """Return a text, with its values put in.

        Raises
        ------
        KeyError
            If there is no such key: a mistake of the page, which tests find.
        """
        return catalogue()[key][self.language].format_map(values)

    def maybe(self, key: str, otherwise: str) -> str:
        """Return a text of a key that others make, such as a type of resource that is unknown."""
        found = catalogue().get(key)
        return otherwise if found is None else found[self.language]

    def of(self, texts: Mapping[str, str]) -> str:
        """Return what somebody else's file says, in this language or in any that it has."""
        return in_language(texts, self.language)

    def count(self, key: str, number: int) -> str:
        """Return the text for one, or for another number: of ``key-one`` or ``key-many``."""
        return self(f"{key}-one" if number == 1 else f"{key}-many", n=self.number(number))

    def number(self, value: float, digits: int | None = None) -> str:
        """Return a number with so many digits behind the point; by default as many as it has."""
        if not math.isfinite(value):
            return "–"
        text = f"{value:.{digits}f}" if digits is not None else f"{value:.10g}"
        return text.replace(".", ",") if self.language == "de" else text

    def share(self, value: float) -> str:
        """Return a probability in percent, never as certain as nothing is."""
        if not math.isfinite(value):
            return "–"
        percent = min(max(100 * value, 0.1), 99.9)
        text = self.number(percent, 0 if 1 <= percent <= 99 else 1)
        return f"{text} %" if self.language == "de" else f"{text}%"

    def day(self, moment: date) -> str:
        """Return a day, with its month's name, so that nobody takes it for another."""
        month = _MONTHS[self.language].split()[moment.month - 1]
        if self.language == "de":
            return f"{moment.day}. {month} {moment.year}"
        return f"{moment.day} {month} {moment.year}"

    def moment(self, moment: datetime) -> str:
        """Return a day and time, in the zone of this device."""
        local = moment.astimezone()
        return f"{self.day(local)}, {local:%H:%M}"


def preferred(accepted: str) -> str:
    """Return the language of the catalogue that a browser asks for first."""
    found: list[tuple[float, int, str]] = []
    for place, part in enumerate(accepted[:200].split(",")):
        tag, _, weight = part.strip().partition(";q=")
        name = tag.partition("-")[0].lower()
        if name in LANGUAGES:
            found.append((-_weight(weight), place, name))
    return min(found)[2] if found else LANGUAGES[0]


def _weight(text: str) -> float:
    try:
        return float(text or "1")
    except ValueError:
        return 0.0


def in_language(texts: Mapping[str, Any], language: str) -> str:
    """Return what somebody else's file says in a language, or in any that it has."""
    return str(texts.get(language) or next(iter(texts.values()), ""))

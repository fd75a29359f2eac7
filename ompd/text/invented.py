"""Invented patients whose hearts fail, or do not: notes from a latent state, for tests and demos.

Nobody real is behind these notes, and how well they are told apart says how well the correlation
works where the state behaves as it is drawn here, and nothing about real patients.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

from ompd.text.course import Note, Template
from ompd.text.layout import MAX_COUNT, MAX_DAYS
from ompd.text.lexicon import Lexicon

#: Days of an episode, from first signs to the day before admission.
EPISODE = 28
#: Negated mentions of a note, however the patient is: a fifth of all that are asserted or negated.
_NEGATED_RATE = 0.6

#: When a concept shows in an episode: first day, last day, mentions on the last.
_SIGNS = {
    "weight gain": (0, 22, 1.5),
    "fatigue": (0, 28, 1.5),
    "leg oedema": (4, 26, 2.0),
    "exertional dyspnoea": (6, 20, 2.0),
    "cough": (8, 26, 1.0),
    "loss of appetite": (8, 28, 0.7),
    "dyspnoea": (10, 28, 2.5),
    "orthopnoea": (14, 28, 2.0),
    "nocturnal dyspnoea": (16, 28, 1.5),
    "dyspnoea at rest": (21, 28, 2.0),
    "chest pain": (20, 28, 0.7),
}
#: What anybody has now and then, per day of notes.
_COMMON = (
    "fatigue", "cough", "headache", "dizziness", "palpitations", "anxiety", "nausea", "chest pain",
    "fever", "leg oedema", "dyspnoea", "exertional dyspnoea", "sweating", "weakness",
)  # fmt: skip
_COMMON_RATE = 0.7
#: A cold of a week, which has some of the same signs.
_COLD = ("cough", "fever", "headache", "fatigue", "dyspnoea", "wheeze", "sweating")

_ASSERTED = (
    "{0}.", "Has {0}.", "Reports {0} today.", "{0} since yesterday.", "Complains of {0}.",
    "Worse {0}.", "Ongoing {0}.", "c/o {0}", "{0} ++",
)  # fmt: skip
_NEGATED = (
    "No {0}.", "Denies {0}.", "Nil {0}", "{0} is absent.", "{0}: nil", "Not troubled by {0}.",
    "No fits/{0}.", "Without {0};",
)  # fmt: skip
_SUPPOSED = (
    "Plan: return if {0}.", "Red flags: {0}.", "Warned about {0}.", "?{0}", "To call if {0}.",
)  # fmt: skip
_FAMILY = ("FH: {0}", "Mother has {0}.", "Brother had {0}")


def template(lexicon: Lexicon) -> Template:
    """Return a physician's template of an episode.

    Parameters
    ----------
    lexicon : Lexicon
        That of cardiology.
    """
    rates = _rates(lexicon)
    return Template(lexicon, np.minimum(np.rint(rates), MAX_COUNT).astype(np.int64))


def notes(
    rng: np.random.Generator,
    lexicon: Lexicon,
    *,
    last: datetime.date,
    shift: int | None,
    days: int = MAX_DAYS,
) -> list[Note]:
    """Invent the notes of a patient.

    Parameters
    ----------
    rng : Generator
    lexicon : Lexicon
        That of cardiology.
    last : datetime.date
        Day of the last note.
    shift : int or None
        Days by which an episode is later than one in the middle of all days; what is before the
        first day or after the last is not seen. None for a patient without one.
    days : int
    """
    names = lexicon.names
    rate = np.zeros((len(names), days))
    for name in _COMMON:
        rate[names.index(name)] += _COMMON_RATE * rng.uniform(0.2, 1.8) / len(_COMMON)
    if rng.random() < 0.5:
        begin = int(rng.integers(0, days))
        rate[[names.index(name) for name in _COLD], begin : begin + 7] += 0.7
    if shift is None and rng.random() < 0.3:
        # All signs, but the same on all days: it is the order that counts.
        rate += rng.uniform(0.1, 0.6) * _rates(lexicon).mean(axis=1, keepdims=True)
    if shift is not None:
        begin = (days - EPISODE) // 2 + shift
        seen = slice(max(begin, 0), min(begin + EPISODE, days))
        state = rng.uniform(0.6, 1.2)
        rate[:, seen] += state * _rates(lexicon)[:, seen.start - begin : seen.stop - begin]
    # A note on most days, and one for certain.
    written = rng.random(days) < 0.8
    written[-1] = True
    first = last - datetime.timedelta(days - 1)
    return [
        Note(
            first + datetime.timedelta(int(day)),
            _note(rng, lexicon, np.repeat(np.arange(len(names)), rng.poisson(rate[:, day]))),
        )
        for day in np.flatnonzero(written)
    ]


def _rates(lexicon: Lexicon) -> np.ndarray:
    """Mentions to expect on each day of an episode."""
    rates = np.zeros((len(lexicon.concepts), EPISODE))
    for name, (first, last, most) in _SIGNS.items():
        length = last - first
        rates[lexicon.names.index(name), first:last] = most * np.arange(1, length + 1) / length
    return rates


def _note(rng: np.random.Generator, lexicon: Lexicon, asserted: np.ndarray) -> str:
    lines = [_said(rng, _ASSERTED, lexicon, row) for row in asserted]
    signs = [lexicon.names.index(name) for name in _SIGNS]
    more = rng.poisson(_NEGATED_RATE)
    lines += [_said(rng, _NEGATED, lexicon, row) for row in rng.choice(signs, more)]
    rng.shuffle(lines)
    if rng.random() < 0.1:
        lines.append(_said(rng, _FAMILY, lexicon, int(rng.choice(signs))) + "\nSH: lives alone")
    if rng.random() < 0.25:
        lines.append(_said(rng, _SUPPOSED, lexicon, int(rng.choice(signs))))
    return "\n".join(["Daily note", *lines])


def _said(rng: np.random.Generator, phrases: Sequence[str], lexicon: Lexicon, row: int) -> str:
    synonyms = lexicon.concepts[row].synonyms
    words = synonyms[int(rng.integers(len(synonyms)))]
    return phrases[int(rng.integers(len(phrases)))].format(words)

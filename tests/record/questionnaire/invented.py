"""Questionnaires of any form, and what they say computed slowly. Oracles import nothing of ompd."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import strategies as st

from ompd.record.questionnaire import Level, Option, Origin, Outcome, Question, Questionnaire
from ompd.record.questionnaire.form import FORM

TEXT = {"en": "words", "de": "Worte"}


def questionnaire(questions, rows=(60, 40), levels=("home", "clinic"), **others):
    """Return a questionnaire with these questions."""
    parts = {
        "form": FORM,
        "id": "invented",
        "version": 1,
        "title": TEXT,
        "about": TEXT,
        "outcomes": (Outcome(id="gone", text=TEXT), Outcome(id="there", text=TEXT)),
        "levels": tuple(Level(id=level, text=TEXT) for level in levels),
        "questions": tuple(questions),
        "origin": Origin(title="invented"),
        "rows": rows,
    }
    return Questionnaire(**(parts | others))


def choice(name, *counts, level="home"):
    """Return a question whose options were chosen so often under either outcome."""
    options = tuple(Option(id=f"o{i}", text=TEXT) for i in range(len(counts[0])))
    return Question(id=name, text=TEXT, kind="choice", level=level, options=options, counts=counts)


def number(name, cuts, *counts, level="home", unit=""):
    """Return a question for a number from 0 to 100."""
    return Question(
        id=name, text=TEXT, kind="number", level=level, low=0.0, high=100.0, unit=unit,
        cuts=tuple(cuts), counts=counts,
    )  # fmt: skip


@st.composite
def questionnaires(draw, most=6):
    """Any small trained questionnaire."""
    rows = (draw(st.integers(1, 50)), draw(st.integers(1, 50)))
    questions = []
    for place in range(draw(st.integers(1, most))):
        size = draw(st.integers(2, 4))
        counts = tuple(
            tuple(draw(st.lists(st.integers(0, n // size), min_size=size, max_size=size)))
            for n in rows
        )
        level = draw(st.sampled_from(["home", "clinic"]))
        if draw(st.booleans()):
            questions.append(choice(f"q{place}", *counts, level=level))
        else:
            cuts = [10.0 * (i + 1) for i in range(size - 1)]
            questions.append(number(f"q{place}", cuts, *counts, level=level))
    questions[0] = Question(**{**_fields(questions[0]), "level": "home"})
    smoothing = draw(st.sampled_from([0.5, 1.0, 2.0]))
    return questionnaire(questions, rows, smoothing=smoothing)


def _fields(question):
    return {name: getattr(question, name) for name in question.__struct_fields__}


# --- oracles -----------------------------------------------------------------------------------


def likelihoods(counts, smoothing):
    """Exact probability of each answer under one outcome."""
    shares = [Fraction(count) + Fraction(smoothing) for count in counts]
    return [share / sum(shares) for share in shares]


def posterior(rows, tables, smoothing):
    """Exact probability of the second outcome, of (counts of both outcomes, answer or None)."""
    gone, there = Fraction(rows[0]), Fraction(rows[1])
    for counts, answer in tables:
        if answer is not None:
            gone *= likelihoods(counts[0], smoothing)[answer]
            there *= likelihoods(counts[1], smoothing)[answer]
    return there / (gone + there)


def expected_entropy(probability, counts, smoothing):
    """Entropy in nats of the outcome that is expected after the answer to a question."""
    p = float(probability)
    gone, there = (list(map(float, likelihoods(each, smoothing))) for each in counts)
    total = 0.0
    for a, b in zip(gone, there, strict=True):
        chance = (1 - p) * a + p * b
        if chance:
            after = p * b / chance
            total -= chance * sum(x * math.log(x) for x in (after, 1 - after) if x > 0)
    return total

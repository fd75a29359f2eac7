"""Invented patients: the correlation tells those with an episode from those without."""

from __future__ import annotations

import datetime
from collections import Counter

import numpy as np
import pytest

from ompd.text import (
    Course,
    PlainAnnotator,
    correlate,
    correlation_keys,
    load,
    open_reply,
    seal_course,
    seal_template,
)
from ompd.text.invented import notes, template
from tests.marks import long

LAST = datetime.date(2024, 3, 1)
LEXICON = load("cardiology")
ANNOTATOR = PlainAnnotator(LEXICON)
TEMPLATE = template(LEXICON)


def best(course):
    """Largest rho, without any encryption."""
    weights = np.array(LEXICON.weights)[:, None]
    x, y = course.counts, TEMPLATE.counts
    days, length = x.shape[1], y.shape[1]
    energy = (weights * x * x).sum(axis=0)
    found = 0.0
    for lag in range(1 - length, days):
        seen = slice(max(0, lag), min(days, length + lag))
        r = (weights * x[:, seen] * y[:, seen.start - lag : seen.stop - lag]).sum()
        if e := energy[seen].sum():
            found = max(found, r / np.sqrt(e * TEMPLATE.energy))
    return found


def auroc(ill, well):
    """Chance that one of the ill has more than one of the well; a tie counts half."""
    difference = np.subtract.outer(ill, well)
    return (difference > 0).mean() + (difference == 0).mean() / 2


def patients(number, seed):
    rng = np.random.default_rng(seed)
    for i in range(number):
        shift = int(rng.integers(-30, 31)) if i % 2 else None
        yield shift, notes(rng, LEXICON, last=LAST, shift=shift)


@pytest.mark.parametrize("number", [40, *long(1000)])
def test_episodes_are_told_from_none(number):
    """A fifth of mentions is negated, and episodes are up to 30 days off the middle."""
    scores = {True: [], False: []}
    kinds = Counter()
    for place, (shift, written) in enumerate(patients(number, 11)):
        course = Course.from_notes(written, ANNOTATOR, last=LAST)
        scores[shift is not None].append(best(course))
        if place < 40:
            kinds.update(m.status for note in written for m in ANNOTATOR.annotate(note.text))
    assert 0.18 < kinds["negated"] / (kinds["negated"] + kinds["asserted"]) < 0.22
    assert kinds["hypothetical"] > 100
    assert kinds["family"] > 100
    assert auroc(scores[True], scores[False]) >= 0.95


def test_the_sealed_correlation_finds_the_same():
    secret, public = correlation_keys()
    asking = seal_template(secret, TEMPLATE)
    for shift, written in patients(4, 12):
        course = Course.from_notes(written, ANNOTATOR, last=LAST)
        found = open_reply(secret, TEMPLATE, correlate(public, seal_course(public, course), asking))
        assert found.best[1] == pytest.approx(best(course))
        assert found.fits(0.45) == (shift is not None)


def test_the_best_lag_follows_the_shift():
    rng = np.random.default_rng(3)
    weights = np.array(LEXICON.weights)[:, None]
    for shift in (-10, 0, 10):
        course = Course.from_notes(
            notes(rng, LEXICON, last=LAST, shift=shift), ANNOTATOR, last=LAST
        )
        products = [
            (weights * course.counts[:, lag : lag + 28] * TEMPLATE.counts).sum()
            for lag in range(33)
        ]
        assert abs(int(np.argmax(products)) - (16 + shift)) <= 5


def test_the_same_seed_has_the_same_notes():
    made = [notes(np.random.default_rng(4), LEXICON, last=LAST, shift=5) for _ in range(2)]
    assert made[0] == made[1]
    other = notes(np.random.default_rng(5), LEXICON, last=LAST, shift=5)
    assert made[0] != other
    assert max(note.day for note in made[0]) == LAST

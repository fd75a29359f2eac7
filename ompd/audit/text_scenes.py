"""A patient's sealed course, and a physician who asks about it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ompd.aggregate import Evaluator, PublicKey, SecretKey, residues
from ompd.arrays import F64, I64
from ompd.audit.scoring import Score
from ompd.audit.views import TextView
from ompd.text import (
    Course,
    PlainAnnotator,
    SealedCourse,
    Template,
    correlate,
    correlation_keys,
    load,
    open_reply,
    seal_course,
    seal_template,
)
from ompd.text.invented import notes

_LAST = datetime.date(2024, 3, 1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TextScene:
    """An invented patient with an episode, and a key under which the course is sealed.

    Attributes
    ----------
    course : Course
    secret : SecretKey
    public : PublicKey
    sealed : SealedCourse
    """

    course: Course
    secret: SecretKey
    public: PublicKey
    sealed: SealedCourse

    @classmethod
    def of(cls, seed: int) -> Self:
        """Invent a patient, and seal the course."""
        lexicon = load("cardiology")
        written = notes(np.random.default_rng(seed), lexicon, last=_LAST, shift=0)
        course = Course.from_notes(written, PlainAnnotator(lexicon), last=_LAST)
        secret, public = correlation_keys()
        return cls(course, secret, public, seal_course(public, course))

    @property
    def weights(self) -> I64:
        """Weights of the concepts."""
        return np.array(self.course.lexicon.weights, np.int64)

    def ask(self, templates: Sequence[I64]) -> TextView:
        """Have the cloud answer, as often as there are templates."""
        products, energies = [], []
        for counts in templates:
            template = Template(self.course.lexicon, counts)
            reply = correlate(self.public, self.sealed, seal_template(self.secret, template))
            found = open_reply(self.secret, template, reply)
            products.append(found.products)
            energies.append(found.energies)
        return TextView(
            self.weights, self.course.days, tuple(templates), tuple(products), tuple(energies)
        )

    def uncovered(self, counts: I64) -> I64:
        """All coefficients of the product with a template, as they were, were they not covered."""
        asking = seal_template(self.secret, Template(self.course.lexicon, counts))
        evaluator = Evaluator(self.public)
        product = evaluator.finish(evaluator.multiply(self.sealed.counts, asking.counts))
        found = residues(self.secret, product)
        modulus = self.public.parameters.plain_modulus
        return np.where(found > modulus // 2, found - modulus, found)

    def score(self, found: F64) -> Score:
        """Share of cells that are right, 0 where nothing is said; and that of guessing 0."""
        guess = np.where(np.isnan(found), 0, found)
        counts = self.course.counts
        return float((guess == counts).mean()), float((counts == 0).mean())

    def score_energies(self, found: I64) -> Score:
        """Share of days whose energy is right, and that of guessing the most frequent one."""
        true = (self.weights[:, None] * self.course.counts**2).sum(axis=0)
        most = np.unique(true, return_counts=True)[1].max()
        return float((found == true).mean()), float(most / len(true))

"""The patient's and the physician's part: sealing, and reading a reply."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ompd.aggregate import PublicKey, SecretKey, encrypt, encrypt_secretly, keygen, residues
from ompd.confidential import Confidential
from ompd.errors import ContextMismatchError, ParameterError, RangeError
from ompd.text.course import Counts, Course, Template, weights
from ompd.text.layout import (
    BLOCK,
    MAX_COUNT,
    MAX_ENERGY,
    MAX_SUM,
    MAX_WEIGHT,
    energy_place,
    product_place,
)
from ompd.text.sealed import SealedCourse, SealedReply, SealedTemplate, check_context


def correlation_keys() -> tuple[SecretKey, PublicKey]:
    """Make a physician's keys with room for correlations."""
    return keygen(depth=1, bound=MAX_SUM, packing="coefficients")


def seal_course(public: PublicKey, course: Course) -> SealedCourse:
    """Encrypt a course for the physician whose key it is; the patient's part.

    Raises
    ------
    ParameterError
        If it is no course, or the key has too little room.
    """
    _expect("course", course, Course)
    check_context(public.context)
    counts = course.counts
    energies = (weights(course.lexicon)[:, None] * counts**2).sum(axis=0)
    return SealedCourse(
        encrypt(public, _packed(counts), bound=MAX_COUNT),
        encrypt(public, energies, bound=MAX_ENERGY),
        course.lexicon.digest,
        *counts.shape,
    )


def seal_template(secret: SecretKey, template: Template) -> SealedTemplate:
    """Encrypt a template under the physician's own key.

    Raises
    ------
    ParameterError
        If it is no template, or the key has too little room.
    """
    _expect("template", template, Template)
    check_context(secret.context)
    weighted = weights(template.lexicon)[:, None] * template.counts
    return SealedTemplate(
        encrypt_secretly(secret, _packed(weighted[::-1, ::-1]), bound=MAX_COUNT * MAX_WEIGHT),
        template.lexicon.digest,
        *template.counts.shape,
    )


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Correlation(Confidential):
    """How well a template fits a course, by lag.

    Parameters
    ----------
    lags : int array of shape (n,)
        Days by which the template's first is behind the course's first.
    products : int array of shape (n,)
        R: sums of weight times count of the course times count of the template.
    energies : int array of shape (n,)
        E: sums of weight times squared count, of the course's days under the template.
    template_energy : int
        The same of the whole template.
    """

    lags: Counts = field(repr=False)
    products: Counts = field(repr=False)
    energies: Counts = field(repr=False)
    template_energy: int = field(repr=False)

    @property
    def rho(self) -> npt.NDArray[np.float64]:
        """R / sqrt(E E_template), from 0 to 1; 0 where the course says nothing.

        Where the template hangs over an end of the course it counts whole, so that a single day in
        common is no good fit.
        """
        whole = np.sqrt(self.energies.astype(float) * self.template_energy)
        out = np.zeros(len(self.products))
        np.divide(self.products, whole, out=out, where=whole > 0)
        return out

    @property
    def best(self) -> tuple[int, float]:
        """The lag with the largest ρ, the lowest of equals, and that ρ."""
        rho = self.rho
        place = int(np.argmax(rho))
        return int(self.lags[place]), float(rho[place])

    def fits(self, threshold: float) -> bool:
        """Tell whether ρ reaches a threshold at some lag.

        Raises
        ------
        ParameterError
            If the threshold is not above 0 and up to 1.
        """
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise ParameterError(f"threshold: expected a number, got {type(threshold).__name__}")
        if not 0 < threshold <= 1:
            raise ParameterError("threshold: expected a number above 0, up to 1")
        return self.best[1] >= threshold


def open_reply(secret: SecretKey, template: Template, reply: SealedReply) -> Correlation:
    """Read the reply to a template; the physician's part.

    Parameters
    ----------
    secret : SecretKey
    template : Template
        The one that was sent.
    reply : SealedReply

    Raises
    ------
    ContextMismatchError
        If the reply is to a template of another lexicon or length.
    Bottom
        If it is under another key or its noise is too large.
    RangeError
        If no course gives these numbers: what was sealed was none, or the cloud did something else.
    """
    _expect("template", template, Template)
    _expect("reply", reply, SealedReply)
    concepts, days = template.counts.shape
    if (reply.lexicon, reply.concepts, reply.template_days) != (
        template.lexicon.digest, concepts, days,
    ):  # fmt: skip
        raise ContextMismatchError("reply: expected one to this template")
    lags = np.array(reply.lags, np.int64)
    # All else is covered, so that bounds and noise of the whole say nothing.
    places = product_place(concepts, days, 0) + lags, energy_place(days, 0) + lags
    products = residues(secret, reply.products, places[0].tolist())
    energies = residues(secret, reply.energies, places[1].tolist())
    found = Correlation(lags, products, energies, template.energy)
    # Cauchy and Schwarz; in Python's integers, for the squares are near 2^63.
    if max(products.max(), energies.max()) > MAX_SUM or any(
        r * r > e * template.energy
        for r, e in zip(products.tolist(), energies.tolist(), strict=True)
    ):
        raise RangeError("reply: expected correlations of a course")
    return found


def _packed(rows: Counts) -> Counts:
    """One concept's days per block."""
    concepts, days = rows.shape
    out = np.zeros((concepts, BLOCK), np.int64)
    out[:, :days] = rows
    return out.reshape(-1)[: (concepts - 1) * BLOCK + days]


def _expect(name: str, value: object, kind: type) -> None:
    if type(value) is not kind:
        raise ParameterError(f"{name}: expected a {kind.__name__}, got {type(value).__name__}")

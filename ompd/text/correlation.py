"""The cloud's part: all lags by one multiplication, and nothing else to be read."""

from __future__ import annotations

import numpy as np

from ompd.aggregate import FLOOD_BITS, Evaluator, PublicKey, covered
from ompd.errors import ContextMismatchError
from ompd.text.layout import energy_place, product_place
from ompd.text.sealed import (
    SealedCourse,
    SealedReply,
    SealedTemplate,
    check_context,
    checked_lags,
)


def correlate(
    public: PublicKey,
    course: SealedCourse,
    template: SealedTemplate,
    *,
    lags: tuple[int, int] | None = None,
    flood: int = FLOOD_BITS,
) -> SealedReply:
    """Correlate a sealed course with a sealed template.

    Count the enquiry before calling this, for the reply tells the physician much; see the section
    on text in SECURITY.md.

    Parameters
    ----------
    public : PublicKey
        Of the physician who made the template.
    course : SealedCourse
    template : SealedTemplate
    lags : (int, int), optional
        Lowest and highest that can be read from the reply; all that there are by default.
    flood : int, default 80
        As in `Evaluator.finish`.

    Raises
    ------
    ContextMismatchError
        If course and template are not of one lexicon, or not under this key.
    ParameterError
        If there are no such lags, or the key has too little room.
    """
    check_context(public.context)
    if (course.lexicon, course.concepts) != (template.lexicon, template.concepts):
        raise ContextMismatchError("course, template: expected the same lexicon and weights")
    kept = checked_lags(lags, course.days, template.days)
    evaluator = Evaluator(public)
    products = evaluator.multiply(course.counts, template.counts)
    window = np.ones(template.days, np.int64)
    energies = evaluator.multiply_plain(course.energies, window, bound=1)
    return SealedReply(
        covered(
            evaluator.finish(products, flood=flood),
            [product_place(course.concepts, template.days, lag) for lag in kept],
        ),
        covered(
            evaluator.finish(energies, flood=flood),
            [energy_place(template.days, lag) for lag in kept],
        ),
        course.lexicon,
        course.concepts,
        course.days,
        template.days,
        kept,
    )

"""What a hospital answers: scores of a query that it cannot read."""

from __future__ import annotations

from ompd.aggregate import Evaluator
from ompd.arrays import I64
from ompd.params import SCORING
from ompd.scoring.keys import PublicKey, Query
from ompd.scoring.layout import Layout
from ompd.scoring.masks import masks
from ompd.scoring.replies import shortened

#: Bits that a reply's noise is flooded by: what the ciphertexts have room for.
FLOOD_BITS = 50


def reply(public: PublicKey, query: Query, layout: Layout, weights: I64, rows: int) -> bytes:
    """Score a query.

    Parameters
    ----------
    public : PublicKey
        Of whoever made the query.
    query : Query
    layout : Layout
    weights : int64 array of shape (layout.scores, layout.width)
    rows : int

    Returns
    -------
    bytes
        For `SecretKey.open`. A query whose slots are not one 1 per feature and score gets uniform
        numbers.

    Raises
    ------
    TooLargeError
        If there are more rows than fit.
    """
    bound = SCORING.plain_modulus - 1
    linear, square, constant = masks(layout, weights, rows)
    evaluator = Evaluator(public.key)
    squares = evaluator.multiply(query.cells, query.cells)
    sums = evaluator.add(
        evaluator.multiply_plain(squares, square, bound=bound),
        evaluator.multiply_plain(query.cells, linear, bound=bound),
    )
    finished = evaluator.finish(sums, mask=constant, flood=FLOOD_BITS)
    return shortened(finished, layout, rows)

"""From the integer scores of an additive model to labels and probabilities."""

from __future__ import annotations

import numpy as np

from ompd.arrays import F64, I64


def judge_scores(scores: I64, bits: int) -> tuple[I64, F64]:
    """Return labels and probabilities, which are functions of the integers and of nothing else.

    Parameters
    ----------
    scores : int64 array of shape (m, classes - 1)
        Evidence for every class but the first, less that for the first; 2**bits is one nat.
    bits : int

    Returns
    -------
    codes : int64 array of shape (m,)
        Classes of the highest probability, of equal ones the first.
    probabilities : float64 array of shape (m, classes)
    """
    whole = np.concatenate([np.zeros((len(scores), 1), np.int64), scores], axis=1)
    below = (whole - whole.max(axis=1, keepdims=True)) / (1 << bits)
    shares = np.exp(below)
    return whole.argmax(axis=1), shares / shares.sum(axis=1, keepdims=True)

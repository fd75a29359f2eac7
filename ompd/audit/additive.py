"""Attacks on blind diagnoses: on queries by the hospital, and on weights by a user.

A user sees sums of weights, one per answer. Whoever asks for known cells has one linear equation on
the weights each time, and that is all that there is to solve.
"""

from __future__ import annotations

import numpy as np

from ompd.arrays import F64, I64, Bools

#: Share of a row of cells that may be left outside of what was asked.
_OUTSIDE = 1e-8


def equal_told(view: list[tuple[bytes, bytes]]) -> Bools:
    """Tell which pairs of encrypted queries ask for the same: those with more equal bytes.

    Returns
    -------
    bool array of shape (pairs,)
        The upper half of the pairs.
    """
    alike = np.array(
        [
            np.count_nonzero(np.frombuffer(a, np.uint8) == np.frombuffer(b, np.uint8))
            for a, b in view
        ]
    )
    order = np.argsort(np.argsort(alike, kind="stable"), kind="stable")
    return order >= len(alike) // 2


def best_questions(starts: I64, cells: tuple[int, ...], frequent: I64) -> I64:
    """Return questions of which each tells something new, the most useful first.

    The first is of every feature's most frequent cell. Each of the others changes one cell, in the
    order of how many patients have it. Together they tell all that answers can.

    Parameters
    ----------
    starts : int64 array of shape (n,)
        First cell of every feature.
    cells : tuple of int
        Cells of every feature.
    frequent : int64 array of shape (width,)
        How many patients have each cell.

    Returns
    -------
    int64 array of shape (questions, n)
        Places of cells.
    """
    usual = np.array(
        [
            start + frequent[start : start + count].argmax()
            for start, count in zip(starts.tolist(), cells, strict=True)
        ]
    )
    others = [
        (feature, start + cell)
        for feature, (start, count) in enumerate(zip(starts.tolist(), cells, strict=True))
        for cell in range(count)
        if start + cell != usual[feature]
    ]
    others.sort(key=lambda each: -frequent[each[1]])
    questions = np.tile(usual, (1 + len(others), 1))
    for row, (feature, place) in enumerate(others, start=1):
        questions[row, feature] = place
    return questions


def predicted(asked: I64, scores: I64, wanted: I64, width: int) -> F64:
    """Return the scores of other patients, as far as equations tell them.

    Parameters
    ----------
    asked : int64 array of shape (questions, n)
        Places of cells.
    scores : int64 array of shape (questions, classes - 1)
        What was answered.
    wanted : int64 array of shape (patients, n)
    width : int
        Number of all cells.

    Returns
    -------
    float64 array of shape (patients, classes - 1)
        NaN for those that the answers do not tell.
    """
    known, other = _indicators(asked, width), _indicators(wanted, width)
    shares = np.linalg.lstsq(known.T, other.T, rcond=None)[0]
    outside = np.abs(known.T @ shares - other.T).max(axis=0) > _OUTSIDE
    found: F64 = np.rint(shares.T @ scores)
    found[outside] = np.nan
    return found


def _indicators(places: I64, width: int) -> F64:
    rows = np.zeros((len(places), width))
    np.put_along_axis(rows, places, 1.0, axis=1)
    return rows

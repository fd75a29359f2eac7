"""The operators of scale space: enlargement, blurs and subsampling of SIFT, as OpenCV does them.

Every level of every octave is ``L = Ay I Ax^T``. The operators are composed in float64 and rounded
once, so that a level is a linear form with integer coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

#: Layers of an octave in which keypoints may lie, and the blur of the first level.
LAYERS = 3
SIGMA = 1.6
#: Fraction bits of an operator: at 16 single images lose keypoints, at 12 a quarter of them.
OPERATOR_BITS = 18


@dataclass(frozen=True)
class Operator:
    """A rounded operator: rows are zero outside ``first[i]:last[i]``, which never fall."""

    values: Words
    transposed: Words
    first: Ints
    last: Ints


def octave_count(height: int, width: int) -> int:
    """Return how many octaves OpenCV has, the enlarged one included."""
    return int(np.rint(math.log2(2 * min(height, width)) - 2)) + 1


def operators(size: int, count: int) -> list[list[Reals]]:
    """Return the six levels of each octave along one side, as float64 (size of octave, size)."""
    level = _blur(2 * size, math.sqrt(SIGMA**2 - 1.0)) @ _enlarge(size)
    factor = 2 ** (1 / LAYERS)
    steps = [SIGMA * factor**i * math.sqrt(factor**2 - 1) for i in range(LAYERS + 2)]
    found = []
    for _ in range(count):
        levels = [level]
        for step in steps:
            levels.append(_blur(len(level), step) @ levels[-1])
        found.append(levels)
        level = levels[LAYERS][: len(level) // 2 * 2 : 2]
        if not len(level):
            break
    return found


def rounded(operator: Reals) -> Operator:
    """Round an operator so that every row sums to 2^18."""
    values = np.rint(operator * (1 << OPERATOR_BITS)).astype(np.int64)
    peaks = np.abs(operator).argmax(axis=1)
    values[np.arange(len(values)), peaks] += (1 << OPERATOR_BITS) - values.sum(axis=1)
    there = values != 0
    first = np.minimum.accumulate(there.argmax(axis=1)[::-1])[::-1]
    last = np.maximum.accumulate(values.shape[1] - there[:, ::-1].argmax(axis=1))
    words = values.astype(np.uint64)
    return Operator(
        words,
        np.ascontiguousarray(words.T),
        np.ascontiguousarray(first, np.int64),
        np.ascontiguousarray(last, np.int64),
    )


def _reflected(index: Ints, size: int) -> Ints:
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.where(index >= size, 2 * size - 2 - index, index)


def _blur(size: int, sigma: float) -> Reals:
    """OpenCV's Gaussian of float images, the border reflected without its last pixel."""
    width = int(np.rint(8 * sigma + 1)) | 1
    place = np.arange(width) - width // 2
    kernel = np.exp(-(place**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    matrix = np.zeros((size, size))
    for y in range(size):
        np.add.at(matrix[y], _reflected(y + place, size), kernel)
    return matrix


def _enlarge(size: int) -> Reals:
    """OpenCV's bilinear enlargement to twice the size."""
    matrix = np.zeros((2 * size, size))
    for y in range(2 * size):
        place = (y + 0.5) / 2 - 0.5
        before = math.floor(place)
        matrix[y, max(before, 0)] += 1 - (place - before)
        matrix[y, min(before + 1, size - 1)] += place - before
    return matrix

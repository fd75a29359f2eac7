"""What one of two clouds can make of images in hidden mode: how many features, and nothing else.

Attacks see `HiddenImageView` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ompd.arrays import F64, I64
from ompd.audit.views import HiddenImageView

#: How often one session of uniform bits is called uneven.
RATE = 0.0027


def biases(view: HiddenImageView) -> F64:
    """Return z-scores of the shares of set bits: of each array, at each place in its numbers."""
    found = []
    for array, width in zip(view.received, view.widths, strict=True):
        places = 8 * array.itemsize
        bits = np.unpackbits(np.ascontiguousarray(array).ravel().view(np.uint8), bitorder="little")
        ones = bits.reshape(-1, places).sum(axis=0)[:width]
        found.append((ones - array.size / 2) / np.sqrt(array.size / 4))
    return np.concatenate(found)


def uneven(views: Sequence[HiddenImageView]) -> npt.NDArray[np.bool_]:
    """Tell which views have a z-score that so many uniform ones hardly ever have."""
    found = []
    for view in views:
        scores = biases(view)
        limit = NormalDist().inv_cdf(1 - RATE / len(scores) / 2)
        found.append(bool((np.abs(scores) > limit).any()))
    return np.array(found)


def stuck(views: Sequence[HiddenImageView]) -> int:
    """Return how many bits are the same in all of many sessions of one image.

    Of n uniform bits in s sessions that are n / 2^(s - 1); a bit of the image that is opened, or
    anything that masks do not cover, is among them however small it is.
    """
    total = 0
    for number, width in enumerate(views[0].widths):
        arrays = [view.received[number].ravel() for view in views]
        same = ~(np.bitwise_or.reduce(arrays) ^ np.bitwise_and.reduce(arrays))
        total += int(np.bitwise_count(same & same.dtype.type(2**width - 1)).sum())
    return total


def slots(view: HiddenImageView, orders: Sequence[I64]) -> npt.NDArray[np.bool_]:
    """Guess which cells of the image have a feature: undo what is known of the shuffle."""
    found = view.opened.astype(np.bool_)
    for order in orders:
        before = np.empty_like(found)
        before[order] = found
        found = before
    return found

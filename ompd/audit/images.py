"""What one of two clouds can make of images: nothing of the pixels, much of the candidates.

Attacks see `ImageView` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ompd.audit.views import ImageView


def bias(view: ImageView) -> float:
    """Return the z-score of the share of set bits in all that came before the last round."""
    ones = int(np.bitwise_count(view.received).sum())
    count = 64 * view.received.size
    return float((ones - count / 2) / np.sqrt(count / 4))


def uneven(views: Sequence[ImageView]) -> npt.NDArray[np.bool_]:
    """Tell which views are no uniform bits, by more than three standard deviations."""
    return np.array([abs(bias(view)) > 3 for view in views])


def pixels(view: ImageView) -> npt.NDArray[np.uint8]:
    """Guess the image from the masked one: its low bits."""
    return (view.masked & np.uint64(0xFF)).astype(np.uint8)


def difference(first: ImageView, second: ImageView) -> npt.NDArray[np.int64]:
    """Return the difference of two images, if their masks are the same."""
    return (second.masked - first.masked).view(np.int64)


def occupied(view: ImageView, reach: int = 3) -> npt.NDArray[np.bool_]:
    """Guess where the body's outline and its organs lie: around candidates.

    Parameters
    ----------
    view : ImageView
    reach : int, default 3
        Pixels around a candidate that are taken for an edge.
    """
    found = np.zeros(view.masked.shape, np.bool_)
    for octave, _, y, x in view.candidates.tolist():
        v, u = y * 2.0**octave / 2, x * 2.0**octave / 2
        rows = slice(max(0, round(v) - reach), round(v) + reach + 1)
        found[rows, max(0, round(u) - reach) : round(u) + reach + 1] = True
    return found

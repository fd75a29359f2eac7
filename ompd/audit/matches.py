"""What one of two clouds can make of a match: nothing, unless material is used twice.

Attacks see `MatchView` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ompd.audit.views import MatchView


def bias(view: MatchView) -> float:
    """Return the z-score of the share of set bits in all that a cloud got and opened."""
    ones = int(np.bitwise_count(view.received).sum())
    count = 8 * view.received.size
    return float((ones - count / 2) / np.sqrt(count / 4))


def uneven(views: Sequence[MatchView]) -> npt.NDArray[np.bool_]:
    """Tell which views are no uniform bits, by more than three standard deviations."""
    return np.array([abs(bias(view)) > 3 for view in views])


def difference(first: MatchView, second: MatchView) -> npt.NDArray[np.int64]:
    """Return the difference of two images' sums, if their masks are the same."""
    apart = (second.settled - first.settled) << np.uint32(2)
    return (apart.view(np.int32) >> 2).astype(np.int64)

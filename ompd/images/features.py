"""Features as clouds hold them, and templates that they are matched with: shares of integers."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.confidential import Confidential
from ompd.errors import ParameterError

Sums = npt.NDArray[np.uint32]

#: Entries of a descriptor.
ENTRIES = 128
#: Length of a template's integers.
LENGTH = 1024
#: Most features of an image, and most templates in a collection, that are matched.
MOST_ROWS = 4096
#: Most steps of one unit by which a rounded template is made longer or shorter.
_STEPS = 64


class SharedFeatures(Confidential):
    """One cloud's shares of the descriptors of an image; the other cloud has the rest.

    Parameters
    ----------
    depth : {8, 16}
        Bits of the image's pixels.
    sums : ndarray of uint32, (n, 128)
        Shares modulo 2^30, or 2^26 with 16 bits, of the sums of gradients that make a descriptor,
        as `Extraction.descriptors` returns them: not normalised, and not clipped.

    Raises
    ------
    ParameterError
    """

    __slots__ = ("depth", "sums")

    def __init__(self, depth: int, sums: Sums) -> None:
        if depth not in (8, 16):
            raise ParameterError("depth: expected 8 or 16")
        self.depth = depth
        self.sums = _rows("sums", sums)

    def __len__(self) -> int:
        return len(self.sums)


class SharedTemplates(Confidential):
    """One cloud's shares of templates.

    Parameters
    ----------
    shares : ndarray of uint32, (m, 128)
        Modulo 2^32, of what `template_integers` returns.

    Raises
    ------
    ParameterError
    """

    __slots__ = ("shares",)

    def __init__(self, shares: Sums) -> None:
        self.shares = _rows("shares", shares)

    def __len__(self) -> int:
        return len(self.shares)


def _rows(name: str, array: Sums) -> Sums:
    if array.dtype != np.uint32 or array.ndim != 2 or array.shape[1] != ENTRIES:
        raise ParameterError(f"{name}: expected uint32 of shape (n, {ENTRIES})")
    if len(array) > MOST_ROWS:
        raise ParameterError(f"{name}: expected at most {MOST_ROWS} rows, got {len(array)}")
    array = np.ascontiguousarray(array).view()
    array.flags.writeable = False
    return array


def template_integers(descriptors: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Round descriptors to integers whose length is as near to 1024 as can be.

    Rounding each entry by itself would make lengths differ by a thousandth, and with them
    similarities; single entries go the other way until the length is right.

    Parameters
    ----------
    descriptors : ndarray of float, (m, 128)
        Of any length above 0; no entry below 0.

    Returns
    -------
    ndarray of int64, (m, 128)
        From 0 to 1025.

    Raises
    ------
    ParameterError
        If they are of another shape, too many, or no such numbers.
    """
    values = np.asarray(descriptors)
    if values.ndim != 2 or values.shape[1] != ENTRIES or len(values) > MOST_ROWS:
        raise ParameterError(f"templates: expected at most {MOST_ROWS} rows of {ENTRIES} numbers")
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all() or (values < 0).any():
        raise ParameterError("templates: expected finite numbers from 0 on")
    exact = values.astype(np.float64)
    # Twice, so that no square leaves the range of floats.
    for measure in (np.max, np.linalg.norm):
        size = measure(exact, axis=1, keepdims=True) if len(exact) else np.ones((0, 1))
        if not (size > 0).all():
            raise ParameterError("templates: expected no row of zeros")
        exact = exact / size
    exact *= LENGTH
    rounded = np.rint(exact).astype(np.int64)
    rows = np.arange(len(exact))
    for _ in range(_STEPS):
        missing = LENGTH**2 - (rounded**2).sum(axis=1)
        least = np.abs(missing)
        entry, step = np.zeros(len(exact), np.int64), np.zeros(len(exact), np.int64)
        for way in (1, -1):
            moved = rounded + way
            left = np.abs(missing[:, None] - (2 * way * rounded + 1))
            left[(moved < 0) | (np.abs(moved - exact) > 1)] = LENGTH**2
            best = left.argmin(axis=1)
            better = left[rows, best] < least
            least[better] = left[rows, best][better]
            entry[better], step[better] = best[better], way
        if not step.any():
            break
        rounded[rows, entry] += step
    return rounded


def share(integers: npt.NDArray[np.int64]) -> tuple[SharedTemplates, SharedTemplates]:
    """Split integers into two shares modulo 2^32, each of which alone is uniform."""
    left = np.frombuffer(secrets.token_bytes(4 * integers.size), np.uint32)
    left = left.reshape(integers.shape)
    return SharedTemplates(left), SharedTemplates(integers.astype(np.uint32) - left)

"""Transforms of whole arrays, as the kernels make them."""

from __future__ import annotations

import numpy as np

from ompd._kernels.transform import forward, inverse, rows_of


def transformed(x, ring, row=0):
    """Residues at most (p + 1) / 2."""
    one = type(ring)(*(each[row : row + 1] for each in ring))
    rows = np.empty((1, len(x)))
    rows_of(x, rows, np.empty(len(x)), one)
    return rows[0]


def restored(x, ring, row=0, factor=None):
    """Integers around zero; times a factor, if there is one, instead of 1 / N."""
    found = np.empty(len(x))
    inverse(
        x, found, np.empty(len(x)), ring, row, ring.n_inverse[row] if factor is None else factor
    )
    return found


def unreduced(x, ring, row=0):
    """Residues as they come."""
    found = np.empty(len(x))
    forward(x, found, np.empty(len(x)), ring, row)
    return found

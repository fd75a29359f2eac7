"""What the hospital multiplies a query with and adds to it, so that it tells scores and no more."""

from __future__ import annotations

import os

import numpy as np

from ompd.arrays import I64
from ompd.crypto.streams import BLOCK_BYTES, KEY_BYTES, BlockStream
from ompd.params import SCORING
from ompd.scoring.layout import Layout

_REFUSED = (1 << 32) - 1


def uniform(count: int) -> I64:
    """Return independent uniform integers modulo t.

    They are expanded by AES-256 from 32 bytes of the operating system, whose own generator is
    alike. 2**32 - 1 is a multiple of t, so that of all words one alone is drawn again.
    """
    blocks = -(-4 * count // BLOCK_BYTES)
    numbers = np.zeros((blocks, 2), dtype="<u8")
    numbers[:, 0] = np.arange(blocks)
    into = np.empty(blocks * BLOCK_BYTES + BLOCK_BYTES - 1, dtype=np.uint8)
    BlockStream(os.urandom(KEY_BYTES)).draw(numbers.data.cast("B"), into.data)
    words = into[: 4 * count].view("<u4").astype(np.int64)
    while (bad := words == _REFUSED).any():
        words[bad] = np.frombuffer(os.urandom(4 * int(bad.sum())), dtype="<u4")
    return words % SCORING.plain_modulus


def masks(layout: Layout, weights: I64, rows: int) -> tuple[I64, I64, I64]:
    """Return what makes a reply of a query x: ``linear * x + square * x**2 + constant``, by slots.

    With r, rho and m uniform, linear is w + rho - r, square is r and constant is m, where the m of
    a score add up to minus its rho. Of slots with one 1 per feature all add up to the score, and
    are uniform otherwise; of any other slots, the sum is uniform as well. Slots of no cell get
    uniform linear and square numbers, so that there, too, all but 0 is punished.

    Parameters
    ----------
    layout : Layout
    weights : int64 array of shape (scores, width)
    rows : int

    Returns
    -------
    linear, square, constant : int64 arrays of shape (SCORING.degree,)
        From 0 to t - 1.
    """
    layout.check_rows(rows)
    modulus = SCORING.plain_modulus
    linear, square, constant = uniform(3 * SCORING.degree).reshape(3, -1)
    chances = uniform(rows * layout.scores * len(layout.cells))
    shifts = chances.reshape(rows, layout.scores, -1)
    own = layout.grid(linear, rows)
    own[:] = (
        weights + np.repeat(shifts, layout.cells, axis=2) - layout.grid(square, rows)
    ) % modulus
    whole = layout.blocks(constant, rows)
    whole[..., 0] -= whole.sum(axis=2) + shifts.sum(axis=2)
    whole[..., 0] %= modulus
    return linear, square, constant

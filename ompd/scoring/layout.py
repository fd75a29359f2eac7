"""Where rows, scores and cells lie in the slots of a ciphertext."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ompd.aggregate.packing import packer_of
from ompd.arrays import I64
from ompd.errors import ParameterError, TooLargeError
from ompd.params import SCORING


@dataclass(frozen=True, slots=True)
class Layout:
    """Slots of a model: a block for every score of every row, a slot of it for every cell.

    Blocks are as many as the next power of two, of equal length, so that they are the slots of
    the roots w of z^N + 1 with one value of w^B, for blocks of B slots. What the slots of each
    add up to are then values of a polynomial whose coefficients are those of the plaintext at
    multiples of B: a reply needs no others.

    Parameters
    ----------
    cells : tuple of int
        Cells of every feature.
    scores : int
        Scores of a row: one less than there are classes.

    Raises
    ------
    ParameterError
        If there are no cells or scores.
    TooLargeError
        If one row does not fit.
    """

    cells: tuple[int, ...]
    scores: int

    def __post_init__(self) -> None:
        if not self.cells or min(self.cells) < 1 or self.scores < 1:
            raise ParameterError("layout: expected cells and scores")
        if not self.most_rows:
            raise TooLargeError(
                f"schema: expected cells and classes for at most {SCORING.degree} slots, got "
                f"{self.width * self.scores}; fewer levels, features or classes need fewer"
            )

    @property
    def width(self) -> int:
        """Cells of all features."""
        return sum(self.cells)

    @property
    def most_rows(self) -> int:
        """Rows of one ciphertext."""
        blocks = SCORING.degree // self.width
        return (1 << blocks.bit_length() >> 1) // self.scores

    def block(self, rows: int) -> int:
        """Slots of a block, in a query of so many rows."""
        return SCORING.degree >> (rows * self.scores - 1).bit_length()

    @property
    def least_block(self) -> int:
        """Slots of a block, in a query of as many rows as fit."""
        return self.block(self.most_rows)

    def grid(self, slots: I64, rows: int) -> I64:
        """Return a view of the slots of cells, of shape (rows, scores, width).

        Raises
        ------
        TooLargeError
            If there are more rows than fit, or none.
        """
        return self.blocks(slots, rows)[..., : self.width]

    def blocks(self, slots: I64, rows: int) -> I64:
        """Return a view of blocks, of shape (rows, scores, block); errors as in `grid`."""
        self.check_rows(rows)
        whole = slots.reshape(-1, self.block(rows))[: rows * self.scores]
        return whole.reshape(rows, self.scores, -1)

    @property
    def starts(self) -> I64:
        """First cell of every feature, shape (n,)."""
        return np.concatenate([[0], np.cumsum(self.cells)[:-1]]).astype(np.int64)

    def check_rows(self, rows: int) -> None:
        """Refuse more rows than fit.

        Raises
        ------
        TooLargeError
        """
        if not 1 <= rows <= self.most_rows:
            raise TooLargeError(f"rows: expected 1 to {self.most_rows}, got {rows}")

    def indicators(self, places: I64) -> I64:
        """Return slots with a 1 for every feature's cell, once per score, and 0 elsewhere.

        Parameters
        ----------
        places : int64 array of shape (m, n)
            As `Bins.places` returns them.

        Returns
        -------
        int64 array of shape (SCORING.degree,)
        """
        slots = np.zeros(SCORING.degree, dtype=np.int64)
        grid = self.grid(slots, len(places))
        np.put_along_axis(grid, np.repeat(places[:, None], self.scores, axis=1), 1, axis=2)
        return slots

    def scores_of(self, coefficients: I64, rows: int) -> I64:
        """Return the scores of rows: what their blocks add up to, between -t/2 and t/2.

        Parameters
        ----------
        coefficients : int64 array
            Those at multiples of `block(rows)`, modulo t.
        rows : int

        Returns
        -------
        int64 array of shape (rows, scores)
        """
        block = self.block(rows)
        spread = np.zeros(SCORING.degree)
        spread[::block] = _around(coefficients)
        # All slots of a block have the same value, and add up to so many times it.
        slots = packer_of(SCORING).unpack(spread, SCORING.degree)
        return _around(self.blocks(slots, rows)[..., 0] * block)


def _around(sums: I64) -> I64:
    sums = sums % SCORING.plain_modulus
    return np.where(sums > SCORING.plain_modulus // 2, sums - SCORING.plain_modulus, sums)

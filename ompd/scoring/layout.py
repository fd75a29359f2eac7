"""Where rows, scores and cells lie in the slots of a ciphertext."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ompd.arrays import I64
from ompd.errors import ParameterError, TooLargeError
from ompd.params import SCORING


@dataclass(frozen=True, slots=True)
class Layout:
    """Slots of a model: for every row, for every score, one per cell of all features.

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
                f"{self.row}; fewer levels, features or classes need fewer"
            )

    @property
    def width(self) -> int:
        """Cells of all features."""
        return sum(self.cells)

    @property
    def row(self) -> int:
        """Slots of one row."""
        return self.width * self.scores

    @property
    def most_rows(self) -> int:
        """Rows of one ciphertext."""
        return SCORING.degree // self.row

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
        self.check_rows(len(places))
        slots = np.zeros(SCORING.degree, dtype=np.int64)
        grid = slots[: len(places) * self.row].reshape(len(places), self.scores, self.width)
        np.put_along_axis(grid, np.repeat(places[:, None], self.scores, axis=1), 1, axis=2)
        return slots

    def sums(self, slots: I64, rows: int) -> I64:
        """Return the scores of rows: what their slots add up to, between -t/2 and t/2.

        Parameters
        ----------
        slots : int64 array of shape (SCORING.degree,)
            From 0 to t - 1.
        rows : int

        Returns
        -------
        int64 array of shape (rows, scores)
        """
        self.check_rows(rows)
        grid = slots[: rows * self.row].reshape(rows, self.scores, self.width)
        sums: I64 = grid.sum(axis=2) % SCORING.plain_modulus
        return np.where(sums > SCORING.plain_modulus // 2, sums - SCORING.plain_modulus, sums)

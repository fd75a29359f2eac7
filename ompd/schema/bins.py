"""Which cell of each feature a value lies in: the public part of an additive model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.arrays import F64, I64
from ompd.errors import SchemaError
from ompd.schema.domains import Schema
from ompd.schema.features import MAX_LEVELS, Feature

#: An ordinal feature with at most so many levels has a cell per level.
_FEW_LEVELS = 16
#: Other features are cut at quantiles, into at most so many cells.
_QUANTILES = np.arange(1, 8) / 8
#: Values of which these are the eighths of a domain.
_EVEN = np.arange(9) / 8
#: A cut is a multiple of this part of the domain: coarser than what would be a record's own value.
_GRID = 256


@dataclass(frozen=True)
class Bins:
    """Cells of all features, in a row: those of the first feature, then those of the second.

    A feature whose values may be missing has one more cell, its last, for these.

    Parameters
    ----------
    schema : Schema
    cuts : tuple of tuple of float
        Per feature the borders between its cells, rising, inside its domain; a value on a border
        belongs to the cell above.

    Raises
    ------
    SchemaError
        If the cuts are not of this form.
    """

    schema: Schema
    cuts: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        features = self.schema.features
        if not isinstance(self.cuts, tuple) or len(self.cuts) != len(features):
            raise SchemaError(f"cuts: expected a tuple of {len(features)}, one per feature")
        for feature, cuts in zip(features, self.cuts, strict=True):
            inside = isinstance(cuts, tuple) and all(
                type(cut) is float and feature.low <= cut <= feature.high for cut in cuts
            )
            if not inside or any(a >= b for a, b in itertools.pairwise(cuts)):
                raise SchemaError(
                    f"cuts of {feature.name!r}: expected a tuple of rising floats in its domain"
                )

    @classmethod
    def learn(cls, schema: Schema, values: F64) -> Bins:
        """Choose cells for rows that `Schema.check` returned.

        Levels come from the schema alone. Only features with many values are cut by the rows: at
        eighths of those present, rounded to 1/256 of the domain.

        Raises
        ------
        SchemaError
            If a nominal feature has more than 4096 levels: it has no order to be cut in.
        """
        return cls(
            schema,
            tuple(_cuts(feature, values[:, j]) for j, feature in enumerate(schema.features)),
        )

    @classmethod
    def even(cls, schema: Schema) -> Bins:
        """Choose cells by the schema alone, for parties that have no rows in common.

        As `learn`, but features with many values are cut at eighths of their domain.

        Raises
        ------
        SchemaError
            If a nominal feature has more than 4096 levels.
        """
        return cls(
            schema,
            tuple(
                _cuts(feature, feature.low + _EVEN * (feature.high - feature.low))
                for feature in schema.features
            ),
        )

    @cached_property
    def cells(self) -> tuple[int, ...]:
        """Number of cells of every feature."""
        return tuple(
            len(cuts) + 1 + (not feature.complete)
            for feature, cuts in zip(self.schema.features, self.cuts, strict=True)
        )

    @cached_property
    def starts(self) -> I64:
        """Place of every feature's first cell, shape (n,)."""
        return np.concatenate([[0], np.cumsum(self.cells)[:-1]]).astype(np.int64)

    @property
    def width(self) -> int:
        """Number of all cells."""
        return sum(self.cells)

    def places(self, values: F64) -> I64:
        """Return the place of the cell of every value, shape (m, n).

        Parameters
        ----------
        values : float64 array of shape (m, n)
            As `Schema.check` returns them; NaN is missing.
        """
        found = np.empty(values.shape, dtype=np.int64)
        for j, cuts in enumerate(self.cuts):
            inside = np.searchsorted(np.asarray(cuts), values[:, j], side="right")
            # Where nothing may be missing, nothing is.
            last = self.cells[j] - 1
            found[:, j] = self.starts[j] + np.where(np.isnan(values[:, j]), last, inside)
        return found


def _cuts(feature: Feature, values: F64) -> tuple[float, ...]:
    span = feature.high - feature.low
    if feature.kind == "nominal" and span >= MAX_LEVELS:
        raise SchemaError(f"feature {feature.name!r}: expected at most {MAX_LEVELS} levels")
    if feature.kind == "nominal" or (feature.kind == "ordinal" and span < _FEW_LEVELS):
        return _floats(feature.low + 0.5 + np.arange(int(span)))
    present = values[~np.isnan(values)]
    if not len(present) or not span > 0:
        return ()
    steps = np.unique(np.rint((np.quantile(present, _QUANTILES) - feature.low) / span * _GRID))
    # At the domain's own ends there is nothing to part.
    inside = steps[(steps > 0) & (steps < _GRID)]
    return tuple(sorted(set(_floats(feature.low + inside / _GRID * span))))


def _floats(cuts: npt.NDArray[np.floating[Any]]) -> tuple[float, ...]:
    return tuple(float(cut) for cut in cuts)

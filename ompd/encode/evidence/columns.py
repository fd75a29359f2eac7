"""Design matrices: what the learners see of the features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ompd.arrays import F64, Bools
from ompd.encode.evidence.storage import Reader, Writer
from ompd.schema import Schema

#: A feature with more values than this is cut at quantiles, so that every cell has some rows.
_MOST_CELLS = 10
_QUANTILES = np.arange(1, 8) / 8


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Columns:
    """Turns features into numeric columns, with the training rows' location, scale and cuts.

    Nothing here looks at a label, so it may be learned once, outside of any cross-fitting.

    Parameters
    ----------
    nominal : bool array of shape (n,)
    mean, scale : float64 arrays of shape (n,)
        Of the training rows; the scale of a constant column is 1.
    cuts : tuple of float64 arrays
        Per feature: the known levels of a nominal one, otherwise the borders of its cells.
    """

    nominal: Bools
    mean: F64
    scale: F64
    cuts: tuple[F64, ...]

    @classmethod
    def fit(cls, schema: Schema, values: F64) -> Columns:
        """Learn location, scale and cuts from rows that `Schema.check` returned."""
        # Sums and squares of very large or small values leave the range of floating point.
        peak = np.maximum(np.abs(values).max(axis=0), np.finfo(np.float64).tiny)
        parts = values / peak
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            mean, scale = values.mean(axis=0), values.std(axis=0)
            mean = np.where(np.isfinite(mean), mean, peak * parts.mean(axis=0))
            usable = (scale > 0) & np.isfinite(scale)
            scale = np.where(usable, scale, peak * parts.std(axis=0))
        cuts: list[F64] = []
        for j, nominal in enumerate(schema.nominal):
            levels = np.unique(values[:, j])
            if nominal:
                cuts.append(levels)
            elif len(levels) <= _MOST_CELLS:
                cuts.append((levels[1:] + levels[:-1]) / 2)
            else:
                cuts.append(np.unique(np.quantile(values[:, j], _QUANTILES)))
        # The deviation of equal values can be a little above 0.
        constant = (np.ptp(values, axis=0) == 0) | (scale == 0)
        return cls(schema.nominal, mean, np.where(constant, 1.0, scale), tuple(cuts))

    def write(self, out: Writer) -> None:
        """Add all but what the schema tells."""
        out.floats(self.mean)
        out.floats(self.scale)
        for cuts in self.cuts:
            out.floats(cuts)

    @classmethod
    def read(cls, data: Reader, schema: Schema) -> Columns:
        """Return what `write` added.

        Raises
        ------
        StoreError
        """
        features = len(schema.features)
        mean = data.floats(features)
        # Values near the largest float have an infinite deviation, and then a column of zeros.
        scale = data.floats(features, finite=False)
        data.require(bool((scale > 0).all()))
        cuts = tuple(data.floats(None) for _ in range(features))
        data.require(all(bool((some[1:] >= some[:-1]).all()) for some in cuts))
        return cls(schema.nominal, mean, scale, cuts)

    def plain(self, values: F64) -> F64:
        """Standardised numbers, and one indicator per level of a nominal feature.

        A level that no training row has leaves all indicators at 0.
        """
        numeric = (values - self.mean)[:, ~self.nominal] / self.scale[~self.nominal]
        levels = [values[:, [j]] == self.cuts[j] for j in np.flatnonzero(self.nominal)]
        columns = [numeric, *levels]
        return np.concatenate(columns, axis=1, dtype=np.float64)

    def cells(self, values: F64) -> F64:
        """One indicator per cell of every feature; a nominal level never seen has none."""
        columns = []
        for j, cuts in enumerate(self.cuts):
            if self.nominal[j]:
                columns.append(values[:, [j]] == cuts)
            else:
                cell = np.searchsorted(cuts, values[:, j], side="right")
                columns.append(cell[:, np.newaxis] == np.arange(len(cuts) + 1))
        return np.concatenate(columns, axis=1, dtype=np.float64)

    @property
    def cells_of(self) -> tuple[int, ...]:
        """Number of cells of every feature, in the order of `cells`."""
        return tuple(
            len(cuts) + (not nominal)
            for cuts, nominal in zip(self.cuts, self.nominal.tolist(), strict=True)
        )

"""How far a table has moved from the records that its encoder was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ompd.arrays import F64, I64
from ompd.confidential import Confidential
from ompd.schema import Schema

#: Parts of equal size into which the training values of a feature are cut. The usual number, and
#: with it the usual bounds: below 0.1 an index is small, above 0.25 large.
_PARTS = 10


@dataclass(frozen=True, slots=True)
class Drift:
    """What changed since a table was published, as shares.

    Attributes
    ----------
    added, removed, relabelled : float
        Rows that were, as a share of those that the table was published with. A row that was
        relabelled twice counts twice.
    classes : mapping of str to (float, float)
        Share of each class among the rows then, and now.
    features : mapping of str to float
        Population stability index of each feature: the sum of (q - p) ln (q / p) over the tenths
        into which the training values fall, with p their share and q that of the added ones, each
        as if half a record more were in every part. A nominal feature's parts are its levels, and
        missing values are one more. 0 where nothing was added. Below 0.1 is usual, above 0.25 a
        reason to train anew; with fewer than some hundred added rows chance alone gives as much.
    outside : mapping of str to float
        What share of the added rows' values lies outside of what training saw: below the least or
        above the largest value, a level that was not there, or missing where nothing was.
    """

    added: float
    removed: float
    relabelled: float
    classes: Mapping[str, tuple[float, float]]
    features: Mapping[str, float]
    outside: Mapping[str, float]


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Summary(Confidential):
    """Counts of training values and of those that were added since, per feature.

    Parameters
    ----------
    edges : float64 array of shape (e,)
        Of all features one after another: ends of the parts, or the levels of a nominal feature.
    widths : int64 array of shape (n,)
        How many edges each feature has.
    ends : float64 array of shape (n, 2)
        Least and largest training value; NaN where all are missing.
    trained, added : int64 array of shape (e + 2 n,)
        Records per part: one more part than there are edges, and the last are missing values.
    outside : int64 array of shape (n,)
        Added values outside of what training saw.
    classes : int64 array of shape (c,)
        Training records of each class.
    changes : int64 array of shape (3,)
        Rows added, removed and relabelled.
    """

    edges: F64
    widths: I64
    ends: F64
    trained: I64
    added: I64
    outside: I64
    classes: I64
    changes: I64

    @classmethod
    def of(cls, schema: Schema, features: F64, labels: I64) -> Summary:
        """Count what a table is published with.

        Parameters
        ----------
        schema : Schema
        features : float64 array of shape (N, n)
            NaN stands for a missing value.
        labels : int64 array of shape (N,)
        """
        edges = [
            _edges(column[~np.isnan(column)], bool(nominal))
            for column, nominal in zip(features.T, schema.nominal, strict=True)
        ]
        with np.errstate(invalid="ignore"):
            low = np.fmin.reduce(features, axis=0, initial=np.nan)
            high = np.fmax.reduce(features, axis=0, initial=np.nan)
        widths = np.array([len(each) for each in edges], np.int64)
        parts = int(widths.sum()) + 2 * len(widths)
        empty = cls(
            np.concatenate(edges),
            widths,
            np.stack([low, high], axis=1),
            np.zeros(parts, np.int64),
            np.zeros(parts, np.int64),
            np.zeros(len(widths), np.int64),
            np.bincount(labels, minlength=len(schema.classes)).astype(np.int64),
            np.zeros(3, np.int64),
        )
        return replace(empty, trained=empty._counted(schema, features))

    def counted(self, schema: Schema, features: F64) -> tuple[I64, I64]:
        """Return what more rows add to `added` and to `outside`."""
        counts = self._counted(schema, features)
        outside = np.zeros(len(self.widths), np.int64)
        for feature, part in enumerate(self._parts()):
            values = features[:, feature]
            missing = np.isnan(values)
            if not self.trained[part][-1]:
                outside[feature] += np.count_nonzero(missing)
            values = values[~missing]
            if schema.nominal[feature]:
                outside[feature] += np.count_nonzero(~np.isin(values, self._edges(feature)))
            else:
                low, high = self.ends[feature]
                # Not as (values < low) | ..., since nothing is within NaN.
                outside[feature] += np.count_nonzero(~((low <= values) & (values <= high)))
        return counts, outside

    def plus(self, counts: I64, outside: I64, rows: int) -> Summary:
        """Return the counts after so many more rows, of which `counted` told."""
        return replace(
            self,
            added=self.added + counts,
            outside=self.outside + outside,
            changes=self.changes + np.array([rows, 0, 0]),
        )

    def with_changed(self, removed: int, relabelled: int) -> Summary:
        """Return the counts after rows were removed or relabelled."""
        return replace(self, changes=self.changes + np.array([0, removed, relabelled]))

    def drift(self, schema: Schema, now: I64) -> Drift:
        """Compare; `now` has the rows of each class, shape (c,)."""
        then = self.classes
        names = [feature.name for feature in schema.features]
        rows = int(then.sum())
        added, removed, relabelled = (int(count) / rows for count in self.changes)
        more = int(self.changes[0])
        return Drift(
            added,
            removed,
            relabelled,
            {
                name: (int(before) / rows, int(after) / max(1, int(now.sum())))
                for name, before, after in zip(schema.classes, then, now, strict=True)
            },
            {
                name: _stability(self.trained[part], self.added[part]) if more else 0.0
                for name, part in zip(names, self._parts(), strict=True)
            },
            {
                name: int(count) / max(1, more)
                for name, count in zip(names, self.outside, strict=True)
            },
        )

    def _parts(self) -> list[slice]:
        """Where the counts of each feature are."""
        ends = np.cumsum(self.widths + 2).tolist()
        return [
            slice(end - width - 2, end)
            for end, width in zip(ends, self.widths.tolist(), strict=True)
        ]

    def _edges(self, feature: int) -> F64:
        end = int(self.widths[: feature + 1].sum())
        return self.edges[end - int(self.widths[feature]) : end]

    def _counted(self, schema: Schema, features: F64) -> I64:
        counts = np.zeros(len(self.trained), np.int64)
        for feature, part in enumerate(self._parts()):
            values = features[:, feature]
            missing = np.isnan(values)
            edges = self._edges(feature)
            places = np.searchsorted(edges, values[~missing])
            if schema.nominal[feature]:
                # What is no level that training saw falls into the part behind them.
                seen = edges[np.minimum(places, max(0, len(edges) - 1))] if len(edges) else None
                known = (
                    np.zeros(len(places), np.bool_) if seen is None else seen == values[~missing]
                )
                places = np.where(known, places, len(edges))
            here = np.bincount(places, minlength=len(edges) + 1)
            counts[part] = np.append(here, np.count_nonzero(missing))
        return counts


def _edges(values: F64, nominal: bool) -> F64:
    """Upper ends of all parts but the last, or the levels that there are."""
    if nominal or not len(values):
        return np.unique(values)
    ranks = (len(values) - 1) * np.arange(1, _PARTS) // _PARTS
    # What is equal to an end belongs to the part below; many equal values make fewer parts.
    return np.unique(np.partition(values, ranks)[ranks])


def _stability(trained: I64, added: I64) -> float:
    there = (trained + added) > 0
    expected, actual = trained[there] + 0.5, added[there] + 0.5
    p, q = expected / expected.sum(), actual / actual.sum()
    return float(((q - p) * np.log(q / p)).sum())

"""What stands for missing values, so that encoders see none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ompd.arrays import F64, I64
from ompd.errors import ParameterError, SchemaError, TrainingError
from ompd.schema import Feature, Schema


@dataclass(frozen=True, repr=False)
class Filling:
    """Puts values in the place of missing ones, as each feature declares it.

    Get one from `learn`. No row is left out, in training or later, so that rows keep their
    numbers; `python -m bench.missing` compares that with leaving out incomplete ones.

    Parameters
    ----------
    schema : Schema
        As declared; in feature vectors NaN stands for a missing value.
    values : tuple of float or None
        One per feature, None where a missing value is refused. It is a value of the domain, or
        ``high + 1``: a level of its own.

    Raises
    ------
    ParameterError
        If the values do not fit the schema.
    SchemaError
        If ``high + 1`` is not above `high` in floating point.

    Notes
    -----
    The values are single values of training rows: guard them like the encoder. They are not in the
    text form, and are pickled, since classifiers are.
    """

    schema: Schema
    values: tuple[float | None, ...]

    def __post_init__(self) -> None:
        features = self.schema.features
        if not isinstance(self.values, tuple) or len(self.values) != len(features):
            raise ParameterError(f"values: expected a tuple of {len(features)}")
        for feature, value in zip(features, self.values, strict=True):
            if not _fits(feature, value):
                raise ParameterError(
                    f"values: expected one that feature {feature.name!r} can have, or None where "
                    "a missing value is refused"
                )

    def __repr__(self) -> str:
        filled = sum(value is not None for value in self.values)
        return f"<Filling of {filled} of {len(self.values)} features>"

    @classmethod
    def learn(cls, schema: Schema, features: Any) -> Filling:
        """Learn from training rows what stands for missing values.

        ``missing="median"`` means the lower median of the values that are there, or for a nominal
        feature the most frequent one, the lowest among equals: always a value that occurs.
        ``missing="level"`` means a level of its own, ``high + 1``. Where no training row lacks the
        feature nothing could be learned of that level, and the most frequent value stands for it.

        Parameters
        ----------
        schema : Schema
        features : array-like of shape (N, n)

        Raises
        ------
        FeatureError, DomainError
            If the rows do not fit the schema.
        TrainingError
            If no row has a value of a feature whose median is wanted.
        SchemaError
            If ``high + 1`` is not above `high` in floating point.
        """
        rows = schema.check(features)
        return cls(
            schema,
            tuple(
                None if feature.missing == "refuse" else _learned(feature, rows[:, j])
                for j, feature in enumerate(schema.features)
            ),
        )

    @cached_property
    def inner(self) -> Schema:
        """What encoders learn from: no value is missing, and own levels are in the domain."""
        if all(value is None for value in self.values):
            return self.schema
        features = []
        for feature, value in zip(self.schema.features, self.values, strict=True):
            high = feature.high if value is None else max(feature.high, value)
            features.append(Feature(feature.name, feature.kind, feature.low, high))
        return Schema(tuple(features), self.schema.classes)

    def fill(self, features: Any) -> tuple[F64, I64]:
        """Check feature vectors and fill them.

        Parameters
        ----------
        features : array-like of shape (n,) or (m, n)
            NaN stands for a missing value. All of a vector may be missing.

        Returns
        -------
        filled : float64 array of shape (m, n)
            Fits `inner`.
        counts : int64 array of shape (m,)
            How many values of each vector were missing, own levels among them.

        Raises
        ------
        FeatureError, DomainError
            If they do not fit `schema`; also for a missing value that is refused.
        """
        rows = self.schema.check(features)
        gaps = np.isnan(rows)
        counts = np.count_nonzero(gaps, axis=1).astype(np.int64, copy=False)
        return np.where(gaps, self._values, rows) if gaps.any() else rows, counts

    @cached_property
    def _values(self) -> F64:
        # NaN where nothing is filled.
        return np.array(self.values, dtype=np.float64)


def _learned(feature: Feature, column: F64) -> float:
    """Return what stands for the missing values of one feature."""
    # Adding 0.0 makes one zero of the two that there are.
    present = column[~np.isnan(column)] + 0.0
    if feature.missing == "level" and (len(present) < len(column) or not len(present)):
        return _level(feature)
    if not len(present):
        raise TrainingError(
            f"feature {feature.name!r}: expected a value in at least one instance; leave it out of "
            "the schema"
        )
    if feature.kind == "nominal":
        levels, counts = np.unique(present, return_counts=True)
        return float(levels[np.argmax(counts)])
    middle = (len(present) - 1) // 2
    return float(np.partition(present, middle)[middle])


def _level(feature: Feature) -> float:
    """Return the number of a feature's own level for missing values."""
    level = float(feature.high) + 1.0
    if level - 1.0 != feature.high:
        raise SchemaError(
            f"feature {feature.name!r}: expected a smaller high, so that high + 1 is another number"
        )
    return level


def _fits(feature: Feature, value: object) -> bool:
    """Whether a value may stand for the missing ones of a feature."""
    if value is None or feature.missing == "refuse":
        return value is None and feature.missing == "refuse"
    if type(value) is not float:
        return False
    if feature.missing == "level" and value == _level(feature):
        return True
    is_whole = value.is_integer() or feature.kind == "numeric"
    return feature.low <= value <= feature.high and is_whole

"""Fixed-point integers and their prefix sums.

Blinded and plain search share these integers, so that both find the same neighbours by
construction and not by rounding luck.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.arrays import F64, I64
from ompd.encode.relief import relief_weights
from ompd.errors import OverflowParameterError, ParameterError, TrainingError, TrainingWarning
from ompd.params import PREFIX_BITS
from ompd.schema import Schema


def scale_features(values: F64, schema: Schema, bits: int) -> I64:
    """Map every feature from its declared domain to an integer in [0, 2**bits].

    Parameters
    ----------
    values : float64 array of shape (m, n)
        As returned by `Schema.check`.
    schema : Schema
    bits : int
        Fractional bits b; 2**b stands for the upper end of the domain.

    Returns
    -------
    int64 array of shape (m, n)
        round((x - low) / (high - low) * 2**bits), half to even; 0 for a constant column.
    """
    span = schema.high - schema.low
    constant = span == 0
    scaled = (values - schema.low) / np.where(constant, 1.0, span) * float(1 << bits)
    scaled[:, constant] = 0.0
    return np.rint(scaled).astype(np.int64)


@dataclass(frozen=True, slots=True, repr=False)
class ReliefEncoder:
    """Turns feature vectors of one disease into integer prefix sums.

    Parameters
    ----------
    schema : Schema
    weights : tuple of int
        Integer weights W_j = round(w_j * 2**weight_bits), one per feature.
    weight_bits, feature_bits : int
        Fractional bits of the weights and of the scaled features.

    Raises
    ------
    OverflowParameterError
        If a prefix sum could need more than 62 bits.

    Notes
    -----
    Source: Algorithm 2, steps 2 to 4, and Definition 1 of the source paper. The L1 distance of
    two prefix-sum vectors is the Relief-Wasserstein distance of the feature vectors.
    """

    schema: Schema
    weights: tuple[int, ...]
    weight_bits: int
    feature_bits: int

    def __post_init__(self) -> None:
        _check_bits(self.weight_bits, self.feature_bits)
        if len(self.weights) != len(self.schema.features):
            raise ParameterError(
                f"weights: expected {len(self.schema.features)}, got {len(self.weights)}"
            )
        reach = sum(abs(weight) for weight in self.weights) << self.feature_bits
        if reach.bit_length() > PREFIX_BITS:
            raise OverflowParameterError(
                f"weights: prefix sums would need {reach.bit_length()} bits, "
                f"expected at most {PREFIX_BITS}"
            )

    def __repr__(self) -> str:
        return f"<ReliefEncoder of {len(self.weights)} features>"

    @classmethod
    def fit(
        cls,
        schema: Schema,
        features: Any,
        labels: Any,
        *,
        weight_bits: int = 16,
        feature_bits: int = 16,
        samples: int | None = None,
        seed: int = 0,
        keep_negative: bool = False,
        progress: Callable[[float], None] | None = None,
    ) -> ReliefEncoder:
        """Learn Relief weights from labelled instances.

        Parameters
        ----------
        schema : Schema
        features : array-like of shape (N, n)
        labels : integer array-like of shape (N,)
            Class codes.
        weight_bits, feature_bits : int
        samples : int, optional
            Number of instances that Relief visits; all by default.
        seed : int
            Which instances, if not all.
        keep_negative : bool
            Keep the weight of a feature that separates the classes worse than chance. By
            default it becomes 0.
        progress : callable, optional
            Called with the finished share from 0 to 1.

        Raises
        ------
        FeatureError, DomainError, LabelError
            If the instances do not fit the schema.
        ParameterError, OverflowParameterError
            If the bits are no integers from 1, or too many for exact sums.
        TrainingError
            If there are fewer than two classes, or a class has fewer than two instances.

        Warns
        -----
        TrainingWarning
            For a feature that is constant in the instances (its weight is 0), and where no
            feature separates the classes (all then weigh the same).
        """
        _check_bits(weight_bits, feature_bits)
        values = schema.check(features)
        codes = schema.check_codes(labels, len(values))
        require_trainable(codes, schema)
        scaled = scale_features(values, schema, feature_bits)
        constant = scaled.min(axis=0) == scaled.max(axis=0)
        for j in np.flatnonzero(constant):
            warnings.warn(
                f"feature {schema.features[j].name!r} is constant in the instances: weight 0",
                TrainingWarning,
                stacklevel=2,
            )
        weights = relief_weights(
            scaled,
            codes,
            classes=len(schema.classes),
            nominal=schema.nominal,
            feature_bits=feature_bits,
            weight_bits=weight_bits,
            samples=samples,
            seed=seed,
            progress=progress,
        )
        if not keep_negative:
            weights = tuple(max(0, weight) for weight in weights)
        if not any(weights):
            warnings.warn(
                "no feature separates the classes: all features weigh the same",
                TrainingWarning,
                stacklevel=2,
            )
            weights = (1 << weight_bits,) * len(weights)
        return cls(schema, weights, weight_bits, feature_bits)

    @property
    def coordinates(self) -> int:
        """Number of prefix sums: one per feature."""
        return len(self.weights)

    @property
    def largest(self) -> int:
        """Largest prefix sum that any vector of the domain can have."""
        return sum(abs(weight) for weight in self.weights) << self.feature_bits

    def encode(self, features: Any) -> I64:
        """Encode feature vectors.

        Parameters
        ----------
        features : array-like of shape (n,) or (m, n)

        Returns
        -------
        int64 array of shape (m, n)
            P_j = sum of W_i * X_i for i <= j, from 0 to `largest`. Negative weights, if kept,
            shift each coordinate by a constant; distances do not change.

        Raises
        ------
        FeatureError, DomainError
        """
        scaled = scale_features(self.schema.check(features), self.schema, self.feature_bits)
        weights = np.array(self.weights, dtype=np.int64)
        lowest = np.cumsum(np.minimum(weights, 0)) << self.feature_bits
        sums: I64 = np.cumsum(scaled * weights, axis=1) - lowest
        return sums


def _check_bits(weight_bits: int, feature_bits: int) -> None:
    for name, bits in (("weight_bits", weight_bits), ("feature_bits", feature_bits)):
        if type(bits) is not int or not 1 <= bits <= PREFIX_BITS:
            raise ParameterError(f"{name}: expected an integer from 1 to {PREFIX_BITS}")


def require_trainable(codes: I64, schema: Schema) -> None:
    """Refuse labels of fewer than two classes, or of a class with fewer than two instances.

    Raises
    ------
    TrainingError
    """
    if len(schema.classes) < 2:
        raise TrainingError("classes: expected at least two classes, got one class")
    counts = np.bincount(codes, minlength=len(schema.classes))
    if (counts < 2).any():
        code = int(np.argmax(counts < 2))
        raise TrainingError(
            f"class {schema.classes[code]!r}: expected at least two instances, got {counts[code]}"
        )

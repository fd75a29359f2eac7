"""Relief feature weights in exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from ompd._kernels.relief import sum_differences
from ompd.arrays import I64, Bools, frozen
from ompd.errors import OverflowParameterError, ParameterError
from ompd.params import PREFIX_BITS
from ompd.search import limbs_of, nearest_hit_miss


def relief_weights(
    scaled: I64,
    labels: I64,
    *,
    classes: int,
    nominal: Bools,
    feature_bits: int,
    weight_bits: int,
    samples: int | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> tuple[int, ...]:
    """Return integer Relief weights, rounded half to even.

    Every visited instance adds, per feature, its difference to the nearest instance of each
    other class (weighted by that class's share of all other classes) and subtracts its
    difference to the nearest other instance of its own class.

    Parameters
    ----------
    scaled : int64 array of shape (N, n)
        Features in [0, 2**feature_bits].
    labels : int64 array of shape (N,)
        Codes from 0 to classes - 1; every class has at least two instances.
    classes : int
        At least 2.
    nominal : bool array of shape (n,)
        Features whose values have no order: any two different values differ by 1.
    feature_bits, weight_bits : int
        The weights carry `weight_bits` fractional bits, so each lies in
        [-2**weight_bits, 2**weight_bits].
    samples : int, optional
        Visit this many instances, drawn without replacement; all by default. Only for these are
        neighbours searched.
    seed : int
    progress : callable, optional
        Called with the finished share from 0 to 1.

    Returns
    -------
    tuple of int
        Negative where a feature separates worse than chance.

    Raises
    ------
    ParameterError
        If `samples` is not from 1 to N.
    OverflowParameterError
        If sums of so many scaled values could pass 62 bits.

    Notes
    -----
    Source: Algorithm 1 of the source paper; for more than two classes ReliefF (Kononenko 1994)
    with one neighbour. All sums are integers and the division is rational, so the result does
    not depend on the order of summation or the number of threads.
    """
    rows = len(scaled)
    if (max(scaled.shape) << feature_bits).bit_length() > PREFIX_BITS:
        raise OverflowParameterError(
            f"feature_bits: sums over {max(scaled.shape)} values would pass {PREFIX_BITS} bits"
        )
    if samples is None:
        visited = np.arange(rows, dtype=np.int64)
    elif type(samples) is int and 1 <= samples <= rows:
        visited = np.random.default_rng(seed).choice(rows, size=samples, replace=False)
    else:
        raise ParameterError(f"samples: expected an integer from 1 to {rows}")
    unit = np.int64(1 << feature_bits)
    vectors = limbs_of(_as_l1(scaled, nominal, int(unit)))
    nearest = nearest_hit_miss(vectors, labels, classes, rows=visited, progress=progress)
    sums = sum_differences(
        frozen(scaled), frozen(labels), frozen(nominal), unit, frozen(visited), frozen(nearest)
    )
    counts = np.bincount(labels, minlength=classes)
    return tuple(
        round(_weight(sums[:, :, j], counts, len(visited) << feature_bits) * (1 << weight_bits))
        for j in range(scaled.shape[1])
    )


def _as_l1(scaled: I64, nominal: Bools, unit: int) -> I64:
    """Return vectors whose L1 distance is the sum of Relief's differences.

    A nominal feature becomes one indicator of half a unit per value: two different values then
    lie one unit apart.
    """
    columns = [scaled[:, ~nominal]]
    for j in np.flatnonzero(nominal):
        values = np.unique(scaled[:, j])
        columns.append((scaled[:, j, np.newaxis] == values) * np.int64(unit // 2))
    return np.concatenate(columns, axis=1)


def _weight(sums: I64, counts: I64, unit: int) -> Fraction:
    """Exact weight of one feature from its sums by (own class, neighbour's class)."""
    total = Fraction(0)
    rows = int(counts.sum())
    for own in range(len(counts)):
        total -= int(sums[own, own])
        for other in range(len(counts)):
            if other != own:
                share = Fraction(int(counts[other]), rows - int(counts[own]))
                total += share * int(sums[own, other])
    return total / unit

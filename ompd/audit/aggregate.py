"""Attacks on the published aggregation, from the cloud's view: N and the ciphertexts.

All of one session are m * r modulo p. Whatever is 0 modulo p, and not modulo N, has p as greatest
common divisor with N. With p, ciphertexts modulo p are the values times r; one known value, or the
smallest r that makes all of them values, gives the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import gcd

import numpy as np

from ompd.arrays import I64
from ompd.audit.views import AggregateView

#: Values that are guessed: those of eight bits.
_MOST = 255
#: Ciphertexts by which it is decided what the first one holds.
_TRIED = 64


def from_known(view: AggregateView, places: Sequence[int], values: Sequence[int]) -> int:
    """Return p from two ciphertexts with known values that are not 0; 0 if it is not found."""
    one, other = (view.ciphertexts[place] for place in places)
    return _factor(values[1] * one - values[0] * other, view.modulus)


def from_equal(view: AggregateView) -> int:
    """Return p from any two ciphertexts of equal values, not knowing which; 0 if there are none."""
    for one, other in combinations(view.ciphertexts, 2):
        if found := _factor(one - other, view.modulus):
            return found
    return 0


def by_guessing(view: AggregateView, one: int, other: int) -> int:
    """Return p from two ciphertexts of values of at most eight bits, by trying all pairs.

    Pairs of one ratio are tried once.
    """
    first, second = view.ciphertexts[one], view.ciphertexts[other]
    for single in (first, second):
        if found := _factor(single, view.modulus):
            return found
    for low in range(1, _MOST + 1):
        for high in range(1, _MOST + 1):
            if gcd(low, high) == 1 and (
                found := _factor(high * first - low * second, view.modulus)
            ):
                return found
    return 0


def values(view: AggregateView, factor: int) -> I64:
    """Return all values, once p is known, up to a factor that they have in common.

    Returns
    -------
    int64 array
        One per ciphertext; -1 where there is none of eight bits.
    """
    hidden = [number % factor for number in view.ciphertexts]
    # The first one that is not 0 is one of 255 values, and the ratios tell which it can be.
    base = next((number for number in hidden if number), 0)
    if not base:
        return np.zeros(len(hidden), dtype=np.int64)
    inverse = pow(base, -1, factor)
    ratios = [number * inverse % factor for number in hidden]
    best = max(
        range(1, _MOST + 1),
        key=lambda tried: int((_scaled(ratios[:_TRIED], tried, factor) >= 0).sum()),
    )
    return _scaled(ratios, best, factor)


def _scaled(ratios: Sequence[int], first: int, factor: int) -> I64:
    numbers = (ratio * first % factor for ratio in ratios)
    return np.array([number if number <= _MOST else -1 for number in numbers], dtype=np.int64)


def _factor(number: int, modulus: int) -> int:
    """Return a proper factor that a number shares with the modulus, or 0."""
    found = gcd(number, modulus)
    return found if 1 < found < modulus else 0

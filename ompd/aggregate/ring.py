"""Tables of one parameter set: roots of one, constants of divisions, and room to compute in."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ompd._kernels.switching import Division
from ompd._kernels.transform import Ring
from ompd.arrays import F64, I64
from ompd.params import AggregateSet


def root_of_one(modulus: int, order: int) -> int:
    """Return the least primitive root of one of this order, a power of two, modulo a prime."""
    number = 2
    while pow(number, (modulus - 1) // 2, modulus) == 1:
        number += 1
    root = pow(number, (modulus - 1) // order, modulus)
    square = root * root % modulus
    least = power = root
    for _ in range(order // 2 - 1):
        power = power * square % modulus
        least = min(least, power)
    return least


def reversed_bits(bits: int) -> I64:
    """Return all numbers of so many bits, each with its bits reversed."""
    order = np.zeros(1, dtype=np.int64)
    for _ in range(bits):
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def centred(value: int, modulus: int) -> int:
    """Return the remainder that is nearest to zero."""
    value %= modulus
    return value - modulus if value > modulus // 2 else value


class Room(NamedTuple):
    """What kernels overwrite: float64[L, N], float64[2, L + 1, N] and float64[3, N]."""

    digits: F64
    sums: F64
    scratch: F64


class Tables:
    """What the kernels need for one parameter set.

    Parameters
    ----------
    parameters : AggregateSet
    """

    def __init__(self, parameters: AggregateSet) -> None:
        n, t = parameters.degree, parameters.plain_modulus
        moduli = (*parameters.primes, parameters.special_prime)
        self.ring = _ring(n, moduli)
        factor = _constants([pow(t * n, -1, p) for p in moduli], moduli)
        inverses = np.array(
            [_constants([0 if p == d else pow(d, -1, p) for p in moduli], moduli) for d in moduli]
        )
        self.division = Division(float(t), factor, inverses)
        self.degree = n
        self._shape = len(parameters.primes), n
        self._local = threading.local()

    @property
    def room(self) -> Room:
        """Room of this thread."""
        found: Room | None = getattr(self._local, "room", None)
        if found is None:
            count, n = self._shape
            found = Room(np.empty((count, n)), np.empty((2, count + 1, n)), np.empty((3, n)))
            self._local.room = found
        return found


def plain_ring(n: int, t: int) -> Ring:
    """Return the ring of plaintexts modulo a prime t."""
    return _ring(n, (t,))


def _ring(n: int, moduli: tuple[int, ...]) -> Ring:
    forth, back = [], []
    for p in moduli:
        root = root_of_one(p, 2 * n)
        forth.append(_twiddles(root, n, p))
        back.append(_twiddles(pow(root, -1, p), n, p))
    primes = np.array(moduli, dtype=np.float64)
    w, v = np.array(forth), np.array(back)
    n_inverse = _constants([pow(n, -1, p) for p in moduli], moduli)
    return Ring(primes, w, v, n_inverse)


@lru_cache(maxsize=8)
def tables_of(parameters: AggregateSet) -> Tables:
    """Return the tables of a parameter set; computed once."""
    return Tables(parameters)


def _constants(values: list[int], moduli: tuple[int, ...]) -> F64:
    return np.array([centred(value, p) for value, p in zip(values, moduli, strict=True)], float)


def _twiddles(root: int, n: int, p: int) -> F64:
    """Twiddles of all passes in the order of `Ring`."""
    levels = n.bit_length() - 1
    powers = [1]
    for _ in range(n - 1):
        powers.append(powers[-1] * root % p)
    table = [centred(powers[i], p) for i in reversed_bits(levels).tolist()]
    found: list[int] = []
    m = 1
    if levels & 1:
        found += [table[1]] * 8
        m = 2
    while m < n:
        step = max(m, 8)
        found += [table[m + i % m] for i in range(step)]
        for odd in (0, 1):
            found += [table[2 * m + (2 * i + odd) % (2 * m)] for i in range(step)]
        m *= 4
    return np.array(found, dtype=np.float64)

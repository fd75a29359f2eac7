"""Queries to the table's scale: (t * D) mod p for every coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ompd._kernels.montgomery import products, radix_bits
from ompd.arrays import U64, frozen
from ompd.threads import default_threads, run_ranges

#: Fewest queries worth a second thread.
_SMALLEST_PART = 1024
_ALL = frozen(np.empty(0, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Modulus:
    """An odd modulus with the constants of its Montgomery form.

    Parameters
    ----------
    value : int
        The modulus p.
    limbs : ndarray of uint64, shape (L,)
        The same, little-endian.
    square : ndarray of uint64, shape (L,)
        R**2 mod p; R depends on the processor, so these constants are never stored.
    inverse : uint64
        -1 / p modulo 2**64, or modulo 2**52 where digits have 52 bits.
    """

    value: int
    limbs: U64
    square: U64
    inverse: np.uint64

    def __post_init__(self) -> None:
        for name in ("limbs", "square"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @classmethod
    def of(cls, value: int, width: int) -> Modulus:
        """Prepare the odd modulus `value` of at most `width` limbs."""
        bits = radix_bits(width)
        digit = 1 << (52 if bits % 64 else 64)

        def limbs(number: int) -> U64:
            return np.frombuffer(number.to_bytes(8 * width, "little"), "<u8").astype(np.uint64)

        inverse = np.uint64(-pow(value, -1, digit) % digit)
        return cls(value, limbs(value), limbs(pow(2, 2 * bits, value)), inverse)


def convert(points: U64, tokens: U64, modulus: Modulus, *, threads: int | None = None) -> U64:
    """Multiply every coordinate by its query's token.

    Parameters
    ----------
    points : ndarray of uint64, shape (q, m, L)
        Queries D as sent, little-endian limbs, below p.
    tokens : ndarray of uint64, shape (q, L)
        Token t of each query, below p.
    modulus : Modulus
        An odd p of at most L limbs.
    threads : int, optional
        Default: all processors.

    Returns
    -------
    ndarray of uint64, shape (q, m, L)
        (t * D) mod p. Runs in variable time: everything here is known to the cloud.
    """
    count, coordinates, width = points.shape
    scaled = np.empty((count, width), np.uint64)
    result = np.empty(points.shape, np.uint64)
    flat, right, left = (frozen(array).reshape(-1) for array in (points, tokens, scaled))
    into, out = scaled.reshape(-1), result.reshape(-1)

    def task(first: int, last: int) -> None:
        spare = np.empty(width + 2, np.uint64)
        places = np.empty(24, np.int64)
        p, inverse = modulus.limbs, modulus.inverse
        # R**2 stands for one left factor of all tokens: no token's number reaches `last`.
        products(modulus.square, count, right, _ALL, p, inverse, into, first, last, spare, places)
        products(
            left, coordinates, flat, _ALL, p, inverse, out, first * coordinates,
            last * coordinates, spare, places,
        )  # fmt: skip

    if count < 2 * _SMALLEST_PART:
        task(0, count)
    else:
        run_ranges(task, count, threads or default_threads(), _SMALLEST_PART)
    return result

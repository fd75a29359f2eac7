"""The cloud's side of blinding: queries to the scale of the table."""

from __future__ import annotations

from collections.abc import Sequence

import gmpy2
import numpy as np

from ompd.blind.limbs import Limbs, to_limbs


def convert(
    points: Sequence[Sequence[int]], tokens: Sequence[int], modulus: int, limbs: int
) -> Limbs:
    """Return token * point mod p for every coordinate of every query.

    Parameters
    ----------
    points : m vectors of integers below the modulus
    tokens : m integers below the modulus
    modulus : int
    limbs : int
        Limbs per value of the table.

    Returns
    -------
    uint64 array of shape (m, coordinates, limbs)
    """
    p = gmpy2.mpz(modulus)
    converted = [
        [int(gmpy2.mpz(token) * value % p) for value in vector]
        for vector, token in zip(points, tokens, strict=True)
    ]
    flat = [value for vector in converted for value in vector]
    width = len(points[0]) if points else 0
    return np.ascontiguousarray(to_limbs(flat, limbs).reshape(len(points), width, limbs))

"""Noise as it is, from the secret key and in Python integers."""

from __future__ import annotations

import math

import numpy as np

from ompd._kernels import ciphertexts
from tests.aggregate.transforms import restored


def noise_of(secret, ciphertext):
    """Coefficients of c0 + c1 s, integers around zero."""
    ring = secret.context.tables.ring
    rows = ciphertext.rows
    level, n = rows.shape[1:]
    masked = np.empty((1, level, n))
    ciphertexts.multiply_rows(rows[1:], secret.rows, masked, ring)
    ciphertexts.add(masked, rows[:1], masked, ring)
    product, total = 1, [0] * n
    for row in range(level):
        x, p = restored(masked[0, row], ring, row), int(ring.primes[row])
        # One more prime by Garner's rule.
        factor = pow(product, -1, p)
        total = [
            have + product * ((int(new) - have) * factor % p)
            for have, new in zip(total, x, strict=True)
        ]
        product *= p
    return [each - product if each > product // 2 else each for each in total]


def embedded(coefficients):
    """Largest absolute value at the complex roots of X^n + 1, as a logarithm to base 2."""
    most = max(1, *(abs(each) for each in coefficients))
    shift = max(0, most.bit_length() - 60)
    scaled = np.array([each / (1 << shift) for each in coefficients])
    turned = scaled * np.exp(1j * np.pi * np.arange(len(scaled)) / len(scaled))
    return math.log2(max(1.0, float(np.abs(np.fft.fft(turned)).max()))) + shift


def largest(coefficients):
    """Largest coefficient, as a logarithm to base 2."""
    return math.log2(max(1, *(abs(each) for each in coefficients)))

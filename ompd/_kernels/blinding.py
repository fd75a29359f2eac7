"""Blinding of whole tables: s * (alpha * P + c) for millions of values."""

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.wide import mul_add


@kernel()
def blind_values(prefix, noise, multiplier, scalar, out):
    """Write scalar * (multiplier * prefix + noise) as little-endian limbs.

    prefix uint64[v], noise uint64[v, c], multiplier uint64[a], scalar uint64[b]; `out` uint64[v, l]
    is overwritten. The caller guarantees that every product fits in l limbs.
    """
    zero = np.uint64(0)
    limbs = out.shape[1]
    noise_limbs = noise.shape[1]
    inner_limbs = max(multiplier.shape[0], noise_limbs) + 1
    inner = np.empty(inner_limbs, dtype=np.uint64)
    for v in range(prefix.shape[0]):
        carry = zero
        for i in range(inner_limbs):
            factor = multiplier[i] if i < multiplier.shape[0] else zero
            addend = noise[v, i] if i < noise_limbs else zero
            inner[i], carry = mul_add(factor, prefix[v], addend, carry)
        for j in range(limbs):
            out[v, j] = zero
        for i in range(scalar.shape[0]):
            carry = zero
            for j in range(min(inner_limbs, limbs - i)):
                out[v, i + j], carry = mul_add(scalar[i], inner[j], out[v, i + j], carry)
            # Every lower row of the product has been added, so this place is still empty.
            if i + inner_limbs < limbs:
                out[v, i + inner_limbs] = carry

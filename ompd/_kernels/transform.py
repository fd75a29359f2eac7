"""Number-theoretic transform of X^N + 1, and residues of small integers in it.

Transformed polynomials hold their values at the odd powers of a primitive 2N-th root of one, in the
order of reversed bits. N is a power of two from 64 on.
"""

from collections import namedtuple

from ompd._kernels.butterflies import ct2, ct4, gs2, gs4
from ompd._kernels.jit import kernel
from ompd._kernels.residues import product, reduced

#: All that one ring needs, a row per prime: primes float64[K]; forward twiddles w float64[K, T] and
#: inverse ones v; n_inverse float64[K] is 1 / N. A row of twiddles has eight for the level of radix
#: 2, if log2 N is odd, then three times max(m, 8) per pass.
Ring = namedtuple("Ring", "primes w v n_inverse")


@kernel(_nrt=False)
def forward(source, x, scratch, ring, row):
    """Transform integers float64[N], below 2^50, to residues x float64[N], at most 2 p.

    scratch float64[N] is overwritten; the three are different arrays.
    """
    n = source.shape[0]
    p = ring.primes[row]
    pinv = 1.0 / p
    w = ring.w[row]
    levels = 0
    while (1 << levels) < n:
        levels += 1
    # The last pass is to write to x.
    target, other = (x, scratch) if (levels + 1) // 2 & 1 else (scratch, x)
    m = 1
    k = 0
    if levels & 1:
        for place in range(0, n // 2, 8):
            ct2(source, place, n // 2, target, w, k, p, pinv)
        k = 8
        m = 2
        source = target
        target, other = other, target
    quarter = n // 4
    while m < n:
        step = max(m, 8)
        for first in range(0, quarter, step):
            for i in range(0, step, 8):
                ct4(source, first + i, quarter, target, w, k + i, step, p, pinv)
        k += 3 * step
        m *= 4
        source = target
        target, other = other, target


@kernel(_nrt=False)
def inverse(source, x, scratch, ring, row, factor):
    """Transform residues float64[N], at most 1.6 p, back to x float64[N]; multiply by factor * N.

    What comes out is at most (p + 1) / 2. scratch float64[N] is overwritten; the three are
    different arrays.
    """
    n = source.shape[0]
    p = ring.primes[row]
    pinv = 1.0 / p
    v = ring.v[row]
    levels = 0
    while (1 << levels) < n:
        levels += 1
    target, other = (x, scratch) if (levels + 1) // 2 & 1 else (scratch, x)
    k = v.shape[0]
    m = n
    quarter = n // 4
    while m >= 4:
        m //= 4
        step = max(m, 8)
        k -= 3 * step
        for first in range(0, quarter, step):
            for i in range(0, step, 8):
                gs4(source, first + i, quarter, target, v, k + i, step, p, pinv)
        source = target
        target, other = other, target
    if m == 2:
        last = reduced(product(v[0], factor, p, pinv), p, pinv)
        for place in range(0, n // 2, 8):
            gs2(source, place, n // 2, target, factor, last, p, pinv)
    else:
        for i in range(n):
            x[i] = reduced(product(x[i], factor, p, pinv), p, pinv)


@kernel(_nrt=False)
def rows_of(values, rows, scratch, ring):
    """Residues of integers float64[N], below 2^50, modulo the first primes, transformed.

    rows float64[L, N], at most (p + 1) / 2, and scratch float64[N] are overwritten.
    """
    for row in range(rows.shape[0]):
        p = ring.primes[row]
        pinv = 1.0 / p
        x = rows[row]
        forward(values, x, scratch, ring, row)
        for i in range(values.shape[0]):
            x[i] = reduced(x[i], p, pinv)

"""Replies as they travel: fewer numbers than a ciphertext has, and fewer bits of each.

Of the first component only those coefficients travel that scores are in; see `Layout`. What the
others would tell is uniform to whoever lacks them.

A finished ciphertext (c0, c1) modulo the last prime p has c0 + c1 s = m + t e. Divided by t modulo
p, which is 1 modulo t, it is -p m / t + e + m / t. Times 2^30 / p that is -2^30 m / t but for less
than 2^7 + 1, since e is below 2^-6 p / 2t. Rounding c1 adds at most 2^12, since s is ternary, and
rounding c0 at most 1/2. Together that is below 2^30 / 2t > 2^13 - 1, so that m is exact.

======  ========================================================================
bytes   content
======  ========================================================================
1       version of this layout, 1
30720   c1', N integers of 30 bits, lowest first
4 each  c0' at multiples of a block, integers below 2^30, little-endian
rest    zeros, so that queries of all numbers of rows get as many bytes
======  ========================================================================
"""

from __future__ import annotations

import numpy as np

from ompd._kernels.ciphertexts import multiply_rows
from ompd._kernels.residue_bits import pack, unpack
from ompd._kernels.transform import inverse, rows_of
from ompd.aggregate import Ciphertext, SecretKey
from ompd.aggregate.ring import centred
from ompd.arrays import F64, I64
from ompd.errors import FramingError, VersionError
from ompd.params import SCORING
from ompd.scoring.layout import Layout

_VERSION = 1
_BITS = 30
_SECOND_BYTES = SCORING.degree * _BITS // 8


def reply_bytes(layout: Layout) -> int:
    """Return the length of replies."""
    return 1 + _SECOND_BYTES + 4 * (SCORING.degree // layout.least_block)


def shortened(finished: Ciphertext, layout: Layout, rows: int) -> bytes:
    """Encode what `Evaluator.finish` made."""
    tables = finished.context.tables
    n, p = SCORING.degree, SCORING.primes[0]
    factor = float(centred(pow(SCORING.plain_modulus * n, -1, p), p))
    parts, scratch = np.empty((2, n)), np.empty(n)
    for row, part in zip(finished.rows[:, 0], parts, strict=True):
        inverse(row, part, scratch, tables.ring, 0, factor)
    first = np.rint(parts[0, :: layout.block(rows)] * (2.0**_BITS / p)).astype(np.int64) % (
        1 << _BITS
    )
    second = _packed(np.rint(parts[1] * (2.0**_BITS / p)))
    data = bytes([_VERSION]) + second + first.astype("<u4").tobytes()
    return data.ljust(reply_bytes(layout), b"\0")


def opened(secret: SecretKey, data: bytes, layout: Layout, rows: int) -> I64:
    """Decrypt a reply to the plaintext's coefficients at multiples of a block, modulo t.

    Raises
    ------
    FramingError, VersionError
        If it is none.
    """
    if type(data) is not bytes or len(data) != reply_bytes(layout):
        raise FramingError(f"reply: expected {reply_bytes(layout)} bytes")
    if data[0] != _VERSION:
        raise VersionError(f"reply: expected version {_VERSION}")
    tables, n, t = secret.context.tables, SCORING.degree, SCORING.plain_modulus
    second = _unpacked(data[1 : 1 + _SECOND_BYTES])
    step = layout.block(rows)
    numbers = np.frombuffer(data, dtype="<u4", offset=1 + _SECOND_BYTES).astype(np.int64)
    first, rest = np.split(numbers, [n // step])
    if (first >> _BITS).any() or rest.any():
        raise FramingError(f"reply: expected {n // step} integers of {_BITS} bits, and zeros")
    scratch = np.empty(n)
    product = np.empty((1, 1, n))
    rows_of(second, product[0], scratch, tables.ring)
    multiply_rows(product, secret.rows, product, tables.ring)
    masked = np.empty(n)
    # Below 2^42, and so exact modulo the prime.
    inverse(product[0, 0], masked, scratch, tables.ring, 0, tables.ring.n_inverse[0])
    whole = (masked[::step].astype(np.int64) + first) & ((1 << _BITS) - 1)
    return -((whole * t + (1 << (_BITS - 1))) >> _BITS) % t


def _packed(values: F64) -> bytes:
    """Pack integers from -2^29 to 2^29, which means the same as its opposite."""
    half = float(1 << (_BITS - 1))
    values[values == half] = -half
    out = np.empty(len(values) * _BITS // 8, dtype=np.uint8)
    pack(values, float(1 << _BITS), _BITS, out)
    return out.tobytes()


def _unpacked(data: bytes) -> F64:
    out = np.empty(SCORING.degree)
    unpack(np.frombuffer(data, dtype=np.uint8), float(1 << _BITS), _BITS, out)
    return out

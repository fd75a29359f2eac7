"""Replies as they travel: fewer bits of each coefficient than a ciphertext has.

A finished ciphertext (c0, c1) modulo the last prime p has c0 + c1 s = m + t e. Divided by t modulo
p, which is 1 modulo t, it is -p m / t + e + m / t. Times 2^30 / p that is -2^30 m / t but for less
than 2^7 + 1, since e is below 2^-6 p / 2t. Rounding c1 adds at most 2^12, since s is ternary, and
rounding c0 to a multiple of 2^12 at most 2^11. Together that is below 2^30 / 2t > 2^13 - 1, so that
m is exact.

======  ========================================================================
bytes   content
======  ========================================================================
1       version of this layout, 1
18432   c0' / 2^12, N integers of 18 bits, lowest first
30720   c1', N integers of 30 bits, lowest first
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

_VERSION = 1
_BITS = 30
_DROPPED = 12
_FIRST_BYTES = SCORING.degree * (_BITS - _DROPPED) // 8
_SECOND_BYTES = SCORING.degree * _BITS // 8
#: Length of a reply.
REPLY_BYTES = 1 + _FIRST_BYTES + _SECOND_BYTES


def shortened(finished: Ciphertext) -> bytes:
    """Encode what `Evaluator.finish` made."""
    tables = finished.context.tables
    n, p = SCORING.degree, SCORING.primes[0]
    factor = float(centred(pow(SCORING.plain_modulus * n, -1, p), p))
    parts, scratch = np.empty((2, n)), np.empty(n)
    for row, part in zip(finished.rows[:, 0], parts, strict=True):
        inverse(row, part, scratch, tables.ring, 0, factor)
    first = _packed(np.rint(parts[0] * (2.0 ** (_BITS - _DROPPED) / p)), _BITS - _DROPPED)
    return bytes([_VERSION]) + first + _packed(np.rint(parts[1] * (2.0**_BITS / p)), _BITS)


def opened(secret: SecretKey, data: bytes) -> I64:
    """Decrypt a reply to all slots, from 0 up to below t.

    Raises
    ------
    FramingError, VersionError
        If it is none.
    """
    if type(data) is not bytes or len(data) != REPLY_BYTES:
        raise FramingError(f"reply: expected {REPLY_BYTES} bytes")
    if data[0] != _VERSION:
        raise VersionError(f"reply: expected version {_VERSION}")
    context = secret.context
    tables, n, t = context.tables, SCORING.degree, SCORING.plain_modulus
    first = _unpacked(data[1 : 1 + _FIRST_BYTES], _BITS - _DROPPED)
    second = _unpacked(data[1 + _FIRST_BYTES :], _BITS)
    scratch = np.empty(n)
    rows = np.empty((1, 1, n))
    rows_of(second, rows[0], scratch, tables.ring)
    multiply_rows(rows, secret.rows, rows, tables.ring)
    masked = np.empty(n)
    # Below 2^42, and so exact modulo the prime.
    inverse(rows[0, 0], masked, scratch, tables.ring, 0, tables.ring.n_inverse[0])
    whole = (masked.astype(np.int64) + (first.astype(np.int64) << _DROPPED)) & ((1 << _BITS) - 1)
    message = -((whole * t + (1 << (_BITS - 1))) >> _BITS) % t
    around: F64 = np.where(2 * message > t, message - t, message).astype(np.float64)
    slots = context.packer.unpack(around, n)
    return np.where(slots < 0, slots + t, slots)


def _packed(values: F64, bits: int) -> bytes:
    """Pack integers from -2^(bits - 1) to 2^(bits - 1), which means the same as its opposite."""
    half = float(1 << (bits - 1))
    values[values == half] = -half
    out = np.empty(len(values) * bits // 8, dtype=np.uint8)
    pack(values, float(1 << bits), bits, out)
    return out.tobytes()


def _unpacked(data: bytes, bits: int) -> F64:
    out = np.empty(SCORING.degree)
    unpack(np.frombuffer(data, dtype=np.uint8), float(1 << bits), bits, out)
    return out

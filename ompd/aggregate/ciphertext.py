"""Ciphertexts, what they carry along, and their one encoding.

All integers are little-endian:

======  =====  =================================================================
offset  bytes  content
======  =====  =================================================================
0       1      version of this layout, 1
1       1      1 if the second component is a seed, else 0
2       1      level: number of primes left, from 1 on
3       1      depth: multiplications one upon another
4       4      noise, in 256ths of a bit
8       4      length: number of values
12      8      bound on their absolute values
20      32     context: SHA-256 of parameter set and public key
52             first component, prime by prime, N residues of as many bits as the prime has
...            second component alike, or the 32 bytes of its seed
======  =====  =================================================================
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Self

import numpy as np

from ompd._kernels.residue_bits import pack, unpack
from ompd.aggregate.noise import OVERFLOW
from ompd.aggregate.sampling import SEED_BYTES, expanded
from ompd.arrays import F64
from ompd.errors import ContextMismatchError, FramingError, RangeError, VersionError

if TYPE_CHECKING:
    from ompd.aggregate.context import Context

_VERSION = 1
_HEADER = struct.Struct("<BBBBIIQ32s")
#: Where lengths, bounds and depths end; what is there or beyond never decrypts.
MOST_LENGTH = (1 << 32) - 1
MOST_BOUND = (1 << 63) - 1
MOST_DEPTH = 255


class Ciphertext:
    """Encrypted integers, and what is publicly known of them.

    Made by `encrypt`, `Evaluator` and `from_bytes`; not changed afterwards.

    Parameters
    ----------
    context : Context
    rows : float64 array of shape (2, L, N)
        Transformed residues.
    noise : int
        Upper bound, in 256ths of a bit; see `ompd.aggregate.noise`.
    bound : int
        Upper bound on the absolute value of every integer.
    length : int
        Number of integers.
    depth : int
        Multiplications one upon another.
    seed : bytes, optional
        What the second component was expanded from.
    """

    __slots__ = ("bound", "context", "depth", "length", "noise", "rows", "seed")

    def __init__(
        self,
        context: Context,
        rows: F64,
        noise: int,
        bound: int,
        length: int,
        depth: int = 0,
        seed: bytes | None = None,
    ) -> None:
        self.context = context
        self.rows = rows
        self.noise = min(noise, OVERFLOW)
        self.bound = min(bound, MOST_BOUND)
        self.length = min(length, MOST_LENGTH)
        self.depth = min(depth, MOST_DEPTH)
        self.seed = seed

    @property
    def level(self) -> int:
        """Number of primes left."""
        return len(self.rows[0])

    def to_bytes(self) -> bytes:
        """Encode; equal ciphertexts give equal bytes."""
        header = _HEADER.pack(
            _VERSION,
            self.seed is not None,
            self.level,
            self.depth,
            self.noise,
            self.length,
            self.bound,
            self.context.digest,
        )
        primes = self.context.parameters.primes[: self.level]
        first = packed(self.rows[0], primes)
        return b"".join([header, first, self.seed or packed(self.rows[1], primes)])

    @classmethod
    def from_bytes(cls, data: bytes, context: Context) -> Self:
        """Decode what `to_bytes` gave for the same context.

        Raises
        ------
        FramingError, VersionError, RangeError, ContextMismatchError
        """
        if type(data) is not bytes:
            raise FramingError(f"data: expected bytes, got {type(data).__name__}")
        if len(data) < _HEADER.size:
            raise FramingError("data: expected a whole ciphertext")
        version, seeded, level, depth, noise, length, bound, digest = _HEADER.unpack_from(data)
        if version != _VERSION:
            raise VersionError(f"data: expected version {_VERSION}")
        if digest != context.digest:
            raise ContextMismatchError("data: expected a ciphertext under this public key")
        primes = context.parameters.primes
        if (
            seeded > 1
            or not 1 <= level <= len(primes)
            or noise > OVERFLOW
            or not length
            or bound > MOST_BOUND
        ):
            raise RangeError("data: expected a header within its ranges")
        primes = primes[:level]
        size = context.size_of(level, seeded=bool(seeded))
        if len(data) != size:
            raise FramingError(f"data: expected {size} bytes, got {len(data)}")
        body = np.frombuffer(data, dtype=np.uint8, offset=_HEADER.size)
        rows = np.empty((2, level, context.parameters.degree))
        middle = unpacked(body, primes, rows[0])
        seed = None
        if seeded:
            seed = data[-SEED_BYTES:]
            rows[1] = expanded(seed, context.tables, level)
        else:
            unpacked(body[middle:], primes, rows[1])
        return cls(context, rows, noise, bound, length, depth, seed)

    def __repr__(self) -> str:
        return f"<Ciphertext of {self.length} values, level {self.level}, depth {self.depth}>"


HEADER_BYTES = _HEADER.size


def packed_size(primes: tuple[int, ...], degree: int) -> int:
    """Bytes of a polynomial modulo these primes."""
    return sum(p.bit_length() for p in primes) * degree // 8


def packed(rows: F64, primes: tuple[int, ...]) -> bytes:
    """Encode transformed residues float64[L, N]."""
    n = rows.shape[1]
    out = np.empty(packed_size(primes, n), dtype=np.uint8)
    start = 0
    for row, p in zip(rows, primes, strict=True):
        size = p.bit_length() * n // 8
        pack(row, float(p), p.bit_length(), out[start : start + size])
        start += size
    return out.tobytes()


def unpacked(octets: np.ndarray, primes: tuple[int, ...], out: F64) -> int:
    """Decode to float64[L, N], and return how many bytes that took.

    Raises
    ------
    RangeError
        If a residue is not below its prime.
    """
    n = out.shape[1]
    start = 0
    for row, p in zip(out, primes, strict=True):
        size = p.bit_length() * n // 8
        if not unpack(octets[start : start + size], float(p), p.bit_length(), row):
            raise RangeError("data: expected residues below their primes")
        start += size
    return start

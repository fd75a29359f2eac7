"""Random polynomials: secrets and errors from the operating system, public ones from a seed."""

from __future__ import annotations

import os

import numpy as np

from ompd._kernels import sampling
from ompd._kernels.ciphertexts import add_wide
from ompd.aggregate.ring import Tables
from ompd.arrays import F64
from ompd.crypto.streams import BLOCK_BYTES, KEY_BYTES, BlockStream

#: Bytes of the seed of a public polynomial.
SEED_BYTES = KEY_BYTES
#: Bits of a limb of wide integers; `add_wide` has the same.
_LIMB = 40


def new_seed() -> bytes:
    """Draw the seed of a public polynomial."""
    return os.urandom(SEED_BYTES)


def ternary(octets: bytes, n: int) -> F64 | None:
    """Return n uniform integers from -1 to 1; None if the bytes are too few."""
    out = np.empty(n)
    filled = sampling.ternary(np.frombuffer(octets, dtype=np.uint8), out, 0)
    return out if filled == n else None


def fresh_ternary(n: int) -> F64:
    """Return n uniform integers from -1 to 1."""
    # Of 256 bytes 243 give five; a third more than needed is nearly always enough.
    while (found := ternary(os.urandom(n // 5 + n // 16 + 64), n)) is None:
        pass
    return found


def ternary_of(seed: bytes, n: int) -> F64:
    """Return n uniform integers from -1 to 1 that a secret seed stands for."""
    stream = BlockStream(seed)
    out = np.empty(n)
    filled = first = 0
    blocks = n // 64 + 16
    while filled < n:
        octets = _words(stream, 0, first, blocks).view(np.uint8)
        filled = sampling.ternary(octets, out, filled)
        first += blocks
    return out


def add_errors(values: F64, factor: int) -> F64:
    """Add `factor` times centred binomial errors of variance 21 / 2, and return the array."""
    n = len(values)
    octets = os.urandom(6 * n)
    low = np.frombuffer(octets, dtype="<u4", count=n)
    high = np.frombuffer(octets, dtype="<u2", offset=4 * n)
    sampling.binomial(low, high, float(factor), values)
    return values


def expanded(seed: bytes, tables: Tables, rows: int) -> F64:
    """Return the uniform polynomial of a seed modulo the first primes, float64[rows, N].

    Row by row, little-endian words of 64 bits from AES-256 in counter mode; of each the lowest
    bits, as many as the prime has, make a residue if they are below it. Rows are independent: a
    seed means the same at every level.

    Notes
    -----
    That AES expands public seeds is an assumption, as in FrodoKEM: Learning with errors key
    encapsulation, 2021, section 2.5.
    """
    n = tables.degree
    out = np.empty((rows, n))
    stream = BlockStream(seed)
    for row in range(rows):
        prime = int(tables.ring.primes[row])
        mask = np.uint64((1 << prime.bit_length()) - 1)
        filled = first = 0
        # A prime is more than half of what its bits can be.
        blocks = n // 2 + 64
        while filled < n:
            words = _words(stream, row, first, blocks)
            filled = sampling.uniform(words, mask, np.uint64(prime), out[row], filled)
            first += blocks
    return out


def _words(stream: BlockStream, row: int, first: int, blocks: int) -> np.ndarray:
    numbers = np.zeros((blocks, 2), dtype="<u8")
    numbers[:, 0] = np.arange(first, first + blocks, dtype=np.uint64)
    numbers[:, 1] = row
    into = np.empty(blocks * BLOCK_BYTES + BLOCK_BYTES - 1, dtype=np.uint8)
    stream.draw(numbers.data.cast("B"), into.data)
    return into[: blocks * BLOCK_BYTES].view("<u8").astype(np.uint64, copy=False)


def add_flood(rows: F64, bits: int, multiple: int, tables: Tables) -> None:
    """Add `multiple` times uniform integers of so many bits, around zero, to transformed rows.

    They are expanded by AES-256 from 32 bytes of the operating system, which would take most of the
    time to draw them all, and whose own generator is alike.
    """
    n = rows.shape[1]
    count = max(1, -(-bits // _LIMB))
    words = _words(BlockStream(new_seed()), 0, 0, count * n // 2).reshape(count, n)
    limbs = np.empty((count, n))
    for place in range(count):
        width = bits - _LIMB * (count - 1) if place == count - 1 else _LIMB
        offset = float(1 << width >> 1) if place == count - 1 else 0.0
        sampling.limbs_of(words[place], np.uint64((1 << width) - 1), offset, limbs[place])
    add_wide(limbs, float(multiple), rows, tables.room.scratch, tables.ring)

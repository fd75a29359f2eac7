"""Lists of big integers at a fixed width."""

from __future__ import annotations

import numpy as np

from ompd.arrays import U64
from ompd.errors import FramingError, RangeError


def width_of(modulus: int) -> int:
    """Bytes that hold every integer below `modulus`."""
    return -(-modulus.bit_length() // 8)


def pack_limbs(limbs: U64, modulus: int) -> bytes:
    """Encode integers below `modulus`, limbs of shape (..., L), as fixed-width bytes."""
    width = width_of(modulus)
    octets = limbs.astype("<u8", copy=False).view(np.uint8)
    return octets.reshape(-1, 8 * limbs.shape[-1])[:, :width].tobytes()


def unpack_limbs(data: bytes, modulus: int, count: int, *, least: int = 0) -> U64:
    """Decode `count` integers, each at least `least` (0 or 1) and below `modulus`, as limbs.

    Returns
    -------
    uint64 array of shape (count, L)
        Little-endian limbs, as many as hold the modulus.

    Raises
    ------
    FramingError
        If the length is not that of `count` integers.
    RangeError
        If an integer is out of range.
    """
    width = width_of(modulus)
    if len(data) != width * count:
        raise FramingError(f"integers: expected {width * count} bytes, got {len(data)}")
    length = -(-width // 8)
    padded = np.zeros((count, 8 * length), dtype=np.uint8)
    padded[:, :width] = np.frombuffer(data, dtype=np.uint8).reshape(count, width)
    limbs = padded.view("<u8").astype(np.uint64, copy=False)
    check_below(limbs, modulus)
    if least and not limbs.any(axis=1).all():
        raise RangeError(f"integers: expected values from {least} up to below the modulus")
    return limbs


def check_below(limbs: U64, modulus: int) -> None:
    """Refuse little-endian limbs, shape (..., L), of an integer that reaches the modulus.

    Raises
    ------
    RangeError
    """
    # Only values whose top limb reaches the modulus' own need a full comparison.
    top = np.uint64(modulus >> 64 * (limbs.shape[-1] - 1))
    for value in limbs[limbs[..., -1] >= top]:
        if int.from_bytes(value.astype("<u8").tobytes(), "little") >= modulus:
            raise RangeError("integers: expected values below the modulus")

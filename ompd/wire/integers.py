"""Lists of big integers at a fixed width."""

from __future__ import annotations

from collections.abc import Iterable

from ompd.errors import FramingError, RangeError


def width_of(modulus: int) -> int:
    """Bytes that hold every integer below `modulus`."""
    return -(-modulus.bit_length() // 8)


def pack_integers(values: Iterable[int], modulus: int) -> bytes:
    """Encode integers below `modulus` as fixed-width little-endian bytes."""
    width = width_of(modulus)
    return b"".join(value.to_bytes(width, "little") for value in values)


def unpack_integers(data: bytes, modulus: int, count: int, *, least: int = 0) -> list[int]:
    """Decode `count` integers, each at least `least` and below `modulus`.

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
    values = [
        int.from_bytes(data[start : start + width], "little")
        for start in range(0, len(data), width)
    ]
    if values and not (min(values) >= least and max(values) < modulus):
        raise RangeError(f"integers: expected values from {least} up to below the modulus")
    return values

"""What the bytes of a compressed BLS12-381 point must look like.

Both signature backends pass every encoding through this module first, so that they refuse the
same bytes with the same error. Membership in the prime-order subgroup needs curve arithmetic and
stays with the backends; when a backend refuses a point, `refuse_g1` and `refuse_g2` find out
which of the two reasons applies.

Notes
-----
The ZCash serialization (draft-irtf-cfrg-pairing-friendly-curves, appendix C), which the
ciphersuites of draft-irtf-cfrg-bls-signature-05 prescribe: big-endian, bit 7 of the first byte
says "compressed", bit 6 "point at infinity", bit 5 "the larger of the two y"; the rest is the
x-coordinate. A G2 coordinate c0 + c1*u is written with c1 in front.
"""

from __future__ import annotations

from typing import Never

from ompd.errors import IdentityPointError, PointDecodingError, SubgroupError

#: Length in bytes of a compressed G1 point (public key) and G2 point (signature, proof).
G1_BYTES = 48
G2_BYTES = 96

#: The base field's modulus, 381 bits.
FIELD_MODULUS = int(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab",
    16,
)
#: Order r of the subgroups G1 and G2, 255 bits.
GROUP_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001

_COMPRESSED = 0x80
_INFINITY = 0x40
_LARGER_Y = 0x20
_X_MASK = 0x1F


def check_g1(encoded: object, name: str) -> bytes:
    """Return `encoded` if its bytes have the form of a finite compressed G1 point.

    Parameters
    ----------
    encoded : object
        What a peer sent; 48 bytes are expected.
    name : str
        How error messages call it.

    Raises
    ------
    PointDecodingError
        Wrong type, length or flags, an x outside the field, or a malformed point at infinity.
    IdentityPointError
        The canonical encoding of the point at infinity.
    """
    return _check(encoded, G1_BYTES, name)


def check_g2(encoded: object, name: str) -> bytes:
    """Return `encoded` if its bytes have the form of a finite compressed G2 point.

    Parameters
    ----------
    encoded : object
        What a peer sent; 96 bytes are expected.
    name : str
        How error messages call it.

    Raises
    ------
    PointDecodingError
        Wrong type, length or flags, an x outside the field, or a malformed point at infinity.
    IdentityPointError
        The canonical encoding of the point at infinity.
    """
    return _check(encoded, G2_BYTES, name)


def refuse_g1(encoded: bytes, name: str) -> Never:
    """Raise the error that fits a G1 encoding which a backend would not take.

    Parameters
    ----------
    encoded : bytes
        48 bytes that passed `check_g1`; off the curve and off the subgroup are the only faults
        that remain possible.
    name : str
        How error messages call it.

    Raises
    ------
    PointDecodingError
        No point of the curve has this x.
    SubgroupError
        The curve has such a point.
    """
    (x,) = _coordinates(encoded)
    _refuse(_is_square(x**3 + 4), name)


def refuse_g2(encoded: bytes, name: str) -> Never:
    """Raise the error that fits a G2 encoding which a backend would not take.

    Parameters
    ----------
    encoded : bytes
        96 bytes that passed `check_g2`.
    name : str
        How error messages call it.

    Raises
    ------
    PointDecodingError
        No point of the twisted curve has this x.
    SubgroupError
        The twisted curve has such a point.
    """
    c1, c0 = _coordinates(encoded)
    # (c0 + c1 u)^3 + 4(1 + u) with u^2 = -1. An element of the quadratic extension is a square
    # exactly if its norm is a square of the base field.
    real = c0**3 - 3 * c0 * c1**2 + 4
    imaginary = 3 * c0**2 * c1 - c1**3 + 4
    _refuse(_is_square(real**2 + imaginary**2), name)


def _check(encoded: object, length: int, name: str) -> bytes:
    # Exactly bytes: a mutable buffer could change between this check and its use, and a subclass
    # may redefine equality, on which the caches of decoded keys rely.
    if type(encoded) is not bytes:
        raise PointDecodingError(f"{name}: expected bytes, got {type(encoded).__name__}")
    if len(encoded) != length:
        raise PointDecodingError(f"{name}: expected {length} bytes, got {len(encoded)}")
    flags = encoded[0]
    if not flags & _COMPRESSED:
        raise PointDecodingError(f"{name}: expected the flag of a compressed point")
    if flags & _INFINITY:
        if flags & _LARGER_Y or flags & _X_MASK or any(encoded[1:]):
            raise PointDecodingError(f"{name}: malformed encoding of the point at infinity")
        raise IdentityPointError(f"{name}: the point at infinity is no key and no signature")
    # Stray flag bits in front of the second coordinate make it larger than the modulus.
    if any(x >= FIELD_MODULUS for x in _coordinates(encoded)):
        raise PointDecodingError(f"{name}: coordinate is not below the field modulus")
    return encoded


def _coordinates(encoded: bytes) -> list[int]:
    halves = [bytes([encoded[0] & _X_MASK]) + encoded[1:G1_BYTES], encoded[G1_BYTES:]]
    return [int.from_bytes(half, "big") for half in halves if half]


def _is_square(value: int) -> bool:
    # Euler's criterion. Neither curve has a point with y = 0 (both cofactors are odd), so the
    # value 0 cannot come up; it would count as a square.
    return pow(value, (FIELD_MODULUS - 1) // 2, FIELD_MODULUS) in (0, 1)


def _refuse(on_curve: bool, name: str) -> Never:
    if on_curve:
        raise SubgroupError(f"{name}: point lies outside the prime-order subgroup")
    raise PointDecodingError(f"{name}: no point of the curve has this coordinate")

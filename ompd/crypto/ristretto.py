"""The group ristretto255 (RFC 9496), for the side of clients; not in constant time.

Elements are points of edwards25519 in extended coordinates (X, Y, Z, T). What a client computes
with is its own blinds, on its own machine, and public points.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import sha512

from gmpy2 import mpz, powmod

from ompd.errors import IdentityPointError, PointDecodingError

#: Order of the group, 253 bits, and length of an encoded element or scalar.
ORDER = 2**252 + 27742317777372353535851937790883648493
ELEMENT_BYTES = 32

Element = tuple[mpz, mpz, mpz, mpz]

_P = mpz(2**255 - 19)
_D = -121665 * powmod(121666, -1, _P) % _P
_TWICE_D = 2 * _D % _P
_I = powmod(2, (_P - 1) // 4, _P)
_EXPONENT = (_P - 5) // 8


def _is_negative(value: mpz) -> bool:
    return bool(value & 1)


def _absolute(value: mpz) -> mpz:
    return _P - value if value & 1 else value


def _root_of_ratio(u: mpz, v: mpz) -> tuple[bool, mpz]:
    """Whether u/v is a square, and the square root of it, or of i times it, that is even."""
    cube = v * v % _P * v % _P
    root = u * cube % _P * powmod(u * cube % _P * cube % _P * v % _P, _EXPONENT, _P) % _P
    check = v * root % _P * root % _P
    negated = (_P - u) % _P
    is_square = check in (u % _P, negated)
    if check in (negated, negated * _I % _P):
        root = root * _I % _P
    return is_square, _absolute(root)


_ONE = mpz(1)
_SQRT_AD_MINUS_ONE = _P - _root_of_ratio((-_D - 1) % _P, _ONE)[1]
_INVSQRT_A_MINUS_D = _root_of_ratio(_ONE, (-1 - _D) % _P)[1]
_ONE_MINUS_D_SQ = (1 - _D * _D) % _P
_D_MINUS_ONE_SQ = (_D - 1) ** 2 % _P

IDENTITY: Element = (mpz(0), _ONE, _ONE, mpz(0))


def decode(encoded: object, name: str) -> Element:
    """Return an element other than the identity.

    Raises
    ------
    PointDecodingError
        If it is not the encoding of an element.
    IdentityPointError
        If it is that of the identity.
    """
    if type(encoded) is not bytes or len(encoded) != ELEMENT_BYTES:
        raise PointDecodingError(f"{name}: expected {ELEMENT_BYTES} bytes")
    s = mpz(int.from_bytes(encoded, "little"))
    if s == 0:
        raise IdentityPointError(f"{name}: is the identity")
    if s >= _P or _is_negative(s):
        raise PointDecodingError(f"{name}: is not the canonical encoding of an element")
    square = s * s % _P
    u1, u2 = 1 - square, 1 + square
    v = (-_D * u1 % _P * u1 - u2 * u2) % _P
    is_square, root = _root_of_ratio(_ONE, v * u2 % _P * u2 % _P)
    other = root * u2 % _P
    x = _absolute(2 * s * other % _P)
    y = u1 * root % _P * other % _P * v % _P
    t = x * y % _P
    if not is_square or _is_negative(t) or y == 0:
        raise PointDecodingError(f"{name}: is no element")
    return x, y, _ONE, t


def encode(element: Element) -> bytes:
    """Return the 32 bytes of an element."""
    x, y, z, t = element
    u1, u2 = (z + y) * (z - y) % _P, x * y % _P
    _, root = _root_of_ratio(_ONE, u1 * u2 % _P * u2 % _P)
    first, second = u1 * root % _P, u2 * root % _P
    inverse = first * second % _P * t % _P
    if _is_negative(t * inverse % _P):
        x, y = y * _I % _P, x * _I % _P
        denominator = first * _INVSQRT_A_MINUS_D % _P
    else:
        denominator = second
    if _is_negative(x * inverse % _P):
        y = -y
    return int(_absolute(denominator * (z - y) % _P)).to_bytes(ELEMENT_BYTES, "little")


def add(left: Element, right: Element) -> Element:
    """Return the sum."""
    return _add(left, _prepared(right))


def negate(element: Element) -> Element:
    """Return the opposite."""
    x, y, z, t = element
    return _P - x, y, z, _P - t


def double(element: Element) -> Element:
    """Return the sum of an element with itself."""
    x, y, z, _ = element
    a, b, both = x * x, y * y, x + y
    e = (both * both - a - b) % _P
    g = (b - a) % _P
    f, h = (g - 2 * z * z) % _P, (-a - b) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def combine(scalars: Sequence[int], elements: Sequence[Element]) -> Element:
    """Return the sum of scalars times elements, which are as many."""
    return combine_each(scalars, [elements])[0]


def combine_each(scalars: Sequence[int], lists: Sequence[Sequence[Element]]) -> list[Element]:
    """Return, for each list of elements, the sum of scalars times its elements."""
    # All scalars share the doublings (Straus); of six of their bits, five are zeros.
    places: list[list[tuple[int, int]]] = [[] for _ in range(254)]
    for number, scalar in enumerate(scalars):
        for place, digit in _signed_digits(scalar):
            places[place].append((number, digit))
    sums = []
    for elements in lists:
        tables = [_odd_multiples(element) for element in elements]
        total = IDENTITY
        for terms in reversed(places):
            if total is not IDENTITY:
                total = double(total)
            for number, digit in terms:
                if digit > 0:
                    total = _add(total, tables[number][digit >> 1])
                else:
                    total = _subtract(total, tables[number][-digit >> 1])
        sums.append(total)
    return sums


def hash_to_group(message: bytes, dst: bytes) -> Element:
    """Return the hash of a message under a domain separation tag (RFC 9380, appendix B)."""
    drawn = expand(message, dst)
    halves = (drawn[:ELEMENT_BYTES], drawn[ELEMENT_BYTES:])
    first, second = (mpz(int.from_bytes(half, "little") & (1 << 255) - 1) % _P for half in halves)
    return add(_map(first), _map(second))


def hash_to_scalar(message: bytes, dst: bytes) -> int:
    """Return the hash of a message as a scalar."""
    return int.from_bytes(expand(message, dst), "little") % ORDER


def random_scalar() -> int:
    """Return a scalar from 1 to the order - 1, uniform, from the system's randomness."""
    return secrets.randbelow(ORDER - 1) + 1


def expand(message: bytes, dst: bytes) -> bytes:
    """Return 64 bytes of `expand_message_xmd` with SHA-512 (RFC 9380, section 5.3.1)."""
    suffix = dst + bytes([len(dst)])
    first = sha512(bytes(128) + message + b"\x00\x40\x00" + suffix).digest()
    return sha512(first + b"\x01" + suffix).digest()


class FixedBase:
    """An element that is multiplied often.

    Parameters
    ----------
    element : Element
    width : int
        Bits of a scalar that are looked up at a time.
    """

    def __init__(self, element: Element, width: int) -> None:
        self._width = width
        self._tables = []
        # One bit more than scalars have, for what the digits below carry.
        for _ in range(-(-254 // width)):
            step = _prepared(element)
            table, multiple = [], IDENTITY
            for number in range((1 << width - 1) + 1):
                multiple = _add(multiple, step) if number else multiple
                table.append(_prepared(multiple))
            self._tables.append(table)
            element = double(multiple)

    def multiply(self, scalar: int) -> Element:
        """Return the element times a scalar below the order."""
        total = IDENTITY
        whole = 1 << self._width
        for table in self._tables:
            digit = scalar & whole - 1
            scalar >>= self._width
            if digit > whole >> 1:
                # Half the table will do.
                total = _subtract(total, table[whole - digit])
                scalar += 1
            elif digit:
                total = _add(total, table[digit])
        return total


#: What of an element its addition needs: Y - X, Y + X, 2dT, 2Z.
_Prepared = tuple[mpz, mpz, mpz, mpz]


def _prepared(element: Element) -> _Prepared:
    x, y, z, t = element
    return y - x, y + x, t * _TWICE_D % _P, 2 * z


def _add(left: Element, right: _Prepared) -> Element:
    x, y, z, t = left
    less, more, scaled, twice = right
    a, b, c, d = (y - x) * less, (y + x) * more, t * scaled, z * twice
    e, f, g, h = (b - a) % _P, (d - c) % _P, (d + c) % _P, (b + a) % _P
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _subtract(left: Element, right: _Prepared) -> Element:
    less, more, scaled, twice = right
    return _add(left, (more, less, -scaled, twice))


def _odd_multiples(element: Element) -> list[_Prepared]:
    """Return 1, 3, ... 31 times an element."""
    twice = _prepared(double(element))
    table = []
    for _ in range(16):
        table.append(_prepared(element))
        element = _add(element, twice)
    return table


def _signed_digits(scalar: int) -> list[tuple[int, int]]:
    """Return place and value of odd digits from -31 to 31 whose sum, shifted, is the scalar."""
    digits = []
    place = 0
    while scalar:
        zeros = (scalar & -scalar).bit_length() - 1
        scalar >>= zeros
        place += zeros
        digit = scalar & 63
        if digit > 31:
            digit -= 64
        digits.append((place, digit))
        scalar -= digit
    return digits


def _map(t: mpz) -> Element:
    """Elligator, as RFC 9496 has it in section 4.3.4."""
    r = _I * t % _P * t % _P
    u = (r + 1) * _ONE_MINUS_D_SQ % _P
    v = (-1 - r * _D) * (r + _D) % _P
    is_square, s = _root_of_ratio(u, v)
    c = _P - 1
    if not is_square:
        s, c = _P - _absolute(s * t % _P), r
    n = (c * (r - 1) % _P * _D_MINUS_ONE_SQ - v) % _P
    w0, w1 = 2 * s * v % _P, n * _SQRT_AD_MINUS_ONE % _P
    w2, w3 = (1 - s * s) % _P, (1 + s * s) % _P
    return w0 * w3 % _P, w2 * w1 % _P, w1 * w3 % _P, w0 * w2 % _P


def _generator() -> Element:
    y = 4 * powmod(5, -1, _P) % _P
    _, x = _root_of_ratio((y * y - 1) % _P, (_D * y * y + 1) % _P)
    return x, y, _ONE, x * y % _P


GENERATOR = _generator()

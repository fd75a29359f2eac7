"""The published aggregation, which is broken. To study; see `ompd audit --profile aggregate`.

Z_N falls apart into Z_p x Z_q. A ciphertext is m * r modulo p and random modulo q, with one secret
r for a session; the cloud, which knows N alone, adds and multiplies. A value made of products of d
ciphertexts is f(m) * r**d modulo p, so that only sums of one degree can be opened.

Nothing but p hides anything, and p divides much that everybody can compute: the difference of two
ciphertexts of equal values, m' * c - m * c' of two known ones, and a ciphertext of zero. A greatest
common divisor with N then gives p, and one known value gives r. Where values are short, trying all
pairs of them takes the place of knowing. `ompd.audit.aggregate` does each of these.

Source: algorithms KGen, Enc, Eval and Dec of the aggregation AGG of PPDM (J. Zhou, Z. Cao, X. Dong,
X. Lin, "PPDM: a privacy-preserving protocol for cloud-assisted e-healthcare systems", IEEE J. Sel.
Topics Signal Process. 9(7), 2015).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import gmpy2

from ompd.confidential import Confidential
from ompd.errors import (
    Bottom,
    BrokenSchemeError,
    ContextMismatchError,
    OverflowParameterError,
    ParameterError,
)

#: Lengths of N that keys can have; the paper's is 1024 and up.
LEAST_BITS, MOST_BITS = 256, 8192
_TESTS = 40


@dataclass(frozen=True, slots=True, repr=False)
class Ciphertext:
    """A hidden value, as the cloud has it.

    Attributes
    ----------
    modulus : int
        N.
    value : int
        From 0 to N - 1.
    degree : int
        How many factors of r are in it.
    bound : int
        Largest value that it can be.
    """

    modulus: int
    value: int
    degree: int
    bound: int


class SessionKey(Confidential):
    """What physician and patients share for a session: p, q and r.

    Parameters
    ----------
    p, q, r : int
    """

    __slots__ = ("_lift", "_p", "_q", "_r")

    def __init__(self, p: int, q: int, r: int) -> None:
        self._p, self._q, self._r = p, q, r
        # 1 modulo p and 0 modulo q.
        self._lift = int(q * gmpy2.invert(q, p))

    @property
    def modulus(self) -> int:
        """N, which the cloud knows."""
        return self._p * self._q

    def is_factor(self, number: int) -> bool:
        """Tell whether a number is p, for who measures an attack."""
        return number == self._p


def keygen(bits: int = 2048, *, allow_broken: bool = False) -> SessionKey:
    """KGen: make the key of a session.

    Parameters
    ----------
    bits : int
        Length of N, even, from 256 to 8192.
    allow_broken : bool, default False
        That the caller knows what this module says first.

    Raises
    ------
    BrokenSchemeError
        Without `allow_broken=True`.
    ParameterError
        If the length is not possible.
    """
    if allow_broken is not True:
        raise BrokenSchemeError(
            "allow_broken: the published aggregation gives its key away with two equal or two "
            "known values; use ompd.aggregate.keygen, or say allow_broken=True to study it"
        )
    if type(bits) is not int or not LEAST_BITS <= bits <= MOST_BITS or bits % 2:
        raise ParameterError(f"bits: expected an even integer from {LEAST_BITS} to {MOST_BITS}")
    p, q = _prime(bits // 2), _prime(bits // 2)
    while p == q:
        q = _prime(bits // 2)
    return SessionKey(p, q, 1 + secrets.randbelow(p - 1))


def encrypt(key: SessionKey, value: int, bits: int = 8) -> Ciphertext:
    """Enc: hide a value.

    Parameters
    ----------
    key : SessionKey
    value : int
        From 0 to 2**bits - 1.
    bits : int
        What the cloud is told of its length, above 0.

    Raises
    ------
    ParameterError
        If value or length is not possible.
    OverflowParameterError
        If the length is not below that of p.
    """
    if type(key) is not SessionKey:
        raise ParameterError(f"key: expected SessionKey, got {type(key).__name__}")
    if type(bits) is not int or bits < 1:
        raise ParameterError("bits: expected an integer above 0")
    if bits >= key._p.bit_length():
        raise OverflowParameterError("bits: expected fewer than p has")
    if type(value) is not int or not 0 <= value < 1 << bits:
        raise ParameterError(f"value: expected an integer from 0 with at most {bits} bits")
    hidden = value * key._r % key._p
    number = hidden * key._lift + key._p * secrets.randbelow(key._q)
    return Ciphertext(key.modulus, number % key.modulus, 1, (1 << bits) - 1)


def add(one: Ciphertext, other: Ciphertext) -> Ciphertext:
    """Eval: the sum.

    Raises
    ------
    ContextMismatchError
        If they are of different keys.
    ParameterError
        If they are of different degrees: no power of r would open the sum.
    """
    _check(one, other)
    if one.degree != other.degree:
        raise ParameterError("other: expected a ciphertext of the same degree")
    value = (one.value + other.value) % one.modulus
    return Ciphertext(one.modulus, value, one.degree, one.bound + other.bound)


def multiply(one: Ciphertext, other: Ciphertext) -> Ciphertext:
    """Eval: the product; its degree is the sum of theirs.

    Raises
    ------
    ContextMismatchError
        If they are of different keys.
    """
    _check(one, other)
    value = one.value * other.value % one.modulus
    return Ciphertext(one.modulus, value, one.degree + other.degree, one.bound * other.bound)


def decrypt(key: SessionKey, ciphertext: Ciphertext) -> int:
    """Dec: the value.

    Raises
    ------
    Bottom
        If it may have passed p, or was made under another key.
    """
    if type(key) is not SessionKey:
        raise ParameterError(f"key: expected SessionKey, got {type(key).__name__}")
    _check(ciphertext, ciphertext)
    if ciphertext.modulus != key.modulus or ciphertext.bound >= key._p:
        raise Bottom("ciphertext: is of another key, or may be above what can be opened")
    inverse = gmpy2.invert(gmpy2.powmod(key._r, ciphertext.degree, key._p), key._p)
    return int(ciphertext.value * inverse % key._p)


def _check(one: Ciphertext, other: Ciphertext) -> None:
    for name, each in (("one", one), ("other", other)):
        if type(each) is not Ciphertext:
            raise ParameterError(f"{name}: expected Ciphertext, got {type(each).__name__}")
    if one.modulus != other.modulus:
        raise ContextMismatchError("other: expected a ciphertext of the same key")


def _prime(bits: int) -> int:
    """Return a random prime of this length, whose products have twice as many bits."""
    while True:
        drawn = secrets.randbits(bits) | 3 << bits - 2 | 1
        if gmpy2.is_prime(drawn, _TESTS):
            return drawn

"""Blind tokens: paid for under a name, used without one.

Blind BLS signatures (Boldyreva 2003) under a key and a domain of their own. A token is 32 random
bytes n and s·H(n), where H goes to G2 and also takes what the token is good for. The issuer sees
b·H(n) with a random b, which is a uniform point whatever n is: it cannot link a token to its
purchase, also with unlimited computation. Whoever has the issuer's public key can check a token.
Making one more than was issued is the chosen-target Diffie-Hellman problem.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Self

from ompd.confidential import Confidential
from ompd.crypto.groups import (
    Group,
    decode_scalar,
    encode_scalar,
    group,
    inverse,
    random_scalar,
)
from ompd.crypto.points import G2_BYTES
from ompd.crypto.signatures import SignatureBackend
from ompd.errors import ParameterError, PointError, TokenError

#: Length of a token, and of the random bytes that name it.
NAME_BYTES = 32
TOKEN_BYTES = NAME_BYTES + G2_BYTES
_DST = b"OMPD-TOKEN-V1_BLS12381G2_XMD:SHA-256_SSWU_RO_"


class TokenKey(Confidential):
    """The issuer's key; for tokens and nothing else.

    Parameters
    ----------
    secret : bytes
        A scalar, 32 bytes; `generate` draws one.
    backend : str or SignatureBackend, optional
        What computes; see `ompd.crypto.backend`.

    Attributes
    ----------
    public : bytes
        48 bytes.

    Raises
    ------
    PointError
        If the secret is no scalar.
    """

    __slots__ = ("_group", "_secret", "public")

    def __init__(self, secret: bytes, backend: str | SignatureBackend | None = None) -> None:
        self._secret = decode_scalar(secret, "secret")
        self._group = group(backend)
        curve = self._group
        self.public = curve.encode(curve.multiply(curve.generator, self._secret))

    @classmethod
    def generate(cls, backend: str | SignatureBackend | None = None) -> Self:
        """Draw a key from the operating system's randomness."""
        return cls(encode_scalar(random_scalar()), backend)

    def to_bytes(self) -> bytes:
        """Return the **secret**, 32 bytes."""
        return encode_scalar(self._secret)

    def issue(self, blinded: bytes) -> bytes:
        """Sign a blinded token; the same bytes for the same one.

        Raises
        ------
        PointError
            If it is no finite point of G2.
        """
        point = self._group.decode_g2(blinded, "blinded")
        return self._group.encode(self._group.multiply(point, self._secret))


class Blinded(Confidential):
    """A token that is being bought, as the buyer keeps it.

    Attributes
    ----------
    name : bytes
        Of the token, 32 bytes.
    factor : bytes
        32 bytes that undo the blinding.
    point : bytes
        For the issuer, 96 bytes.
    """

    __slots__ = ("factor", "name", "point")

    def __init__(self, name: bytes, factor: bytes, point: bytes) -> None:
        self.name = name
        self.factor = factor
        self.point = point


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A token. Whoever has it can use it.

    Attributes
    ----------
    name : bytes
        32 bytes.
    signature : bytes
        96 bytes.
    """

    name: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """Return 128 bytes."""
        return self.name + self.signature

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Token:
        """Decode a token; it is not checked.

        Raises
        ------
        TokenError
            If it has another length.
        """
        if type(encoded) is not bytes or len(encoded) != TOKEN_BYTES:
            raise TokenError(f"token: expected {TOKEN_BYTES} bytes")
        return cls(encoded[:NAME_BYTES], encoded[NAME_BYTES:])


def blind(purpose: bytes, backend: str | SignatureBackend | None = None) -> Blinded:
    """Begin to buy a token.

    Parameters
    ----------
    purpose : bytes
        What it will be good for, such as issuer and epoch. All who buy for one purpose are one
        crowd, in which a use hides.
    backend : str or SignatureBackend, optional
        What computes; see `ompd.crypto.backend`.
    """
    curve = group(backend)
    name, factor = secrets.token_bytes(NAME_BYTES), random_scalar()
    point = curve.multiply(_hashed(curve, purpose, name), factor)
    return Blinded(name, encode_scalar(factor), curve.encode(point))


def unblind(
    public: bytes,
    purpose: bytes,
    blinded: Blinded,
    signed: bytes,
    backend: str | SignatureBackend | None = None,
) -> Token:
    """Return the token that was bought, checked.

    Parameters
    ----------
    public : bytes
        The issuer's key, 48 bytes.
    purpose : bytes
    blinded : Blinded
    signed : bytes
        What the issuer returned, 96 bytes.

    Raises
    ------
    PointError
        If that is no finite point of G2.
    TokenError
        If the issuer signed with another key.
    """
    curve = group(backend)
    factor = inverse(decode_scalar(blinded.factor, "factor"))
    signature = curve.encode(curve.multiply(curve.decode_g2(signed, "signed"), factor))
    token = Token(blinded.name, signature)
    check_token(public, purpose, token, backend)
    return token


def check_token(
    public: bytes, purpose: bytes, token: Token, backend: str | SignatureBackend | None = None
) -> None:
    """Return if a token was issued for a purpose; raise otherwise. Says nothing about its use.

    Raises
    ------
    TokenError
        If it was not.
    PointError
        If the public key is no point of G1.
    """
    curve = group(backend)
    key = curve.decode_g1(public, "public")
    try:
        signature = curve.decode_g2(token.signature, "token")
    except PointError as error:
        raise TokenError(str(error)) from None
    if not curve.same_exponent(key, _hashed(curve, purpose, token.name), signature):
        raise TokenError("token: was not issued by this key for this purpose")


def _hashed(curve: Group, purpose: bytes, name: bytes) -> object:
    if type(purpose) is not bytes:
        raise ParameterError(f"purpose: expected bytes, got {type(purpose).__name__}")
    # The name has a fixed length, so that no purpose and name are another pair together.
    return curve.hash_to_g2(purpose + name, _DST)

"""Passwords, and the keys that they are stretched to."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import unicodedata
from typing import Annotated, Literal

import msgspec
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ompd.crypto.key_json import Strict, unhex
from ompd.errors import KeystoreError, PasswordError

#: Longest password, in characters after normalisation.
MAX_PASSWORD = 1024

# What EIP-2335 uses in its own vectors: 256 MiB, about a second.
_SCRYPT_N = 1 << 18
_SCRYPT_R = 8
_SCRYPT_P = 1
# What a stranger's file may ask for: no more memory than our own, and twice the time.
_MAX_SCRYPT_BYTES = 128 * (_SCRYPT_N + 1024) * _SCRYPT_R
_MAX_SCRYPT_BLOCKS = 1 << 22  # N * r * p
_MAX_PBKDF2_ROUNDS = 1 << 23

_DERIVED_BYTES = 32
_SALT_BYTES = 32

_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**31)]


class _ScryptParams(Strict, frozen=True):
    dklen: Literal[32]
    n: _Positive
    r: _Positive
    p: _Positive
    salt: str


class _Pbkdf2Params(Strict, frozen=True):
    dklen: Literal[32]
    c: _Positive
    prf: Literal["hmac-sha256"]
    salt: str


class ScryptKdf(Strict, frozen=True, tag_field="function", tag="scrypt"):
    """How scrypt stretches a password."""

    params: _ScryptParams
    message: Literal[""]


class Pbkdf2Kdf(Strict, frozen=True, tag_field="function", tag="pbkdf2"):
    """How PBKDF2 stretches a password; other tools write it."""

    params: _Pbkdf2Params
    message: Literal[""]


def normalised(password: object) -> bytes:
    """Password as EIP-2335 feeds it to the key derivation.

    Raises
    ------
    PasswordError
        If it is no text, too long, or not encodable.
    """
    if type(password) is not str:
        raise PasswordError(f"password: expected str, got {type(password).__name__}")
    # NFKD makes one character at most 18, so this bounds the work as well.
    if len(password) > MAX_PASSWORD:
        raise PasswordError(f"password: expected at most {MAX_PASSWORD} characters")
    kept = "".join(
        character
        for character in unicodedata.normalize("NFKD", password)
        if not (ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F)
    )
    encoded: bytes | None = None
    # The codec's error would carry the password.
    with contextlib.suppress(UnicodeEncodeError):
        encoded = kept.encode()
    if encoded is None:
        raise PasswordError("password: expected characters that UTF-8 can encode")
    return encoded


def usable(password: object) -> bytes:
    """Like `normalised`, for a password that is to protect something.

    Raises
    ------
    PasswordError
        Also if nothing is left of it.
    """
    kept = normalised(password)
    if not kept:
        raise PasswordError("password: expected at least one character besides control characters")
    return kept


def new_kdf(n: int | None) -> ScryptKdf:
    """Return a fresh salt, with the cost n or what this library takes."""
    salt = secrets.token_bytes(_SALT_BYTES).hex()
    cost = _SCRYPT_N if n is None else n
    params = _ScryptParams(dklen=32, n=cost, r=_SCRYPT_R, p=_SCRYPT_P, salt=salt)
    return ScryptKdf(params, message="")


def derived_key(kdf: ScryptKdf | Pbkdf2Kdf, password: bytes) -> bytes:
    """Stretch a password to 32 bytes, if the file asks for no more than the caps.

    Raises
    ------
    KeystoreError
        If it asks for more, or for what cannot be computed.
    """
    salt = unhex(kdf.params.salt, "salt")
    if not 8 <= len(salt) <= 64:
        raise KeystoreError(f"salt: expected 8 to 64 bytes, got {len(salt)}")
    if isinstance(kdf, Pbkdf2Kdf):
        if kdf.params.c > _MAX_PBKDF2_ROUNDS:
            raise KeystoreError("kdf: asks for more time than the cap allows")
        return hashlib.pbkdf2_hmac("sha256", password, salt, kdf.params.c, _DERIVED_BYTES)
    n, r, p = kdf.params.n, kdf.params.r, kdf.params.p
    if n < 2 or n & (n - 1):
        raise KeystoreError("kdf: expected n to be a power of two above 1")
    if 128 * (n + p) * r > _MAX_SCRYPT_BYTES or n * r * p > _MAX_SCRYPT_BLOCKS:
        raise KeystoreError("kdf: asks for more memory or time than the caps allow")
    derived: bytes | None = None
    with contextlib.suppress(ValueError, MemoryError):
        derived = Scrypt(salt=salt, length=_DERIVED_BYTES, n=n, r=r, p=p).derive(password)
    if derived is None:
        raise KeystoreError("kdf: cannot be computed here")
    return derived

"""Encrypted envelopes: HPKE (RFC 9180) to one recipient, in two named suites.

The recipient's public key decides the suite, so a ciphertext names none and cannot be talked down
to a weaker one. An envelope proves nothing about its sender: the sender signs it. Whatever the
ciphertext must belong to, such as the frame's header, goes into `info`.

Wire form of a public key: one byte of suite id, then the raw key.

==============  ==  =====================================  ==========  ========
suite           id  algorithms                             public key  overhead
==============  ==  =====================================  ==========  ========
x25519           1  DHKEM(X25519, HKDF-SHA256),            33 bytes    48 bytes
                    HKDF-SHA256, AES-128-GCM
mlkem768x25519   2  MLKEM768-X25519 hybrid, HKDF-SHA256,   1217 bytes  1136
                    AES-256-GCM
==============  ==  =====================================  ==========  ========

The hybrid (X-Wing, HPKE KEM 0x647A of draft-ietf-hpke-pq) stays secret as long as one of its
halves does; its raw key is the ML-KEM-768 key of FIPS 203 (1184 bytes) followed by the X25519 key
(32 bytes).

The wire form of a private key is one byte of suite id, then 32 bytes of X25519 scalar; in the
hybrid suite 64 bytes of ML-KEM seed (d, z) stand between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ompd.errors import (
    BackendUnavailableError,
    DecryptionError,
    DowngradeError,
    KeyMaterialError,
    ParameterError,
    SubgroupError,
)

#: The suite for short messages, and the one against adversaries with a quantum computer.
COMPACT = "x25519"
POST_QUANTUM = "mlkem768x25519"

_X25519_BYTES = 32
_MLKEM_PUBLIC_BYTES = 1184
_MLKEM_SEED_BYTES = 64
_TAG_BYTES = 16

_X25519_MODULUS = 2**255 - 19
# The points of order 1, 2, 4 and 8 on curve25519 and its twist: a shared secret made with one of
# them is zero whatever the other key. RFC 7748, section 6.1, leaves the check to the protocol.
_X25519_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _X25519_MODULUS - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


class _Suite(NamedTuple):
    """One suite: its HPKE algorithms, sizes in bytes, and key codecs."""

    name: str
    id: int
    algorithms: tuple[hpke.KEM, hpke.KDF, hpke.AEAD]
    public_bytes: int
    secret_bytes: int
    overhead: int
    load_public: Callable[[bytes], Any]
    load_private: Callable[[bytes], tuple[Any, bytes]]


def encrypt(public_bytes: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Encrypt `plaintext` for the owner of a public key.

    Parameters
    ----------
    public_bytes : bytes
        The recipient's public key in wire form; it decides the suite.
    plaintext : bytes
        Any length, also empty.
    info : bytes
        Context that the recipient must present again, byte for byte. It is not transmitted.

    Returns
    -------
    bytes
        Encapsulated key, then ciphertext with its tag: `overhead` bytes more than the plaintext.

    Raises
    ------
    KeyMaterialError, SubgroupError
        If the public key is refused, as `check_envelope_key` would.
    ParameterError
        If plaintext or info are not bytes.
    BackendUnavailableError
        If the key is hybrid and the cryptographic library here lacks ML-KEM-768.

    Notes
    -----
    Single-shot base mode of RFC 9180, section 6.1, with empty associated data. The randomness of
    the encapsulation comes from the cryptographic library's system-seeded generator.
    """
    suite, key = _parse_public(public_bytes)
    for name, value in (("plaintext", plaintext), ("info", info)):
        if type(value) is not bytes:
            raise ParameterError(f"{name}: expected bytes, got {type(value).__name__}")
    return _hpke(suite.name).encrypt(plaintext, key, info)


def overhead(suite: str) -> int:
    """Return by how many bytes an envelope of this suite is longer than its content.

    Raises
    ------
    ParameterError
        If there is no suite of that name.
    """
    return _named(suite).overhead


def suite_of(public_bytes: bytes) -> str:
    """Return the name of the suite to which a public key belongs.

    Looks at the suite id and the length only.

    Raises
    ------
    KeyMaterialError
        If the type, the suite id or the length is wrong.
    """
    return _split(public_bytes, "public_bytes", public=True)[0].name


def check_suite(suite: str, least: str, whose: str) -> None:
    """Return if a suite is at least as strong as `least`; raise otherwise.

    Raises
    ------
    DowngradeError
        If it is weaker.
    ParameterError
        If there is no suite of that name.
    """
    if _named(suite).id < _named(least).id:  # ids rise with strength
        raise DowngradeError(f"suite: {least} or stronger is demanded, {whose} has {suite}")


def check_envelope_key(public_bytes: bytes) -> None:
    """Return if `public_bytes` is an acceptable public key in canonical wire form; raise otherwise.

    Raises
    ------
    KeyMaterialError
        Wrong type, length or suite id, or a coordinate or coefficient that is not reduced.
    SubgroupError
        An X25519 point of small order, zero included.
    """
    _parse_public(public_bytes)


def parse_private(private_bytes: bytes) -> tuple[str, Any, bytes]:
    """Decode a private key in wire form.

    Returns
    -------
    tuple
        Suite name, the library's key object, and the public key in wire form.

    Raises
    ------
    KeyMaterialError
        If the type, the suite id or the length is wrong.
    """
    suite, raw = _split(private_bytes, "private_bytes", public=False)
    key, public = suite.load_private(raw)
    return suite.name, key, bytes([suite.id]) + public


def private_layout(suite: str) -> tuple[int, int]:
    """Return suite id and number of random bytes that make a private key of this suite.

    Raises
    ------
    ParameterError
        If there is no suite of that name.
    """
    entry = _named(suite)
    return entry.id, entry.secret_bytes


def decrypt(suite: str, key: Any, ciphertext: bytes, info: bytes) -> bytes:
    """Open an envelope with a key object from `parse_private`.

    Raises
    ------
    DecryptionError
        Whatever is wrong; the reason is not told, since it could help whoever made it wrong.
    """
    entry = _named(suite)
    opened: bytes | None = None
    if type(ciphertext) is bytes and type(info) is bytes and len(ciphertext) >= entry.overhead:
        try:
            opened = _hpke(suite).decrypt(ciphertext, key, info)
        except (InvalidTag, ValueError):
            # Raised below, so that the library's exception does not come along as context.
            opened = None
    if opened is None:
        raise DecryptionError("ciphertext: was not encrypted to this key with this info")
    return opened


def _named(suite: object) -> _Suite:
    if not isinstance(suite, str) or suite not in _SUITES:
        raise ParameterError(f"suite: expected one of {', '.join(_SUITES)}")
    return _SUITES[suite]


@cache
def _hpke(suite: str) -> hpke.Suite:
    # Not at import: a library without ML-KEM must still serve the compact suite.
    return hpke.Suite(*_SUITES[suite].algorithms)


def _unavailable() -> BackendUnavailableError:
    return BackendUnavailableError(f"suite: {POST_QUANTUM} needs a cryptography with ML-KEM-768")


def _split(encoded: object, name: str, *, public: bool) -> tuple[_Suite, bytes]:
    if type(encoded) is not bytes:
        raise KeyMaterialError(f"{name}: expected bytes, got {type(encoded).__name__}")
    suite = _SUITE_BY_ID.get(encoded[0]) if encoded else None
    if suite is None:
        raise KeyMaterialError(f"{name}: expected a known suite id in front")
    length = 1 + (suite.public_bytes if public else suite.secret_bytes)
    if len(encoded) != length:
        raise KeyMaterialError(f"{name}: expected {length} bytes, got {len(encoded)}")
    return suite, encoded[1:]


def _parse_public(encoded: object) -> tuple[_Suite, Any]:
    suite, raw = _split(encoded, "public_bytes", public=True)
    return suite, suite.load_public(raw)


def _load_x25519(raw: bytes) -> X25519PublicKey:
    # RFC 7748 lets a receiver mask the top bit and reduce; then one key had several encodings.
    coordinate = int.from_bytes(raw, "little")
    if coordinate >= _X25519_MODULUS:
        raise KeyMaterialError("public_bytes: X25519 coordinate is not reduced")
    if coordinate in _X25519_SMALL_ORDER:
        raise SubgroupError("public_bytes: X25519 point has small order")
    return X25519PublicKey.from_public_bytes(raw)


def _load_hybrid(raw: bytes) -> hpke.MLKEM768X25519PublicKey:
    x25519 = _load_x25519(raw[_MLKEM_PUBLIC_BYTES:])
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES])
    except UnsupportedAlgorithm:
        raise _unavailable() from None
    except ValueError:
        mlkem = None
    # The modulus check of FIPS 203, section 7.2, in its own words: decode, encode, compare.
    if mlkem is None or mlkem.public_bytes_raw() != raw[:_MLKEM_PUBLIC_BYTES]:
        raise KeyMaterialError("public_bytes: ML-KEM coefficient is not reduced")
    return hpke.MLKEM768X25519PublicKey(mlkem, x25519)


def _load_x25519_private(raw: bytes) -> tuple[X25519PrivateKey, bytes]:
    key = X25519PrivateKey.from_private_bytes(raw)
    return key, key.public_key().public_bytes_raw()


def _load_hybrid_private(raw: bytes) -> tuple[hpke.MLKEM768X25519PrivateKey, bytes]:
    try:
        mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM_SEED_BYTES])
    except UnsupportedAlgorithm:
        raise _unavailable() from None
    x25519, public = _load_x25519_private(raw[_MLKEM_SEED_BYTES:])
    key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
    return key, mlkem.public_key().public_bytes_raw() + public


_SUITES = {
    COMPACT: _Suite(
        name=COMPACT,
        id=1,
        algorithms=(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_128_GCM),
        public_bytes=_X25519_BYTES,
        secret_bytes=_X25519_BYTES,
        overhead=hpke.KEM.X25519.enc_length() + _TAG_BYTES,
        load_public=_load_x25519,
        load_private=_load_x25519_private,
    ),
    # AES-256 beside ML-KEM-768, whose category 3 a 128-bit key would fall short of.
    POST_QUANTUM: _Suite(
        name=POST_QUANTUM,
        id=2,
        algorithms=(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
        public_bytes=_MLKEM_PUBLIC_BYTES + _X25519_BYTES,
        secret_bytes=_MLKEM_SEED_BYTES + _X25519_BYTES,
        overhead=hpke.KEM.MLKEM768_X25519.enc_length() + _TAG_BYTES,
        load_public=_load_hybrid,
        load_private=_load_hybrid_private,
    ),
}
_SUITE_BY_ID = {suite.id: suite for suite in _SUITES.values()}

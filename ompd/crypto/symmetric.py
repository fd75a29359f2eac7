"""Keys derived from keys, and messages under them: HKDF-SHA256 and AES-256-GCM."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ompd.confidential import Confidential
from ompd.crypto.points import GROUP_ORDER
from ompd.errors import DecryptionError, KeyMaterialError

#: Bytes that `seal_once` adds.
TAG_BYTES = 16
KEY_BYTES = 32
#: Bytes that `Sealer` adds.
SEALED_BYTES = 28
_NONCE_BYTES = 12
# The key of every message is its own, so that the nonce need not be.
_NONCE = bytes(12)
#: So many bytes more than the order has that what they leave modulo it is uniform to 2**-128.
_SCALAR_MATERIAL = 48


def derive(label: bytes, *parts: bytes, length: int = KEY_BYTES) -> bytes:
    """Return bytes that follow from all parts, under a label.

    Parameters
    ----------
    label : bytes
        Keeps uses apart; none is the beginning of another.
    *parts : bytes
        Each goes in with its length, so that no two lists of parts are the same.
    length : int
    """
    material = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return HKDF(SHA256(), length, None, label).derive(material)


def derive_scalar(label: bytes, *parts: bytes) -> int:
    """Return a scalar from 1 to r - 1 that follows from all parts, as `derive`."""
    drawn = int.from_bytes(derive(label, *parts, length=_SCALAR_MATERIAL), "big")
    return drawn % (GROUP_ORDER - 1) + 1


def seal_once(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt the one message of a key of 32 bytes."""
    return AESGCM(key).encrypt(_NONCE, plaintext, associated)


def open_once(key: bytes, ciphertext: bytes, associated: bytes) -> bytes:
    """Return what `seal_once` encrypted.

    Raises
    ------
    DecryptionError
        If the key, the associated bytes or the ciphertext are others.
    """
    try:
        return AESGCM(key).decrypt(_NONCE, ciphertext, associated)
    except (InvalidTag, ValueError):
        pass
    raise DecryptionError("ciphertext: was not made for this key and context, or was changed")


class Sealer(Confidential):
    """Seals and opens many messages under one key. Safe for several threads.

    Parameters
    ----------
    key : bytes
        32 bytes that are used for nothing else.

    Raises
    ------
    KeyMaterialError
        If the key is not 32 bytes.

    Notes
    -----
    Nonces are random and stand in front: a file whose older copy was put back would count to the
    same one twice. Two of 2^32 messages have the same with a chance of 2^-33; seal no more.
    """

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        if type(key) is not bytes or len(key) != KEY_BYTES:
            raise KeyMaterialError(f"key: expected {KEY_BYTES} bytes")
        self._aead = AESGCM(key)

    def seal(self, plaintext: bytes, associated: bytes) -> bytes:
        """Return the message sealed: nonce, ciphertext, tag; 28 bytes more."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plaintext, associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """Return what `seal` sealed.

        Raises
        ------
        DecryptionError
            If the key, the associated bytes or the message are others.
        """
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], associated)
        except (InvalidTag, ValueError):
            pass
        raise DecryptionError("ciphertext: was not made for this key and context, or was changed")

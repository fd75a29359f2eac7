"""Buckets of a sealed table under AES-256-GCM.

A key belongs to one build of one table and is drawn afresh for every build. The nonce is the
bucket's place in the stored table, so that no nonce comes twice under a key; it need not be sent,
and a bucket that the cloud puts in another's place does not open. Equal calls give equal bytes.
"""

from __future__ import annotations

import secrets
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ompd.confidential import Confidential
from ompd.errors import BucketAuthError, KeyMaterialError

#: Bytes that encryption adds to a bucket.
TAG_BYTES = 16
KEY_BYTES = 32
_NONCE_BYTES = 12


class BucketCipher(Confidential):
    """Seals and opens the buckets of one build of a table.

    Parameters
    ----------
    key : bytes
        32 bytes that have never sealed another table.
    context : bytes
        What the buckets belong to, such as table and version; authenticated, not encrypted.

    Raises
    ------
    KeyMaterialError
        If the key is not 32 bytes.

    Notes
    -----
    Caller's duty: seal every place at most once under a key.
    """

    __slots__ = ("_aead", "_context", "_key")

    def __init__(self, key: bytes, context: bytes) -> None:
        if type(key) is not bytes or len(key) != KEY_BYTES:
            raise KeyMaterialError(f"key: expected {KEY_BYTES} bytes")
        self._key = key
        self._context = context
        self._aead = AESGCM(key)

    @classmethod
    def generate(cls, context: bytes) -> Self:
        """Draw a fresh key."""
        return cls(secrets.token_bytes(KEY_BYTES), context)

    @property
    def key(self) -> bytes:
        """The secret key, to be stored where only the hospital reads it."""
        return self._key

    @property
    def context(self) -> bytes:
        """What every bucket is bound to."""
        return self._context

    def seal(self, place: int, plain: memoryview, into: memoryview) -> None:
        """Encrypt one bucket, n bytes, to the n + 16 bytes of `into`."""
        nonce = place.to_bytes(_NONCE_BYTES, "big")
        self._aead.encrypt_into(nonce, plain, self._context, into)

    def open(self, place: int, sealed: memoryview, into: memoryview) -> None:
        """Decrypt one bucket, n + 16 bytes, to the n bytes of `into`.

        Raises
        ------
        BucketAuthError
            If this is not the bucket that was sealed for this place.
        """
        nonce = place.to_bytes(_NONCE_BYTES, "big")
        try:
            self._aead.decrypt_into(nonce, sealed, self._context, into)
        except InvalidTag:
            raise BucketAuthError("bucket: it is not the one that was stored") from None

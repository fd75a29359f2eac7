"""Private keys that keep to themselves.

Neither class shows its secret in `repr`, `str` or an error, and neither can be copied or pickled:
the only way out is `to_bytes`, which a reader of the calling code can see. Python cannot wipe
integers or bytes from memory; the secret lives as long as the object, and perhaps a little longer.
"""

from __future__ import annotations

import secrets
from typing import Any, Self

from ompd.confidential import Confidential
from ompd.crypto import envelope
from ompd.crypto.backends import backend as choose_backend
from ompd.crypto.points import GROUP_ORDER
from ompd.crypto.signatures import SignatureBackend, check_secret
from ompd.errors import KeyMaterialError

#: Length in bytes of an exported signing key.
SECRET_BYTES = 32


class SigningKey(Confidential):
    """A secret BLS key and its public half.

    Parameters
    ----------
    secret : int
        Scalar with 1 <= secret < r.
    backend : {"pyblst", "py_ecc"} or SignatureBackend, optional
        What computes; see `ompd.crypto.backend`.

    Raises
    ------
    KeyMaterialError
        If the secret has the wrong type or range.
    BackendUnavailableError, ParameterError
        If there is no such backend.
    """

    __slots__ = ("_backend", "_possession", "_public_key", "_secret")

    def __init__(self, secret: int, backend: str | SignatureBackend | None = None) -> None:
        self._backend = choose_backend(backend)
        self._secret = check_secret(secret)
        self._public_key = self._backend.public_key(secret)
        self._possession: bytes | None = None

    @classmethod
    def generate(cls, backend: str | SignatureBackend | None = None) -> Self:
        """Return a new key, uniform in [1, r), from the operating system's randomness."""
        return cls(1 + secrets.randbelow(GROUP_ORDER - 1), backend)

    @classmethod
    def from_bytes(cls, encoded: bytes, backend: str | SignatureBackend | None = None) -> Self:
        """Restore a key from `to_bytes`.

        Parameters
        ----------
        encoded : bytes
            32 bytes, big-endian, with a value in [1, r).
        backend : str or SignatureBackend, optional
            As for the class.

        Raises
        ------
        KeyMaterialError
            If the type, length or range is wrong.
        """
        if type(encoded) is not bytes:
            raise KeyMaterialError(f"encoded: expected bytes, got {type(encoded).__name__}")
        if len(encoded) != SECRET_BYTES:
            raise KeyMaterialError(f"encoded: expected {SECRET_BYTES} bytes, got {len(encoded)}")
        return cls(int.from_bytes(encoded, "big"), backend)

    def to_bytes(self) -> bytes:
        """Return the **secret**: 32 bytes, big-endian."""
        return self._secret.to_bytes(SECRET_BYTES, "big")

    @property
    def public_key(self) -> bytes:
        """The public key, 48 bytes."""
        return self._public_key

    @property
    def backend(self) -> SignatureBackend:
        """The backend that computes with this key."""
        return self._backend

    @property
    def proof_of_possession(self) -> bytes:
        """The proof, 96 bytes, with which the public key is registered; computed once."""
        if self._possession is None:
            # Two threads may both compute it; they get the same bytes.
            self._possession = self._backend.prove_possession(self._secret)
        return self._possession

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`, 96 bytes.

        Raises
        ------
        ParameterError
            If the message is not bytes.
        """
        return self._backend.sign(self._secret, message)

    def __repr__(self) -> str:
        return f"SigningKey(public_key={self._public_key[:4].hex()}...)"


class EnvelopeKey(Confidential):
    """A private HPKE key and its public half.

    Parameters
    ----------
    private_bytes : bytes
        What `to_bytes` returned; see `ompd.crypto.envelope` for the form. New keys come from
        `generate`.

    Raises
    ------
    KeyMaterialError
        If the type, the suite id or the length is wrong.
    """

    __slots__ = ("_key", "_private_bytes", "_public_bytes", "_suite")

    def __init__(self, private_bytes: bytes) -> None:
        self._key: Any
        self._suite, self._key, self._public_bytes = envelope.parse_private(private_bytes)
        self._private_bytes = private_bytes

    @classmethod
    def generate(cls, suite: str = envelope.COMPACT) -> Self:
        """Return a new key from the operating system's randomness.

        Parameters
        ----------
        suite : {"x25519", "mlkem768x25519"}
            Which suite senders are to use.

        Raises
        ------
        ParameterError
            If there is no suite of that name.
        """
        suite_id, length = envelope.private_layout(suite)
        return cls(bytes([suite_id]) + secrets.token_bytes(length))

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Restore a key from `to_bytes`.

        Raises
        ------
        KeyMaterialError
            If the type, the suite id or the length is wrong.
        """
        return cls(encoded)

    def to_bytes(self) -> bytes:
        """Return the **secret**: suite id and raw key, 33 or 97 bytes."""
        return self._private_bytes

    @property
    def public_bytes(self) -> bytes:
        """The public key in wire form, 33 or 1217 bytes."""
        return self._public_bytes

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return self._suite

    def decrypt(self, ciphertext: bytes, info: bytes) -> bytes:
        """Return the content of an envelope.

        Parameters
        ----------
        ciphertext : bytes
            What `encrypt` returned.
        info : bytes
            The same as given to `encrypt`.

        Raises
        ------
        DecryptionError
            Whatever is wrong: another key, another info, changed or cut bytes, or no bytes at all.
        """
        return envelope.decrypt(self._suite, self._key, ciphertext, info)

    def __repr__(self) -> str:
        # The suite id comes first and says nothing.
        return f"EnvelopeKey({self._suite}, public_bytes={self._public_bytes[1:5].hex()}...)"

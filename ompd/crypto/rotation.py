"""The signed statement with which new keys of a party follow its present ones."""

from __future__ import annotations

import contextlib
from typing import Self

import msgspec

from ompd.crypto.identity import Identity, PublicIdentity
from ompd.errors import (
    FramingError,
    KeyMaterialError,
    NonCanonicalError,
    TooLargeError,
)

#: Longest encoded rotation, in bytes.
MAX_ROTATION_BYTES = 4096

# Keeps a rotation from being anything else that the same key signs.
_ROTATION_LABEL = b"ompd/rotation/1\x00"


class Rotation(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="ompd-rotation-1"
):
    """A party's statement that new keys follow its present ones.

    Attributes
    ----------
    public : bytes
        The encoded new `PublicIdentity`.
    signature : bytes
        By the old signing key over `rotation_message`, 96 bytes.
    """

    public: bytes
    signature: bytes

    @classmethod
    def make(cls, old: Identity, new: PublicIdentity) -> Self:
        """Sign, with the old keys, that the new ones follow.

        Raises
        ------
        KeyMaterialError
            If the two have different ids or the same signing key.
        """
        if new.id != old.id or new.signing_key == old.public.signing_key:
            raise KeyMaterialError("new: expected the same id and another signing key")
        message = rotation_message(old.public.signing_key, new)
        return cls(new.lasting.to_bytes(), old.signing_key.sign(message))

    @property
    def public_identity(self) -> PublicIdentity:
        """The new keys, as `PublicIdentity.from_bytes` returns or refuses them."""
        return PublicIdentity.from_bytes(self.public)

    def to_bytes(self) -> bytes:
        """Return the canonical encoding, a MessagePack array that starts with a label."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> Self:
        """Decode `to_bytes`. The new identity's form is checked, no signature is.

        Raises
        ------
        FramingError, NonCanonicalError, TooLargeError, KeyMaterialError
            As `PublicIdentity.from_bytes`.
        """
        if type(encoded) is not bytes:
            raise FramingError(f"encoded: expected bytes, got {type(encoded).__name__}")
        if len(encoded) > MAX_ROTATION_BYTES:
            raise TooLargeError(f"encoded: expected at most {MAX_ROTATION_BYTES} bytes")
        decoded: Self | None = None
        # msgspec's own errors are ValueErrors and quote what they read.
        with contextlib.suppress(ValueError, RecursionError):
            decoded = msgspec.msgpack.decode(encoded, type=cls)
        if decoded is None:
            raise FramingError("encoded: not the encoding of a rotation")
        if msgspec.msgpack.encode(decoded) != encoded:
            raise NonCanonicalError("encoded: not the canonical encoding")
        PublicIdentity.from_bytes(decoded.public)
        return decoded


def rotation_message(old_signing_key: bytes, new: PublicIdentity) -> bytes:
    """Return what a rotation signs: a label, then the old signing key and the new identity.

    The old key is part of it, so that a statement serves at one place of the chain only.
    """
    return _ROTATION_LABEL + msgspec.msgpack.encode((old_signing_key, new.lasting.to_bytes()))

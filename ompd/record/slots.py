"""Who may open a record: its key, wrapped for a password or for an identity.

A slot is authentic: that of a password, since it needs it; that of an identity, since she signed
it, as anybody could encrypt to her. A record has as many as were made.
"""

from __future__ import annotations

import contextlib
import hashlib

import msgspec

from ompd.crypto import POST_QUANTUM, Identity, check_suite, encrypt, suite_of
from ompd.crypto.passwords import ScryptKdf, derived_key, new_kdf, normalised, usable
from ompd.crypto.symmetric import open_once, seal_once
from ompd.errors import DecryptionError, PasswordError, RecordError, StoreError

#: What opens a record: a password, or an identity with its private keys.
Opener = str | Identity

#: Name of the slot of the password.
PASSWORD = "password"  # noqa: S105
# Half of what key files take: with it 128 MiB and a third of a second.
_SCRYPT_N = 1 << 17
_LABEL = b"ompd/record-slot/1\x00"


class _PasswordSlot(msgspec.Struct, frozen=True, array_like=True, tag="password-1"):
    kdf: ScryptKdf
    wrapped: bytes


class _IdentitySlot(msgspec.Struct, frozen=True, array_like=True, tag="identity-1"):
    wrapped: bytes
    signature: bytes


_SLOTS = msgspec.msgpack.Decoder(_PasswordSlot | _IdentitySlot)


def name_of(opener: Opener) -> str:
    """Return the name of an opener's slot.

    Raises
    ------
    RecordError
        If it is neither a password nor an identity.
    """
    if isinstance(opener, str):
        return PASSWORD
    if isinstance(opener, Identity):
        return hashlib.sha256(_LABEL + opener.public.to_bytes()).hexdigest()[:16]
    raise RecordError(f"key: expected a password or an Identity, got {type(opener).__name__}")


def wrap(opener: Opener, key: bytes, record: bytes, least: str = POST_QUANTUM) -> bytes:
    """Return a slot.

    Parameters
    ----------
    opener : str or Identity
    key : bytes
        Of the record.
    record : bytes
        Id of the record.
    least : str
        Weakest suite of an identity's envelope key.

    Raises
    ------
    PasswordError
        If the password cannot be used.
    DowngradeError
        If the identity's suite is weaker than `least`.
    RecordError
        If the opener is neither.
    """
    name = name_of(opener)
    if isinstance(opener, str):
        kdf = new_kdf(_SCRYPT_N)
        derived = derived_key(kdf, usable(opener))
        bound = _LABEL + record + msgspec.msgpack.encode(kdf)
        return msgspec.msgpack.encode(_PasswordSlot(kdf, seal_once(derived, key, bound)))
    public = opener.envelope_key.public_bytes
    check_suite(suite_of(public), least, "the identity")
    bound = _LABEL + record + name.encode()
    wrapped = encrypt(public, key, bound)
    return msgspec.msgpack.encode(_IdentitySlot(wrapped, opener.signing_key.sign(bound + wrapped)))


def unwrap(opener: Opener, slot: bytes | None, record: bytes) -> bytes:
    """Return the key of a record from a slot; None stands for one that is not there.

    Raises
    ------
    PasswordError
        If the password is wrong, the slot was changed, or there is none.
    DecryptionError, SignatureError
        If the slot is another identity's, was changed, or there is none.
    KeystoreError
        If it asks for too much memory or time.
    StoreError
        If it is of another form.
    """
    if slot is None:
        if isinstance(opener, str):
            raise PasswordError("password: the record is not opened by one")
        raise DecryptionError("identity: the record was not wrapped for it")
    found: _PasswordSlot | _IdentitySlot | None = None
    # The decoder's own errors quote what they read.
    with contextlib.suppress(msgspec.DecodeError, UnicodeError):
        found = _SLOTS.decode(slot)
    if isinstance(opener, str) and isinstance(found, _PasswordSlot):
        derived = derived_key(found.kdf, normalised(opener))
        bound = _LABEL + record + msgspec.msgpack.encode(found.kdf)
        with contextlib.suppress(DecryptionError):
            return open_once(derived, found.wrapped, bound)
        raise PasswordError("password: is wrong, or the record is damaged")
    if isinstance(opener, Identity) and isinstance(found, _IdentitySlot):
        bound = _LABEL + record + name_of(opener).encode()
        key = opener.signing_key
        key.backend.verify(key.public_key, bound + found.wrapped, found.signature)
        return opener.envelope_key.decrypt(found.wrapped, bound)
    raise StoreError("record: is damaged")

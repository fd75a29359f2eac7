"""Sealing a record to a scope, and opening it with the scope's key.

A capsule is a point E (48 bytes) and a Schnorr proof of its logarithm, as challenge and response
(32 bytes each). The challenge covers owner, type, epoch and record, so that a capsule that is moved
elsewhere is refused by everybody, before a key is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ompd.crypto.groups import (
    SCALAR_BYTES,
    Group,
    decode_scalar,
    encode_scalar,
    group,
    random_scalar,
)
from ompd.crypto.points import G1_BYTES, GROUP_ORDER
from ompd.crypto.signatures import SignatureBackend
from ompd.crypto.symmetric import derive, derive_scalar, open_once, seal_once
from ompd.errors import CapsuleError, ParameterError, PointError
from ompd.share.keys import ScopeKey
from ompd.share.scopes import Scope, context

#: Length of a capsule.
CAPSULE_BYTES = G1_BYTES + 2 * SCALAR_BYTES
_PROOF_LABEL = b"ompd/share/capsule/1\x00"
_KEY_LABEL = b"ompd/share/record/1\x00"


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """A record as a cloud keeps it.

    Attributes
    ----------
    capsule : bytes
        112 bytes.
    ciphertext : bytes
        16 bytes more than the record.
    """

    capsule: bytes
    ciphertext: bytes


def seal(
    public: bytes,
    scope: Scope,
    record: bytes,
    plaintext: bytes,
    backend: str | SignatureBackend | None = None,
) -> Sealed:
    """Seal a record to the key of a scope; needs no secret.

    Parameters
    ----------
    public : bytes
        Of the scope's key, 48 bytes.
    scope : Scope
    record : bytes
        Name of the record, 16 bytes.
    plaintext : bytes
    backend : str or SignatureBackend, optional
        What computes; see `ompd.crypto.backend`.

    Raises
    ------
    PointError
        If the key is no point of the group.
    ParameterError
        If scope, record or plaintext are of another type or length.
    """
    bound = context(scope, record)
    if type(plaintext) is not bytes:
        raise ParameterError(f"plaintext: expected bytes, got {type(plaintext).__name__}")
    curve = group(backend)
    key = curve.decode_g1(public, "public")
    secret, nonce = random_scalar(), random_scalar()
    point = curve.encode(curve.multiply(curve.generator, secret))
    challenge = _challenge(point, curve.encode(curve.multiply(curve.generator, nonce)), bound)
    response = (nonce + challenge * secret) % GROUP_ORDER
    shared = curve.encode(curve.multiply(key, secret))
    capsule = point + encode_scalar(challenge) + encode_scalar(response)
    return Sealed(capsule, seal_once(record_key(shared, capsule, bound), plaintext, bound))


def check_capsule(
    capsule: bytes,
    scope: Scope,
    record: bytes,
    backend: str | SignatureBackend | None = None,
) -> None:
    """Return if a capsule was made for this record; raise otherwise. Needs no secret.

    Raises
    ------
    CapsuleError
        If it was made for another record or scope, was changed, or has another length.
    PointError
        If its point is none of the group.
    ParameterError
        If scope or record are of another type or length.
    """
    checked_point(group(backend), capsule, context(scope, record))


def open_own(key: ScopeKey, record: bytes, sealed: Sealed) -> bytes:
    """Open a record with the key of its scope.

    Raises
    ------
    CapsuleError, PointError, ParameterError
        As `check_capsule`.
    DecryptionError
        If the ciphertext is another record's, or was changed.
    """
    bound = context(key.scope, record)
    point = checked_point(key.group, sealed.capsule, bound)
    shared = key.group.encode(key.group.multiply(point, key.secret))
    return open_once(record_key(shared, sealed.capsule, bound), sealed.ciphertext, bound)


def checked_point(curve: Group, capsule: bytes, bound: bytes) -> Any:
    """Return the point of a capsule that was made for this context."""
    if type(capsule) is not bytes or len(capsule) != CAPSULE_BYTES:
        raise CapsuleError(f"capsule: expected {CAPSULE_BYTES} bytes")
    encoded = capsule[:G1_BYTES]
    point = curve.decode_g1(encoded, "capsule")
    try:
        challenge = decode_scalar(capsule[G1_BYTES:-SCALAR_BYTES], "capsule")
        response = decode_scalar(capsule[-SCALAR_BYTES:], "capsule")
    except PointError as error:
        raise CapsuleError(str(error)) from None
    commitment = curve.add(
        curve.multiply(curve.generator, response),
        curve.multiply(point, GROUP_ORDER - challenge),
    )
    if _challenge(encoded, curve.encode(commitment), bound) != challenge:
        raise CapsuleError("capsule: was not made for this record and scope, or was changed")
    return point


def record_key(shared: bytes, capsule: bytes, bound: bytes) -> bytes:
    """Return the key of a record, from a times E."""
    return derive(_KEY_LABEL, shared, capsule, bound)


def _challenge(point: bytes, commitment: bytes, bound: bytes) -> int:
    return derive_scalar(_PROOF_LABEL, point, commitment, bound)

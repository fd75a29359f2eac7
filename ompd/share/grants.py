"""Grants: what lets a proxy re-encrypt the records of one scope for one recipient.

The owner makes a `Grant` from the scope's key and the recipient's public key, without the
recipient. The proxy has all of it; the recipient needs its point X only, which is no secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ompd.confidential import Confidential
from ompd.crypto.groups import (
    SCALAR_BYTES,
    Group,
    decode_scalar,
    encode_scalar,
    group,
    inverse,
    random_scalar,
)
from ompd.crypto.points import G1_BYTES, GROUP_ORDER
from ompd.crypto.signatures import SignatureBackend
from ompd.crypto.symmetric import derive_scalar, open_once
from ompd.errors import GrantError, PointError, ProofError
from ompd.share.capsules import Sealed, checked_point, record_key
from ompd.share.keys import ScopeKey, SharingKey
from ompd.share.scopes import Scope, check_epoch, context

#: Length of a grant, and of what a re-encryption consists of.
GRANT_BYTES = SCALAR_BYTES + 2 * G1_BYTES
REENCRYPTED_BYTES = G1_BYTES + 2 * SCALAR_BYTES
_GRANT_LABEL = b"ompd/share/grant/1\x00"
_PROOF_LABEL = b"ompd/share/reencryption/1\x00"


class Grant(Confidential):
    """What a proxy re-encrypts with.

    Made by `Grant.make`, or decoded by `from_bytes`.

    Attributes
    ----------
    scope : Scope
    point : bytes
        X, which the recipient needs; 48 bytes.
    factor : int
        a/d.
    commitment : bytes
        (a/d)·G, 48 bytes; the proofs are about it.
    """

    __slots__ = ("commitment", "factor", "group", "point", "scope")

    def __init__(
        self, scope: Scope, factor: int, point: bytes, commitment: bytes, arithmetic: Group
    ) -> None:
        self.scope = scope
        self.factor = factor
        self.point = point
        self.commitment = commitment
        self.group = arithmetic

    @classmethod
    def make(cls, key: ScopeKey, recipient: bytes) -> Self:
        """Grant the records of a scope.

        Parameters
        ----------
        key : ScopeKey
        recipient : bytes
            `SharingKey.public` of the recipient.

        Raises
        ------
        PointError
            If that is no point of the group.
        """
        curve = key.group
        other = curve.decode_g1(recipient, "recipient")
        secret = random_scalar()
        point = curve.encode(curve.multiply(curve.generator, secret))
        shared = curve.encode(curve.multiply(other, secret))
        factor = key.secret * inverse(_shared_scalar(shared, point, recipient, key.scope))
        factor %= GROUP_ORDER
        commitment = curve.encode(curve.multiply(curve.generator, factor))
        return cls(key.scope, factor, point, commitment, curve)

    def to_bytes(self) -> bytes:
        """Return what the proxy is given, without the scope: 128 bytes. For the proxy alone."""
        return encode_scalar(self.factor) + self.point + self.commitment

    @classmethod
    def from_bytes(
        cls, encoded: bytes, scope: Scope, backend: str | SignatureBackend | None = None
    ) -> Self:
        """Decode a grant.

        Raises
        ------
        GrantError
            If it has another length, or its parts do not belong together.
        PointError
            If X is no point of the group.
        """
        if type(encoded) is not bytes or len(encoded) != GRANT_BYTES:
            raise GrantError(f"grant: expected {GRANT_BYTES} bytes")
        curve = group(backend)
        try:
            factor = decode_scalar(encoded[:SCALAR_BYTES], "grant")
        except PointError as error:
            raise GrantError(str(error)) from None
        point, commitment = encoded[SCALAR_BYTES:-G1_BYTES], encoded[-G1_BYTES:]
        curve.decode_g1(point, "grant")
        if curve.encode(curve.multiply(curve.generator, factor)) != commitment:
            raise GrantError("grant: its parts do not belong together")
        return cls(scope, factor, point, commitment, curve)


@dataclass(frozen=True, slots=True, repr=False)
class Reencrypted:
    """A capsule as a proxy hands it to the recipient of a grant.

    Attributes
    ----------
    grant : bytes
        X of the grant, 48 bytes.
    capsule : bytes
        E' and the proof, 112 bytes.
    """

    grant: bytes
    capsule: bytes


def reencrypt(grant: Grant, record: bytes, capsule: bytes, now: float) -> Reencrypted:
    """Re-encrypt a capsule for the recipient of a grant, with a proof.

    Parameters
    ----------
    grant : Grant
    record : bytes
        Name of the record, 16 bytes.
    capsule : bytes
    now : float
        Seconds since the Unix epoch.

    Raises
    ------
    EpochError
        If the epoch of the grant is over.
    CapsuleError, PointError, ParameterError
        As `check_capsule`.
    """
    check_epoch(grant.scope.epoch, now)
    curve = grant.group
    bound = context(grant.scope, record)
    point = checked_point(curve, capsule, bound)
    turned = curve.encode(curve.multiply(point, grant.factor))
    nonce = random_scalar()
    challenge = _challenge(
        capsule,
        turned,
        grant.commitment,
        curve.encode(curve.multiply(curve.generator, nonce)),
        curve.encode(curve.multiply(point, nonce)),
        bound,
    )
    response = (nonce + challenge * grant.factor) % GROUP_ORDER
    return Reencrypted(grant.point, turned + encode_scalar(challenge) + encode_scalar(response))


class Received(Confidential):
    """A grant as its recipient has it; opens what was re-encrypted under it.

    Parameters
    ----------
    key : SharingKey
        The recipient's.
    scope : Scope
    owner : bytes
        Public key of the scope, 48 bytes, as the owner signed it.
    point : bytes
        X of the grant.

    Raises
    ------
    PointError
        If a point is none of the group.

    Notes
    -----
    That the grant is for this key shows with the first proof: d is another for another key.
    """

    __slots__ = ("_commitment", "_group", "_scalar", "point", "scope")

    def __init__(self, key: SharingKey, scope: Scope, owner: bytes, point: bytes) -> None:
        curve = key.group
        shared = curve.encode(curve.multiply(curve.decode_g1(point, "point"), key.receiving))
        self._group = curve
        self._scalar = _shared_scalar(shared, point, key.public, scope)
        self._commitment: Any = curve.multiply(
            curve.decode_g1(owner, "owner"), inverse(self._scalar)
        )
        self.scope = scope
        self.point = point

    def open(self, record: bytes, sealed: Sealed, turned: Reencrypted) -> bytes:
        """Open a record.

        Parameters
        ----------
        record : bytes
            Name of the record.
        sealed : Sealed
            As its owner, or whoever sealed it, gave it to the cloud.
        turned : Reencrypted

        Raises
        ------
        GrantError
            If it was re-encrypted under another grant.
        CapsuleError
            If the capsule is another record's.
        ProofError
            If the proof is wrong: the capsule was re-encrypted under a grant to somebody else, or
            the proxy or somebody on the way changed something.
        PointError, ParameterError
            If points, scope or record are not of their form.
        DecryptionError
            If the ciphertext is another record's, or was changed.
        """
        curve = self._group
        bound = context(self.scope, record)
        if turned.grant != self.point:
            raise GrantError("grant: the record was re-encrypted under another one")
        if type(turned.capsule) is not bytes or len(turned.capsule) != REENCRYPTED_BYTES:
            raise ProofError(f"reencrypted: expected {REENCRYPTED_BYTES} bytes")
        point = checked_point(curve, sealed.capsule, bound)
        encoded = turned.capsule[:G1_BYTES]
        other = curve.decode_g1(encoded, "reencrypted")
        try:
            challenge = decode_scalar(turned.capsule[G1_BYTES:-SCALAR_BYTES], "proof")
            response = decode_scalar(turned.capsule[-SCALAR_BYTES:], "proof")
        except PointError as error:
            raise ProofError(str(error)) from None
        negative = GROUP_ORDER - challenge
        found = _challenge(
            sealed.capsule,
            encoded,
            curve.encode(self._commitment),
            _combined(curve, curve.generator, response, self._commitment, negative),
            _combined(curve, point, response, other, negative),
            bound,
        )
        if found != challenge:
            raise ProofError("proof: the capsule was not re-encrypted under a grant to this key")
        shared = curve.encode(curve.multiply(other, self._scalar))
        return open_once(record_key(shared, sealed.capsule, bound), sealed.ciphertext, bound)


def _combined(curve: Group, left: Any, first: int, right: Any, second: int) -> bytes:
    return curve.encode(curve.add(curve.multiply(left, first), curve.multiply(right, second)))


def _shared_scalar(shared: bytes, point: bytes, recipient: bytes, scope: Scope) -> int:
    return derive_scalar(_GRANT_LABEL, shared, point, recipient, scope.to_bytes())


def _challenge(
    capsule: bytes, turned: bytes, key: bytes, first: bytes, second: bytes, bound: bytes
) -> int:
    return derive_scalar(_PROOF_LABEL, capsule, turned, key, first, second, bound)

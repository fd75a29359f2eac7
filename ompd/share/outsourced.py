"""Outsourced decryption: the cloud does the work of opening one's own records, and learns nothing.

A grant to oneself whose divisor d is random instead of following from keys. The cloud has a/d,
which is uniform whatever a is; the owner keeps d and has one multiplication per record.
"""

from __future__ import annotations

from ompd.confidential import Confidential
from ompd.crypto.groups import decode_scalar, encode_scalar, group, inverse, random_scalar
from ompd.crypto.points import GROUP_ORDER
from ompd.crypto.signatures import SignatureBackend
from ompd.crypto.symmetric import open_once
from ompd.share.capsules import Sealed, checked_point, record_key
from ompd.share.keys import ScopeKey
from ompd.share.scopes import Scope, context


class Outsourced(Confidential):
    """A blinded grant to oneself. The cloud is given `factor`, this object stays with the owner.

    Parameters
    ----------
    key : ScopeKey

    Attributes
    ----------
    scope : Scope
    factor : bytes
        For the cloud: 32 bytes.

    Notes
    -----
    There is no proof of what the cloud did: the record itself is authenticated, under a key that
    only the right point gives. A wrong point is refused with `DecryptionError`.
    """

    __slots__ = ("_group", "_scalar", "factor", "scope")

    def __init__(self, key: ScopeKey) -> None:
        self._group = key.group
        self._scalar = random_scalar()
        self.scope = key.scope
        self.factor = encode_scalar(key.secret * inverse(self._scalar) % GROUP_ORDER)

    def open(self, record: bytes, sealed: Sealed, turned: bytes) -> bytes:
        """Open a record that the cloud transformed.

        Parameters
        ----------
        record : bytes
            Name of the record.
        sealed : Sealed
        turned : bytes
            What `transform` returned, 48 bytes.

        Raises
        ------
        PointError
            If that is no point of the group.
        DecryptionError
            If it is not the point that belongs to the record, or the ciphertext was changed.
        ParameterError
            If the record's name is of another length.
        """
        bound = context(self.scope, record)
        point = self._group.decode_g1(turned, "turned")
        shared = self._group.encode(self._group.multiply(point, self._scalar))
        return open_once(record_key(shared, sealed.capsule, bound), sealed.ciphertext, bound)


def transform(
    factor: bytes,
    scope: Scope,
    record: bytes,
    capsule: bytes,
    backend: str | SignatureBackend | None = None,
) -> bytes:
    """Do the cloud's part of opening a record for its owner.

    Parameters
    ----------
    factor : bytes
        `Outsourced.factor`.
    scope : Scope
    record : bytes
    capsule : bytes
    backend : str or SignatureBackend, optional
        What computes; see `ompd.crypto.backend`.

    Returns
    -------
    bytes
        48 bytes.

    Raises
    ------
    PointError
        If the factor is no scalar, or the capsule's point none of the group.
    CapsuleError, ParameterError
        As `check_capsule`.
    """
    curve = group(backend)
    scalar = decode_scalar(factor, "factor")
    point = checked_point(curve, capsule, context(scope, record))
    return curve.encode(curve.multiply(point, scalar))

"""What a cloud keeps for others and cannot read: programs, and records with grants."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec

from ompd.wire.canonical import encode
from ompd.wire.fields import Body, PartyId, TableId
from ompd.wire.payments import POINT_BYTES, Epoch

#: Most bytes of an encrypted program, of a sealed record, and records in one answer.
MAX_PROGRAM_BYTES = 4 << 20
MAX_RECORD_BYTES = 1 << 20
MAX_LISTED = 10_000

RecordKind = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,62}\Z")]
Capsule = Annotated[bytes, msgspec.Meta(min_length=112, max_length=112)]
Point = Annotated[bytes, msgspec.Meta(min_length=48, max_length=48)]
Signature = Annotated[bytes, msgspec.Meta(min_length=POINT_BYTES, max_length=POINT_BYTES)]

_STATEMENT_LABEL = b"ompd/share-record/1\x00"


def record_statement(
    owner: str, kind: str, epoch: int, record: bytes, capsule: bytes, ciphertext: bytes
) -> bytes:
    """Return what an owner signs of a record.

    Whoever knows the public key of a scope can seal to it: what opens need not be the owner's.
    """
    digest = hashlib.sha256(ciphertext).digest()
    return _STATEMENT_LABEL + encode((owner, kind, epoch, record, capsule, digest))


class ProgramUpload(Body, frozen=True, tag="programupload"):
    """Company to cloud: an encrypted program."""

    program: TableId
    epoch: Epoch
    content: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_PROGRAM_BYTES)]


class ProgramRequest(Body, frozen=True, tag="programrequest"):
    """User to cloud: which program is wanted."""

    program: TableId
    epoch: Epoch


class ProgramAnswer(Body, frozen=True, tag="programanswer"):
    """Cloud to user: the program, whole."""

    program: TableId
    epoch: Epoch
    content: Annotated[bytes, msgspec.Meta(max_length=MAX_PROGRAM_BYTES)]


class RecordUpload(Body, frozen=True, tag="record"):
    """Owner to cloud: a sealed record, new or in place of the one of this name.

    Parameters
    ----------
    kind, epoch
        Of its scope; the owner is the sender.
    record : bytes
        Its name, 16 bytes.
    capsule, ciphertext : bytes
    signature : bytes
        Of the owner, over `record_statement`.
    """

    kind: RecordKind
    epoch: Epoch
    record: TableId
    capsule: Capsule
    ciphertext: Annotated[bytes, msgspec.Meta(min_length=16, max_length=MAX_RECORD_BYTES)]
    signature: Signature


class RecordRemoval(Body, frozen=True, tag="removal"):
    """Owner to cloud: a record is to go."""

    kind: RecordKind
    epoch: Epoch
    record: TableId


class GrantUpload(Body, frozen=True, tag="grant"):
    """Owner to cloud: what a recipient's requests are re-encrypted with, until the epoch ends.

    Parameters
    ----------
    kind, epoch
        Of the scope.
    recipient : str
        Who may ask.
    grant : bytes
        See `ompd.share.Grant`; **secret**.
    """

    kind: RecordKind
    epoch: Epoch
    recipient: PartyId
    grant: Annotated[bytes, msgspec.Meta(min_length=128, max_length=128)]


class GrantRemoval(Body, frozen=True, tag="revocation"):
    """Owner to cloud: a recipient's requests are to be re-encrypted no more."""

    kind: RecordKind
    epoch: Epoch
    recipient: PartyId


class OutsourcingUpload(Body, frozen=True, tag="outsourcing"):
    """Owner to cloud: the blinded grant to oneself, which the owner's requests are opened with."""

    kind: RecordKind
    epoch: Epoch
    factor: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class RecordList(Body, frozen=True, tag="list"):
    """Owner or recipient to cloud: which records are there."""

    owner: PartyId
    kind: RecordKind
    epoch: Epoch


class RecordRequest(Body, frozen=True, tag="fetch"):
    """Owner or recipient to cloud: a record, re-encrypted for whoever asks."""

    owner: PartyId
    kind: RecordKind
    epoch: Epoch
    record: TableId


class Kept(Body, frozen=True, tag="kept"):
    """Cloud: it is done."""


class RecordNames(Body, frozen=True, tag="names"):
    """Cloud: names of records, 16 bytes each."""

    records: Annotated[bytes, msgspec.Meta(max_length=16 * MAX_LISTED)]


class RecordAnswer(Body, frozen=True, tag="answer"):
    """Cloud to owner or recipient.

    Parameters
    ----------
    capsule, ciphertext, signature : bytes
        As the owner sent them.
    point : bytes
        X of the grant; to the owner, empty.
    turned : bytes
        What the capsule was re-encrypted to, with its proof; to the owner 48 bytes without one, or
        none if there is no blinded grant.
    """

    capsule: Capsule
    ciphertext: Annotated[bytes, msgspec.Meta(max_length=MAX_RECORD_BYTES)]
    signature: Signature
    point: Annotated[bytes, msgspec.Meta(max_length=48)]
    turned: Annotated[bytes, msgspec.Meta(max_length=112)]


class KeepingRequest(Body, frozen=True):
    """User or company to cloud."""

    matter: (
        ProgramUpload
        | ProgramRequest
        | RecordUpload
        | RecordRemoval
        | GrantUpload
        | GrantRemoval
        | OutsourcingUpload
        | RecordList
        | RecordRequest
    )


class KeepingAnswer(Body, frozen=True):
    """Cloud to whoever asked."""

    matter: ProgramAnswer | Kept | RecordNames | RecordAnswer

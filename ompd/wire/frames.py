"""Frames: header, ciphertext, signature."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from ompd.errors import FramingError, TooLargeError, VersionError
from ompd.wire.canonical import decode, encode

PROTOCOL_VERSION = 1
SIGNATURE_BYTES = 96
#: Separates what a frame signs from every other use of the same key.
SIGNING_LABEL = b"ompd frame v1\x00"
SEALING_LABEL = b"ompd seal v1\x00"

_KIB = 1024
_MIB = 1024 * _KIB


class Kind(IntEnum):
    """What a frame carries."""

    TABLE = 0
    QUERY = 1
    JOB = 2
    VERDICT = 3
    REPORT = 4
    REFUSAL = 5
    RECEIPT = 6
    RING_TABLE = 7
    RING_JOB = 8
    BUCKET_TABLE = 9
    FETCH = 10
    PARITIES = 11


#: Largest frame that a party reads, per kind, in bytes.
CAPS: dict[Kind, int] = {
    Kind.TABLE: 2048 * _MIB,
    Kind.QUERY: 16 * _MIB,
    Kind.JOB: 256 * _MIB,
    Kind.VERDICT: 16 * _MIB,
    Kind.REPORT: 64 * _MIB,
    Kind.REFUSAL: 1 * _KIB,
    Kind.RECEIPT: 4 * _KIB,
    Kind.RING_TABLE: 2048 * _MIB,
    Kind.RING_JOB: 256 * _MIB,
    Kind.BUCKET_TABLE: 2048 * _MIB,
    Kind.FETCH: 256 * _MIB,
    Kind.PARITIES: 2048 * _MIB,
}

#: What a frame and its body hold besides long lists of numbers, generously.
_OVERHEAD = 1 * _MIB


def content_cap(kind: Kind) -> int:
    """Most bytes of numbers that fit into a frame of this kind."""
    return CAPS[kind] - _OVERHEAD


PartyId = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
Nonce = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Unsigned63 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The part of a frame that everybody can read and nobody can change.

    Parameters
    ----------
    version : int
        Protocol version.
    kind : Kind
    sender, recipient : str
        Party ids.
    nonce : bytes
        16 random bytes of the asking party's session; an answer repeats them.
    timestamp : int
        Milliseconds since the Unix epoch.
    sequence : int
        Counts within the session; an answer repeats it.
    """

    version: Annotated[int, msgspec.Meta(ge=0, le=255)]
    kind: Kind
    sender: PartyId
    recipient: PartyId
    nonce: Nonce
    timestamp: Unsigned63
    sequence: Unsigned63

    def sealing_info(self) -> bytes:
        """Context that binds a ciphertext to this header (HPKE `info`)."""
        return SEALING_LABEL + encode(self)


class _SignedPart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    header: Header
    ciphertext: bytes


_SIGNED_PART = msgspec.msgpack.Decoder(_SignedPart)


class Frame(msgspec.Struct, frozen=True):
    """A decoded frame; nothing in it is trusted before the signature is verified.

    Parameters
    ----------
    header : Header
    ciphertext : bytes
    signature : bytes
        96 bytes over `signed_message`.
    signed_message : bytes
    """

    header: Header
    ciphertext: bytes
    signature: bytes
    signed_message: bytes

    @classmethod
    def decode(cls, data: bytes, kind: Kind, *others: Kind) -> Frame:
        """Parse a frame that is expected to carry `kind`, or one of `others`.

        Raises
        ------
        TooLargeError
            If it is above the cap of its kind; nothing at all is looked at above every cap.
        FramingError, NonCanonicalError
            If it is not one complete canonical frame of that kind.
        VersionError
            If it is of another protocol version.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise FramingError(f"frame: expected bytes, got {type(data).__name__}")
        data = bytes(data)
        _check_size(data, max((kind, *others), key=CAPS.__getitem__))
        if len(data) <= SIGNATURE_BYTES:
            raise FramingError(f"frame: expected more than {SIGNATURE_BYTES} bytes")
        signed, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
        part = decode(_SIGNED_PART, signed)
        if part.header.version != PROTOCOL_VERSION:
            raise VersionError(f"frame: expected protocol version {PROTOCOL_VERSION}")
        if part.header.kind not in {kind, *others}:
            raise FramingError(
                f"frame: expected a {kind.name.lower()}, got a {part.header.kind.name.lower()}"
            )
        _check_size(data, part.header.kind)
        return cls(part.header, part.ciphertext, signature, SIGNING_LABEL + signed)


def _check_size(data: bytes, kind: Kind) -> None:
    if len(data) > CAPS[kind]:
        raise TooLargeError(
            f"frame: expected at most {CAPS[kind]} bytes for a {kind.name.lower()}, got {len(data)}"
        )


def encode_signed_part(header: Header, ciphertext: bytes) -> tuple[bytes, bytes]:
    """Return the frame without its signature, and the message that the signature covers."""
    signed = encode(_SignedPart(header, ciphertext))
    return signed, SIGNING_LABEL + signed

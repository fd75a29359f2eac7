"""Frames: header, ciphertext, signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import msgspec

from ompd.errors import FramingError, NonCanonicalError, TooLargeError, VersionError
from ompd.wire.canonical import decode, encode
from ompd.wire.fields import Nonce, PartyId, Unsigned63
from ompd.wire.kinds import CAPS, Kind

PROTOCOL_VERSION = 1
SIGNATURE_BYTES = 96
#: Separates what a frame signs from every other use of the same key.
SIGNING_LABEL = b"ompd frame v1\x00"
ENVELOPE_LABEL = b"ompd seal v1\x00"


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

    def envelope_info(self) -> bytes:
        """Context that binds a ciphertext to this header (HPKE `info`)."""
        return ENVELOPE_LABEL + encode(self)


class _SignedPart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    header: Header
    ciphertext: bytes


_HEADER = msgspec.msgpack.Decoder(Header)
_FIELDS = len(Header.__struct_fields__)
#: First bytes of a frame that hold its header: two ids of 63 characters, each of up to four bytes,
#: and 50 bytes of others.
HEAD_BYTES = 600


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """A decoded frame; nothing in it is trusted before the signature is verified.

    Attributes
    ----------
    header : Header
    data : bytes
        The whole frame.
    """

    header: Header
    data: bytes
    _start: int

    @property
    def ciphertext(self) -> bytes:
        """What was encrypted; a copy is made when it is asked for."""
        return self.data[self._start : -SIGNATURE_BYTES]

    @property
    def signature(self) -> bytes:
        """96 bytes over `signed_message`."""
        return self.data[-SIGNATURE_BYTES:]

    @property
    def signed_message(self) -> bytes:
        """What the signature covers; a copy is made when it is asked for."""
        return b"".join((SIGNING_LABEL, memoryview(self.data)[:-SIGNATURE_BYTES]))

    @classmethod
    def decode(
        cls,
        data: bytes | bytearray | memoryview,
        kind: Kind,
        *others: Kind,
        admit: Callable[[Header, int], None] | None = None,
    ) -> Frame:
        """Parse a frame that is expected to carry `kind`, or one of `others`.

        Parameters
        ----------
        data : bytes-like
        kind, *others : Kind
        admit : callable, optional
            Called with the header and the length of the frame, before anything that follows the
            header is read or copied. What it raises, `decode` raises.

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
        size = memoryview(data).nbytes
        if isinstance(data, memoryview) and not data.c_contiguous:
            raise FramingError("frame: expected bytes that follow one another")
        head = bytes(memoryview(data).cast("B")[:HEAD_BYTES])
        header, start = _begin(head, size, kind, *others)
        if admit is not None:
            admit(header, size)
        whole = bytes(data)  # no copy of what is bytes
        if whole[:start] != head[:start]:
            raise FramingError("frame: was changed while it was read")
        return cls(header, whole, start)


def peek(head: bytes, size: int, kind: Kind, *others: Kind) -> Header:
    """Return the header of a frame of which only the beginning is here.

    Parameters
    ----------
    head : bytes
        Its first `HEAD_BYTES` bytes, or all where it is shorter.
    size : int
        Bytes that it will have in all.
    kind, *others : Kind
        What is expected.

    Raises
    ------
    TooLargeError, FramingError, NonCanonicalError, VersionError
        As `Frame.decode`, as far as these bytes show it.
    """
    return _begin(head, size, kind, *others)[0]


def _begin(head: bytes, size: int, kind: Kind, *others: Kind) -> tuple[Header, int]:
    """Check the beginning of a frame; returns its header, and where the ciphertext begins."""
    _check_size(size, max((kind, *others), key=CAPS.__getitem__))
    if size <= SIGNATURE_BYTES:
        raise FramingError(f"frame: expected more than {SIGNATURE_BYTES} bytes")
    header, start = _read_head(head, size - SIGNATURE_BYTES)
    if header.version != PROTOCOL_VERSION:
        raise VersionError(f"frame: expected protocol version {PROTOCOL_VERSION}")
    if header.kind not in {kind, *others}:
        raise FramingError(f"frame: expected a {kind.words}, got a {header.kind.words}")
    _check_size(size, header.kind)
    return header, start


def _read_head(head: bytes, signed: int) -> tuple[Header, int]:
    """Decode what precedes the ciphertext of a signed part of so many bytes.

    Returns the header, and where the ciphertext begins.
    """
    if head[:1] != b"\x92":
        raise FramingError("frame: expected a header and a ciphertext")
    end = _end_of_header(head)
    header = decode(_HEADER, head[1:end])
    prefix = head[end : end + 1]
    width = {b"\xc4": 1, b"\xc5": 2, b"\xc6": 4}.get(prefix, 0)
    start = end + 1 + width
    length = int.from_bytes(head[end + 1 : start], "big")
    if not width or start + length != signed:
        raise FramingError("frame: expected one ciphertext up to the signature")
    if width > 1 and length < 1 << 4 * width:
        raise NonCanonicalError("frame: expected the canonical encoding")
    return header, start


#: Bytes of the length, or of the number, that follow the first byte of a field.
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_NUMBERS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}


def _end_of_header(head: bytes) -> int:
    """Return where the array of the header ends, by the lengths of its fields."""
    place = 2
    if head[1:place] == bytes([0x90 | _FIELDS]):
        for _ in range(_FIELDS):
            first = head[place] if place < len(head) else 0xC1  # which nothing begins with
            place += 1
            if 0xA0 <= first < 0xC0:  # a short text
                place += first & 0x1F
            elif first in _LENGTHS:
                width = _LENGTHS[first]
                place += width + int.from_bytes(head[place : place + width], "big")
            elif first >= 0x80:
                place += _NUMBERS.get(first, len(head))
        if place < len(head):
            return place
    raise FramingError("frame: expected a complete header")


def _check_size(size: int, kind: Kind) -> None:
    if size > CAPS[kind]:
        raise TooLargeError(
            f"frame: expected at most {CAPS[kind]} bytes for a {kind.words}, got {size}"
        )


def encode_signed_part(header: Header, ciphertext: bytes) -> tuple[bytes, bytes]:
    """Return the frame without its signature, and the message that the signature covers."""
    signed = encode(_SignedPart(header, ciphertext))
    return signed, SIGNING_LABEL + signed

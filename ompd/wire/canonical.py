"""Strict MessagePack: one encoding per value, nothing left over."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ompd.errors import FramingError, NonCanonicalError

T = TypeVar("T")
_ENCODER = msgspec.msgpack.Encoder()


def encode(value: object) -> bytes:
    """Encode a message struct."""
    return _ENCODER.encode(value)


def decode(decoder: msgspec.msgpack.Decoder[T], data: bytes | memoryview) -> T:
    """Decode, and require that encoding the result gives the same bytes.

    Raises
    ------
    FramingError
        If the bytes are cut, carry more than one value or do not match the type.
    NonCanonicalError
        If the same value has a shorter or otherwise different encoding.
    """
    try:
        value = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # The library's text can quote the data, so the cause is cut off.
        value = None
    if value is None:
        raise FramingError("frame: expected a complete message of the declared type")
    if encode(value) != data:
        raise NonCanonicalError("frame: expected the canonical encoding")
    return value

"""From a message to what is encrypted, and back."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ompd.errors import FramingError
from ompd.wire.canonical import decode, encode
from ompd.wire.fields import Body
from ompd.wire.kinds import Kind
from ompd.wire.payments import Evaluated, Evaluation

B = TypeVar("B", bound=Body)

#: Ends the encoded body; only zeros may follow.
_END = b"\x80"
_DECODERS: dict[Any, msgspec.msgpack.Decoder[Any]] = {
    body: msgspec.msgpack.Decoder(body)
    # The last two travel without a frame, which would name a sender.
    for body in (*(kind.body for kind in Kind), Evaluation, Evaluated)
}


def encode_body(body: Body, pad_to: int = 0, *, step: int = 1) -> bytes:
    """Encode a body, padded to at least `pad_to` bytes and to a multiple of `step`.

    One byte 0x80 ends the body and zeros fill the rest, so that a frame's length need not tell
    what it says.
    """
    data = encode(body)
    length = len(data) + len(_END)
    padded = -(-max(length, pad_to) // step) * step
    return b"".join((data, _END, bytes(padded - length)))


def decode_body(body: type[B], data: bytes) -> B:
    """Decode a body of the given type.

    Raises
    ------
    FramingError, NonCanonicalError
        If it is not one complete canonical body with its padding.
    """
    unpadded = data.rstrip(b"\x00")
    if not unpadded.endswith(_END):
        raise FramingError("body: expected an end mark before the padding")
    decoder: msgspec.msgpack.Decoder[B] = _DECODERS[body]
    return decode(decoder, memoryview(unpadded)[: -len(_END)])

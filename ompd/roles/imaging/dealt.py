"""What a cloud's stock keeps beside material: of which kind it is, and what the dealer said."""

from __future__ import annotations

from typing import TypeVar

from ompd.errors import ContextMismatchError
from ompd.wire import KIND_OF, Body, decode_body, encode_body

B = TypeVar("B", bound=Body)


def write_dealt(dealt: Body) -> bytes:
    """Return a dealer's message as bytes that say what it is: keys of both kinds look alike."""
    return bytes([KIND_OF[type(dealt)]]) + encode_body(dealt)


def read_dealt(kind: type[B], data: bytes) -> B:
    """Return a dealer's message of a kind.

    Raises
    ------
    ContextMismatchError
        If it is of another kind.
    """
    if data[0] != KIND_OF[kind]:
        raise ContextMismatchError(
            f"session: its material is of another kind than {KIND_OF[kind].words}"
        )
    return decode_body(kind, data[1:])

"""The strict JSON of key files, and what all of them have in it."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, Literal, Never, TypeVar

import msgspec

from ompd.errors import KeystoreError

#: Largest key file that is read, in bytes; a post-quantum identity takes some 8 KB.
MAX_FILE_BYTES = 32 * 1024
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*", re.ASCII)

T = TypeVar("T")


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything that is read from a key file."""


class GcmParams(Strict, frozen=True):
    """Parameters of AES-256-GCM."""

    nonce: str


class GcmCipher(Strict, frozen=True):
    """A ciphertext of AES-256-GCM, in hexadecimal digits."""

    function: Literal["aes-256-gcm"]
    params: GcmParams
    message: str


def to_json(value: object) -> bytes:
    """Encode for a file that people may read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def parse(encoded: object, form: type[T]) -> T:
    """Decode strictly: no unknown, missing or repeated fields, no other types.

    Raises
    ------
    KeystoreError
    """
    if type(encoded) is not bytes:
        raise KeystoreError(f"encoded: expected bytes, got {type(encoded).__name__}")
    if len(encoded) > MAX_FILE_BYTES:
        raise KeystoreError(f"encoded: expected at most {MAX_FILE_BYTES} bytes")
    parsed: T | None = None
    # The decoders' own errors quote what they read.
    with contextlib.suppress(ValueError, RecursionError):
        tree = json.loads(
            encoded.decode(), object_pairs_hook=_distinct, parse_constant=_no_constant
        )
        parsed = msgspec.convert(tree, form, strict=True)
    if parsed is None:
        raise KeystoreError("encoded: expected the JSON of a key file, each field once")
    return parsed


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is repeated")
    return found


def _no_constant(_: str) -> Never:
    raise ValueError("not a number of JSON")


def unhex(text: str, name: str, length: int | None = None) -> bytes:
    """Decode hexadecimal digits.

    Raises
    ------
    KeystoreError
        If these are no pairs of digits, or of another length than is given.
    """
    # bytes.fromhex alone would pass over white space.
    if not _HEX.fullmatch(text):
        raise KeystoreError(f"{name}: expected hexadecimal digits in pairs")
    raw = bytes.fromhex(text)
    if length is not None and len(raw) != length:
        raise KeystoreError(f"{name}: expected {length} bytes, got {len(raw)}")
    return raw

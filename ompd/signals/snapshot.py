"""An analysis as bytes: a head in JSON, arrays, and a digest that shows damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ompd.errors import ParameterError
from ompd.signals.windows import Floats

_MAGIC = b"ompd-signals-1\n"
_DIGEST_BYTES = 16
_LENGTH_BYTES = 4


def pack(state: Mapping[str, Any], arrays: Mapping[str, tuple[Floats, Floats]]) -> bytes:
    """Return a snapshot.

    Parameters
    ----------
    state : mapping
        What JSON can hold.
    arrays : mapping of str to (times, values)
    """
    sizes = {name: times.size for name, (times, _) in arrays.items()}
    head = json.dumps({"state": state, "sizes": sizes}).encode()
    body = b"".join(each.astype("<f8").tobytes() for name in sizes for each in arrays[name])
    content = _MAGIC + len(head).to_bytes(_LENGTH_BYTES, "big") + head + body
    return content + _digest(content)


def unpack(snapshot: bytes) -> tuple[dict[str, Any], dict[str, tuple[Floats, Floats]]]:
    """Return what `pack` was given.

    Raises
    ------
    ParameterError
        If it is no snapshot, or damaged.
    """
    if type(snapshot) is not bytes or not snapshot.startswith(_MAGIC):
        raise ParameterError("snapshot: is none")
    content, digest = snapshot[:-_DIGEST_BYTES], snapshot[-_DIGEST_BYTES:]
    if _digest(content) != digest:
        raise ParameterError("snapshot: is damaged")
    start = len(_MAGIC) + _LENGTH_BYTES
    end = start + int.from_bytes(content[len(_MAGIC) : start], "big")
    head = json.loads(content[start:end])
    numbers = np.frombuffer(content, dtype="<f8", offset=end).astype(np.float64)
    arrays = {}
    place = 0
    for name, size in head["sizes"].items():
        arrays[name] = numbers[place : place + size], numbers[place + size : place + 2 * size]
        place += 2 * size
    return head["state"], arrays


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()

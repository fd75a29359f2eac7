"""What the clouds send each other in the four rounds, as bytes and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.errors import FramingError
from ompd.images.geometry import SIGN, Geometry
from ompd.images.operators import LAYERS, Words

Shapes = list[tuple[int, ...]]


def shapes(geometry: Geometry, number: int) -> Shapes:
    """Return the shapes of the arrays that are opened in round 1, 2, 3 or 4."""
    groups = geometry.blocks // 8
    if number == 3:
        return [(LAYERS, groups, 5, 8)]
    if number == 4:
        return [(LAYERS, groups, 8)]
    kinds = [(plane.comparator, groups) for plane in geometry.planes]
    kinds += [(SIGN, geometry.site_blocks // 8)] * geometry.half
    if number == 2:
        return [(n, 8) for _, n in kinds]
    return [(n, each.opened, 8) for each, n in kinds]


def round_bytes(geometry: Geometry, number: int) -> int:
    """Return how many bytes each cloud sends in a round."""
    return 8 * sum(int(np.prod(shape)) for shape in shapes(geometry, number))


def pack(words: Sequence[Words]) -> bytes:
    """Return the words of arrays one after the other, little-endian."""
    return b"".join(each.astype("<u8", copy=False).tobytes() for each in words)


def unpack(geometry: Geometry, number: int, data: bytes) -> list[Words]:
    """Return the arrays of a round.

    Raises
    ------
    FramingError
        If there are more or fewer bytes than these arrays have.
    """
    flat = numbers(data, "<u8", np.uint64, round_bytes(geometry, number) // 8, "words")
    found = []
    start = 0
    for shape in shapes(geometry, number):
        size = int(np.prod(shape))
        found.append(flat[start : start + size].reshape(shape))
        start += size
    return found


def numbers(
    data: bytes, sent: str, kind: Any, count: int | None, name: str, width: int = 1
) -> npt.NDArray[Any]:
    """Return numbers that came as bytes.

    Parameters
    ----------
    data : bytes
    sent : str
        Their type in `data`.
    kind : type
        What they become.
    count : int or None
        How many rows there must be.
    name : str
        For the message.
    width : int, default 1
        Numbers in a row; with more than one the array has two dimensions.

    Raises
    ------
    FramingError
        If there are more or fewer, or no whole rows.
    """
    row = np.dtype(sent).itemsize * width
    if len(data) % row or (count is not None and len(data) != count * row):
        expected = "whole rows" if count is None else f"{count * row} bytes"
        raise FramingError(f"{name}: expected {expected}, got {len(data)} bytes")
    # A copy: aligned, and of this machine's own order of bytes.
    array = np.array(np.frombuffer(data, sent), kind)
    return array if width == 1 else array.reshape(-1, width)

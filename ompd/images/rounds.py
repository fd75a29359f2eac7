"""What the clouds send each other in their rounds, as bytes and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.errors import FramingError
from ompd.images.geometry import SIGN, Geometry
from ompd.images.hidden.layout import HiddenGeometry, Shaped
from ompd.images.operators import LAYERS


def shapes(geometry: Geometry, number: int) -> Shaped:
    """Return shapes and types of the arrays that one cloud sends in a round, counted from 1."""
    groups = geometry.blocks // 8
    if number == 3:
        return [((LAYERS, groups, 5, 8), np.uint64)]
    if number == 4:
        return [((LAYERS, groups, 8), np.uint64)]
    if isinstance(geometry, HiddenGeometry) and number > 4:
        return geometry.later(number)
    kinds = [(plane.comparator, groups) for plane in geometry.planes]
    kinds += [(SIGN, geometry.site_blocks // 8)] * geometry.half
    if number == 2:
        return [((n, 8), np.uint64) for _, n in kinds]
    return [((n, each.opened, 8), np.uint64) for each, n in kinds]


def round_bytes(geometry: Geometry, number: int) -> int:
    """Return how many bytes a cloud sends in a round."""
    return sum(
        math.prod(shape) * np.dtype(kind).itemsize for shape, kind in shapes(geometry, number)
    )


def pack(arrays: Sequence[npt.NDArray[Any]]) -> bytes:
    """Return the numbers of arrays one after the other, little-endian."""
    return b"".join(
        each.astype(each.dtype.newbyteorder("<"), copy=False).tobytes() for each in arrays
    )


def unpack(geometry: Geometry, number: int, data: bytes) -> list[Any]:
    """Return the arrays of a round.

    Raises
    ------
    FramingError
        If there are more or fewer bytes than these arrays have.
    """
    expected = round_bytes(geometry, number)
    if len(data) != expected:
        raise FramingError(f"words: expected {expected} bytes, got {len(data)} bytes")
    found = []
    start = 0
    for shape, kind in shapes(geometry, number):
        sent = np.dtype(kind).newbyteorder("<")
        flat = np.frombuffer(data, sent, math.prod(shape), start)
        # A copy: aligned, and of this machine's own order of bytes.
        found.append(np.array(flat, kind).reshape(shape))
        start += flat.nbytes
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

"""Images as they are given, and as fixed-point numbers that clouds compute on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.errors import ImageError
from ompd.images.geometry import FRACTION


def depth_of(image: object) -> int:
    """Return how many bits a pixel has, 8 or 16.

    Raises
    ------
    ImageError
        If it is no array of uint8 or uint16 with two dimensions.
    """
    if not isinstance(image, np.ndarray) or image.ndim != 2:
        shape = getattr(image, "shape", None)
        raise ImageError(f"image: expected an array of two dimensions, got shape {shape}")
    if image.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise ImageError(f"image: expected uint8 or uint16, got {image.dtype}")
    return 8 if image.dtype == np.uint8 else 16


def fixed_point(image: npt.NDArray[Any], depth: int) -> npt.NDArray[np.uint64]:
    """Return pixels with eight bits before the point; of 16 bits the upper twelve are kept."""
    return (image >> (depth - 8 - FRACTION[depth])).astype(np.uint64)

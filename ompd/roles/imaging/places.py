"""Places in octaves, as they travel."""

from __future__ import annotations

import numpy as np

from ompd.errors import RangeError
from ompd.images.geometry import BORDER, Geometry
from ompd.images.operators import LAYERS, Ints
from ompd.images.rounds import numbers


def write_places(places: Ints) -> bytes:
    """Return rows (octave, layer, y, x) as bytes."""
    return places.astype("<u2").tobytes()


def read_places(size: Geometry, data: bytes) -> Ints:
    """Return rows (octave, layer, y, x), all at places where a keypoint may lie.

    Raises
    ------
    FramingError, RangeError
    """
    places: Ints = numbers(data, "<u2", np.int64, None, "places", 4)
    octaves = np.array([(each.height, each.width) for each in size.octaves])
    good = (places[:, 0] < len(octaves)) & (places[:, 1] >= 1) & (places[:, 1] <= LAYERS)
    if good.all():
        last = octaves[places[:, 0]] - BORDER
        good &= ((places[:, 2:] >= BORDER) & (places[:, 2:] < last)).all(axis=1)
    if not good.all():
        raise RangeError("places: expected places within the borders of an octave")
    return places

"""What a physician makes of disclosed features: keypoints and descriptors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ompd.errors import RangeError
from ompd.images.hidden.layout import HiddenGeometry
from ompd.images.operators import LAYERS, SIGMA
from ompd.images.reading import Features, normalised

Sums = npt.NDArray[np.uint32]


def check_numbers(geometry: HiddenGeometry, numbers: Sums) -> None:
    """Refuse numbers of lanes where no feature may lie.

    Raises
    ------
    RangeError
        Two clouds that followed the protocol with each other have no such shares.
    """
    if not (numbers < LAYERS * geometry.lanes).all() or (geometry.sites_of[numbers] < 0).any():
        raise RangeError("numbers: expected lanes where features may lie")


def disclosed(geometry: HiddenGeometry, numbers: Sums, sums: Sums) -> Features:
    """Return upright features at whole pixels of their octaves.

    Parameters
    ----------
    geometry : HiddenGeometry
    numbers : ndarray of uint32, (n,)
        Opened numbers of lanes.
    sums : ndarray of uint32, (n, 128)
        Opened sums of the descriptors.
    """
    octave, layer, y, x = geometry.places_of(numbers.astype(np.int64)).T
    pixel = 0.5 * 2.0**octave
    # Diameters of the layers themselves, no angles, no responses.
    size = 2 * SIGMA * 2 ** (layer / LAYERS) * pixel
    nothing = np.zeros(len(numbers))
    points = np.stack([x * pixel, y * pixel, size, nothing, nothing], axis=1)
    return Features(points, normalised(sums, geometry.field_bits))

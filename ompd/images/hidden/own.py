"""What hidden mode finds in an image that one has oneself: descriptors for templates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ompd.images.hidden.concealment import Concealment
from ompd.images.hidden.layout import hidden_geometry
from ompd.images.hidden.material import deal_hidden
from ompd.images.hidden.reading import disclosed
from ompd.images.material import DrawnMaterial, StoredMaterial
from ompd.images.pixels import depth_of, fixed_point
from ompd.images.reading import Features
from ompd.images.streams import Draws, pixel_mask


def own_features(image: npt.NDArray[Any]) -> Features:
    """Return upright features, by the parts of dealer and both clouds in one place.

    Descriptors are of the same kind as those that clouds keep in hidden mode, so that they are
    templates for them; OpenCV's, even upright, are a little different.

    Parameters
    ----------
    image : ndarray of uint8 or uint16, (height, width)
        Grey levels, 16 to 512 pixels each way.

    Raises
    ------
    ImageError, ParameterError
        If it is of another type or size.
    """
    depth = depth_of(image)
    size = hidden_geometry(image.shape[0], image.shape[1], depth)
    draws = Draws.generate(), Draws.generate()
    data = b"".join(piece.tobytes() for piece in deal_hidden(size, *draws))
    masked = fixed_point(image, depth)
    for each in draws:
        masked += pixel_mask(each.pixel_key(), *image.shape)
    leader = Concealment(size, True, draws[0], DrawnMaterial(draws[0]))
    other = Concealment(size, False, draws[1], StoredMaterial(np.frombuffer(data, np.uint8)))
    mine: list[Any] = leader.open_chunks(masked)
    theirs: list[Any] = other.open_chunks(masked)
    while other.wanted <= 5:
        answers = leader.advance(theirs), other.advance(mine)
        mine, theirs = ([] if each is None else each[1] for each in answers)
    # From here on they take turns.
    while (answer := other.advance(mine)) is not None:
        mine = (leader.advance(answer[1]) or (0, []))[1]
    assert leader.found is not None  # noqa: S101  (after the last round)
    assert other.found is not None  # noqa: S101
    return disclosed(
        size, leader.found.numbers + other.found.numbers, leader.found.sums + other.found.sums
    )

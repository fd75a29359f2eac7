"""Sessions of images: what one cloud gets and opens, of real, black and random images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from ompd.audit.views import ImageView
from ompd.images.extraction import Extraction
from ompd.images.geometry import geometry
from ompd.images.material import DrawnMaterial, StoredMaterial, deal
from ompd.images.streams import Draws, pixel_mask

_SIDE = 48


def body(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw something like a slice of a body: an ellipse with organs on a dark ground."""
    y, x = np.mgrid[:_SIDE, :_SIDE] / (_SIDE - 1) * 2 - 1
    image = np.zeros((_SIDE, _SIDE))
    image[(x / rng.uniform(0.6, 0.8)) ** 2 + (y / rng.uniform(0.7, 0.9)) ** 2 < 1] = 110
    for _ in range(8):
        centre = rng.uniform(-0.45, 0.45, 2)
        radius = rng.uniform(0.05, 0.2)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        image[inside] += rng.uniform(-70, 120)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class ImageScene:
    """One session, and what the cloud does not know of it.

    Attributes
    ----------
    image : ndarray of uint8, (height, width)
    view : ImageView
    """

    image: npt.NDArray[np.uint8]
    view: ImageView

    @classmethod
    def of(cls, image: npt.NDArray[np.uint8], draws: tuple[Draws, Draws] | None = None) -> Self:
        """Run a session; with `draws` of another one, against the rules."""
        size = geometry(*image.shape)
        draws = (Draws.generate(), Draws.generate()) if draws is None else draws
        data = b"".join(piece.tobytes() for piece in deal(size, *draws))
        masked = image.astype(np.uint64)
        for each in draws:
            masked += pixel_mask(each.pixel_key(), *image.shape)
        leader = Extraction(size, True, draws[0], DrawnMaterial(draws[0]))
        stored = StoredMaterial(np.frombuffer(data, np.uint8))
        other = Extraction(size, False, draws[1], stored)
        received = [masked.ravel()]
        first = [each.copy() for each in other.open_chunks(masked)]
        mine = [each.copy() for each in leader.open_chunks(masked)]
        received += [each.ravel() for each in first]
        received += [(a ^ b).ravel() for a, b in zip(first, mine, strict=True)]
        second = [each.copy() for each in other.open_results(mine)]
        mine = [each.copy() for each in leader.open_results(first)]
        received += [each.ravel() for each in second]
        received += [(a ^ b).ravel() for a, b in zip(second, mine, strict=True)]
        counts = other.open_counts(mine).copy()
        mine_counts = leader.open_counts(second).copy()
        received.append(counts.ravel())
        bits = other.open_candidates(mine_counts).copy()
        leader.open_candidates(counts)
        candidates = leader.candidates(bits)
        return cls(image, ImageView(masked, np.concatenate(received), candidates))

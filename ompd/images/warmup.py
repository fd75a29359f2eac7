"""Everything that is computed on an image, once, on a small one."""

from __future__ import annotations

import numpy as np

from ompd.images.extraction import Extraction
from ompd.images.geometry import geometry
from ompd.images.hidden.own import own_features
from ompd.images.match_warmup import warmup_matches
from ompd.images.material import DrawnMaterial, StoredMaterial, deal
from ompd.images.operators import Words
from ompd.images.reading import Points
from ompd.images.streams import Draws, pixel_mask

_SIDE = 24


def warmup_images() -> None:
    """Compile the kernels of images, or load them."""
    # A blob gives a keypoint, so that nothing is left out.
    y, x = np.mgrid[:_SIDE, :_SIDE] - _SIDE / 2
    image = (200 * np.exp(-(y**2 + x**2) / 18)).astype(np.uint8)
    _extract(image.astype(np.uint64))
    own_features(image)
    warmup_matches()


def _extract(image: Words) -> None:
    size = geometry(_SIDE, _SIDE)
    draws = Draws.generate(), Draws.generate()
    data = b"".join(piece.tobytes() for piece in deal(size, *draws))
    for each in draws:
        image += pixel_mask(each.pixel_key(), _SIDE, _SIDE)
    clouds = (
        Extraction(size, True, draws[0], DrawnMaterial(draws[0])),
        Extraction(size, False, draws[1], StoredMaterial(np.frombuffer(data, np.uint8))),
    )
    left, right = (each.open_chunks(image) for each in clouds)
    first, second = clouds[0].open_results(right), clouds[1].open_results(left)
    counts = clouds[0].open_counts(second), clouds[1].open_counts(first)
    bits = clouds[0].open_candidates(counts[1]), clouds[1].open_candidates(counts[0])
    candidates = clouds[0].candidates(bits[1])
    clouds[1].candidates(bits[0])
    points = Points(size, candidates, clouds[0].cubes(candidates) + clouds[1].cubes(candidates))
    turned = [each.orientations(points.places, points.scales) for each in clouds]
    poses = points.posed(size, turned[0] + turned[1])
    described = [each.descriptors(poses.places, poses.poses) for each in clouds]
    poses.described(size, described[0] + described[1])

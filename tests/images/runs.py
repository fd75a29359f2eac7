"""Both clouds, dealer and physician of the tests, without frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ompd.images.extraction import Extraction
from ompd.images.geometry import Geometry, geometry
from ompd.images.material import DrawnMaterial, StoredMaterial, deal
from ompd.images.reading import Features, Points, Poses
from ompd.images.streams import Draws, pixel_mask


class Run(NamedTuple):
    size: Geometry
    rounds: list
    candidates: np.ndarray
    cubes: np.ndarray
    points: Points
    turned: np.ndarray
    poses: Poses
    described: np.ndarray
    features: Features


def pixels(image):
    return (image if image.dtype == np.uint8 else image >> 4).astype(np.uint64)


def dealt(image, draws=None):
    """A geometry, the masked image, and both clouds before the first round."""
    size = geometry(*image.shape, 8 * image.itemsize)
    draws = (Draws.generate(), Draws.generate()) if draws is None else draws
    data = np.frombuffer(b"".join(piece.tobytes() for piece in deal(size, *draws)), np.uint8)
    masked = pixels(image)
    for each in draws:
        masked += pixel_mask(each.pixel_key(), *image.shape)
    leader = Extraction(size, True, draws[0], DrawnMaterial(draws[0]))
    return size, masked, (leader, Extraction(size, False, draws[1], StoredMaterial(data)))


def run(image, draws=None):
    """The whole protocol; every round's words of both clouds are kept."""
    size, masked, clouds = dealt(image, draws)
    rounds = [[[np.copy(a) for a in each.open_chunks(masked)] for each in clouds]]
    for method in ("open_results", "open_counts", "open_candidates"):
        sent = rounds[-1]
        words = [getattr(each, method)(sent[1 - i]) for i, each in enumerate(clouds)]
        rounds.append([[a.copy() for a in w] if isinstance(w, list) else w.copy() for w in words])
    found = [each.candidates(rounds[-1][1 - i]) for i, each in enumerate(clouds)]
    assert np.array_equal(*found)
    cubes = sum(each.cubes(found[0]) for each in clouds)
    points = Points(size, found[0], cubes)
    turned = sum(each.orientations(points.places, points.scales) for each in clouds)
    poses = points.posed(size, turned)
    described = sum(each.descriptors(poses.places, poses.poses) for each in clouds)
    features = poses.described(size, described)
    return Run(size, rounds, found[0], cubes, points, turned, poses, described, features)


def texture(height, width, seed, dtype=np.uint8, smooth=2):
    """Blobs of all sizes: an image with keypoints."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width))
    for scale in range(smooth, 5):
        step = 2**scale
        coarse = rng.normal(size=(height // step + 3, width // step + 3))
        rows, columns = np.arange(height) / step, np.arange(width) / step
        y, x = rows.astype(int), columns.astype(int)
        v, u = (rows - y)[:, None], (columns - x)[None]
        v, u = v * v * (3 - 2 * v), u * u * (3 - 2 * u)
        image += (
            coarse[y][:, x] * (1 - v) * (1 - u) + coarse[y][:, x + 1] * (1 - v) * u
            + coarse[y + 1][:, x] * v * (1 - u) + coarse[y + 1][:, x + 1] * v * u
        )  # fmt: skip
    image -= image.min()
    return np.round(image / image.max() * np.iinfo(dtype).max).astype(dtype)

"""The attacks of a cloud on masked images, run one after the other and scored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ompd.audit import images
from ompd.audit.hidden_suite import hidden_suite
from ompd.audit.image_scenes import ImageScene, body
from ompd.audit.match_suite import match_attacks
from ompd.audit.report import Result
from ompd.audit.runner import Progress, Runner
from ompd.audit.scenes import Records
from ompd.images.streams import Draws

#: Sessions of each kind of image.
_SESSIONS = 6
#: How often uniform bits are as far from even.
_BEYOND = 0.0027
#: A pixel counts as recovered within so many grey levels.
_CLOSE = 8


def image_suite(records: Records, seed: int, progress: Progress) -> Iterator[Result]:
    """Run the attacks of one cloud on images; records have no part in it."""
    runner = Runner("images", records, progress)
    rng = np.random.default_rng(seed)
    shape = body(rng).shape
    kinds = {
        "real": [body(rng) for _ in range(_SESSIONS)],
        "black": [np.zeros(shape, np.uint8)] * _SESSIONS,
        "random": [rng.integers(0, 256, shape, np.uint8) for _ in range(_SESSIONS)],
    }
    scenes = {name: [ImageScene.of(each) for each in some] for name, some in kinds.items()}

    def judged(name: str) -> Result:
        views = [each.view for each in scenes[name]]
        return runner.run(
            f"bias_of_{name}",
            f"sessions of {name} images whose bits, before candidates open, are not uniform (3 σ)",
            lambda: images.uneven(views),
            lambda found: (float(found.mean()), _BEYOND),
        )

    yield from map(judged, scenes)
    real = scenes["real"]
    scene = real[0]
    yield runner.run(
        "pixels",
        f"pixels within {_CLOSE} grey levels, from the masked image",
        lambda: images.pixels(scene.view),
        lambda found: (_near(found, scene.image), _constant(scene.image)),
    )
    edges = _edges(scene.image)
    yield runner.run(
        "outline",
        "outlines of body and organs, by the places of candidates that extract mode opens",
        lambda: images.occupied(scene.view),
        lambda found: (float(found[edges].mean()), float(found.mean())),
    )
    draws = Draws.generate(), Draws.generate()
    first, second = (ImageScene.of(each.image, draws) for each in real[:2])
    exact = second.image.astype(np.int64) - first.image
    yield runner.run(
        "reused_material",
        "control: the difference of two images whose material is the same",
        lambda: images.difference(first.view, second.view),
        lambda found: (float((found == exact).mean()), float((exact == 0).mean())),
        control=True,
    )
    yield from hidden_suite(runner, rng)
    yield from match_attacks(runner, rng, _BEYOND)


def _near(found: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> float:
    return float((np.abs(found.astype(np.int64) - image) <= _CLOSE).mean())


def _constant(image: npt.NDArray[np.uint8]) -> float:
    """What the best single grey level gets right."""
    return max(_near(np.full_like(image, level), image) for level in range(0, 256, 4))


def _edges(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where an image changes by more than twenty grey levels from pixel to pixel."""
    values = image.astype(np.int64)
    found = np.zeros(image.shape, np.bool_)
    found[1:] |= np.abs(np.diff(values, axis=0)) > 20
    found[:, 1:] |= np.abs(np.diff(values, axis=1)) > 20
    return found

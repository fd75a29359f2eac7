"""The attacks of either cloud on images in hidden mode, run one after the other and scored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ompd.audit import hidden_images
from ompd.audit.hidden_scenes import HiddenImageScene
from ompd.audit.image_scenes import body
from ompd.audit.report import Result
from ompd.audit.runner import Runner
from ompd.images.streams import Draws

#: Sessions of each kind of image.
_SESSIONS = 6
#: Sessions of one image, after which no uniform bit was the same in all.
_REPEATS = 36


def hidden_suite(runner: Runner, rng: np.random.Generator) -> Iterator[Result]:
    """Run the attacks of both clouds in hidden mode."""
    shape = body(rng).shape
    kinds = {
        "real": [body(rng) for _ in range(_SESSIONS)],
        "black": [np.zeros(shape, np.uint8)] * _SESSIONS,
        "random": [rng.integers(0, 256, shape, np.uint8) for _ in range(_SESSIONS)],
    }
    scenes = {name: [HiddenImageScene.of(each) for each in some] for name, some in kinds.items()}

    def judged(name: str) -> Result:
        views = [view for each in scenes[name] for view in each.views]
        return runner.run(
            f"hidden_bias_of_{name}",
            f"views of {name} images in hidden mode, in which a bit of a word is not even",
            lambda: hidden_images.uneven(views),
            lambda found: (float(found.mean()), hidden_images.RATE),
        )

    yield from map(judged, scenes)
    real = scenes["real"]
    # A smaller image, of which there are many sessions.
    small = body(rng)[10:38, 10:38]
    yield runner.run(
        "hidden_stuck",
        f"whether a bit is the same in {_REPEATS} sessions of one image",
        lambda: hidden_images.stuck([HiddenImageScene.of(small).views[1] for _ in range(_REPEATS)]),
        lambda found: (float(found > 0), 0.0),
    )
    yield runner.run(
        "hidden_cells",
        "cells with features, by the order that a cloud knows",
        lambda: [[hidden_images.slots(view, [view.order]) for view in each.views] for each in real],
        lambda found: _hits(found, real),
    )
    lane = int(HiddenImageScene.of(small).lanes[0])
    yield runner.run(
        "hidden_one_bit",
        "control: the same where clouds open the bit of one pixel more",
        lambda: hidden_images.stuck(
            [HiddenImageScene.of(small, lane=lane).views[1] for _ in range(_REPEATS)]
        ),
        lambda found: (float(found > 0), 0.0),
        control=True,
    )
    yield runner.run(
        "hidden_both_orders",
        "control: cells with features, by the orders of both clouds",
        lambda: [
            [hidden_images.slots(view, [each.views[0].order, each.views[1].order])
             for view in each.views]
            for each in real
        ],
        lambda found: _hits(found, real),
        control=True,
    )  # fmt: skip
    draws = Draws.generate(), Draws.generate()
    first, second = (HiddenImageScene.of(each.image, draws) for each in real[:2])
    exact = second.image.astype(np.int64) - first.image
    yield runner.run(
        "hidden_reused_material",
        "control: the difference of two images whose material is the same",
        lambda: (second.views[0].masked - first.views[0].masked).view(np.int64),
        lambda found: (float((found == exact).mean()), float((exact == 0).mean())),
        control=True,
    )


def _hits(
    found: list[list[npt.NDArray[np.bool_]]], scenes: list[HiddenImageScene]
) -> tuple[float, float]:
    """Share of the cells with features that were guessed, and what guessing as many gets."""
    right = sum((guess & scene.taken).sum() for some, scene in zip(found, scenes, strict=True)
                for guess in some)  # fmt: skip
    guessed = sum(guess.sum() for some in found for guess in some)
    chance = np.mean([scene.taken.mean() for scene in scenes])
    return float(right / max(guessed, 1)), float(chance)

"""The attacks of a cloud on matches, as part of those on images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ompd.audit import matches
from ompd.audit.match_scenes import MatchScene, collection, resembling
from ompd.audit.report import Result
from ompd.audit.runner import Runner
from ompd.images.streams import Draws

_SESSIONS = 6


def match_attacks(runner: Runner, rng: np.random.Generator, beyond: float) -> Iterator[Result]:
    """Run them.

    Parameters
    ----------
    runner : Runner
    rng : numpy.random.Generator
    beyond : float
        How often uniform bits are more than three standard deviations from even.
    """
    templates = collection(rng)
    near = [resembling(rng, templates) for _ in range(_SESSIONS)]
    kinds = {
        "matches": [MatchScene.of(each, templates) for each in near],
        "nothing": [MatchScene.of(np.zeros_like(each), templates) for each in near],
    }

    meant = {"matches": "features near templates", "nothing": "features of nothing"}

    def judged(name: str) -> Result:
        views = [each.view for each in kinds[name]]
        return runner.run(
            f"bias_of_{name}",
            f"matches of {meant[name]} whose bits are not uniform (3 σ)",
            lambda: matches.uneven(views),
            lambda found: (float(found.mean()), beyond),
        )

    yield from map(judged, kinds)
    draws = Draws.generate(), Draws.generate()
    first, second = (MatchScene.of(each, templates, draws) for each in near[:2])
    exact = second.sums - first.sums
    yield runner.run(
        "reused_match_material",
        "control: the difference of two images' descriptors whose match has the same material",
        lambda: matches.difference(first.view, second.view),
        lambda found: (float((found == exact).mean()), float((exact == 0).mean())),
        control=True,
    )

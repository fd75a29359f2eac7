"""What a physician learns of a patient's notes, run and scored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from ompd.audit import text
from ompd.audit.report import Result
from ompd.audit.runner import Progress, Runner
from ompd.audit.scenes import Records
from ompd.audit.text_scenes import TextScene
from ompd.params import ENQUIRY_CAP
from ompd.text.layout import BLOCK


def text_suite(records: Records, seed: int, progress: Progress) -> Iterator[Result]:
    """Run the attacks of a physician whose templates are no templates."""
    runner = Runner("text", records, progress)
    scene = TextScene.of(seed)
    templates = text.chosen(scene.weights, scene.course.days)
    view = scene.ask(templates)
    yield runner.run(
        "energies_from_1_reply",
        "weighted squares of each day's counts, from one reply to any template",
        lambda: text.energies(view),
        scene.score_energies,
    )
    for number, note in (
        (ENQUIRY_CAP, "; as many as the cloud answers in an epoch"),
        (len(templates), ""),
    ):
        part = scene.ask(templates[:number])
        yield runner.run(
            f"cells_from_{number}_templates",
            "the whole course, from chosen templates" + note,
            partial(text.cells, part),
            scene.score,
        )
    one = np.zeros_like(scene.course.counts)
    one[-1, -1] = 1
    uncovered = scene.uncovered(one)
    yield runner.run(
        "cells_from_1_uncovered_reply",
        "the whole course, were all other coefficients of a reply not covered",
        lambda: text.all_at_once(view, uncovered, BLOCK),
        scene.score,
        control=True,
    )

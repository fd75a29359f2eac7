"""The attacks on blind diagnoses, run one after the other and scored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ompd.arrays import F64, I64, Bools
from ompd.audit import additive, sealed
from ompd.audit.additive_scenes import AdditiveScene
from ompd.audit.report import Result
from ompd.audit.runner import Progress, Runner
from ompd.audit.scenes import Records
from ompd.audit.scoring import Score

#: Answers that one user gets, unless the hospital says otherwise.
_QUOTA = 20
#: Pairs of queries that the hospital has to tell.
_PAIRS = 40


def blind_suite(records: Records, seed: int, progress: Progress) -> Iterator[Result]:
    """Run the attacks on the `blind` profile."""
    runner = Runner("blind", records, progress)
    scene = AdditiveScene.of(records)
    bins, weights = scene.model.bins, scene.model.weights
    truth, view, repeated = _pairs(scene, bins.places(records.queries.features), seed)
    for control, pairs in ((False, view), (True, repeated)):
        yield _telling(runner, truth, pairs, control=control)

    meaning = "weights, from malformed queries of one cell each"
    yield runner.run(
        "weights_from_malformed_queries",
        meaning,
        scene.answered_for_single_cells,
        lambda found: (float((found == weights).mean()), 0.0),
    )
    yield runner.run(
        "control_no_random_multiples",
        meaning + ", but here replies are not multiplied into noise",
        lambda: scene.answered_for_single_cells(protected=False),
        lambda found: (float((found == weights).mean()), 0.0),
        control=True,
    )

    frequent = np.bincount(bins.places(records.table.features).ravel(), minlength=bins.width)
    questions = additive.best_questions(bins.starts, bins.cells, frequent)
    wanted = bins.places(records.queries.features)
    scores = scene.model.scores(records.queries.features)
    for count in dict.fromkeys((min(_QUOTA, len(questions)), len(questions) // 2, len(questions))):
        yield _solving(runner, scene, questions[:count], wanted, scores)


def _telling(
    runner: Runner, truth: Bools, pairs: list[tuple[bytes, bytes]], *, control: bool
) -> Result:
    limit = sealed.detectable(len(truth))
    meaning = f"two queries for the same told from others by the hospital; {limit:.1%} is chance"
    return runner.run(
        "control_randomness_used_again" if control else "equal_queries_told",
        meaning + (", but here equal ones are sealed once" if control else ""),
        lambda: additive.equal_told(pairs),
        lambda found: (float((found == truth).mean()), 0.5),
        control=control,
    )


def _solving(
    runner: Runner, scene: AdditiveScene, questions: I64, wanted: I64, scores: I64
) -> Result:
    asked = scene.answered(questions)

    def score(found: F64) -> Score:
        return float((found == scores).all(axis=1).mean()), 0.0

    return runner.run(
        f"scores_from_{len(questions)}_answers",
        f"scores of other patients, exactly, from {len(questions)} answers to the best questions",
        lambda: additive.predicted(questions, asked, wanted, scene.layout.width),
        score,
    )


def _pairs(
    scene: AdditiveScene, places: I64, seed: int
) -> tuple[Bools, list[tuple[bytes, bytes]], list[tuple[bytes, bytes]]]:
    """Return which pairs are equal, the pairs as they are sealed, and as they must not be."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(_PAIRS) % 2 == 0)
    first = rng.integers(len(places), size=_PAIRS)
    other = (first + rng.integers(1, len(places), size=_PAIRS)) % len(places)
    fresh, repeated = [], []
    for equal, a, b in zip(truth.tolist(), first, other, strict=True):
        one, two = scene.sealed(places[a]), scene.sealed(places[a if equal else b])
        fresh.append((one, two))
        repeated.append((one, one if equal else two))
    return truth, fresh, repeated

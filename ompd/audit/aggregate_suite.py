"""The attacks on the published aggregation, run one after the other and scored."""

from __future__ import annotations

from collections.abc import Iterator

from ompd.audit import aggregate
from ompd.audit.aggregate_scenes import AggregateScene
from ompd.audit.report import Result
from ompd.audit.runner import Progress, Runner
from ompd.audit.scenes import Records


def aggregate_suite(records: Records, progress: Progress) -> Iterator[Result]:
    """Run the attacks on the published aggregation."""
    runner = Runner("aggregate", records, progress)
    scene = AggregateScene.of(records)
    view = scene.view
    one, other = scene.distinct_pair()
    known = [int(scene.levels.flat[place]) for place in (one, other)]
    for attack, meaning, call in (
        (
            "modulus_from_2_known_values",
            "the secret p, exactly: a greatest common divisor of two known values' ciphertexts",
            lambda: aggregate.from_known(view, (one, other), known),
        ),
        (
            "modulus_from_equal_values",
            "p from two ciphertexts of equal values, not knowing which these are",
            lambda: aggregate.from_equal(view),
        ),
        (
            "modulus_from_guesses",
            "p from two ciphertexts, trying all pairs of values of eight bits",
            lambda: aggregate.by_guessing(view, one, other),
        ),
    ):
        yield runner.run(
            attack, meaning, call, lambda found: (float(scene.key.is_factor(found)), 0.0)
        )
    yield runner.run(
        "cells_from_ciphertext",
        "every record, from the ciphertexts alone",
        lambda: aggregate.values(view, aggregate.by_guessing(view, one, other)),
        lambda found: runner.score_table(scene.cells(found)),
    )

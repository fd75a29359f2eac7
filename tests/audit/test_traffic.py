"""What leaves a hospital says nothing of what is asked, whatever the cloud does to the answers."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.audit import sealed
from ompd.audit.traffic import MISDEEDS, SECONDS, TrafficScene
from tests.marks import long

TRIALS = 15


def watched(scene, misdeed, trials=TRIALS):
    rng = np.random.default_rng(4)
    views = {second: [] for second in SECONDS}
    for _ in range(trials):
        for second in SECONDS:
            views[second].append(scene.trial(misdeed, second, rng))
    return views


@pytest.mark.parametrize("misdeed", [MISDEEDS[0], *long(*MISDEEDS[1:])])
@pytest.mark.parametrize("spent", [False, *long(True)])
def test_everything_that_leaves_is_always_the_same(wbc, misdeed, spent):
    patience = 60.0 if misdeed == "delay" else 0.0
    views = watched(TrafficScene.of(wbc, patience=patience, spent=spent), misdeed)
    # So few trials that the numbers in the headers stay short: number, order and length agree.
    (events,) = {view.events for second in SECONDS for view in views[second]}
    assert [kind for kind, *_ in events].count("report") == 2
    assert len({length for kind, _, length in events if kind == "job"}) == 1
    for second in ("neighbour", "same"):
        assert sealed.tell_traffic_apart(views["other"], views[second]) == 0.5


def test_shared_fetches_whose_failures_are_not_reported_are_caught(wbc):
    views = watched(TrafficScene.of(wbc, leaking=True), "withhold")
    assert sealed.tell_traffic_apart(views["other"], views["same"]) > sealed.detectable(TRIALS)


def test_a_colluding_user_learns_little_of_a_withheld_query(wbc):
    views = watched(TrafficScene.of(wbc), "withhold", 30)
    lacking = {
        second: sum(view.certified is not True for view in views[second]) for second in SECONDS
    }
    # It was nearly all repeats before.
    assert lacking["same"] <= lacking["other"] + 15

"""What a change tells the cloud, beside what a table that is published anew tells it."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.audit import changes
from ompd.audit.change_scenes import ChangesScene


def followed(scene, places):
    """Share of the rows that stayed that are followed, and how many of all are so wrongly."""
    truth = np.full(len(scene.before.table), -1)
    truth[scene.stayed] = np.arange(len(scene.stayed))
    found = places >= 0
    return found[scene.stayed].mean(), (places[found] != truth[found]).sum()


@pytest.mark.parametrize("profile", ["paper", "hardened"])
def test_a_change_tells_of_every_row_what_became_of_it(wbc, profile):
    scene = ChangesScene.of(wbc, profile)
    assert followed(scene, changes.named(scene.change)) == (1.0, 0)
    assert scene.change.relabelled.tolist() == scene.relabelled.tolist()
    assert len(scene.change.labels) == len(scene.anew.table) - len(scene.stayed)


def test_a_paper_table_that_is_published_anew_links_no_row_by_its_bytes(wbc):
    scene = ChangesScene.of(wbc, "paper")
    assert followed(scene, changes.alike(scene.before, scene.anew)) == (0.0, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_hardened_version_links_all_rows_that_are_the_only_ones_of_their_kind(wbc, seed):
    scene = ChangesScene.of(wbc, "hardened", seed)
    places = changes.alike(scene.before, scene.anew)
    share, wrong = followed(scene, places)
    # Most rows of this table have a twin. One that came may be like one that went.
    assert 0.2 < share < 0.5
    assert wrong <= 3
    labels = scene.before.labels[scene.stayed] != scene.anew.labels[: len(scene.stayed)]
    assert np.flatnonzero(labels).tolist() == np.searchsorted(
        scene.stayed, scene.relabelled
    ).tolist()  # fmt: skip

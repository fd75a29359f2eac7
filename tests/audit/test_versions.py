"""What several releases of the same records add up to, and that repeated ones do not."""

from __future__ import annotations

import numpy as np
import pytest

from ompd import Feature, Schema, datasets
from ompd.audit import scoring, versions
from ompd.audit.scenes import HardenedScene, Records
from ompd.audit.version_scenes import VersionsScene


def share(scene, views=None):
    """Cells recovered of the records that are in every version."""
    guess = versions.combined(scene.views[:views], scene.insiders[:views])
    records = scene.records
    usual = records.population.modes_within(records.table.labels)
    truth = records.table.features
    return scoring.cells(records.table.schema, records.kept, guess, truth, usual)[0]


@pytest.mark.parametrize(("count", "epsilon", "reached"), [(4, None, 0.97), (24, 32, 0.9)])
def test_only_training_anew_adds_up(mm, count, epsilon, reached):
    anew = VersionsScene.of(mm, count, retrained=True, epsilon=epsilon)
    frozen = VersionsScene.of(mm, count, retrained=False, epsilon=epsilon)
    once = share(frozen, 1)
    # Not the rows, but what is known of their means may differ by a little.
    assert share(frozen) < once + 0.04
    assert share(anew) > max(reached, once + 0.05)


def test_versions_grow_by_one_and_begin_alike(wbc):
    scene = VersionsScene.of(wbc, 5, retrained=False)
    sizes = [len(view.table) for view in scene.views]
    assert sizes == list(range(len(wbc.table) - 4, len(wbc.table) + 1))
    first = scene.views[0].table
    assert all((view.table[: len(first)] == first).all() for view in scene.views)
    assert len(scene.records.table) == len(first)
    anew = VersionsScene.of(wbc, 2, retrained=True)
    assert not (anew.views[1].table[: sizes[-2]] == anew.views[0].table).any()


def test_tables_too_small_to_grow_are_attacked_all_the_same():
    schema = Schema([Feature("x", "ordinal", 0, 3)], ["a", "b"])
    rows = [[0], [1], [0], [1], [2], [3], [3], [2]]
    records = Records.of(datasets.Dataset.from_arrays(schema, rows, [*"aaaabbbb"]), 0)
    scene = VersionsScene.of(records, 3, retrained=True, epsilon=32)
    assert {len(view.table) for view in scene.views} == {4}
    assert 0 <= share(scene) <= 1


def test_equal_records_link_across_tables(records):
    names, rows = records.names()[0], records.rarest()
    found = []
    for epsilon in (1, 32):
        here, there = (HardenedScene.of(records, epsilon=epsilon) for _ in range(2))
        far = versions.apart((here.view, here.insider), (there.view, there.insider), rows)
        found.append(scoring.rank_of_twins(far, rows, names))
    assert found[0] < 0.8
    assert found[1] > 0.85


def test_the_rank_of_twins_is_counted_by_hand():
    names = np.array([0, 1, 2, 0, 3])
    far = np.array([[1.0, 2.0, 0.5, 0.0, np.inf], [7.0, 3.0, 3.0, 9.0, 9.0]])
    # Of row 0 the others are rows 1 and 2, of row 1 all: one nearer of two; a tie among four.
    assert scoring.rank_of_twins(far, np.array([0, 1]), names) == (1 / 2 + 3.5 / 4) / 2
    assert scoring.rank_of_twins(far[:1, :1], np.array([0]), names[:1]) == 0.5

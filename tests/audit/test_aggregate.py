from __future__ import annotations

import math

import numpy as np
import pytest

from ompd import Feature, Schema, audit, datasets
from ompd.aggregate import published
from ompd.audit import aggregate
from ompd.audit.aggregate_scenes import AggregateScene
from ompd.audit.scenes import Records
from ompd.audit.views import AggregateView


def view_of(values, bits=512):
    key = published.keygen(bits, allow_broken=True)
    numbers = tuple(published.encrypt(key, value).value for value in values)
    return key, AggregateView(key.modulus, numbers)


def test_two_known_values_give_the_modulus():
    key, view = view_of([17, 200, 3])
    assert key.is_factor(aggregate.from_known(view, (0, 1), (17, 200)))
    # A wrong guess finds nothing: this is no accident.
    assert aggregate.from_known(view, (0, 1), (18, 200)) == 0


def test_equal_values_give_the_modulus():
    key, view = view_of([5, 6, 7, 6])
    assert key.is_factor(aggregate.from_equal(view))
    assert aggregate.from_equal(view_of([5, 6, 7])[1]) == 0


@pytest.mark.parametrize("pair", [(1, 255), (255, 254), (0, 9), (9, 0), (12, 12)])
def test_guessing_gives_the_modulus(pair):
    key, view = view_of(pair)
    assert key.is_factor(aggregate.by_guessing(view, 0, 1))


def test_longer_values_are_not_guessed():
    key = published.keygen(512, allow_broken=True)
    numbers = tuple(published.encrypt(key, value, 64).value for value in (2**63 + 9, 2**62 + 7))
    assert aggregate.by_guessing(AggregateView(key.modulus, numbers), 0, 1) == 0


def test_with_the_modulus_all_values_follow(rng):
    truth = rng.integers(1, 256, 200)
    _, view = view_of(truth.tolist())
    found = aggregate.values(view, aggregate.by_guessing(view, 0, 1))
    common = math.gcd(*truth.tolist())
    assert (found * common == truth).all()


def test_only_the_common_factor_stays_unknown():
    key, view = view_of([4, 8, 0, 12])
    factor = aggregate.from_known(view, (0, 1), (4, 8))
    assert key.is_factor(factor)
    assert aggregate.values(view, factor).tolist() == [1, 2, 0, 3]
    key, view = view_of([0, 0])
    assert aggregate.values(view, math.gcd(view.ciphertexts[0], view.modulus)).tolist() == [0, 0]


def test_records_fall_entirely(wbc):
    shares = audit.as_dict(audit.suites.aggregate_suite(wbc, lambda attack: None))["aggregate"]
    assert len(shares) == 4
    for result in shares.values():
        assert result["recovered"] == 1
        assert result["baseline"] < 0.6


def test_cells_survive_their_encoding(mixed):
    scene = AggregateScene.of(Records.of(mixed, 0))
    features = scene.records.table.features
    back = scene.cells(scene.levels.ravel())
    span = scene.records.table.schema.high - scene.records.table.schema.low
    assert (np.abs(back - features) <= span / 254 / 2 + 1e-9).all()
    assert scene.levels.min() >= 1
    assert scene.levels.max() <= 255
    assert np.isnan(scene.cells(np.full(scene.levels.size, -1))).all()


@pytest.mark.filterwarnings("ignore::ompd.errors.TrainingWarning")
def test_a_constant_feature_has_one_level():
    schema = Schema([Feature("x", "ordinal", 0, 3), Feature("same", "numeric", 2, 2.5)], ["a", "b"])
    rows = [[value % 4, 2] for value in range(16)]
    data = datasets.Dataset.from_arrays(schema, rows, list("ab" * 8))
    scene = AggregateScene.of(Records.of(data, 0))
    assert (scene.levels[:, 1] == 1).all()
    assert scene.distinct_pair()[0] == 0

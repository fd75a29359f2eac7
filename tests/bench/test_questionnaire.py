from __future__ import annotations

import json

import numpy as np
import pytest

from bench import questionnaire as bench
from ompd import datasets
from ompd.record.questionnaire import Posterior, load
from ompd.record.questionnaire.training import Cases


def test_auc_and_calibration_error():
    rng = np.random.default_rng(0)
    chance = rng.integers(0, 10, 60) / 10
    truth = rng.integers(0, 2, 60)
    pairs = [
        (a > b) + (a == b) / 2
        for a in chance[truth == 1].tolist()
        for b in chance[truth == 0].tolist()
    ]
    assert bench.auc(chance, truth) == pytest.approx(sum(pairs) / len(pairs))
    assert bench.calibration_error(np.array([0.75, 0.75]), np.array([1, 0])) == 0.25
    assert bench.calibration_error(np.array([0.25, 1.0]), np.array([0, 1])) == 0.125


def test_orders_end_where_all_answers_do():
    shipped = load("heart")
    cases = Cases.of(shipped, datasets.load("cleveland"))
    model = Posterior(shipped, "hospital")
    places = cases.places(shipped, "hospital")
    order = np.broadcast_to(bench.informative(model), places.shape)
    assert sorted(order[0]) == list(range(13))
    found = bench.ordered(model, places, order)
    assert np.allclose(found[:, -1], model.interviews(places)[0][:, -1])
    assert np.allclose(found[:, 0], model.prior)


def test_one_repeat_and_the_choice(capsys):
    bench.main(repeats=1, rounds=2, model_file=None, as_json=True)
    found = json.loads(capsys.readouterr().out)
    figures = found["figures"]
    for level, least in (("home", 0.7), ("practice", 0.7), ("hospital", 0.8)):
        mine = figures[f"{level}, adaptive"]
        assert mine["accuracy"] > least
        assert mine["calibration_error"] < 0.15
        assert mine["questions"] < figures[f"{level}, random"]["questions"]
    assert found["microseconds"]["ompd"] > 0


@pytest.mark.long
def test_the_shipped_figures_are_these(tmp_path):
    again = tmp_path / "heart.json"
    bench.main(repeats=5, rounds=1, model_file=again, as_json=False)
    assert again.read_bytes() == load("heart").to_json()

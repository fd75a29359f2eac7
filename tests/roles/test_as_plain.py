"""The hospital tells what the classifier would say, also where both only sample their tables."""

from __future__ import annotations

import numpy as np
import pytest

import ompd
from ompd.datasets import Dataset
from ompd.estimator import EvidenceClassifier, ReliefMWClassifier
from ompd.search.calibration import CALIBRATION_ROWS
from tests.marks import long
from tests.roles.conftest import World

SCHEMA = ompd.Schema(
    tuple(ompd.Feature(f"f{j}", "numeric", -99.0, 99.0) for j in range(3)), ("no", "yes")
)


def records(rows, seed=5):
    """Overlapping classes, the rarer one a third, with rows in no order."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 1 / 3).astype(np.int64)
    values = np.round(rng.normal(labels[:, None], 1.5, (rows, 3)), 2)
    return Dataset.from_arrays(SCHEMA, values, SCHEMA.names(labels))


@pytest.mark.parametrize("profile", ["sealed", "paper"])
@pytest.mark.parametrize(
    ("method", "rows"), [("relief-mw", CALIBRATION_ROWS + 1500), ("evidence", 300)]
)
@pytest.mark.parametrize("decision", ["probability", *long("majority")])
def test_labels_and_probabilities_are_those_of_the_classifier(profile, method, rows, decision, rng):
    world, train = World(profile=profile), records(rows)
    world.publish(data=train, method=method, decision=decision, k=9)
    kind = ReliefMWClassifier if method == "relief-mw" else EvidenceClassifier
    model = kind(9, schema=SCHEMA, decision=decision).fit(train.features, train.labels)
    queries = np.round(rng.normal(0.5, 2, (20, 3)), 2)
    query = world.user.ask("st-mary", "flu", queries)
    report = world.hospital.report(world.cloud.answer(world.hospital.forward(query)))
    told = world.user.read(report)
    chances = model.predict_proba(queries)
    assert [list(each.probabilities.values()) for each in told] == chances.tolist()
    assert [each.label for each in told] == SCHEMA.names(model.predict(queries))

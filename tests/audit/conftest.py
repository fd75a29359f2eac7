from __future__ import annotations

import numpy as np
import pytest

from ompd import Feature, Schema, datasets
from ompd.audit.scenes import Records


@pytest.fixture(scope="session", params=["wbc", "mm"])
def records(request):
    """Table and queries of a built-in data set."""
    return Records.of(datasets.load(request.param), 1)


@pytest.fixture(scope="session")
def wbc():
    return Records.of(datasets.load("wbc"), 1)


@pytest.fixture(scope="session")
def mm():
    return Records.of(datasets.load("mm"), 1)


@pytest.fixture(scope="session")
def mixed():
    """Records of four kinds of features and three classes."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 240)
    features = [
        Feature("level", "numeric", 0, 10),
        Feature("days", "ordinal", 0, 100_000),
        Feature("shape", "nominal", 1, 2),
        Feature("grade", "ordinal", 0, 5),
    ]
    values = np.stack(
        [
            np.clip(rng.normal(3 + labels, 1), 0, 10),
            np.clip(rng.integers(0, 50_000, 240) + 20_000 * labels, 0, 100_000),
            rng.integers(1, 3, 240),
            np.clip(labels + rng.integers(0, 4, 240), 0, 5),
        ],
        axis=1,
    )
    schema = Schema(features, ["a", "b", "c"])
    return datasets.Dataset.from_arrays(schema, values, schema.names(labels))

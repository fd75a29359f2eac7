"""Tables like those of a hospital, at any size.

Populations, each a list of encoded prefix sums with class codes:

* ``wbc``: rows of the WBC table drawn with replacement, each value jittered within its unit step.
* ``wdbc``: the 30 measurements of the diagnostic table that scikit-learn ships, likewise.
* ``uniform``: independent uniform features, the hardest case for any index.
* ``duplicates``: rows of the WBC table as they are, so that thousands are exactly equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ompd import datasets
from ompd.encode import ReliefEncoder
from ompd.schema import Feature, Schema

KINDS = ("wbc", "wdbc", "uniform", "duplicates")
FEATURES = {"wbc": 9, "wdbc": 30, "duplicates": 9}


@dataclass(frozen=True)
class Population:
    """A distribution of patients with learned weights."""

    encoder: ReliefEncoder
    rows: np.ndarray
    labels: np.ndarray
    jitter: np.ndarray

    def draw(self, count, seed):
        """Prefix sums (count, n) and class codes (count,) of fresh patients."""
        rng = np.random.default_rng(seed)
        picked = rng.integers(0, len(self.rows), count)
        values = self.rows[picked] + self.jitter * rng.uniform(-1, 1, (count, self.rows.shape[1]))
        schema = self.encoder.schema
        values = np.clip(values, schema.low, schema.high)
        return self.encoder.encode(values), self.labels[picked]


def _schema(low, high):
    features = tuple(
        Feature(f"f{j}", "numeric", float(a), float(b))
        for j, (a, b) in enumerate(zip(low, high, strict=True))
    )
    return Schema(features, ("benign", "malignant"))


@cache
def population(kind, features=9):
    """Return the population called `kind`; only "uniform" heeds `features`."""
    if kind in {"wbc", "duplicates"}:
        table = datasets.load("wbc")
        rows, labels = table.features, table.labels
        jitter = np.full(9, 0.5 if kind == "wbc" else 0.0)
        schema = _schema([0.5] * 9, [10.5] * 9)
    elif kind == "wdbc":
        from sklearn.datasets import load_breast_cancer

        rows, target = load_breast_cancer(return_X_y=True)
        labels = 1 - target
        jitter = 0.05 * rows.std(axis=0)
        schema = _schema(rows.min(axis=0), rows.max(axis=0))
    else:
        rng = np.random.default_rng(0)
        rows = np.full((1000, features), 0.5)
        labels = rng.integers(0, 2, 1000)
        jitter = np.full(features, 0.5)
        weights = tuple(int(w) for w in rng.integers(1 << 13, 1 << 16, features))
        return Population(
            ReliefEncoder(_schema([0.0] * features, [1.0] * features), weights, 16, 16),
            rows, labels, jitter,
        )  # fmt: skip
    encoder = ReliefEncoder.fit(schema, np.clip(rows, schema.low, schema.high), labels)
    # A weight of 0 would make a column of equal prefix sums, which is easier than real tables.
    weights = tuple(max(1, weight) for weight in encoder.weights)
    return Population(ReliefEncoder(schema, weights, 16, 16), rows, labels, jitter)

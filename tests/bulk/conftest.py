"""People without two alike, so that no tie makes two right answers differ."""

from __future__ import annotations

import numpy as np
import pytest

import ompd
from ompd.datasets import Dataset
from tests.roles.conftest import World


def records(rows=90, features=3, seed=0, classes=("no", "yes")):
    """Records of people, half of them of each class."""
    rng = np.random.default_rng(seed)
    schema = ompd.Schema(
        tuple(ompd.Feature(f"f{j}", "numeric", 0, 12) for j in range(features)), tuple(classes)
    )
    labels = np.arange(rows) % len(classes)
    values = np.clip(rng.normal(labels[:, None] * 3 + 3, 1.5, (rows, features)), 0, 12)
    return Dataset.from_arrays(schema, values, schema.names(labels))


def rows_of(count, features=3, seed=4):
    """People who ask."""
    return np.random.default_rng(seed).uniform(0, 12, (count, features))


@pytest.fixture
def world():
    """Fresh parties without a table."""
    return World()

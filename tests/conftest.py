"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Kernels compile within the first example, so a deadline would measure the compiler. Interpreted
# kernels are slow and get fewer examples.
settings.register_profile(
    "ompd",
    deadline=None,
    max_examples=int(os.environ.get("OMPD_TEST_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ompd")


@pytest.fixture
def rng() -> np.random.Generator:
    """Seeded random numbers."""
    return np.random.default_rng(20211130)


@pytest.fixture(autouse=True, scope="module")
def _light_collections() -> None:
    """Leave out of collections, which many tests of crashes ask for, what was there before."""
    gc.collect()
    gc.freeze()

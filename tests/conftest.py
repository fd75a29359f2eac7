"""Fixtures shared by all tests."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# Some hundred processes would each translate all sources again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Thousands of small files that are made durable one by one: no test ends a machine, so none needs
# a disk. Where memory is scarce, or runs no programs, they go where pytest puts them.
with contextlib.suppress(OSError, AttributeError):
    _memory = os.statvfs("/dev/shm")  # noqa: S108
    if _memory.f_bavail * _memory.f_frsize >= 4 << 30 and not _memory.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")  # noqa: S108

# Kernels compile within the first example, so a deadline would measure the compiler. Interpreted
# kernels are slow and get fewer examples.
settings.register_profile(
    "ompd",
    deadline=None,
    max_examples=int(os.environ.get("OMPD_TEST_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ompd")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are processors: many tests wait, for servers or for a time."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Compile the kernels once, in two processes, before each worker would compile all of them."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        return
    code = "from ompd.compilation import PARTS\nfor part in PARTS[{}]: part()"
    with contextlib.ExitStack() as stack:
        # What does not compile here does not in a test either, and is told there.
        for share in (":2", "2:"):
            stack.enter_context(subprocess.Popen([sys.executable, "-c", code.format(share)]))


@pytest.fixture
def rng() -> np.random.Generator:
    """Seeded random numbers."""
    return np.random.default_rng(20211130)


@pytest.fixture(autouse=True, scope="module")
def _light_collections() -> None:
    """Leave out of collections, which many tests of crashes ask for, what was there before."""
    gc.collect()
    gc.freeze()

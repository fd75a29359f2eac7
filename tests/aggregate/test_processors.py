"""A processor without fused multiply-add gives the same results, slowly."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.places import ROOT


@pytest.mark.long
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names such a processor")
def test_a_processor_without_fused_multiply_add(tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            "tests/aggregate/test_kernels.py", "tests/aggregate/test_evaluation.py",
        ],
        cwd=ROOT,
        env=os.environ
        | {
            "NUMBA_CACHE_DIR": str(tmp_path),
            "NUMBA_CPU_NAME": "generic",
            "NUMBA_CPU_FEATURES": "",
            "OMPD_TEST_EXAMPLES": "20",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]

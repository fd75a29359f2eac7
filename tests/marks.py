"""Cases of a test that are left to the long run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

LONG = pytest.mark.long


def long(*values: Any) -> list[Any]:
    """Return parameters whose tests are run with `-m long` alone."""
    return [pytest.param(value, marks=pytest.mark.long, id=_name(value)) for value in values]


def pairs(firsts: Sequence[str], seconds: Sequence[str]) -> list[Any]:
    """Return all pairs; those without the first of either kind are left to the long run."""
    return [
        pytest.param(one, other, marks=() if firsts[0] == one or seconds[0] == other else LONG)
        for one in firsts
        for other in seconds
    ]


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None

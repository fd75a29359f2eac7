"""Cases of a test that are left to the long run."""

from __future__ import annotations

from typing import Any

import pytest


def long(*values: Any) -> list[Any]:
    """Return parameters whose tests are run with `-m long` alone."""
    return [pytest.param(value, marks=pytest.mark.long, id=_name(value)) for value in values]


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None

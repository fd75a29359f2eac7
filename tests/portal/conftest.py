"""Fixtures of the pages."""

from __future__ import annotations

import pytest

pytest.importorskip("fhir.resources", reason="needs the extra care")

from tests.portal.inside import Inside, made


@pytest.fixture
def inside(tmp_path):
    """A browser inside the pages of an empty record."""
    with made(tmp_path / "record") as record:
        opened = Inside(record)
        yield opened
        opened.leave()

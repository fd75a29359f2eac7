"""A record that costs no second of scrypt."""

from __future__ import annotations

import pytest

from ompd.crypto import POST_QUANTUM, Identity
from ompd.record import Record


@pytest.fixture(scope="session")
def ann():
    return Identity.generate("ann", suite=POST_QUANTUM)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "record"


@pytest.fixture
def record(folder, ann):
    with Record.create(folder, ann) as made:
        yield made


@pytest.fixture
def other(tmp_path, ann):
    with Record.create(tmp_path / "other", ann) as made:
        yield made

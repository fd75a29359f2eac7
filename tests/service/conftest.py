"""What tests of several parts of the servers need."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from ompd.service import logs


@pytest.fixture
def lines():
    """Configure logs; returns what reads the lines so far."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers[:], level = before
    root.setLevel(level)

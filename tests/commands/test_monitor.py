"""`ompd monitor demo` advises on real readings as the plain program does."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app


def test_the_demonstration():
    result = CliRunner().invoke(app, ["monitor", "demo", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["agrees"]
    assert found["shared"]
    assert len(found["minutes"]) == 12
    assert found["used"] == sum(minute[2] for minute in found["minutes"]) == 32
    assert found["bought"] == found["used"] + found["given_back"]
    # A deposit, a purchase, a refund, and one for each token that was used.
    assert found["receipts"] == 3 + found["used"]
    assert found["looked_for"] > 5
    assert found["found_in_files"] == 0


@pytest.mark.long
def test_it_is_shown():
    result = CliRunner().invoke(app, ["monitor", "demo"])
    assert result.exit_code == 0, result.output
    for text in ("advice", "one chain", "all as the plain program advises", "0 of"):
        assert text in " ".join(result.stdout.split())

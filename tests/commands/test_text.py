from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app


def run(*arguments):
    return CliRunner().invoke(app, ["text", "demo", *arguments])


def test_the_demo_tells_both_patients_apart_and_draws_them(tmp_path):
    path = tmp_path / "rho.png"
    done = run("--json", "--out", str(path))
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    ill, well = found["patients"]["failing heart"], found["patients"]["no episode"]
    assert ill["fits"]
    assert not well["fits"]
    # 16 days are before an episode in the middle, and this one is 9 days later.
    assert abs(ill["best_lag"] - 25) <= 5
    assert len(ill["lags"]) == len(ill["rho"]) == 60 + 28 - 1
    assert all(0 <= rho <= 1 for rho in ill["rho"] + well["rho"])
    assert set(found["bytes"]) == {"patient seals", "physician asks", "cloud"}
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_demo_prints_a_table():
    done = run("--seed", "2")
    assert done.exit_code == 0
    assert "ρ by lag in days" in done.stdout
    assert "failing heart: fits from day" in done.stdout
    assert "no episode: does not fit" in done.stdout


@pytest.mark.parametrize("name", ["rho.xyz", "missing/rho.png"])
def test_pictures_that_cannot_be_written_are_a_plain_error(name, tmp_path):
    done = run("--out", str(tmp_path / name))
    assert done.exit_code == 2
    assert done.stderr.startswith("ompd: picture: ")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = run("--out", str(tmp_path / "rho.png"))
    assert done.exit_code == 2
    assert "ompd[audit]" in done.stderr

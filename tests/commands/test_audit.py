from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from ompd import Feature, Schema
from ompd.commands.audit import audit

app = typer.Typer()
app.command()(audit)


def run(*arguments):
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def own(tmp_path):
    """A small table of one's own with its schema."""
    schema = Schema(
        [Feature("age", "ordinal", 18, 96), Feature("grade", "ordinal", 1, 4)], ["ill", "well"]
    )
    rows = [f"{20 + 3 * i},{1 + i % 2},well" for i in range(12)]
    rows += [f"{50 + 3 * i},{3 + i % 2},ill" for i in range(12)]
    (tmp_path / "own.csv").write_text("\n".join(["age,grade,outcome", *rows]) + "\n")
    (tmp_path / "own.json").write_bytes(schema.to_json())
    return str(tmp_path / "own.csv"), str(tmp_path / "own.json")


@pytest.mark.parametrize("dataset", ["wbc", "mm"])
def test_json_shows_the_break(dataset):
    done = run("--dataset", dataset, "--profile", "paper", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert list(result) == ["paper"]
    assert result["paper"]["cells_from_ciphertext"]["recovered"] == 1
    assert result["paper"]["queries_from_ciphertext"]["recovered"] == 1


def test_own_table_under_two_profiles(own, tmp_path):
    pytest.importorskip("matplotlib")
    table, schema = own
    picture = tmp_path / "own.png"
    done = run(
        "--table", table, "--schema", schema, "--plot", str(picture),
        "--profile", "hardened", "--profile", "paper",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert picture.stat().st_size > 10_000
    for words in ("paper: what the cloud recovers from own.csv", "hardened:", "cells from",
                  "baseline", "100.0%"):  # fmt: skip
        assert words in done.stdout
    assert "sealed:" not in done.stdout


def test_the_same_seed_gives_the_same_known_rows(own):
    table, schema = own
    first, second = (
        json.loads(run("--table", table, "--schema", schema, "--profile", "paper", "--json").stdout)
        for _ in range(2)
    )
    for known in ("1_known_row", "2_known_rows", "5_known_rows"):
        for number in ("recovered", "baseline"):
            attack = f"cells_from_{known}"
            assert second["paper"][attack][number] == first["paper"][attack][number]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table", "own.csv"), "expected both or neither"),
        (("--schema", "own.json"), "expected both or neither"),
        (("--table", "absent.csv", "--schema", "absent.json"), "no such file"),
        (("--seed", "-1"), "seed: expected"),
    ],
)
def test_wrong_input_in_one_line(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("ompd: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_pictures_are_checked_before_the_attacks(tmp_path):
    pytest.importorskip("matplotlib")
    done = run("--plot", str(tmp_path / "picture.doc"))
    assert done.exit_code == 2
    assert "ends in one of" in done.stderr


def test_unknown_profile_names_the_choices():
    done = run("--profile", "plain")
    assert done.exit_code == 2
    text = " ".join(done.stderr.replace("│", " ").split())
    assert "'aggregate', 'text', 'images', 'paper', 'hardened', 'sealed'" in text

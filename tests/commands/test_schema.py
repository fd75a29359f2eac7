"""The command that proposes a schema."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app
from ompd.datasets import load
from ompd.schema import Schema

ROWS = "pid;age;sex;note;diagnosis\n" + "".join(
    f"{7391000 + i};{20 + i};{'fm'[i % 2]};Erika{i};{'no' if i % 3 else 'yes'}\n" for i in range(40)
)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text(ROWS)


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["schema", *arguments])
    assert done.exit_code == code, done.output
    for cell in ("7391", "Erika"):
        assert cell not in done.output
    if code:
        assert done.stderr.startswith("ompd: ")
        assert done.stderr.count("\n") == 1
    return done


def test_a_schema_is_proposed_and_read():
    done = run("own.csv")
    assert "Classes, in column 'diagnosis': no, yes" in done.output
    assert "Ids of rows, in column 'pid'" in done.output
    assert "column 'note' is left out" in done.output
    assert "Wrote own.toml" in done.output
    data = load("own.csv", "own.toml")
    assert [feature.name for feature in data.schema.features] == ["age", "sex"]
    assert data.ids[0] == "7391000"
    assert stat.S_IMODE(os.stat("own.toml").st_mode) == 0o600
    assert "7391" not in Path("own.toml").read_text()


def test_choices():
    run("own.csv", "--out", "other.toml", "--label", "sex", "--id", "")
    schema = Schema.from_toml(Path("other.toml").read_text())
    assert schema.table.label == "sex"
    assert schema.table.id == ""


def test_nothing_is_overwritten():
    run("own.csv")
    before = Path("own.toml").read_text()
    assert "is there already" in run("own.csv", "--label", "sex", code=2).stderr
    assert Path("own.toml").read_text() == before
    assert sorted(os.listdir()) == ["own.csv", "own.toml"]


def test_what_cannot_be_proposed():
    assert "no such file" in run("none.csv", code=2).stderr
    assert "label: expected one of" in run("own.csv", "--label", "x", code=2).stderr
    assert "cannot be written" in run("own.csv", "--out", "none/own.toml", code=2).stderr
    assert os.listdir() == ["own.csv"]


def test_a_full_disk_leaves_nothing(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "cannot be written" in run("own.csv", code=2).stderr
    assert os.listdir() == ["own.csv"]


def test_names_are_shown_as_they_are_and_move_no_cursor(tmp_path):
    head = "[red]x[/red],[/],\x1b[31mage\x07,class"
    names = "[bold]a", "b\x1b[2J"
    lines = "".join(f"{i % 7},{i % 5},{20 + i},{names[i % 2]}\n" for i in range(40))
    (tmp_path / "own.csv").write_text(f"{head}\n{lines}")
    done = run("own.csv")
    for text in ("[red]x[/red]", "[/]", "[31mage", "[bold]a"):
        assert text in done.output
    assert "\x1b" not in done.output
    assert load("own.csv", "own.toml").schema.features[0].name == "[red]x[/red]"


def test_errors_move_no_cursor(tmp_path):
    (tmp_path / "own.csv").write_text("x,\x1b[31m\n1,2\n2,1\n")
    done = run("own.csv", "--label", "x", "--id", "\x1b[31mpid", code=2)
    assert "\x1b" not in done.stderr

from __future__ import annotations

import pandas as pd
import pytest
from typer.testing import CliRunner

from ompd import datasets
from ompd.commands.app import app


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Records and new people as files."""
    train, test = datasets.load("wbc").split(test_per_class=20, seed=2)
    names = [feature.name for feature in train.schema.features]
    old = pd.DataFrame(train.features.astype(int), columns=names)
    old["class"] = train.schema.names(train.labels)
    old.to_csv(tmp_path / "old.csv", index=False)
    new = pd.DataFrame(test.features.astype(int), columns=names)
    new.insert(0, "case", [f"p{row}" for row in range(len(new))])
    new.loc[4, names[2]] = 99
    new.to_csv(tmp_path / "new.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return test


def call(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_the_example_of_the_help_runs(folder):
    assert "Example" in call("score", "--help").output
    assert call("schema", "old.csv", "--out", "form.toml").exit_code == 0
    done = call(
        "score", "new.csv", "found.csv", "--records", "old.csv", "--schema", "form.toml",
        "--profile", "sealed", "--id", "case",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "with an error" in done.output
    found = pd.read_csv("found.csv")
    assert found["id"].tolist() == [f"p{row}" for row in range(40)]
    assert found["error"].notna().tolist() == [row == 4 for row in range(40)]
    right = found["label"] == folder.schema.names(folder.labels)
    assert right.mean() > 0.9


def test_without_parties_and_with_built_in_records(folder):
    done = call("score", "new.csv", "found.parquet", "--records", "wbc", "--k", 9)
    assert done.exit_code == 0, done.output
    assert len(pd.read_parquet("found.parquet")) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("new.csv", "old.csv", "--records", "wbc"), "is there already"),
        (("new.csv", "found.txt", "--records", "wbc"), "expected a name that ends in"),
        (("absent.csv", "found.csv", "--records", "wbc"), "cannot be read"),
        (("new.csv", "found.csv", "--records", "old.csv"), "schema: needed"),
        (("new.csv", "found.csv", "--records", "wbc", "--k", 4), "odd"),
        (("new.csv", "found.csv", "--records", "wbc", "--id", "name"), "'name'"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(folder, arguments, message):
    done = call("score", *arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output


def test_ctrl_c_says_how_to_go_on(folder, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ompd.bulk.score.found_of", stop)
    done = call("score", "new.csv", "found.csv", "--records", "wbc")
    assert done.exit_code == 130
    assert "the same command goes on" in done.output
    monkeypatch.undo()


def test_brackets_are_no_markup(folder, tmp_path):
    assert "ompd[sklearn]" in " ".join(call("score", "--help").output.split())
    old = pd.read_csv("old.csv")
    old["class"] = old["class"].map({"benign": "[red]no[/red]", "malignant": "[/]"})
    old.to_csv("[b]old.csv", index=False)
    assert call("schema", "[b]old.csv", "--out", "form.toml").exit_code == 0
    done = call(
        "score", "new.csv", "[i]out.csv", "--records", "[b]old.csv", "--schema", "form.toml"
    )
    assert done.exit_code == 0, done.output
    for text in ("[i]out.csv", "[red]no[/red]", "[/]"):
        assert text in done.output

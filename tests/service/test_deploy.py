"""The files that a machine is set up with name what there is."""

from __future__ import annotations

import configparser
import json
import shutil
import subprocess

import pytest
import typer

from ompd.commands.app import app
from tests.places import PACKAGE

DEPLOY = PACKAGE / "service" / "deploy"


def known(arguments):
    """What a command of the program makes of its arguments."""
    name, *rest = arguments
    group = typer.main.get_command(app)
    return group.commands[name].make_context(name, rest).params


def test_the_unit_starts_a_server():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "ompd@.service")
    program, *arguments = unit["Service"]["ExecStart"].replace("%i", "hospital").split()
    assert program == "/opt/ompd/bin/ompd"
    params = known(arguments)
    assert str(params["config"]) == "hospital.toml"
    assert params["party"] == "hospital"
    # Longer than a report may take.
    assert int(unit["Service"]["TimeoutStopSec"]) > 120


def test_the_image_starts_a_server():
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    (entry,) = [line for line in lines if line.startswith("ENTRYPOINT")]
    (command,) = [line for line in lines if line.startswith("CMD")]
    assert json.loads(entry.partition(" ")[2]) == ["/opt/ompd/bin/ompd"]
    assert known(json.loads(command.partition(" ")[2]))["party"] == "hospital"
    assert any(line.startswith("USER 10001") for line in lines)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_understands_the_unit(tmp_path):
    text = (DEPLOY / "ompd@.service").read_text().replace("/opt/ompd/bin/ompd", "/bin/true")
    unit = tmp_path / "ompd@hospital.service"
    unit.write_text(text)
    done = subprocess.run(
        [shutil.which("systemd-analyze"), "verify", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr, done.stderr

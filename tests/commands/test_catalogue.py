"""The command that shows a catalogue."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import ompd
from ompd.commands.app import app
from ompd.crypto import Identity
from ompd.stores.registry import Registry
from tests.roles.test_catalogue import mixed


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A registry, and a hospital's catalogue."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    hospital = ompd.Hospital.create("st-mary", profile="paper")
    cloud = ompd.Cloud.create("cloud")
    ompd.introduce(hospital, cloud)
    for disease in ("flu", "f[red]e"):
        upload = hospital.publish(disease, mixed(), cloud="cloud", k=3)
        hospital.deliver(upload, cloud.store)
    (tmp_path / "catalogue").write_bytes(hospital.catalogue())
    with Registry(tmp_path / "registry") as registry:
        registry.admit(hospital.public, "hospital")
    return hospital


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["catalogue", *arguments])
    assert done.exit_code == code, done.output
    if code:
        assert done.stderr.startswith("ompd: ")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    return done


def test_a_catalogue_is_shown(files):
    shown = run("catalogue", "--registry", "registry").output
    for text in (
        "st-mary, made ", "flu", "f[red]e", "healthy, ill", "female, male", "0 to 120", "years",
        "days since 1990-01-01", "median", "paper, relief-mw, 3 neighbours, up to 100000 rows",
    ):  # fmt: skip
        assert text in shown
    one = run("catalogue", "--registry", "registry", "--disease", "flu").output
    assert "f[red]e" not in one


def test_what_cannot_be_shown_is_told_in_a_line(files, tmp_path):
    run("nothing", "--registry", "registry", code=2)
    assert "no such registry" in run("catalogue", "--registry", "none", code=2).stderr
    stderr = run("catalogue", "--registry", "registry", "--disease", "gout", code=2).stderr
    assert "is not in this catalogue" in stderr
    forged = bytearray((tmp_path / "catalogue").read_bytes())
    forged[-1] ^= 1
    (tmp_path / "forged").write_bytes(forged)
    assert "signature" in run("forged", "--registry", "registry", code=2).stderr
    (tmp_path / "long").write_bytes(bytes(9 << 20))
    assert "at most 8388608 bytes" in run("long", "--registry", "registry", code=2).stderr
    with Registry(tmp_path / "other") as registry:
        registry.admit(Identity.generate("st-john").public, "hospital")
    assert "no party of this id" in run("catalogue", "--registry", "other", code=2).stderr

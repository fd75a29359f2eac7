"""The commands of a health record, from an empty one to print."""

from __future__ import annotations

import json
import stat

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app
from ompd.record import slots
from tests.record.fhir.examples import EXAMPLES
from tests.record.files import TABLE, apple, bundle, zipped
from tests.record.importing.test_tables import GERMAN, MAPPING

pytest.importorskip("fhir.resources")
pytest.importorskip("ucumvert")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with files to import, and the password of a record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    # Each command opens the record anew.
    monkeypatch.setattr(slots, "_SCRYPT_N", 16)
    monkeypatch.setenv("OMPD_PASSWORD", "correct horse battery")
    (tmp_path / "export.zip").write_bytes(zipped(apple()))
    (tmp_path / "hospital.json").write_bytes(bundle([EXAMPLES["Condition"], EXAMPLES["Procedure"]]))
    wrong = EXAMPLES["Observation"] | {"status": "finall"}
    (tmp_path / "wrong.json").write_bytes(bundle([EXAMPLES["Immunization"], wrong]))
    (tmp_path / "plain.csv").write_bytes(TABLE)
    (tmp_path / "german.csv").write_bytes(GERMAN)
    (tmp_path / "german.toml").write_bytes(MAPPING)
    return tmp_path


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["record", *map(str, arguments)])
    assert done.exit_code == code, done.output
    if code:
        assert done.stderr.startswith("ompd: ")
        assert done.stderr.count("\n") == 1
    return done.stderr if code else done.stdout


def test_from_files_to_files(site):
    assert "empty record" in run("create", "ann")
    said = run("import", "ann", "export.zip", "hospital.json", "plain.csv")
    assert "export.zip: 9 added, 0 replaced, 0 known" in said
    assert "left out: 1 × HKQuantityTypeIdentifierDietaryCaffeine" in said
    assert "hospital.json: 2 added" in said
    assert "plain.csv: 4 added" in said
    assert "0 added, 0 replaced, 9 known" in run("import", "ann", "export.zip")
    assert "5 added" in run("import", "ann", "german.csv", "--mapping", "german.toml")
    error = run("import", "ann", "wrong.json", code=2)
    assert "wrong.json: entry[1]: Observation.status: expected one of" in error
    assert "1 added" in run("import", "ann", "wrong.json", "--partial")

    shown = run("show", "ann", "--limit", 30)
    assert "2023-04-05  Heart rate: 72 /min" in shown
    assert "I25.1: active" in shown
    assert "Puls: 72 /min" in run("show", "ann", "--language", "de")
    found = run("show", "ann", "--search", "smokes", "--limit", 1)
    assert "Smokes: " in found
    assert "and 2 more" in found
    reference = run("show", "ann", "--kind", "Condition").split()[-1]
    assert json.loads(run("show", "ann", reference))["code"] == EXAMPLES["Condition"]["code"]

    for form, begin in (("bundle", b"{"), ("summary", b"{"), ("table", b"\xef"), ("pdf", b"%PDF")):
        out = site / f"out.{form}"
        assert "not sealed" in run("export", "ann", out, "--form", form)
        assert out.read_bytes().startswith(begin)
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert "File exists" in run("export", "ann", site / "out.pdf", code=2)
    run("create", "twin")
    assert "21 added" in run("import", "twin", "out.bundle")
    run("export", "twin", "again")
    assert (site / "again").read_bytes() == (site / "out.bundle").read_bytes()


def test_what_cannot_be_done(site):
    assert "holds no record" in run("show", "ann", code=2)
    run("create", "ann")
    run("create", "ann", code=2)
    assert "missing.csv: expected a file" in run("import", "ann", "missing.csv", code=2)
    assert "mapping: expected" in run(
        "import", "ann", "german.csv", "--mapping", "missing.toml", code=2
    )
    assert "columns" in run("import", "ann", "german.csv", code=2)
    assert "nothing/out" in run("export", "ann", "nothing/out", code=2)
    run("show", "ann", "Observation/none", code=2)
    assert run("show", "ann") == ""
    file = site / "password"
    file.write_text("wrong horse\n")
    file.chmod(0o600)
    run("show", "ann", "--password-file", file, code=2)

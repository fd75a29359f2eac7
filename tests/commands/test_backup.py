"""The commands that copy a party's state, put it back, and verify its audit log."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app
from ompd.crypto.identity_files import load_identity, save_identity
from ompd.service.parties import password_of
from ompd.service.setup import set_up
from ompd.stores import AuditLog, Registry
from ompd.stores.audit_lines import Event


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder as `ompd init` makes it, in which the cloud has been."""
    folder = tmp_path / "site"
    set_up(folder, _n=16)
    monkeypatch.chdir(folder)
    state = folder / "cloud" / "state"
    state.mkdir(mode=0o700)
    with AuditLog(state / "audit-log", identity(folder, "cloud")) as log:
        log.append([Event(1.7e9, "hospital", "job", "wbc", "answered")])
    return folder


def identity(folder, role):
    return load_identity(folder / role / "identity", password_of(folder / role / "password"))


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == code, done.output
    if code:
        assert done.stderr.startswith("ompd: ")
        assert done.stderr.count("\n") == 1
    return done.stderr if code else done.stdout


def test_a_backup_and_back(site, tmp_path, monkeypatch):
    out = tmp_path / "cloud.backup"
    assert "files of cloud" in run("backup", "cloud", "--out", out)
    assert "File exists" in run("backup", "cloud", "--out", out, code=2)
    new = tmp_path / "new"
    new.mkdir()
    monkeypatch.chdir(new)
    said = run("restore", out)
    assert "restored cloud as it was on " in said
    assert "fingerprint" in said
    assert "revoke again" in said
    assert "put the password into" in said
    assert sorted(path.name for path in new.iterdir()) == ["cloud", "cloud.toml"]
    assert not (new / "cloud" / "password").exists()
    assert (new / "cloud.toml").read_bytes() == (site / "cloud.toml").read_bytes()
    assert "its place is not empty" in run("restore", out, code=2)
    # Elsewhere, by a configuration of its own.
    run("restore", out, "--config", tmp_path / "deep" / "er" / "own.toml")
    assert (tmp_path / "deep" / "er" / "cloud" / "identity" / "identity.json").exists()
    out.write_bytes(out.read_bytes()[:-2000])
    assert "backup: is cut" in run("restore", out, "--config", tmp_path / "x.toml", code=2)
    assert not (tmp_path / "x.toml").exists()


def test_what_cannot_be_backed_up(site, tmp_path):
    assert "state: is missing" in run("backup", "hospital", "--out", tmp_path / "b", code=2)
    with AuditLog(site / "cloud" / "state" / "audit-log", identity(site, "cloud")):
        said = run("backup", "cloud", "--out", tmp_path / "b", code=2)
    assert "state/audit-log: another process has it open" in said
    assert "none.toml" in run(
        "backup", "user", "--config", "none.toml", "--out", tmp_path / "b", code=2
    )
    assert not (tmp_path / "b").exists()


def test_a_log_in_order(site):
    log = site / "cloud" / "state" / "audit-log"
    said = run("audit-log", "verify", log, "--identity", site / "cloud" / "identity")
    assert "1 to 5, in order" in said
    assert "up to 5, all of them" in said
    assert "torn" not in said
    known = said.splitlines()[-1].removeprefix("note elsewhere: ")
    registry = site / "hospital" / "registry.db"
    run("audit-log", "verify", log, "--registry", registry, "--known", known)
    with (log / "log-0000000000000001").open("ab") as file:
        file.write(b'{"line":"event","n":6')
    said = run("audit-log", "verify", log, "--registry", registry, "--known", known)
    assert "21 bytes that are no entry" in said
    assert "open, or its process was killed" in said
    with AuditLog(log, identity(site, "cloud")):
        pass
    said = run("audit-log", "verify", log, "--registry", registry, "--known", known)
    assert "1, with 1 torn ends kept" in said


def test_a_log_that_was_changed(site, tmp_path):
    log = site / "cloud" / "state" / "audit-log"
    own = "--identity", site / "cloud" / "identity"
    said = run("audit-log", "verify", log, *own)
    number, _, chain = said.splitlines()[-1].removeprefix("note elsewhere: ").partition(":")
    for known, match in (
        (f"{number}:{chain[::-1]}", "is another one"), (f"9{number}:{chain}", "older state"),
        (chain, "expected NUMBER:CHAIN"),
    ):  # fmt: skip
        assert match in run("audit-log", "verify", log, *own, "--known", known, code=2)
    assert "expected --identity" in run("audit-log", "verify", log, code=2)
    other = "--identity", site / "user" / "identity"
    assert "no keys of its owner cloud" in run("audit-log", "verify", log, *other, code=2)
    assert "no such registry" in run("audit-log", "verify", log, "--registry", "none", code=2)
    assert "No such file" in run("audit-log", "verify", tmp_path / "none", *own, code=2)
    file = log / "log-0000000000000001"
    file.write_bytes(file.read_bytes().replace(b"answered", b"refused!"))
    assert "was changed" in run("audit-log", "verify", log, *own, code=2)


def test_keys_that_were_replaced_are_known_to_the_registry(site):
    from ompd.crypto import Identity
    from ompd.crypto.rotation import Rotation

    log = site / "cloud" / "state" / "audit-log"
    old = identity(site, "cloud")
    new = Identity.generate("cloud")
    password = password_of(site / "cloud" / "password")
    save_identity(site / "cloud" / "identity", new, password, replace=True, _n=16)
    with AuditLog(log, new):
        pass
    own = "--identity", site / "cloud" / "identity"
    assert "not its owner's" in run("audit-log", "verify", log, *own, code=2)
    registry = site / "hospital" / "registry.db"
    assert "not its owner's" in run("audit-log", "verify", log, "--registry", registry, code=2)
    with Registry(registry) as opened:
        opened.rotate(new.public, Rotation.make(old, new.public).signature)
    assert "in order" in run("audit-log", "verify", log, "--registry", registry)

"""A record at the server of a cloud, over a network that loses answers, through the commands."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app
from ompd.crypto import PublicIdentity
from ompd.errors import OmpdError
from ompd.record import Record, Shared, slots
from ompd.service import SubscriberClient
from ompd.stores.registry import Registry
from tests.record.people import condition, observation
from tests.record.test_cloud import contents
from tests.service.lines import answer_to, get
from tests.service.processes import cloud_process, made
from tests.service.proxy import Proxy
from tests.service.test_subscriber import person

pytest.importorskip("fhir.resources")

PASSWORD = "correct horse battery"  # noqa: S105
CONFIG = """
id = "{name}"
identity = "identity"
password_file = "password"
registry = "registry.db"
wallet = "wallet.db"

[clouds]
cloud = "{cloud}"
"""


def run(*arguments, code=0):
    done = CliRunner().invoke(app, ["record", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stderr if code else done.stdout


@pytest.mark.long
def test_backed_up_restored_shared_and_revoked(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "_SCRYPT_N", 16)
    monkeypatch.setenv("OMPD_PASSWORD", PASSWORD)
    monkeypatch.setenv("COLUMNS", "200")
    parties = made(tmp_path / "parties", profile="paper")
    identities = {name: person(tmp_path / name, name) for name in ("alice", "bell")}
    with Registry(parties / "cloud" / "registry.db") as registry:
        for identity in identities.values():
            registry.admit(identity.public, "user")
    with cloud_process(parties) as process, Proxy() as proxy:
        proxy.target = ("127.0.0.1", int(process.url.rsplit(":", 1)[1]))
        cloud = PublicIdentity.from_bytes(answer_to(process.url, get("/v1/identity"))[1])
        for name in identities:
            with Registry(tmp_path / name / "registry.db") as registry:
                registry.admit(cloud, "cloud")
                for other, identity in identities.items():
                    if other != name:
                        registry.admit(identity.public, "user")
            text = CONFIG.format(name=name, cloud=proxy.url)
            (tmp_path / name / "person.toml").write_text(text)
        proxy.lose_first = True
        commands(tmp_path)
        assert proxy.lost > 5


def commands(tmp_path):
    folder, config = tmp_path / "record", ("--config", tmp_path / "alice" / "person.toml")
    notices = tmp_path / "notices"
    run("create", folder)
    with Record.open(folder, PASSWORD) as record:
        record.add_all([observation(f"o{n}", day=n) for n in range(30)])
        record.add(condition("c", "73211009"))
        before = contents(record)
    assert "31 resources" in run("backup", folder, *config)
    assert "31 resources" in run("restore", tmp_path / "new", *config)
    with Record.open(tmp_path / "new", PASSWORD) as record:
        assert contents(record) == before
    assert "older" in run("restore", tmp_path / "newer", *config, "--least", 99, code=2)
    assert "already" in run("restore", tmp_path / "new", *config, code=2)

    code = run("public", "--config", tmp_path / "bell" / "person.toml").strip()
    assert code.startswith("bell:")
    assert "name:key" in run(
        "share", folder, "bell:zz", "Observation", "--out", notices, *config, code=2
    )
    assert "until" in run("share", folder, code, "Condition", "--out", notices, *config)
    assert "bell: Condition" in run("shares", folder)
    with SubscriberClient.open(tmp_path / "bell" / "person.toml") as bell:
        view = Shared.open(bell, notices.read_bytes())
        assert set(contents(view)) == {"Condition/c"}
        with Record.open(folder, PASSWORD) as record:
            record.add(condition("d", "44054006"))
        assert "Condition" in run("refresh", folder, *config)
        assert len(Shared.open(bell, notices.read_bytes())) == 2
        assert "Condition" in run("revoke", folder, "bell", *config)
        with pytest.raises(OmpdError):
            Shared.open(bell, notices.read_bytes())
    assert run("shares", folder) == ""
    new = tmp_path / "new password"
    new.touch(0o600)
    new.write_text("another horse battery")
    assert "new password" in run("password", folder, "--new-password-file", new)
    assert "password" in run("shares", folder, code=2)
    assert run("shares", folder, "--password-file", new) == ""

"""The authority's server: tokens are sold and used across kills, and strangers get nothing."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import ompd
from ompd.commands.app import app
from ompd.crypto import Identity, PublicIdentity
from ompd.crypto.identity_files import save_identity
from ompd.crypto.prekey_files import open_prekeys
from ompd.errors import CreditError, RefusedError
from ompd.files import write_private
from ompd.roles import Cloud, Company, Subscriber
from ompd.stores import Keeper
from ompd.stores.registry import Registry
from tests.monitor import programs
from tests.monitor.shop import SOURCE
from tests.places import ROOT
from tests.service.lines import answer_to, get, post

CONFIG = """
id = "ta"
identity = "identity"
password_file = "password"
registry = "registry.db"
state = "state"

[listen]
port = 0
metrics_port = 0
"""


def made(folder, *parties):
    """Configuration and keys of an authority that knows these."""
    folder.mkdir()
    identity = Identity.generate("ta")
    write_private(folder / "password", [b"a password\n"])
    save_identity(folder / "identity", identity, "a password", role="authority", _n=16)
    open_prekeys(folder / "identity", "a password", identity, _n=16).begin()
    with Registry(folder / "registry.db") as registry:
        for party in parties:
            registry.admit(party.public, party.role)
    (folder / "authority.toml").write_text(CONFIG)
    return folder / "authority.toml"


@contextlib.contextmanager
def served(config):
    process = subprocess.Popen(
        [sys.executable, "-m", "ompd", "serve", "authority", "--config", str(config)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("ta serves at "), line
        yield process, line.split()[3].rstrip(",")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.long
def test_tokens_are_sold_and_used_across_kills(tmp_path):
    alice, eve = (Subscriber.create(name, wallet=tmp_path / name) for name in ("alice", "eve"))
    company = Company.create("acme")
    keeper = Keeper(tmp_path / "keeper")
    cloud = Cloud.create("cloud", keeper=keeper)
    ompd.introduce(cloud, alice, eve, company)
    config = made(tmp_path / "authority", alice, eve, company)
    to_cloud = ("cloud", cloud.keeping.answer)

    def carried(path):
        def carry(data):
            status, body = answer_to(url, post(data, path))
            assert status == 200, status
            return body

        return carry

    frames, letters = carried("/v1/frames"), carried("/v1/evaluations")
    command = ["monitor", "deposit", "alice", "3", "--payment", "invoice 1", "--config", config]
    with served(config) as (process, url):
        public = PublicIdentity.from_bytes(answer_to(url, get("/v1/identity"))[1])
        for party in (alice, eve, company):
            party.meet(public, "authority")
        # While the server runs, and once however often.
        for _ in range(2):
            result = CliRunner().invoke(app, list(map(str, command)))
            assert result.exit_code == 0, result.output
            assert "can buy 3 tokens" in result.output
        encoded = company.publish(programs.text(SOURCE), authority=("ta", frames), cloud=to_cloud)
        card = alice.read_card(encoded)
        alice.buy(card, 3, frames)
        with pytest.raises(RefusedError):
            eve.buy(card, 1, frames)
        program = alice.fetch(card, to_cloud[1])
        sent = []

        def lost(letter):
            sent.append(letters(letter))
            raise ConnectionError

        with pytest.raises(ConnectionError):
            alice.advise(card, program, {"a0": 5}, lost)
        process.kill()
    with served(config) as (process, url):
        alice.resume(card, frames, letters)
        assert alice.advise(card, program, {"a0": 5}, letters) == "low"
        assert alice.purse(card).ready == 2
        for data, path in (
            (b"x" * 100, "/v1/evaluations"),
            (b"", "/v1/evaluations"),
            (b"x" * 100, "/v1/frames"),
        ):
            assert answer_to(url, post(data, path))[0] == 400
        assert answer_to(url, post(bytes(1 << 20), "/v1/evaluations"))[0] == 400
        alice.give_back(card, 2, frames)
        with pytest.raises(CreditError):
            alice.advise(card, program, {"a0": 6}, letters)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    keeper.close()
    for party in (alice, eve):
        party.close()

"""The client of who keeps records and pays for advice, through real servers and a bad network."""

from __future__ import annotations

import contextlib

import pytest
from typer.testing import CliRunner

from ompd.commands.app import app
from ompd.crypto import Identity, PublicIdentity
from ompd.crypto.identity_files import save_identity
from ompd.crypto.prekey_files import open_prekeys
from ompd.errors import (
    ConfigError,
    CreditError,
    GrantError,
    ParameterError,
    RefusedError,
    StoreError,
    UnreachableError,
)
from ompd.files import write_private
from ompd.roles import Company, Subscriber
from ompd.roles.sharing_keys import FILE, open_sharing_key
from ompd.service import SubscriberClient
from ompd.stores.registry import Registry
from tests.monitor import programs
from tests.monitor.shop import SOURCE
from tests.service import test_authority
from tests.service.lines import answer_to, get, post
from tests.service.processes import cloud_process, made
from tests.service.proxy import Proxy

CONFIG = """
id = "{name}"
identity = "identity"
password_file = "password"
registry = "registry.db"
wallet = "wallet.db"

[clouds]
cloud = "{cloud}"

[authorities]
ta = "{authority}"
"""


def person(folder, name):
    """Keys of a person, whom nobody knows yet."""
    folder.mkdir()
    identity = Identity.generate(name)
    write_private(folder / "password", [b"a password\n"])
    save_identity(folder / "identity", identity, "a password", role="user", _n=16)
    open_prekeys(folder / "identity", "a password", identity, _n=16)
    return identity


def test_a_sharing_key_is_made_once_and_is_of_its_identity(tmp_path):
    alice, bell = Identity.generate("alice"), Identity.generate("bell")
    key = open_sharing_key(alice, tmp_path)
    assert open_sharing_key(alice, tmp_path).public == key.public
    path = tmp_path / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    kept = path.read_bytes()
    assert key.to_bytes() not in kept
    with pytest.raises(StoreError):
        open_sharing_key(bell, tmp_path)
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(StoreError):
        open_sharing_key(alice, tmp_path)
    # What is sealed under it would be lost.
    assert path.read_bytes()[:-1] == kept[:-1]


def test_what_cannot_be_asked(tmp_path):
    alice = Subscriber.create("alice", wallet=tmp_path / "w")
    with pytest.raises(ParameterError):
        SubscriberClient(alice, clouds={}, authorities={}, patience=0)
    nowhere = "http://127.0.0.1:1"
    with SubscriberClient(
        alice, clouds={"a": nowhere, "b": nowhere}, authorities={}, patience=0.2
    ) as client:
        alice.meet(Subscriber.create("a", wallet=tmp_path / "a").public, "cloud")
        with pytest.raises(ConfigError):
            client.store("diary", b"x")
        with pytest.raises(ConfigError):
            client.store("diary", b"x", cloud="c")
        with pytest.raises(UnreachableError):
            client.store("diary", b"x", cloud="a")
    alice.close()


@pytest.mark.long
def test_records_and_advice_over_a_network_that_loses_answers(tmp_path):
    parties = made(tmp_path / "parties", profile="paper")
    company = Company.create("acme")
    identities = {name: person(tmp_path / name, name) for name in ("alice", "bell", "eve")}
    people = [*(identity.public for identity in identities.values())]
    authority = test_authority.made(tmp_path / "authority", company)
    for path in (parties / "cloud" / "registry.db", tmp_path / "authority" / "registry.db"):
        with Registry(path) as registry:
            for public in people:
                registry.admit(public, "user")
            registry.admit(company.public, "company")
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(Proxy()) for _ in range(2)]
        to_cloud, to_authority = proxies
        cloud = stack.enter_context(cloud_process(parties))
        (ta, url) = stack.enter_context(test_authority.served(authority))
        for proxy, place in ((to_cloud, cloud.url), (to_authority, url)):
            proxy.target = ("127.0.0.1", int(place.rsplit(":", 1)[1]))
        publics = {
            role: PublicIdentity.from_bytes(answer_to(place, get("/v1/identity"))[1])
            for role, place in (("cloud", cloud.url), ("authority", url))
        }
        for name in identities:
            with Registry(tmp_path / name / "registry.db") as registry:
                for role, public in publics.items():
                    registry.admit(public, role)
                for public in people:
                    if public.id != name:
                        registry.admit(public, "user")
                registry.admit(company.public, "company")
            text = CONFIG.format(name=name, cloud=to_cloud.url, authority=to_authority.url)
            (tmp_path / name / "person.toml").write_text(text)
        for role, public in publics.items():
            company.meet(public, role)

        def through(place):
            return lambda frame: answer_to(place, post(frame))[1]

        encoded = company.publish(
            programs.text(SOURCE), authority=("ta", through(url)),
            cloud=("cloud", through(cloud.url)),
        )  # fmt: skip
        command = ["monitor", "deposit", "alice", "6", "--payment", "one", "--config"]
        assert CliRunner().invoke(app, [*command, str(authority)]).exit_code == 0

        def opened(name):
            return stack.enter_context(
                SubscriberClient.open(tmp_path / name / "person.toml", patience=15)
            )

        alice, bell, eve = (opened(name) for name in identities)
        for proxy in proxies:
            proxy.lose_first = True
        card = alice.read_card(encoded)
        alice.buy(card, 3)
        assert alice.ready(card) == 3
        assert alice.advise(card, {"a0": 101, "a1": 8}) == "high"
        assert alice.ready(card) == 1
        with pytest.raises(RefusedError):
            eve.buy(card, 1)
        name = alice.store("cardio", b"rate 71")
        alice.outsource("cardio")
        notice = alice.grant("cardio", "bell", bell.public)
        scope = alice.subscriber.records.scope("cardio")
        # Each answer was lost once, and there is one record and one order of each.
        assert to_cloud.lost > 3
        assert to_authority.lost > 3
        assert alice.names(scope) == [name]
        assert alice.open_record(scope, name) == b"rate 71"
        received = bell.accept(notice)
        assert bell.names(received.scope) == [name]
        assert bell.open_shared(received, name) == b"rate 71"
        with pytest.raises(RefusedError):
            eve.names(scope)
        alice.revoke(scope, "bell")
        with pytest.raises((RefusedError, GrantError)):
            bell.open_shared(received, name)

        # An authority that takes what is paid, and answers nothing: an order that stays.
        to_authority.swallow = True
        alice._patience = 0.5
        alice._callers["ta"]._http.timeout = 0.5
        with pytest.raises(UnreachableError):
            alice.buy(card, 1)
        alice.close()
        bell.close()
        to_authority.swallow = False
        alice = opened("alice")
        # The record opens again: its key was kept.
        assert alice.open_record(scope, name) == b"rate 71"
        alice.buy(card, 1)
        assert alice.ready(card) == 3
        assert alice.advise(card, {"a0": 101, "a1": 8}) == "high"
        assert alice.ready(card) == 3
        alice.give_back(card, 2)
        assert alice.ready(card) == 1
        # One attribute is known, the other is paid with the last token.
        assert alice.advise(card, {"a0": 101, "a1": 7}) == "middle"
        with pytest.raises(CreditError):
            alice.advise(card, {"a0": 102, "a1": 7})
        alice.remove(scope, name)
        assert alice.names(scope) == []
        assert ta.poll() is None


@pytest.mark.long
def test_an_address_waits_that_asks_for_very_many(tmp_path):
    config = test_authority.made(tmp_path / "authority")
    config.write_text(config.read_text().replace("[listen]", "evaluations = 2\n[listen]", 1))
    with test_authority.served(config) as (_, url):
        found = [answer_to(url, post(b"x" * 100, "/v1/evaluations"))[0] for _ in range(8)]
        assert found[:4] == [400] * 4
        assert 503 in found[4:]
        assert answer_to(url, get("/v1/identity"))[0] == 200

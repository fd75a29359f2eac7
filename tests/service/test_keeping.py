"""Records and programs through the cloud's server."""

from __future__ import annotations

import pytest

import ompd
from ompd.crypto import PublicIdentity
from ompd.errors import FramingError, RefusedError
from ompd.roles import Authority, Company, Subscriber
from ompd.stores.registry import Registry
from tests.monitor import programs
from tests.monitor.shop import SOURCE
from tests.service.lines import answer_to, get, post
from tests.service.processes import cloud_process, made


@pytest.mark.long
def test_records_and_programs_outlive_the_server(tmp_path):
    folder = made(tmp_path / "parties", profile="paper")
    alice, bell, eve = (
        Subscriber.create(name, wallet=tmp_path / name) for name in ("alice", "bell", "eve")
    )
    company = Company.create("acme")
    authority = Authority.create("ta", till=tmp_path / "till")
    people = alice, bell, eve, company
    with Registry(folder / "cloud" / "registry.db") as registry:
        for party in people:
            registry.admit(party.public, party.role)

    def carried(frame):
        status, body = answer_to(url, post(frame))
        assert status == 200
        return body

    cloud = ("cloud", carried)
    with cloud_process(folder) as process:
        url = process.url
        public = PublicIdentity.from_bytes(answer_to(url, get("/v1/identity"))[1])
        for party in people:
            party.meet(public, "cloud")
        ompd.introduce(authority, alice, company)
        alice.meet(bell.public)
        bell.meet(alice.public)
        authority.till.deposit("alice", b"p" * 16, 2)
        card = company.publish(
            programs.text(SOURCE), authority=("ta", authority.serve), cloud=cloud
        )
        name = alice.records.store("cardio", b"rate 71", cloud)
        notice = alice.records.grant("cardio", "bell", bell.records.public, cloud)
        alice.records.outsource("cardio", cloud)
        with pytest.raises(RefusedError):
            eve.records.names(alice.records.scope("cardio"), cloud)
        process.kill()
    with cloud_process(folder) as process:
        url = process.url
        received = bell.records.accept(notice)
        assert bell.records.names(received.scope, cloud) == [name]
        assert bell.records.open_shared(received, name, cloud) == b"rate 71"
        assert alice.records.open(received.scope, name, cloud) == b"rate 71"
        found = alice.read_card(card)
        alice.buy(found, 2, authority.serve)
        content = alice.fetch(found, carried)
        values = {"a0": 101, "a1": 8}
        assert alice.advise(found, content, values, authority.evaluate) == "high"
        # Nobody's frame, and one of nobody who is known.
        sent = []
        stranger = Subscriber.create("stranger", wallet=tmp_path / "stranger")
        stranger.meet(public, "cloud")
        with pytest.raises(FramingError):
            stranger.records.names(
                received.scope, ("cloud", lambda frame: sent.append(frame) or b"")
            )
        assert answer_to(url, post(sent[0]))[0] == 400
        assert process.status()["ready"]
        assert process.stop() == 0
    for party in (alice, bell, eve, authority, stranger):
        party.close()

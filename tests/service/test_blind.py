"""Blind queries over HTTP: the key is enrolled where it is asked for, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from ompd.errors import AllowanceError, BusyError, StoreError
from ompd.service import Client
from ompd.service.blind import BlindAnswers
from ompd.service.crew import Crew
from ompd.service.journal import Journal
from ompd.service.logs import logger
from ompd.service.metrics import Metrics
from tests.roles.conftest import World, instances, post_of
from tests.service.test_client import DROP, LOSE, PERSON, Server


class Desk:
    """What a hospital's server has for blind queries, without its server."""

    def __init__(self, world):
        self.crew = Crew("hospital", 2)
        self.journal = Journal(Metrics(), None, logger("st-mary"))
        self.answers = BlindAnswers(world.hospital, self.crew, self.journal)

    def outcome(self, name):
        return self.journal.metrics.figure("ompd_queries_total", outcome=name)

    def answer(self, *frames):
        async def all_of_them():
            return await asyncio.gather(*map(self.answers.answer, frames), return_exceptions=True)

        return asyncio.run(all_of_them())


@pytest.fixture(scope="module")
def world():
    world = World(profile="sealed")
    world.hospital.publish("flu", instances(), profile="blind", answers=1000)
    world.user.learn(world.hospital.catalogue())
    return world


@pytest.fixture
def desk(world):
    made = Desk(world)
    yield made
    made.crew.close()


@pytest.fixture
def server(world, desk):
    made = Server(world)
    made.answer = lambda frame: desk.answer(frame)[0]
    yield made
    made.close()


@pytest.fixture
def client(server):
    with Client(server.world.user, "st-mary", server.url, patience=20) as made:
        yield made


def test_a_key_is_enrolled_where_it_is_asked_for(world, server, client):
    found = client.ask("flu", PERSON)
    expected = world.hospital.blind["flu"].model.judge([3, 4, 5])[1]
    assert found.probabilities.tobytes() == expected.tobytes()
    first = len(server.frames)
    client.ask("flu", PERSON)
    assert len(server.frames) == first + 1
    client.enrol()


def test_lost_answers_are_given_again(world, server, client):
    client.enrol()
    before = world.hospital.left("alice", "flu")
    server.script += [DROP, LOSE]
    assert client.ask("flu", PERSON)[0].label
    assert world.hospital.left("alice", "flu") == before - 1
    assert len(set(server.frames[-3:])) == 1


def test_who_has_had_all_answers_is_told_at_once(world, server, client):
    client.enrol()
    world.hospital.publish("cold", instances(1), profile="blind", answers=1)
    client.ask("cold", PERSON)
    first = len(server.frames)
    with pytest.raises(AllowanceError):
        client.ask("cold", PERSON)
    assert len(server.frames) == first + 1


def test_a_frame_is_answered_once(world, desk):
    desk.answer(world.user.enrol("st-mary"))
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    before = world.hospital.left("alice", "flu")
    answers = desk.answer(query, query, query)
    answers += desk.answer(query)
    assert len(set(answers)) == 1
    assert world.hospital.left("alice", "flu") == before - 1
    assert world.user.read(answers[0])[0].label
    assert (desk.outcome("answered"), desk.outcome("repeated")) == (1, 1)
    assert len(desk.answers) == 0


def test_a_frame_that_a_killed_process_claimed_is_refused(world, desk):
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    from ompd.errors import RefusedError
    from ompd.wire import Kind

    post = post_of(world.hospital)
    post.claim(post.authenticate(query, Kind.BLIND_QUERY))
    (refusal,) = desk.answer(query)
    with pytest.raises(RefusedError):
        world.user.read(refusal)


def test_strangers_get_nothing(world, desk):
    other = World(profile="sealed")
    other.hospital.publish("flu", instances(), profile="blind")
    other.user.learn(other.hospital.catalogue())
    query = other.user.ask("st-mary", "flu", [1, 2, 3])
    changed = bytearray(world.user.ask("st-mary", "flu", [1, 2, 3]))
    changed[-200] ^= 1
    assert desk.answer(query, bytes(changed), b"", b"junk") == [None] * 4


def test_where_the_disk_fails_the_same_frame_may_come_again(world, desk, monkeypatch):
    desk.answer(world.user.enrol("st-mary"))
    query = world.user.ask("st-mary", "flu", [1, 2, 3])

    def fail(*_):
        raise StoreError("blind: disk full")

    with monkeypatch.context() as patch:
        patch.setattr(type(world.hospital._blind._store), "take", fail)
        (error,) = desk.answer(query)
    assert isinstance(error, BusyError)
    assert world.user.read(desk.answer(query)[0])[0].label

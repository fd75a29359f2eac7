"""The two ends of the line: whatever is lost on the way, every row gets what it is due."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import ompd
from ompd.bulk import Asker, Desk, asker
from ompd.errors import ParameterError, RefusedError, UnknownKeyError
from ompd.roles import Diagnoses
from ompd.wire import Frame, Kind
from tests.bulk.conftest import records, rows_of
from tests.roles.conftest import World


def direct(world, rows):
    """What a hospital says that nothing is lost to."""
    return Asker(world.user, "st-mary", "flu", Desk(world.hospital, world.cloud.answer).answer).ask(
        rows
    )


class Lossy:
    """A line that loses what it carries: there, or back, at the given calls."""

    def __init__(self, carry, there=(), back=()):
        self.carry, self.there, self.back = carry, there, back
        self.calls = 0

    def __call__(self, frame):
        self.calls += 1
        if self.calls in self.there:
            raise ConnectionError
        answer = self.carry(frame)
        if self.calls in self.back:
            raise TimeoutError
        return answer


@pytest.mark.parametrize("profile", ["sealed", "paper"])
@pytest.mark.parametrize("lost", ["there", "back"])
@pytest.mark.parametrize("side", ["cloud", "user"])
def test_what_is_lost_once_is_sent_again(profile, lost, side):
    world = World(profile=profile)
    world.publish(data=records())
    rows = rows_of(5)
    expected = direct(world, rows)
    cloud, user = world.cloud.answer, None
    if side == "cloud":
        cloud = Lossy(cloud, **{lost: {1}})
    desk = Desk(world.hospital, cloud)
    user = Lossy(desk.answer, **{lost: {1}}) if side == "user" else desk.answer
    made = world.cloud.signatures_made
    assert Asker(world.user, "st-mary", "flu", user).ask(rows) == expected
    # Answered once: what came again got what was kept.
    assert world.cloud.signatures_made == made + 1
    assert world.hospital.open_jobs == world.user.open_queries == 0


@pytest.mark.parametrize("profile", ["sealed", "paper"])
def test_a_cloud_that_does_not_answer_is_asked_anew_once(profile):
    world = World(profile=profile)
    world.publish(data=records())
    rows = rows_of(5)
    expected = direct(world, rows)
    # Both tries of the first job, then the job of the second query.
    cloud = Lossy(world.cloud.answer, there={1, 2})
    assert (
        Asker(world.user, "st-mary", "flu", Desk(world.hospital, cloud).answer).ask(rows)
        == expected
    )
    assert cloud.calls == 3
    cloud = Lossy(world.cloud.answer, there=range(1, 5))
    found = Asker(world.user, "st-mary", "flu", Desk(world.hospital, cloud).answer).ask(rows)
    assert found == Diagnoses.failed(asker.NO_ANSWER, 5)
    assert cloud.calls == 4


def test_a_hospital_that_does_not_answer_at_all():
    world = World()
    world.publish(data=records())
    line = Lossy(None, there=range(99))
    assert (
        Asker(world.user, "st-mary", "flu", line).ask(rows_of(3)).error.tolist()
        == [asker.NO_ANSWER] * 3
    )
    assert Asker(world.user, "st-mary", "flu", lambda query: b"no").ask(rows_of(2)).failures == 2


def test_halves_are_tried_of_what_is_refused(monkeypatch):
    world = World(profile="paper")
    world.publish(data=records())
    rows = rows_of(21)
    rows[13] = 99  # outside the domain, which only the hospital knows
    desk = Desk(world.hospital, world.cloud.answer)
    line = Lossy(desk.answer)
    found = Asker(world.user, "st-mary", "flu", line).ask(rows)
    assert np.flatnonzero(found.error != "").tolist() == [13]
    assert found[13].error == asker.REFUSED
    good = np.delete(np.arange(21), 13)
    assert found.take(good) == direct(world, rows[good])
    # Who is refused from the beginning does not go on asking.
    line = Lossy(desk.answer)
    found = Asker(world.user, "st-mary", "gout", line).ask(rows)
    assert found == Diagnoses.failed(asker.REFUSED, 21)
    assert line.calls < 10


def test_what_concerns_all_rows_is_raised():
    world = World()
    world.publish(data=records())
    desk = Desk(world.hospital, world.cloud.answer)
    with pytest.raises(UnknownKeyError):
        Asker(world.user, "st-john", "flu", desk.answer).ask(rows_of(3))
    with pytest.raises(ParameterError, match="send"):
        Desk(world.hospital, None)


def test_a_weaker_table_than_demanded_tells_nothing():
    world = World()
    world.publish(data=records())
    strict = ompd.User.create("bob", least_profile="sealed", **world.options)
    ompd.introduce(strict, world.hospital)
    # The hospital refuses such a query by itself.
    desk = Desk(world.hospital, world.cloud.answer)
    found = Asker(strict, "st-mary", "flu", desk.answer).ask(rows_of(3))
    assert found.error.tolist() == [asker.REFUSED] * 3


def test_queries_of_many_users_at_once(world):
    world.publish("flu", records(seed=1))
    world.publish("gout", records(seed=2, features=5))
    people = [ompd.User.create(f"user-{i}", **world.options) for i in range(4)]
    ompd.introduce(world.hospital, *people)
    desk = Desk(world.hospital, world.cloud.answer)
    queries = [
        person.ask("st-mary", disease, [3.0] * n)
        for person in people
        for disease, n in (("flu", 3), ("gout", 5))
    ]
    queries.insert(3, b"nonsense")
    queries.insert(5, people[0].ask("st-mary", "measles", [1.0]))
    stranger = ompd.User.create("eve", **world.options)
    stranger.meet(world.hospital.public, "hospital")
    queries.append(stranger.ask("st-mary", "flu", [1.0, 2, 3]))
    answers = desk.serve(queries)
    assert answers[3] is None
    assert answers[-1] is None
    assert Frame.decode(answers[5], Kind.REFUSAL).header.recipient == "user-0"
    with pytest.raises(RefusedError):
        people[0].read(answers[5])
    told = [answer for place, answer in enumerate(answers) if place not in {3, 5, 10}]
    readers = [person for person in people for _ in range(2)]
    for person, answer in zip(readers, told, strict=True):
        assert len(person.read(answer)) == 1
    # Again, byte for byte, and nothing is asked.
    made = world.cloud.signatures_made
    assert desk.serve(queries) == answers
    assert world.cloud.signatures_made == made
    assert desk.serve([]) == []


@pytest.mark.parametrize("profile", ["sealed", "hardened"])
def test_many_threads_at_one_desk(profile):
    world = World(profile=profile)
    world.publish(data=records(rows=2000), k=3)
    rows = rows_of(60)
    expected = direct(world, rows)
    desk = Desk(world.hospital, world.cloud.answer)
    found = [None] * 12

    def ask(place):
        alone = Asker(world.user, "st-mary", "flu", desk.answer)
        found[place] = alone.ask(rows[5 * place : 5 * place + 5])

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = Diagnoses.concatenate(found)
    # A sealed table cannot always fetch all that it wants, and says so.
    sure = (whole.certified & expected.certified) | (profile != "sealed")
    assert sure.mean() > 0.7
    assert whole.take(sure) == expected.take(sure)
    assert not desk._open
    assert not desk._ready

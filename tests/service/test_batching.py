"""Batches of a hospital: who waits for whom, who is told to come again, and what nobody loses."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter

import pytest

import ompd
from ompd.errors import (
    BusyError,
    NoAnswerError,
    RefusedError,
    StoreError,
    UnreachableError,
)
from ompd.service import batching
from ompd.service.batching import Batching
from ompd.service.crew import Crew
from ompd.service.fair import FairQueue, Room
from ompd.service.journal import Journal
from ompd.service.logs import logger
from ompd.service.metrics import Metrics
from ompd.stores import AuditLog, ReplayGuard
from tests.roles.conftest import World, instances, keys_of, post_of


class Clouds:
    """Takes jobs to the cloud of a world; can be told to be late or away."""

    def __init__(self, world):
        self.world = world
        self.jobs = []
        self.at_once = Counter()
        self.most = Counter()
        # By how many bytes an answer may have, which tells tables of one or two rows apart.
        self.late = {}
        self.away = False

    async def __call__(self, cloud, frame, longest):
        assert cloud == "cloud"
        self.jobs.append(frame)
        table = await asyncio.to_thread(self.table, frame)
        self.at_once[table] += 1
        self.most[table] = max(self.most[table], self.at_once[table])
        try:
            if table in self.late:
                await self.late[table].wait()
            if self.away:
                raise UnreachableError("cloud: cannot be reached")
            answer = await asyncio.to_thread(self.world.cloud.answer, frame)
        finally:
            self.at_once[table] -= 1
        assert len(answer) <= longest
        return answer

    def table(self, frame):
        post = post_of(self.world.cloud)
        opened = post.open(post.authenticate(frame, *JOBS), ompd.wire.PaperJob)
        tables = self.world.hospital.tables
        return next(name for name in tables if tables[name].ref.table_id == opened.table_id)


JOBS = (ompd.wire.Kind.PAPER_JOB,)


@pytest.fixture
def world():
    made = World()
    made.publish("flu")
    made.publish("cold", instances(seed=1))
    return made


@contextlib.asynccontextmanager
async def serving(world, ask=None, audit=None, **options):
    crew = Crew("test", 4)
    metrics = Metrics()
    ask = Clouds(world) if ask is None else ask
    desk = Batching(world.hospital, ask, crew, Journal(metrics, audit, logger()), **options)
    desk.metrics = metrics
    task = asyncio.ensure_future(desk.run())
    try:
        yield desk
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(crew.close)


def friend(world, name):
    user = ompd.User.create(name, **world.options)
    ompd.introduce(world.hospital, user)
    return user


async def soon(condition):
    """Wait until something is so; fails by the timeout of the whole test."""
    while not condition():
        await asyncio.sleep(0.01)


def test_everybody_gets_the_own_diagnosis(world):
    bob = friend(world, "bob")
    asked = [
        (user, disease, (1 + place % 9, 4, 5))
        for place, (user, disease) in enumerate(
            [(world.user, "flu"), (bob, "flu"), (bob, "cold"), (world.user, "cold")] * 4
        )
    ]
    queries = [user.ask("st-mary", disease, features) for user, disease, features in asked]

    async def all_of_them():
        async with serving(world) as desk:
            return await asyncio.gather(*map(desk.answer, queries))

    reports = asyncio.run(all_of_them())
    for (user, disease, features), report in zip(asked, reports, strict=True):
        alone = World()
        alone.publish(disease, instances(seed=int(disease == "cold")))
        _, _, _, expected = alone.frames(features, disease)
        assert user.read(report)[0].votes == alone.user.read(expected)[0].votes


def test_whatever_waits_is_one_batch_and_jobs_of_a_table_are_in_turn(world):
    clouds = Clouds(world)

    async def run():
        clouds.late["flu"] = asyncio.Event()
        async with serving(world, clouds) as desk:
            first = asyncio.ensure_future(desk.answer(world.user.ask("st-mary", "flu", (1, 2, 3))))
            await soon(lambda: clouds.at_once["flu"])
            others = [
                asyncio.ensure_future(desk.answer(world.user.ask("st-mary", "flu", (3, 2, n))))
                for n in range(10)
            ]
            await soon(lambda: len(desk) == 11 and not len(desk._queue))
            # What another table is asked does not wait for this one.
            cold = await desk.answer(world.user.ask("st-mary", "cold", (1, 2, 3)))
            assert not first.done()
            clouds.late["flu"].set()
            return [cold, *await asyncio.gather(first, *others)]

    for report in asyncio.run(run()):
        assert world.user.read(report)
    # Of the first, of the cold, and of all ten.
    assert len(clouds.jobs) == 3
    assert max(clouds.most.values()) == 1


def test_a_batch_has_a_cap(world, monkeypatch):
    monkeypatch.setattr(batching, "CAP", 4)
    clouds = Clouds(world)
    queries = [world.user.ask("st-mary", "flu", (3, 2, n)) for n in range(9)]

    async def run():
        async with serving(world, clouds) as desk:
            reports = await asyncio.gather(*map(desk.answer, queries))
            return reports, desk.metrics.figure("ompd_batch_queries_sum")

    reports, batched = asyncio.run(run())
    assert all(map(world.user.read, reports))
    assert len(clouds.jobs) >= 3
    assert batched == 9


def test_the_same_frame_gets_the_same_answer_and_costs_nothing(world):
    clouds = Clouds(world)
    query = world.user.ask("st-mary", "flu", (1, 2, 3))

    async def run():
        async with serving(world, clouds) as desk:
            together = await asyncio.gather(*[desk.answer(query) for _ in range(5)])
            return [*together, await desk.answer(query)]

    reports = asyncio.run(run())
    assert len(set(reports)) == 1
    assert len(clouds.jobs) == 1
    assert world.user.read(reports[0])


def test_whoever_gives_up_takes_nothing_from_others_with_the_same_frame(world):
    clouds = Clouds(world)
    query = world.user.ask("st-mary", "flu", (1, 2, 3))

    async def run():
        clouds.late["flu"] = asyncio.Event()
        async with serving(world, clouds) as desk:
            gone = asyncio.ensure_future(desk.answer(query))
            stays = asyncio.ensure_future(desk.answer(query))
            await soon(lambda: clouds.jobs)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            clouds.late["flu"].set()
            return await stays, await desk.answer(query)

    report, again = asyncio.run(run())
    assert report == again
    assert world.user.read(report)


def test_a_cloud_that_is_away_is_told_and_holds_up_no_other_table(world):
    clouds = Clouds(world)

    async def run():
        clouds.late["flu"] = asyncio.Event()
        async with serving(world, clouds) as desk:
            lost = asyncio.ensure_future(desk.answer(world.user.ask("st-mary", "flu", (1, 2, 3))))
            await soon(lambda: clouds.at_once["flu"])
            for n in range(3):
                report = await desk.answer(world.user.ask("st-mary", "cold", (1, 2, n)))
                assert world.user.read(report)
            clouds.away = True
            clouds.late["flu"].set()
            report = await lost
            clouds.away = False
            again = await desk.answer(world.user.ask("st-mary", "flu", (1, 2, 3)))
            return report, again, desk.metrics.figure("ompd_queries_total", outcome="failed")

    report, again, failed = asyncio.run(run())
    with pytest.raises(NoAnswerError):
        world.user.read(report)
    assert world.user.read(again)
    assert failed == 1
    assert world.hospital.open_jobs == 0


def test_an_answer_that_is_none_of_the_clouds_is_no_answer(world):
    async def forged(cloud, frame, longest):
        return b"\x00" * 300

    async def broken(cloud, frame, longest):
        raise RuntimeError("not of this package")

    async def run(ask):
        async with serving(world, ask) as desk:
            queries = [world.user.ask("st-mary", "flu", (1, 2, n)) for n in range(3)]
            return await asyncio.gather(*map(desk.answer, queries))

    for ask in (forged, broken):
        for report in asyncio.run(run(ask)):
            with pytest.raises(NoAnswerError):
                world.user.read(report)


def test_who_is_refused_does_not_hold_up_others(world):
    stranger = ompd.User.create("stranger", **world.options)
    stranger.meet(world.hospital.public, "hospital")
    unknown = world.user.ask("st-mary", "plague", (1, 2, 3))
    good = world.user.ask("st-mary", "flu", (1, 2, 3))
    forged = bytearray(world.user.ask("st-mary", "flu", (1, 2, 3)))
    forged[-1] ^= 1

    async def run():
        async with serving(world) as desk:
            asked = (unknown, good, bytes(forged), stranger.ask("st-mary", "flu", (1, 2, 3)), b"?")
            return await asyncio.gather(*map(desk.answer, asked))

    refused, report, *others = asyncio.run(run())
    with pytest.raises(RefusedError):
        world.user.read(refused)
    assert world.user.read(report)
    assert others == [None, None, None]


def test_another_frame_under_the_same_count_gets_nothing(world):
    """Whoever can sign for a user can make two queries of one number; one of them is answered."""
    query = world.user.ask("st-mary", "flu", (1, 2, 3))
    header = ompd.wire.Frame.decode(query, ompd.wire.Kind.QUERY).header
    twin_maker = ompd.User(post_of(world.user).identity, clock=world.clock)
    twin_maker.meet(world.hospital.public, "hospital")
    twin_maker._sessions._last["st-mary"] = header.nonce, header.sequence - 1
    twin = twin_maker.ask("st-mary", "flu", (9, 9, 9))

    async def run():
        async with serving(world) as desk:
            return await asyncio.gather(desk.answer(query), desk.answer(twin))

    answers = asyncio.run(run())
    assert sorted(answer is None for answer in answers) == [False, True]
    assert world.hospital.open_jobs == 0


def test_there_is_room_for_so_many_and_one_user_has_a_share(world):
    bob = friend(world, "bob")
    clouds = Clouds(world)

    async def run():
        clouds.late["flu"] = asyncio.Event()
        async with serving(world, clouds, room=4, share=0.5) as desk:
            waiting = [
                asyncio.ensure_future(desk.answer(world.user.ask("st-mary", "flu", (1, 2, n))))
                for n in range(2)
            ]
            await asyncio.sleep(0)
            with pytest.raises(BusyError, match="this user"):
                await desk.answer(world.user.ask("st-mary", "flu", (1, 2, 3)))
            waiting += [
                asyncio.ensure_future(desk.answer(bob.ask("st-mary", "flu", (1, 2, n))))
                for n in range(2)
            ]
            await asyncio.sleep(0)
            carol = friend(world, "carol")
            late = carol.ask("st-mary", "flu", (1, 2, 3))
            with pytest.raises(BusyError, match="none at present"):
                await desk.answer(late)
            clouds.late["flu"].set()
            reports = await asyncio.gather(*waiting)
            # The very frame that there was no room for.
            assert carol.read(await desk.answer(late))
            assert len(desk) == 0
            return reports

    reports = asyncio.run(run())
    assert len(reports) == 4


def test_a_full_disk_puts_off_and_loses_nothing(world):
    class Full(ReplayGuard):
        full = True

        def claim_many(self, claims, now):
            if self.full:
                # The next claim, as of a refusal, would succeed.
                self.full = False
                raise StoreError("frames: no space left on device")
            return super().claim_many(claims, now)

    full = Full(post_of(world.hospital).window)
    post_of(world.hospital).replays = full
    query = world.user.ask("st-mary", "flu", (1, 2, 3))

    async def run():
        async with serving(world) as desk:
            with pytest.raises(BusyError):
                await desk.answer(query)
            return await desk.answer(query)

    assert world.user.read(asyncio.run(run()))


def test_a_query_that_an_earlier_process_left_is_refused_by_a_signed_frame(tmp_path):
    world = World(state=tmp_path / "state")
    world.publish()
    query = world.user.ask("st-mary", "flu", (1, 2, 3))
    world.hospital.forward(query)
    killed = world.hospital
    killed.close()
    world.hospital = ompd.Hospital(
        **keys_of(killed),
        profile="paper",
        directory=killed.directory,
        clock=world.clock,
        state=tmp_path / "state",
    )

    async def run():
        async with serving(world) as desk:
            return [await desk.answer(query), await desk.answer(query)]

    first, second = asyncio.run(run())
    assert first == second
    with pytest.raises(RefusedError):
        world.user.read(first)
    world.hospital.close()


def test_a_server_that_is_to_end_answers_what_it_accepted(world):
    clouds = Clouds(world)

    async def run():
        clouds.late["flu"] = asyncio.Event()
        async with serving(world, clouds) as desk:
            accepted = asyncio.ensure_future(
                desk.answer(world.user.ask("st-mary", "flu", (1, 2, 3)))
            )
            await soon(lambda: clouds.at_once["flu"])
            ending = asyncio.ensure_future(desk.drain(60))
            await asyncio.sleep(0)
            with pytest.raises(BusyError, match="stop"):
                await desk.answer(world.user.ask("st-mary", "flu", (3, 2, 1)))
            clouds.late["flu"].set()
            await ending
            assert accepted.done()
            return await accepted

    assert world.user.read(asyncio.run(run()))


def test_the_audit_log_says_who_asked_for_what_kind_of_thing(world, tmp_path):
    clouds = Clouds(world)
    queries = [world.user.ask("st-mary", name, (9, 2, 3)) for name in ("flu", "cold", "plague")]
    with AuditLog(tmp_path / "audit", post_of(world.hospital).identity) as audit:

        async def run():
            async with serving(world, clouds, audit) as desk:
                for query in (*queries, queries[0]):
                    await desk.answer(query)
                await desk.drain(60)

        asyncio.run(run())
    (log,) = (tmp_path / "audit").glob("log-*")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [
        (line["who"], line["about"], line["outcome"])
        for line in lines
        if line.get("what") == "query"
    ]
    assert told == [
        ("alice", "flu", "answered"), ("alice", "cold", "answered"), ("alice", "", "refused"),
        ("alice", "", "repeated"),
    ]  # fmt: skip


def test_what_should_not_happen_ends_no_server(world, monkeypatch):
    def broken(queries):
        raise RuntimeError("not of this package")

    query = world.user.ask("st-mary", "flu", (1, 2, 3))

    async def run():
        async with serving(world) as desk:
            for method in ("open_batch", "forward_opened"):
                with monkeypatch.context() as patch:
                    patch.setattr(world.hospital, method, broken)
                    with pytest.raises(BusyError):
                        await desk.answer(query)
            return await desk.answer(query)

    assert world.user.read(asyncio.run(run()))


# --- the queue and the room ----------------------------------------------------------------------


def test_users_are_taken_in_turn():
    queue = FairQueue()
    for n in range(5):
        queue.put("many", f"many {n}", 1)
    queue.put("few", "few 0", 1)
    queue.put("other", "other 0", 1)
    queue.put("few", "few 1", 1)
    assert len(queue) == 8
    assert queue.take(4, 100) == ["many 0", "few 0", "other 0", "many 1"]
    assert queue.take(100, 100) == ["few 1", "many 2", "many 3", "many 4"]
    assert queue.take(100, 100) == []
    assert len(queue) == 0


def test_a_batch_has_a_size_unless_it_is_one_item():
    queue = FairQueue()
    for n, size in enumerate((70, 10, 10, 95, 1)):
        queue.put("user", n, size)
    assert queue.take(10, 50) == [0]
    assert queue.take(10, 50) == [1, 2]
    assert queue.take(10, 50) == [3]
    assert queue.take(10, 50) == [4]


def test_room_by_items_and_sizes():
    room = Room(items=4, size=100, share=0.5)
    room.enter("a", 90)  # alone, whatever its size
    with pytest.raises(BusyError, match="none at present"):
        room.enter("b", 20)
    room.leave("a", 90)
    room.enter("a", 30)
    with pytest.raises(BusyError, match="this user"):
        room.enter("a", 30)
    room.enter("a", 20)
    with pytest.raises(BusyError, match="this user"):
        room.enter("a", 0)
    room.enter("b", 10)
    room.enter("c", 10)
    assert len(room) == 4
    with pytest.raises(BusyError, match="none at present"):
        room.enter("d", 0)
    for user, size in (("a", 30), ("a", 20), ("b", 10), ("c", 10)):
        room.leave(user, size)
    assert len(room) == 0
    assert not room._items
    room.enter("d", 500)

"""What a hospital's server does by itself: windows, merges, uploads that wait, and keys."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import ompd
from ompd.errors import KeyMaterialError, OmpdError, PrekeyError, UnknownKeyError, UnreachableError
from ompd.service import duties as modules
from ompd.service.acquaintance import meet_again, renew_prekey
from ompd.service.crew import Crew
from ompd.service.duties import Duties
from ompd.service.journal import Journal
from ompd.service.logs import logger
from ompd.service.metrics import Metrics
from ompd.service.uploading import Order, Uploading
from ompd.stores import AuditLog
from ompd.wire import CAPS, HEAD_BYTES, Kind, peek
from tests.roles.conftest import World, instances, post_of
from tests.roles.test_turns import sealed_world
from tests.roles.test_windows import spend


class Road:
    """Stands where the link to clouds is."""

    def __init__(self, world):
        self.world = world
        self.away = False
        self.kinds = []

    def check(self, cloud):
        if cloud != "cloud":
            raise UnknownKeyError("cloud: is not known")

    async def ask(self, cloud, frame, longest):
        if self.away:
            raise UnreachableError("cloud: cannot be reached")
        header = peek(frame[:HEAD_BYTES], len(frame), *Kind)
        self.kinds.append(header.kind)
        take = self.world.cloud.store if header.kind.lasting else self.world.cloud.answer
        answer = await asyncio.to_thread(take, frame)
        assert len(answer) <= longest <= CAPS[Kind.SEALED_ANSWER]
        return answer

    async def identity(self, cloud):
        if self.away:
            raise UnreachableError("cloud: cannot be reached")
        return self.world.cloud.public.to_bytes()

    async def introduce(self, cloud, identity):
        meet_again(self.world.cloud.directory, "st-mary", identity)


@contextlib.asynccontextmanager
async def on_duty(world, road, audit=None):
    crew = Crew("test", 3)
    journal = Journal(Metrics(), audit, logger())
    uploading = Uploading(world.hospital, road, crew, journal)
    duties = Duties(world.hospital, road, uploading, crew, journal)
    duties.metrics, duties.uploading, duties.log = journal.metrics, uploading, journal.log
    task = asyncio.ensure_future(duties.run(["cloud"]))
    try:
        yield duties
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(crew.close)


async def soon(condition):
    while not condition():
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(modules, "_LOOK", 0.02)
    monkeypatch.setattr(modules, "_SOON", 0.05)


def test_a_window_is_renewed_before_anybody_waits_for_it():
    world = sealed_world()
    spend(world)
    road = Road(world)

    async def run():
        async with on_duty(world, road) as duties:
            await soon(lambda: duties.metrics.figure("ompd_renewals_total", outcome="done"))
            assert world.hospital.remaining("flu") > 0

    asyncio.run(run())
    assert road.kinds == [Kind.SEALED_JOB]


def test_a_cloud_that_is_away_ends_no_duty(tmp_path, monkeypatch):
    world = sealed_world()
    identity = post_of(world.hospital).identity
    road = Road(world)
    road.away = True
    spend(world)
    with AuditLog(tmp_path / "audit", identity) as audit:

        async def run():
            async with on_duty(world, road, audit) as duties:
                await soon(lambda: duties.metrics.figure("ompd_renewals_total", outcome="failed"))
                road.away = False
                # As after a while.
                monkeypatch.setattr(world.hospital, "due", lambda: [modules.Due("flu", "renew")])
                await soon(lambda: duties.metrics.figure("ompd_renewals_total", outcome="done"))

        asyncio.run(run())
    text = "".join(path.read_text() for path in (tmp_path / "audit").glob("log-*"))
    assert '"what":"renew","about":"flu","outcome":"failed"' in text
    assert '"what":"renew","about":"flu","outcome":"done"' in text


def test_an_upload_that_waits_is_delivered(monkeypatch):
    world = World()
    world.hospital.publish("flu", instances(), cloud="cloud", k=3)
    road = Road(world)
    road.away = True
    monkeypatch.setattr(modules, "_RESEND", 5)

    async def run():
        async with on_duty(world, road):
            await asyncio.sleep(0.1)
            assert world.hospital.unconfirmed == ("flu",)
            road.away = False
            await soon(lambda: not world.hospital.unconfirmed)

    asyncio.run(run())
    assert list(world.hospital.diseases) == ["flu"]
    assert world.user.read(world.frames()[3])


def test_a_merge_is_made_and_delivered(monkeypatch):
    world = World(profile="sealed")
    world.publish("flu", instances())
    world.hospital.add("flu", instances(seed=8, rows=4))
    monkeypatch.setattr(world.hospital, "due", lambda: [modules.Due("flu", "merge")])
    road = Road(world)
    before = world.hospital.tables["flu"].ref

    async def run():
        async with on_duty(world, road) as duties:
            await soon(lambda: duties.metrics.figure("ompd_merges_total", outcome="done"))

    asyncio.run(run())
    assert world.hospital.tables["flu"].ref.version > before.version


def test_an_order_is_carried_out_and_told(tmp_path):
    world = World()
    road = Road(world)
    stages = []

    async def run():
        async with on_duty(world, road) as duties:
            order = Order(table="mm", schema=None, disease="mas\u0065\u0301", cloud="cloud", k=5,
                          advice={"benign": "Come back in a year."})  # fmt: skip
            done = await duties.uploading.outsource(
                order, lambda stage, share: stages.append((stage, share))
            )
            with pytest.raises(UnknownKeyError):
                await duties.uploading.outsource(
                    Order(table="mm", schema=None, disease="mass", cloud="other"), print
                )
            with pytest.raises(OmpdError):
                await duties.uploading.outsource(
                    Order(table=str(tmp_path / "x"), schema=None, disease="x", cloud="cloud"),
                    lambda *_: None,
                )
            assert duties.uploading.delivering == frozenset()
            return done

    done = asyncio.run(run())
    assert (done.rows, done.k) == (830, 5)
    assert [stages[0], stages[-1]] == [("reading", 0.0), ("uploading", 1.0)]
    assert ("training", 1.0) in stages
    # In the form that has one letter for two signs.
    assert list(world.hospital.diseases) == ["mas\u00e9"]


def test_the_clouds_next_short_lived_key_is_taken_up(monkeypatch):
    world = World()
    # Or the own one would be renewed meanwhile.
    monkeypatch.setattr("ompd.service.acquaintance.time", world.clock)
    world.cloud.rotate_prekey()
    next_key = world.cloud.public.prekey
    assert world.hospital.directory.get("cloud").prekey != next_key
    own = world.hospital.rotate_prekey().prekey
    assert world.cloud.directory.get("st-mary").prekey != own

    async def run():
        async with on_duty(world, Road(world)):
            await soon(lambda: world.hospital.directory.get("cloud").prekey == next_key)
            # And it learns the hospital's.
            await soon(lambda: world.cloud.directory.get("st-mary").prekey == own)

    asyncio.run(run())


def test_a_cloud_that_starts_later_is_no_error(monkeypatch):
    monkeypatch.setattr("ompd.service.duties._SOON", 0.05)
    world = World()
    monkeypatch.setattr("ompd.service.acquaintance.time", world.clock)
    world.cloud.rotate_prekey()
    road = Road(world)
    road.away = True

    async def run():
        async with on_duty(world, road) as duties:
            told = []
            for level in ("warning", "error"):
                note = lambda what, level=level, **_: told.append((level, what))  # noqa: E731
                monkeypatch.setattr(duties.log, level, note, raising=False)
            await soon(lambda: len(told) >= 2)
            road.away = False
            next_key = world.cloud.public.prekey
            await soon(lambda: world.hospital.directory.get("cloud").prekey == next_key)
            return told

    assert set(asyncio.run(run())) == {("warning", "a cloud is away")}


# --- whose keys they are -------------------------------------------------------------------------


def test_only_the_next_key_of_somebody_known_is_taken():
    world = World()
    directory = world.user.directory
    known = world.hospital.public
    meet_again(directory, "st-mary", known.to_bytes())
    assert directory.get("st-mary") == known
    meet_again(directory, "st-mary", known.lasting.to_bytes())
    assert directory.get("st-mary") == known
    other = ompd.Hospital.create("st-mary", clock=world.clock)
    for stranger in (other.public, world.cloud.public):
        with pytest.raises(KeyMaterialError, match="other keys"):
            meet_again(directory, "st-mary", stranger.to_bytes())
    with pytest.raises(UnknownKeyError):
        meet_again(directory, "nobody", world.cloud.public.to_bytes())
    with pytest.raises(OmpdError):
        meet_again(directory, "st-mary", b"\x00")
    following = world.hospital.rotate_prekey()
    meet_again(directory, "st-mary", following.to_bytes())
    assert directory.get("st-mary") == following
    with pytest.raises(PrekeyError, match="newer"):
        meet_again(directory, "st-mary", known.to_bytes())


def test_the_own_key_is_renewed_a_day_before_its_end(monkeypatch):
    world = World()
    monkeypatch.setattr("ompd.service.acquaintance.time", world.clock)
    first = world.hospital.public.prekey
    assert not renew_prekey(world.hospital)
    world.clock.now += 5.9 * 86_400
    assert not renew_prekey(world.hospital)
    assert world.hospital.public.prekey == first
    world.clock.now += 0.2 * 86_400
    assert renew_prekey(world.hospital)
    assert world.hospital.public.prekey != first

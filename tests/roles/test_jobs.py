"""What a server asks of a cloud in parts: headers first, then what is asked, then the answer."""

from __future__ import annotations

import msgspec
import pytest

import ompd
from ompd.errors import (
    ContextMismatchError,
    ExpiredError,
    ReflectionError,
    RefusedError,
    ReplayError,
    RoleError,
    UnknownKeyError,
    VersionError,
    WrongRecipientError,
)
from ompd.roles.jobs import OpenedJob
from ompd.wire import HEAD_BYTES, Frame, Kind, peek
from tests.roles.conftest import World, instances, post_of
from tests.roles.test_turns import DATA


@pytest.fixture
def world():
    world = World()
    world.publish("flu", instances())
    return world


def job_of(world):
    return world.hospital.forward(world.user.ask("st-mary", "flu", (3, 4, 5)))


def test_an_opened_job_is_answered_once(world):
    job = job_of(world)
    opened, again = world.cloud.open_job(job), world.cloud.open_job(job)
    assert isinstance(opened, OpenedJob)
    assert opened.table == world.hospital.tables["flu"].ref.table_id
    assert not opened.is_whole
    assert opened.table.hex() not in repr(opened)
    answer = opened.answer()
    # Nobody computes it twice, though two opened it.
    with pytest.raises(ReplayError):
        again.answer()
    assert world.cloud.open_job(job) == world.cloud.answer(job) == world.cloud.settle(job) == answer
    assert world.user.read(world.hospital.report(answer))[0].label in ("no", "yes")


def test_whole_tables_are_told_apart():
    world = World(profile="sealed")
    world.publish("flu", DATA, k=5)
    assert world.cloud.open_job(world.hospital.renew("flu")).is_whole
    assert not world.cloud.open_job(job_of(world)).is_whole


def test_what_nobody_will_answer_is_refused_again_and_again(world):
    job = job_of(world)
    with pytest.raises(ContextMismatchError):
        world.cloud.settle(job)
    # As by a process that was killed behind it.
    post_of(world.cloud).claim(Frame.decode(job, Kind.PAPER_JOB))
    with pytest.raises(ReplayError):
        world.cloud.open_job(job)
    refusal = world.cloud.settle(job)
    assert world.cloud.settle(job) == world.cloud.open_job(job) == refusal
    with pytest.raises(ReplayError):
        world.cloud.settle(job[:-1] + bytes([job[-1] ^ 1]))
    report = world.hospital.report(refusal)
    with pytest.raises(RefusedError):
        world.user.read(report)
    world.clock.now += 121
    with pytest.raises(ExpiredError):
        world.cloud.settle(job)


def test_a_table_that_went_meanwhile_is_not_answered(world):
    job = job_of(world)
    opened = world.cloud.open_job(job)
    world.cloud.tables.keep(opened.table, ())
    with pytest.raises(ContextMismatchError):
        opened.answer()
    # And was not claimed.
    world.cloud.refuse(job)


def test_headers_are_refused_by_what_they_say(world):
    job = job_of(world)
    header = peek(job[:HEAD_BYTES], len(job), Kind.PAPER_JOB)
    world.cloud.check_header(header)
    world.cloud.answer(job)
    # Its answer may have been lost.
    world.cloud.check_header(header)
    for change, error in (
        ({"sender": "mallory"}, UnknownKeyError),
        ({"sender": "cloud"}, ReflectionError),
        ({"recipient": "st-mary"}, WrongRecipientError),
        ({"kind": Kind.QUERY}, RoleError),
        ({"timestamp": header.timestamp - 121_000}, ExpiredError),
        ({"timestamp": header.timestamp + 121_000}, ExpiredError),
    ):
        with pytest.raises(error):
            world.cloud.check_header(msgspec.structs.replace(header, **change))
    # An upload may be of yesterday.
    late = msgspec.structs.replace(
        header, kind=Kind.PAPER_UPLOAD, timestamp=header.timestamp - 80_000_000
    )
    world.cloud.check_header(late)
    with pytest.raises(VersionError):
        peek(job[:2] + b"\x09" + job[3:HEAD_BYTES], len(job), Kind.PAPER_JOB)
    assert ompd.Cloud.create("other", window=7.0).window == 7.0

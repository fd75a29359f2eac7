"""Queries that came together, came twice, or were left behind by a process that was killed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import ompd
from ompd.errors import (
    ContextMismatchError,
    ExpiredError,
    OutdatedRefusalError,
    RefusedError,
    ReplayError,
    RevokedKeyError,
    StoreFullError,
)
from ompd.stores import BudgetLedger, DurableReplayGuard, Registry
from tests.roles.conftest import World, keys_of, post_of
from tests.roles.test_again import changed, full, made

ROW = (5, 5, 5)


def restarted(tmp_path, world, **options):
    """The hospital as the next process has it, after the present one was killed."""
    guard = post_of(world.hospital).replays
    guard.close()
    keys = keys_of(world.hospital)
    world.hospital = ompd.Hospital(
        **keys, replays=DurableReplayGuard(tmp_path / "h.db", 120), clock=world.clock, **options
    )
    ompd.introduce(world.hospital, world.cloud, world.user)


def test_a_query_that_a_killed_process_left_is_refused(tmp_path, monkeypatch):
    world = made(tmp_path, "paper", durable=True)
    query = world.user.ask("st-mary", "flu", ROW)
    job = world.hospital.forward(query)
    restarted(tmp_path, world)
    hospital = world.hospital
    assert hospital.answered(query) is None
    post = post_of(hospital)
    send = post.send

    def slowly(*arguments, **options):
        time.sleep(0.05)
        return send(*arguments, **options)

    with monkeypatch.context() as patch, ThreadPoolExecutor(4) as threads:
        patch.setattr(post, "send", slowly)
        refusals = set(threads.map(hospital.settle, [query] * 8))
    (refusal,) = refusals  # one, whoever asks
    assert hospital.answered(query) == hospital.settle(query) == refusal
    assert hospital.signatures_made == 1
    with pytest.raises(ReplayError):
        hospital.forward(query)
    with pytest.raises(ReplayError):
        hospital.refuse(query)
    with pytest.raises(ContextMismatchError):
        hospital.report(world.cloud.answer(job))
    with pytest.raises(RefusedError) as told:
        world.user.read(refusal)
    assert not isinstance(told.value, OutdatedRefusalError)
    # And a restart later, until it is not fresh any more.
    restarted(tmp_path, world)
    assert world.hospital.settle(query) == refusal
    world.clock.now += 121
    with pytest.raises(ExpiredError):
        world.hospital.settle(query)


def test_a_query_that_is_open_or_answered_is_not_refused(tmp_path):
    world = made(tmp_path, "hardened", durable=True)
    hospital = world.hospital
    query, other = (world.user.ask("st-mary", "flu", row) for row in (ROW, (4, 4, 4)))
    with pytest.raises(ContextMismatchError, match="not received before"):
        hospital.settle(query)
    job = hospital.forward(query)
    assert hospital.settle(query) is None
    lost = hospital.forward(other)
    report = hospital.report(world.cloud.answer(job))
    assert hospital.settle(query) == report
    assert hospital.settle(other) is None
    (failed,) = hospital.fail(lost)
    assert hospital.settle(other) == failed
    refused = world.user.ask("st-mary", "gout", ROW)
    refusal = hospital.refuse(refused)
    assert hospital.settle(refused) == refusal
    restarted(tmp_path, world)
    assert [world.hospital.settle(each) for each in (query, other, refused)] == [
        report, failed, refusal,
    ]  # fmt: skip


def test_a_job_that_nobody_answers_ends_in_a_report(tmp_path):
    world = made(tmp_path, "paper", durable=True)
    query = world.user.ask("st-mary", "flu", ROW)
    world.hospital.forward(query)
    world.clock.now += 100
    # Given up, since no answer could be accepted for it.
    world.hospital.forward(world.user.ask("st-mary", "flu", ROW))
    assert world.hospital.settle(query) in world.hospital.collect()


def test_an_answer_that_could_not_be_kept_is_refused_once_it_is_over(tmp_path):
    world = made(tmp_path, "hardened", durable=True)
    query = world.user.ask("st-mary", "flu", [ROW] * 3000)
    job = world.hospital.forward(query)
    answer = world.cloud.answer(job)
    with full(post_of(world.hospital).replays, room=2):
        world.hospital.report(answer)
    with pytest.raises(RefusedError):
        world.user.read(world.hospital.settle(query))


def test_only_the_query_that_was_claimed_is_refused(tmp_path):
    world = made(tmp_path, "paper", durable=True)
    query = world.user.ask("st-mary", "flu", ROW)
    world.hospital.forward(query)
    restarted(tmp_path, world)
    for place in (-1, -200):
        with pytest.raises(ReplayError):
            world.hospital.settle(changed(query, place))
    assert world.hospital.signatures_made == 0
    assert world.hospital.settle(bytearray(query)) is not None


def test_who_was_revoked_is_not_told(tmp_path):
    world = World()
    with Registry(tmp_path / "parties.db", clock=world.clock) as registry:
        guard = DurableReplayGuard(tmp_path / "h.db", 120)
        keys = keys_of(world.hospital)
        options = {"directory": registry, "clock": world.clock}
        world.hospital = ompd.Hospital(**keys, replays=guard, profile="paper", **options)
        ompd.introduce(world.hospital, world.cloud, world.user)
        world.publish()
        query = world.user.ask("st-mary", "flu", ROW)
        world.hospital.forward(query)
        hospital = ompd.Hospital(**keys, replays=guard, **options)
        registry.revoke("alice", "left")
        with pytest.raises(RevokedKeyError):
            hospital.settle(query)
        assert hospital.signatures_made == 0
        guard.close()


# --- batches --------------------------------------------------------------------------------------


def statements(hospital):
    found = []
    post_of(hospital).replays._database._connection.set_trace_callback(found.append)
    return found


def test_a_batch_waits_for_the_disk_twice(tmp_path):
    world = made(tmp_path, "paper", durable=True)
    queries = [world.user.ask("st-mary", "flu", [n % 12, 5, 5]) for n in range(30)]
    done = statements(world.hospital)
    (job,) = world.hospital.forward_batch(queries).jobs
    assert done.count("COMMIT") == 1
    reports = world.hospital.report_batch(world.cloud.answer(job.frame))
    # The cloud's answer is claimed, and all reports are kept.
    assert done.count("COMMIT") == 3
    assert [world.hospital.answered(query) for query in queries] == reports


@pytest.mark.parametrize("profile", ["paper", "hardened"])
def test_of_copies_in_a_batch_one_is_asked(profile):
    # Enough for three.
    ledger = {"epsilon": 32, "ledger": BudgetLedger(None, limit=96)} if profile != "paper" else {}
    world = World(profile=profile, **ledger)
    world.publish(k=3)
    queries = [world.user.ask("st-mary", "flu", [n, 5, 5]) for n in range(3)]
    batch = world.hospital.forward_batch([queries[0], *queries, queries[2], queries[0]])
    (job,) = batch.jobs
    assert job.places == (0, 2, 3)
    assert {place: type(error) for place, error in batch.refused.items()} == dict.fromkeys(
        (1, 4, 5), ReplayError
    )
    # A copy that was refused does not end what it is a copy of.
    assert [world.hospital.settle(query) for query in queries] == [None] * 3
    reports = world.hospital.report_batch(world.cloud.answer(job.frame))
    assert [world.hospital.settle(query) for query in queries] == reports
    # All that was counted for the copies is counted no more.
    assert not world.hospital._answers._underway._keys
    assert not world.hospital._answers._quota._frames


def test_claims_that_the_disk_refuses_leave_nothing_behind(tmp_path):
    world = made(tmp_path, "sealed", durable=True)
    queries = [world.user.ask("st-mary", "flu", [n % 12, 5, 5]) for n in range(300)]
    quota = world.hospital._answers._quota
    left = world.hospital.remaining("flu")
    with full(post_of(world.hospital).replays, room=0):
        batch = world.hospital.forward_batch(queries)
    assert not batch.jobs
    assert set(map(type, batch.refused.values())) == {StoreFullError}
    assert len(batch.refused) == 300
    assert not quota._frames
    assert not world.hospital._answers._underway._keys
    assert world.hospital.remaining("flu") == left
    query, *_ = queries
    report = world.hospital.report(world.cloud.answer(world.hospital.forward(query)))
    assert world.user.read(report)

"""What is lost on the way can be sent again; what takes long is not too old."""

from __future__ import annotations

import contextlib
import resource

import pytest

import ompd
from ompd.errors import (
    ContextMismatchError,
    ExpiredError,
    NoAnswerError,
    RefusedError,
    ReplayError,
    RevokedKeyError,
    StoreError,
    UnknownDiseaseError,
    VersionError,
)
from ompd.stores import BudgetLedger, DurableReplayGuard, Registry
from tests.roles.conftest import World, instances, keys_of, post_of, shelf_of
from tests.roles.test_turns import DATA

PROFILES = ("paper", "hardened", "sealed")


def made(tmp_path, profile, *, durable):
    options = {"replays": DurableReplayGuard(tmp_path / "h.db", 120)} if durable else {}
    world = World(profile=profile, **options)
    if durable:
        guard = DurableReplayGuard(tmp_path / "c.db", 120)
        world.cloud = ompd.Cloud(**keys_of(world.cloud), clock=world.clock, replays=guard)
        ompd.introduce(world.hospital, world.cloud, world.user)
    world.publish("flu", DATA if profile == "sealed" else instances(), k=5)
    return world


@contextlib.contextmanager
def full(guard, *, room):
    """A disk that has room for so many more pages of a guard's file."""
    with guard._database.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + room}")
    yield
    with guard._database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")


def changed(frame, place):
    """The frame with other bytes behind the same header."""
    bad = bytearray(frame)
    bad[place] ^= 1
    return bytes(bad)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("durable", [False, True], ids=["memory", "disk"])
def test_a_lost_answer_is_given_again(tmp_path, profile, durable):
    world = made(tmp_path, profile, durable=durable)
    hospital, cloud = world.hospital, world.cloud
    query = world.user.ask("st-mary", "flu", (5, 5, 5))
    with pytest.raises(ContextMismatchError, match="not received before"):
        hospital.answered(query)
    job = hospital.forward(query)
    with pytest.raises(ReplayError):
        hospital.forward(query)
    assert hospital.answered(query) is None  # not yet
    left = hospital.remaining("flu")
    answer = cloud.answer(job)
    made_until_now = cloud.signatures_made, cloud.signatures_verified
    assert cloud.answer(job) == answer
    report = hospital.report(answer)
    signed = hospital.signatures_made
    assert hospital.answered(query) == report
    assert hospital.answered(bytearray(query)) == report
    world.clock.now += 119
    assert cloud.answer(job) == answer
    assert hospital.answered(query) == report
    # Nothing was made, read or used up for it.
    assert (cloud.signatures_made, cloud.signatures_verified) == made_until_now
    assert (hospital.signatures_made, hospital.remaining("flu")) == (signed, left)
    # Other bytes under the same header are no retry, nor is anything a stranger makes of it.
    for place in (-1, -97, -120):
        with pytest.raises(ReplayError):
            cloud.answer(changed(job, place))
        with pytest.raises(ReplayError):
            hospital.answered(changed(query, place))
    assert world.user.read(hospital.answered(query))
    world.clock.now += 2
    with pytest.raises(ExpiredError):
        cloud.answer(job)
    with pytest.raises(ExpiredError):
        hospital.answered(query)


def test_answers_outlive_a_restart(tmp_path):
    world = made(tmp_path, "paper", durable=True)
    query, job, verdict, report = world.frames()
    post_of(world.hospital).replays.close()
    post_of(world.cloud).replays.close()
    options = {"clock": world.clock}
    guards = [DurableReplayGuard(tmp_path / name, 120) for name in ("h.db", "c.db")]
    hospital = ompd.Hospital(**keys_of(world.hospital), replays=guards[0], **options)
    cloud = ompd.Cloud(**keys_of(world.cloud), replays=guards[1], **options)
    ompd.introduce(hospital, cloud, world.user)
    # The tables are gone, the answers are not.
    assert cloud.answer(job) == verdict
    assert hospital.answered(query) == report


def test_a_retry_is_charged_once(tmp_path):
    ledger = BudgetLedger(None, limit=64)
    world = World(profile="hardened", epsilon=32, ledger=ledger)
    world.publish(k=3)
    query, job, *_ = world.frames()
    spent = ledger.spent("alice")
    world.cloud.answer(job)
    world.hospital.answered(query)
    with pytest.raises(ReplayError):
        world.hospital.forward(query)
    assert ledger.spent("alice") == spent > 0


def test_refusals_and_failures_are_given_again(world):
    world.publish()
    refused = world.user.ask("st-mary", "gout", (5, 5, 5))
    refusal = world.hospital.refuse(refused)
    assert world.hospital.answered(refused) == refusal
    with pytest.raises(RefusedError):
        world.user.read(world.hospital.answered(refused))
    query = world.user.ask("st-mary", "flu", (5, 5, 5))
    job = world.hospital.forward(query)
    no = world.cloud.refuse(job)
    assert world.cloud.answer(job) == no
    report = world.hospital.report(no)
    assert world.hospital.answered(query) == report
    with pytest.raises(NoAnswerError):
        world.user.read(report)
    lost = world.user.ask("st-mary", "flu", (5, 5, 5))
    (report,) = world.hospital.fail(world.hospital.forward(lost))
    assert world.hospital.answered(lost) == report


def test_an_answer_that_cannot_be_kept_is_given_all_the_same(tmp_path, caplog):
    world = made(tmp_path, "hardened", durable=True)
    queries = [world.user.ask("st-mary", "flu", [[n, 5, 5]] * 3000) for n in range(3)]
    (job,) = world.hospital.forward_batch(queries).jobs
    with full(post_of(world.cloud).replays, room=2), full(post_of(world.hospital).replays, room=2):
        # What names a frame fits, long answers do not.
        answer = world.cloud.answer(job.frame)
        reports = world.hospital.report_batch(answer)
    assert [len(world.user.read(report)) for report in reports] == [3000] * 3
    assert [world.hospital.answered(query) for query in queries] == [None] * 3
    assert caplog.text.count("full") == 2  # for all answers of a job


def test_a_report_outlives_an_answer_that_cannot_be_claimed(tmp_path):
    world = made(tmp_path, "hardened", durable=True)
    answer = world.cloud.answer(world.hospital.forward(world.user.ask("st-mary", "flu", (5, 5, 5))))
    # Too late for a diagnosis, and early enough to say so.
    world.clock.now += 100
    world.hospital.forward(world.user.ask("st-mary", "flu", (4, 4, 4)))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(StoreError):
            world.hospital.report(answer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    with pytest.raises(NoAnswerError):
        world.user.read(world.hospital.report(answer))


def test_a_batch_is_answered_by_member(world):
    world.publish()
    queries = [world.user.ask("st-mary", "flu", (number, 5, 5)) for number in range(4)]
    (job,) = world.hospital.forward_batch(queries).jobs
    reports = world.hospital.report_batch(world.cloud.answer(job.frame))
    assert [world.hospital.answered(query) for query in queries] == reports


def test_who_was_revoked_gets_nothing_again(tmp_path):
    world = World()
    registry = Registry(tmp_path / "registry.db", clock=world.clock)
    for party, role in ((world.hospital, "hospital"), (world.cloud, "cloud"), (world.user, "user")):
        registry.admit(party.public, role)
        post_of(party).directory = registry
    world.publish()
    query, *_ = world.frames()
    assert world.hospital.answered(query)
    registry.revoke("alice", "left")
    with pytest.raises(RevokedKeyError):
        world.hospital.answered(query)


# --- uploads --------------------------------------------------------------------------------------

DAY = 86_400


@pytest.mark.parametrize("profile", PROFILES)
def test_uploads_may_take_long(profile):
    world = World(profile=profile)
    (upload,) = world.hospital.publish("flu", instances(), cloud="cloud", k=3)
    world.clock.now += DAY - 1
    receipt = world.cloud.store(upload)
    world.clock.now += DAY - 1
    world.hospital.confirm(receipt)
    world.user.read(world.frames()[-1])


def test_building_the_table_may_take_long(world):
    def slow(*arguments):
        world.clock.now += 1000
        return compute(*arguments)

    compute = world.cloud.tables.build
    world.cloud.tables.build = slow
    world.publish()
    world.user.read(world.frames()[-1])


def test_an_upload_is_stored_once(world):
    (upload,) = world.hospital.publish("flu", instances(), cloud="cloud", k=3)
    receipt = world.cloud.store(upload)
    stored = dict(world.cloud.tables.kept())
    assert world.cloud.store(upload) == receipt
    world.clock.now += 1000
    again = world.cloud.store(*world.hospital.resend("flu"))
    assert again != receipt
    assert world.cloud.tables.kept() == stored
    world.hospital.confirm(again)
    # Each is good once, and an old version never comes back.
    for late in (receipt, again):
        with pytest.raises(ContextMismatchError):
            world.hospital.confirm(late)
    world.user.read(world.frames()[-1])
    for seed in range(3):
        world.publish(data=instances(seed=seed))
        world.user.read(world.frames()[-1])
    world.clock.now += 121
    with pytest.raises(VersionError):
        world.cloud.store(upload)


def test_an_upload_that_is_too_old_is_sent_again_without_training(world, monkeypatch):
    (upload,) = world.hospital.publish("flu", instances(), cloud="cloud", k=3)
    world.clock.now += DAY + 1
    with pytest.raises(ExpiredError, match="of the last 86400 s"):
        world.cloud.store(upload)
    monkeypatch.setattr("ompd.roles.shelf.prepare", None)
    world.hospital.deliver(world.hospital.resend("flu"), world.cloud.store)
    world.user.read(world.frames()[-1])
    for disease in ("flu", "gout"):
        with pytest.raises(UnknownDiseaseError, match="waits for a receipt"):
            world.hospital.resend(disease)


def test_an_upload_of_the_future_is_refused(world):
    (upload,) = world.hospital.publish("flu", instances(), cloud="cloud", k=3)
    world.clock.now -= 121
    with pytest.raises(ExpiredError):
        world.cloud.store(upload)
    world.clock.now += 121
    receipt = world.cloud.store(upload)
    world.clock.now += DAY + 1
    with pytest.raises(ExpiredError):
        world.hospital.confirm(receipt)
    world.hospital.deliver(world.hospital.resend("flu"), world.cloud.store)


def test_another_upload_under_the_same_version_is_no_retry(world):
    (upload,) = world.hospital.publish("flu", instances(), cloud="cloud", k=3)
    world.cloud.store(upload)
    waiting = shelf_of(world.hospital).waiting["flu"]
    other = post_of(world.hospital).send(
        "cloud", waiting.pieces.body(0), nonce=b"x" * 16, sequence=1
    )
    with pytest.raises(VersionError):
        world.cloud.store(other)

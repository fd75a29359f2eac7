"""Windows that do not end: large jobs and late ones go by the whole table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ompd
from ompd.errors import ContextMismatchError, QuotaError, TooLargeError
from ompd.wire import Frame, Kind, SealedJob
from tests.roles.conftest import World, post_of
from tests.roles.test_turns import ask, read, renew, sealed_world, spoilt


def table_of(world):
    return world.hospital.tables["flu"].retrieval.table


def spend(world):
    """End the window."""
    table_of(world)._window.left = 0
    assert world.hospital.remaining("flu") == 0


def is_whole(world, job):
    return post_of(world.cloud).open(Frame.decode(job, Kind.SEALED_JOB), SealedJob).whole


def told(world, job):
    return world.user.read(world.hospital.report(world.cloud.answer(job)))


def another(world, name):
    user = ompd.User.create(name, **world.options)
    ompd.introduce(user, world.hospital)
    return user


def test_a_query_of_any_size_is_answered_and_takes_nothing_of_the_window():
    world = sealed_world()
    room = world.hospital.remaining("flu")
    features = np.random.default_rng(3).uniform(0, 12, (3 * room, 3))
    job = world.hospital.forward(world.user.ask("st-mary", "flu", features))
    assert is_whole(world, job)
    assert world.hospital.remaining("flu") == room
    found = told(world, job)
    assert len(found) == 3 * room
    assert sum(one.certified for one in found) > 2.9 * room
    # As one by one through hints.
    for index in range(0, 3 * room, 7):
        renew(world)
        job = world.hospital.forward(world.user.ask("st-mary", "flu", features[index]))
        assert not is_whole(world, job)
        (one,) = told(world, job)
        if one.certified and found[index].certified:
            assert (one.label, one.votes) == (found[index].label, found[index].votes)


def test_more_than_one_frame_holds_is_refused_as_ever(monkeypatch):
    world = sealed_world()
    monkeypatch.setattr("ompd.roles.retrieval.sealed.MAX_BATCH", 30)
    with pytest.raises(TooLargeError, match="at most 30 rows"):
        world.hospital.forward(world.user.ask("st-mary", "flu", [[5, 5, 5]] * 31))


def test_a_query_in_a_spent_window_is_answered_and_begins_the_next():
    world = sealed_world()
    window = world.hospital.remaining("flu")
    spend(world)
    job, answer = ask(world)
    assert is_whole(world, job)
    assert world.hospital.remaining("flu") == 0
    assert read(world, world.hospital.report(answer)).certified
    assert world.hospital.remaining("flu") == window
    job, answer = ask(world)
    assert not is_whole(world, job)
    assert read(world, world.hospital.report(answer)).certified
    assert world.hospital.remaining("flu") == window - 1


def test_hints_go_on_beside_a_whole_table():
    world = sealed_world()
    (_, first), (_, second) = (ask(world) for _ in range(2))
    large = world.hospital.forward(world.user.ask("st-mary", "flu", [[5, 5, 5]] * 40))
    # It does not wait for those before it.
    assert len(told(world, large)) == 40
    for answer in (first, second):
        assert read(world, world.hospital.report(answer)).certified


def test_a_batch_of_many_users_is_one_job():
    world = sealed_world(share=0.5)
    users = [another(world, f"user-{number}") for number in range(60)]
    queries = [user.ask("st-mary", "flu", [5, 5, number % 12]) for number, user in enumerate(users)]
    batch = world.hospital.forward_batch(queries)
    assert not batch.refused
    (job,) = batch.jobs
    assert job.places == tuple(range(60))
    assert is_whole(world, job.frame)
    reports = world.hospital.report_batch(world.cloud.answer(job.frame))
    for user, report in zip(users, reports, strict=True):
        assert user.read(report)[0].certified


@pytest.mark.parametrize("spent", [False, True])
@pytest.mark.parametrize("change", ["flipped", "swapped", "cut", "none"])
def test_a_damaged_table_gives_no_answer_and_no_window(spent, change):
    world = sealed_world()
    left = world.hospital.remaining("flu")
    rows = [5, 5, 5] if spent else [[5, 5, 5]] * 40
    if spent:
        spend(world)
        left = 0
    job = world.hospital.forward(world.user.ask("st-mary", "flu", rows))
    assert is_whole(world, job)
    size = table_of(world).layout.bucket_bytes

    def spoil(buckets):
        changed = bytearray(buckets)
        if change == "flipped":
            changed[-1] ^= 1
        elif change == "swapped":
            changed[:size], changed[size : 2 * size] = changed[size : 2 * size], changed[:size]
        return bytes(changed[: 0 if change == "none" else -size if change == "cut" else None])

    answer = spoilt(world, job, world.cloud.answer(job), spoil)
    report = world.hospital.report(answer)
    with pytest.raises(ompd.errors.NoAnswerError):
        world.user.read(report)
    assert world.hospital.remaining("flu") == left
    assert world.hospital.open_jobs == 0
    with pytest.raises(ompd.OmpdError):
        world.hospital.report(world.cloud.answer(job))
    # The next one asks anew.
    _, answer = ask(world)
    assert read(world, world.hospital.report(answer)).certified
    assert world.hospital.remaining("flu") > 0


def test_lost_and_late_tables():
    world = sealed_world()
    spend(world)
    (lost, late), (_, prompt) = (ask(world) for _ in range(2))
    (report,) = world.hospital.fail(lost)
    assert read(world, report) is None
    with pytest.raises(ContextMismatchError):
        world.hospital.report(late)
    assert world.hospital.remaining("flu") == 0
    assert read(world, world.hospital.report(prompt)).certified
    window = world.hospital.remaining("flu")
    assert window > 0
    # One that nobody answers is given up in time to tell its user.
    spend(world)
    ask(world)
    world.clock.now += 100
    (report,) = world.hospital.collect()
    assert read(world, report) is None


def test_a_second_table_begins_no_second_window():
    world = sealed_world()
    spend(world)
    (_, one), (_, two) = (ask(world) for _ in range(2))
    assert read(world, world.hospital.report(two)).certified
    hints = table_of(world)._window.hints
    assert read(world, world.hospital.report(one)).certified
    assert table_of(world)._window.hints is hints


def test_one_user_has_no_table_sent_for_every_query():
    world = sealed_world(share=0.5)
    spend(world)
    job, answer = ask(world)
    assert is_whole(world, job)
    refused = world.user.ask("st-mary", "flu", [5, 5, 5])
    with pytest.raises(QuotaError, match="share of the window"):
        world.hospital.forward(refused)
    # Another user does not wait for that, and is nobody's burden.
    bob = another(world, "bob")
    other = world.hospital.forward(bob.ask("st-mary", "flu", [5, 5, 5]))
    assert is_whole(world, other)
    # In a batch with someone who may, it goes with theirs.
    carol = another(world, "carol")
    batch = world.hospital.forward_batch([refused, carol.ask("st-mary", "flu", [1, 2, 3])])
    assert not batch.refused
    assert len(batch.jobs) == 1
    for each in (other, batch.jobs[0].frame):
        world.hospital.report_batch(world.cloud.answer(each))
    assert read(world, world.hospital.report(answer)).certified
    # What is over does not count, whatever became of it.
    for end in (world.hospital.fail, lambda job: world.hospital.report(world.cloud.refuse(job))):
        for _ in range(2):
            spend(world)
            end(world.hospital.forward(world.user.ask("st-mary", "flu", [5, 5, 5])))


def test_who_takes_more_than_a_share_has_a_new_window_begun():
    world = sealed_world(share=0.5)
    window = table_of(world).layout.window
    half = -(-window // 2)
    for turn in range(2):
        for number in range(half):
            job, answer = ask(world)
            assert not is_whole(world, job)
            world.user.read(world.hospital.report(answer))
            assert world.hospital.remaining("flu") == window - 1 - number
        job, answer = ask(world)
        assert is_whole(world, job), turn
        world.user.read(world.hospital.report(answer))
        assert world.hospital.remaining("flu") == window


def test_shares_part_a_batch():
    world = sealed_world(share=0.25)
    window = table_of(world).layout.window
    bob = another(world, "bob")
    quarter = -(-window // 4)
    queries = [world.user.ask("st-mary", "flu", [5, 5, 5]) for _ in range(quarter + 1)]
    queries.append(bob.ask("st-mary", "flu", [1, 2, 3]))
    batch = world.hospital.forward_batch(queries)
    assert not batch.refused
    if len(batch.jobs) == 2:
        assert [is_whole(world, job.frame) for job in batch.jobs] == [False, True]
        assert batch.jobs[1].places == (quarter,)
    assert sorted(place for job in batch.jobs for place in job.places) == list(range(quarter + 2))
    reports = [
        r for job in batch.jobs for r in world.hospital.report_batch(world.cloud.answer(job.frame))
    ]
    assert len(reports) == quarter + 2


def test_windows_follow_one_another_for_ever():
    """Single queries on several threads: none is refused, none waits for a renewal."""
    world = sealed_world()
    people = [another(world, f"person-{number}") for number in range(4)]
    count = 3 * table_of(world).layout.window
    features = np.random.default_rng(8).uniform(0, 12, (count, 3))
    wholes = []

    def work(number):
        found = []
        for row in features[number::4]:
            job = world.hospital.forward(people[number].ask("st-mary", "flu", row))
            wholes.append(is_whole(world, job))
            found += people[number].read(world.hospital.report(world.cloud.answer(job)))
        return found

    with ThreadPoolExecutor(4) as pool:
        found = [one for part in pool.map(work, range(4)) for one in part]
    assert len(found) == count
    assert sum(one.certified for one in found) > 0.95 * count
    # About one table for every window, though four ask at once.
    assert 1 <= sum(wholes) <= 12


def test_a_batch_above_the_window_of_ten_thousand_rows():
    """What nobody could answer before."""
    rng = np.random.default_rng(0)
    values = rng.random((3000, 9))
    labels = (values[:, 0] + 0.3 * rng.normal(size=3000) > 0.5).astype(int)
    features = [ompd.Feature(f"x{j}", "numeric", 0, 1) for j in range(9)]
    schema = ompd.Schema(features, ["a", "b"])
    world = World(profile="sealed", share=0.5)
    names = [schema.classes[label] for label in labels]
    world.publish("d", ompd.datasets.Dataset.from_arrays(schema, values.tolist(), names), k=9)
    job = world.hospital.forward(world.user.ask("st-mary", "d", values[:100]))
    assert len(told(world, job)) == 100

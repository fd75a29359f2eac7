"""Answers out of order, late, wrong or missing: who gets which report, and when."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest

import ompd
from ompd.errors import ContextMismatchError, NoAnswerError, ParameterError
from ompd.roles.retrieval import SealedRetrieval
from ompd.wire import Frame, Kind, SealedAnswer, SealedJob
from tests.roles.conftest import World, instances, post_of


def population(rows=4000):
    """Records spread so widely that their table is not sent whole."""
    rng = np.random.default_rng(11)
    data = instances(rows=rows)
    data.features = rng.uniform(0, 12, (rows, 3))
    schema = tuple(ompd.Feature(f"f{j}", "numeric", 0, 12) for j in range(3))
    data.schema = ompd.Schema(schema, ("no", "yes"))
    return data


DATA = population()


def sealed_world(**options):
    world = World(profile="sealed", **options)
    world.publish("flu", DATA, k=5)
    report = world.frames([6, 6, 6])[-1]
    world.user.read(report)
    world.length = sealed_length(report)
    renew(world)
    assert world.hospital.remaining("flu") >= 20
    return world


def renew(world):
    world.hospital.renewed(world.cloud.answer(world.hospital.renew("flu")))


def ask(world, features=(5, 5, 5)):
    """Return the job and the cloud's answer."""
    job = world.hospital.forward(world.user.ask("st-mary", "flu", features))
    return job, world.cloud.answer(job)


def read(world, report):
    """The diagnosis, or None where the report says that there is no answer."""
    assert sealed_length(report) == world.length
    try:
        return world.user.read(report)[0]
    except NoAnswerError:
        return None


def sealed_length(report):
    """Without the header, in which a number grows."""
    return len(Frame.decode(report, Kind.REPORT).ciphertext)


def sequence(report):
    return Frame.decode(report, Kind.REPORT).header.sequence


def spoilt(world, job, answer, change):
    """The answer after a change to its buckets, as a lying cloud would sign it."""
    frame = Frame.decode(answer, Kind.SEALED_ANSWER)
    header, body = frame.header, post_of(world.hospital).open(frame, SealedAnswer)
    changed = msgspec.structs.replace(body, buckets=change(body.buckets))
    cloud = post_of(world.cloud)
    return cloud.send("st-mary", changed, nonce=header.nonce, sequence=header.sequence)


@pytest.mark.long
def test_any_order_is_as_good_as_the_order_of_asking():
    world = sealed_world()
    features = np.random.default_rng(5).uniform(0, 12, (120, 3))
    shuffled = np.random.default_rng(3)
    found = {}
    for how in ("order", "shuffled"):
        labels = []
        for first in range(0, len(features), 20):
            renew(world)
            asked = [ask(world, each) for each in features[first : first + 20]]
            if how == "shuffled":
                shuffled.shuffle(asked)
            reports = [report for _, each in asked for report in world.hospital.report_batch(each)]
            assert len(reports) == 20
            # Whenever an answer came, its report left in its turn.
            assert [sequence(report) for report in reports] == sorted(map(sequence, reports))
            labels += [read(world, report) for report in reports]
        found[how] = [(one.label, one.votes) for one in labels]
        assert sum(one.certified for one in labels) >= 117
    assert sum(a == b for a, b in zip(*found.values(), strict=True)) >= 119


def test_an_early_answer_waits_and_leaves_with_the_one_before_it():
    world = sealed_world()
    (_, first), (_, second), (_, third) = (ask(world) for _ in range(3))
    assert world.hospital.report_batch(third) == []
    assert world.hospital.report_batch(second) == []
    assert world.hospital.collect() == []
    reports = world.hospital.report_batch(first)
    assert [sequence(report) for report in reports] == sorted(map(sequence, reports))
    assert all(read(world, report).certified for report in reports)
    assert world.hospital.open_jobs == 0


def test_threads_lose_nothing():
    world = sealed_world()
    remaining = world.hospital.remaining("flu")
    people = [ompd.User.create(f"user-{i}", **world.options) for i in range(4)]
    for person in people:
        ompd.introduce(person, world.hospital)

    def work(person):
        found = []
        for number in range(remaining // 4):
            job = world.hospital.forward(person.ask("st-mary", "flu", [number % 12, 5, 6]))
            found += person.read(world.hospital.report(world.cloud.answer(job)))
        return found

    with ThreadPoolExecutor(4) as pool:
        found = [each for part in pool.map(work, people) for each in part]
    assert len(found) == remaining // 4 * 4
    assert all(each.certified for each in found)
    assert world.hospital.collect() == []


def test_patience_ends_and_its_users_are_told():
    world = sealed_world(patience=0)
    (_, late), (_, lost), (_, prompt) = (ask(world) for _ in range(3))
    assert read(world, world.hospital.report(prompt)) is not None
    # One comes late, after all, and gets what is kept for it; the other never does.
    assert read(world, world.hospital.report(late)) is None
    (report,) = world.hospital.collect()
    assert read(world, report) is None
    assert world.hospital.collect() == []
    with pytest.raises(ContextMismatchError):
        world.hospital.report(lost)
    with pytest.raises(ParameterError, match="patience"):
        sealed_world(patience=-1)


def test_answers_are_kept_up_to_a_limit(monkeypatch):
    monkeypatch.setattr("ompd.roles.turns.MOST_KEPT", 0)
    world = sealed_world()
    (_, _), (_, second) = (ask(world) for _ in range(2))
    reports = world.hospital.report_batch(second)
    assert [read(world, report) is None for report in reports] == [True, False]


def test_a_job_that_failed_is_over_at_once():
    world = sealed_world()
    (first, _), (second, answer), (third, early) = (ask(world) for _ in range(3))
    assert world.hospital.report_batch(early) == []
    (told,) = world.hospital.fail(second)
    assert read(world, told) is None
    for job in (second, third):
        with pytest.raises(ContextMismatchError):
            world.hospital.fail(job)
    with pytest.raises(ContextMismatchError):
        world.hospital.report_batch(answer)
    reports = world.hospital.fail(first)
    assert [read(world, report) is None for report in reports] == [True, False]
    assert world.hospital.open_jobs == 0


def test_jobs_without_an_answer_are_over_while_their_users_still_wait():
    world = sealed_world()
    ask(world)
    world.clock.now += 80
    assert world.hospital.collect() == []
    world.clock.now += 20
    (report,) = world.hospital.collect()
    assert read(world, report) is None
    assert world.hospital.open_jobs == world.user.open_queries == 0


def test_windows_do_not_wait_for_one_another():
    world = sealed_world()
    (first, _), (_, before) = (ask(world) for _ in range(2))
    old = world.hospital.tables["flu"].retrieval.table._window.hints
    renew(world)
    hints = world.hospital.tables["flu"].retrieval.table._window.hints
    _, after = ask(world)
    (report,) = world.hospital.report_batch(after)
    assert read(world, report).certified
    assert world.hospital.report_batch(before) == []
    reports = world.hospital.fail(first)
    assert sorted(read(world, each) is None for each in reports) == [False, True]
    assert old.owed.any()
    assert not hints.owed.any()


@pytest.mark.parametrize("change", ["flipped", "swapped", "cut"])
def test_a_batch_fails_by_member(change):
    world = sealed_world()
    queries = [world.user.ask("st-mary", "flu", [x, x, x]) for x in (2, 5, 8, 5)]
    batch = world.hospital.forward_batch(queries)
    ((frame, cloud, places, _),) = batch.jobs
    assert (cloud, places) == ("cloud", (0, 1, 2, 3))
    size = world.hospital.tables["flu"].retrieval.table.layout.answer_bytes

    def spoil(buckets):
        if change == "cut":
            return buckets[:-1]
        changed = bytearray(buckets)
        if change == "flipped":
            changed[size + 3] ^= 1
        else:
            changed[:size], changed[size : 2 * size] = changed[size : 2 * size], changed[:size]
        return bytes(changed)

    answer = spoilt(world, frame, world.cloud.answer(frame), spoil)
    reports = world.hospital.report_batch(answer)
    none = {"flipped": [1], "swapped": [0, 1], "cut": [0, 1, 2, 3]}[change]
    found = [read(world, report) for report in reports]
    assert [place for place in range(4) if found[place] is None] == none


def test_places_tell_which_query_is_in_which_job():
    world = World()
    world.publish("flu")
    world.publish("gout", instances(seed=2, features=2))
    queries = [
        world.user.ask("st-mary", "gout", [1, 1]),
        world.user.ask("st-mary", "flu", [1, 1, 1]),
        b"noise",
        world.user.ask("st-mary", "gout", [2, 2]),
    ]
    batch = world.hospital.forward_batch(queries)
    assert [job.places for job in batch.jobs] == [(0, 3), (1,)]
    assert {job.cloud for job in batch.jobs} == {"cloud"}
    told = [report for job in batch.jobs for report in world.hospital.fail(job.frame)]
    assert len(told) == 3
    for report in told:
        with pytest.raises(NoAnswerError):
            world.user.read(report)


def test_requests_of_one_member_share_and_those_of_others_do_not(monkeypatch):
    """What one user gets must not hang on the answer to another."""
    world = sealed_world()
    tickets = []

    def watched(*arguments):
        body, ticket = real(*arguments)
        tickets.append(ticket)
        return body, ticket

    real = SealedRetrieval.job
    monkeypatch.setattr(SealedRetrieval, "job", watched)
    fetched = []
    for rows in ([[5, 5, 5], [5, 5, 5]], [[5, 5, 5]], [[5, 5, 5]]):
        job = world.hospital.forward(world.user.ask("st-mary", "flu", rows))
        fetched.append(tickets[-1].asked.records[:, 1].tolist())
        assert post_of(world.cloud).open(Frame.decode(job, Kind.SEALED_JOB), SealedJob).request
    shared, alone, again = fetched
    assert set(shared) == set(alone) == set(again)
    assert shared.count(shared[0]) == 1

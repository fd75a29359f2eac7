from __future__ import annotations

import numpy as np
import pytest

import ompd
from ompd.errors import (
    ContextMismatchError,
    DomainError,
    FramingError,
    NoAnswerError,
    RefusedError,
    ReplayError,
    SignatureError,
    TooLargeError,
    UnknownDiseaseError,
    UnknownKeyError,
)
from ompd.wire import MAX_BATCH, Frame, Kind
from tests.roles.conftest import World, instances


def users(world, count):
    people = [ompd.User.create(f"user-{i}", **world.options) for i in range(count)]
    for person in people:
        ompd.introduce(person, world.hospital)
    return people


def read_all(people, reports):
    """Labels by user; every report goes to the user that its header names."""
    by_id = {person.id: person for person in people}
    found = {}
    for report in reports:
        recipient = Frame.decode(report, Kind.REPORT).header.recipient
        labels = [diagnosis.label for diagnosis in by_id[recipient].read(report)]
        found.setdefault(recipient, []).append(labels)
    return found


def test_many_users_in_one_job_get_their_own_answers(world, rng):
    world.publish("flu", instances(seed=1))
    world.publish("gout", instances(seed=2, classes=("a", "b", "c"), features=5))
    people = users(world, 6)
    asked = {}
    queries = []
    for person in people:
        for disease, n in (("flu", 3), ("gout", 5)):
            features = rng.integers(0, 13, (int(rng.integers(1, 4)), n)).astype(float)
            queries.append(person.ask("st-mary", disease, features))
            asked[person.id, disease] = features
    batch = world.hospital.forward_batch(queries)
    assert batch.refused == {}
    assert len(batch.jobs) == 2
    made = world.hospital.signatures_made
    verdicts = [world.cloud.answer(job.frame) for job in batch.jobs]
    reports = [report for verdict in verdicts for report in world.hospital.report_batch(verdict)]
    assert world.hospital.signatures_made == made + 12
    assert world.cloud.signatures_made == 2 + 2  # receipts and verdicts
    found = read_all(people, reports)
    for person in people:
        for labels, disease in zip(found[person.id], ("flu", "gout"), strict=True):
            # Alone, the same vectors get the same labels unless noise breaks a tie.
            features = asked[person.id, disease]
            alone = world.user.read(world.frames(features, disease)[-1])
            same = np.mean([a == b.label for a, b in zip(labels, alone, strict=True)])
            assert len(labels) == len(features)
            assert same >= 1 / 3 or len(features) == 1


def test_bad_queries_do_not_hold_up_the_good_ones(world):
    world.publish()
    people = users(world, 4)
    good = [person.ask("st-mary", "flu", [6, 6, 6]) for person in people]
    stranger = ompd.User.create("mallory", **world.options)
    ompd.introduce(stranger, ompd.Hospital.create("st-mary", profile="paper", **world.options))
    flipped = bytearray(people[0].ask("st-mary", "flu", [1, 1, 1]))
    flipped[-1] ^= 1
    used = world.user.ask("st-mary", "flu", [1, 1, 1])
    world.hospital.forward(used)
    queries = [
        good[0],
        bytes(flipped),
        good[1],
        people[1].ask("st-mary", "flu", [99, 1, 1]),
        people[1].ask("st-mary", "gout", [1, 1, 1]),
        good[2],
        stranger.ask("st-mary", "flu", [1, 1, 1]),
        good[1],
        used,
        b"noise",
        good[3],
    ]
    batch = world.hospital.forward_batch(queries)
    assert {place: type(error) for place, error in batch.refused.items()} == {
        1: type(batch.refused[1]),
        3: DomainError,
        4: UnknownDiseaseError,
        6: UnknownKeyError,
        7: ReplayError,
        8: ReplayError,
        9: FramingError,
    }
    assert isinstance(batch.refused[1], SignatureError)
    (job,) = batch.jobs
    reports = world.hospital.report_batch(world.cloud.answer(job.frame))
    assert read_all(people, reports) == {person.id: [["yes"]] for person in people}


def test_a_batch_of_nothing_good_makes_no_job(world):
    world.publish()
    batch = world.hospital.forward_batch([b"", b"noise"])
    assert batch.jobs == []
    assert set(batch.refused) == {0, 1}
    assert world.hospital.forward_batch([]).jobs == []
    assert world.hospital.open_jobs == 0


def test_report_reads_single_answers_only(world):
    world.publish()
    people = users(world, 2)
    batch = world.hospital.forward_batch([p.ask("st-mary", "flu", [6, 6, 6]) for p in people])
    verdict = world.cloud.answer(batch.jobs[0].frame)
    with pytest.raises(ContextMismatchError, match="report_batch"):
        world.hospital.report(verdict)
    assert len(world.hospital.report_batch(verdict)) == 2


def test_large_batches_are_split_into_jobs_within_the_cap(world, monkeypatch):
    world.publish()
    people = users(world, 5)
    monkeypatch.setattr("ompd.roles.retrieval.paper.MAX_BATCH", 4)
    queries = [person.ask("st-mary", "flu", [[6, 6, 6]] * 2) for person in people]
    batch = world.hospital.forward_batch(queries)
    assert len(batch.jobs) == 3
    reports = [
        r for job in batch.jobs for r in world.hospital.report_batch(world.cloud.answer(job.frame))
    ]
    assert read_all(people, reports) == {person.id: [["yes", "yes"]] for person in people}
    assert MAX_BATCH == 100_000


def test_a_full_hospital_refuses_the_whole_job_unused(world, monkeypatch):
    world.publish()
    people = users(world, 2)
    queries = [person.ask("st-mary", "flu", [6, 6, 6]) for person in people]
    monkeypatch.setattr("ompd.roles.turns.CAPACITY", 0)
    batch = world.hospital.forward_batch(queries)
    assert [type(batch.refused[place]) for place in (0, 1)] == [TooLargeError] * 2
    monkeypatch.undo()
    assert not world.hospital.forward_batch(queries).refused


def test_refusals_end_a_query_and_tell_no_reason(world):
    world.publish()
    frames = []
    for disease, features in (("flu", [99, 1, 1]), ("gout", [1, 1, 1]), ("flu", [1, 1])):
        query = world.user.ask("st-mary", disease, features)
        with pytest.raises(ompd.OmpdError):
            world.hospital.forward(query)
        frames.append(world.hospital.refuse(query))
        with pytest.raises(ReplayError):
            world.hospital.refuse(query)
    assert len({len(frame) for frame in frames}) == 1
    for frame in frames:
        with pytest.raises(RefusedError, match="did not accept the query"):
            world.user.read(frame)
        with pytest.raises(ReplayError):
            world.user.read(frame)
    assert world.user.open_queries == 0


def test_the_cloud_refuses_stale_jobs_likewise(world):
    world.publish()
    job = world.hospital.forward(world.user.ask("st-mary", "flu", [1, 1, 1]))
    world.publish()
    world.publish()
    with pytest.raises(ompd.OmpdError):
        world.cloud.answer(job)
    refusal = world.cloud.refuse(job)
    with pytest.raises(NoAnswerError):
        world.user.read(world.hospital.report(refusal))
    assert world.hospital.open_jobs == 0


def test_strangers_and_forgers_get_no_refusal(world):
    world.publish()
    query = bytearray(world.user.ask("st-mary", "flu", [99, 1, 1]))
    query[-1] ^= 1
    with pytest.raises(SignatureError):
        world.hospital.refuse(bytes(query))
    assert World().hospital.signatures_made == 0

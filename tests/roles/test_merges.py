"""Sealed tables that change: at the hospital at once, at the cloud when they are merged."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ompd
from ompd.errors import (
    BucketAuthError,
    ContextMismatchError,
    NeighborsError,
    OmpdError,
    ParameterError,
    RefusedError,
)
from ompd.roles.upkeep import Upkeep
from ompd.stores import FolderTables
from ompd.wire import Frame, Kind, SealedAnswer
from tests.roles.conftest import Clock, World, keys_of, post_of

SCHEMA = ompd.Schema(
    tuple(ompd.Feature(f"f{j}", "numeric", 0, 12) for j in range(3)), ("no", "yes")
)
K = 5


def records(rng, rows, ids=None):
    features = rng.uniform(0, 12, (rows, 3)).round(2)
    labels = [SCHEMA.classes[int(code)] for code in features[:, 0] + rng.normal(size=rows) > 6]
    return ompd.datasets.Dataset.from_arrays(SCHEMA, features, labels, ids=ids)


class Growing:
    """A hospital with a sealed table in a folder, and what should be in that."""

    def __init__(self, folder, seed=0, rows=60):
        self.folder, self.clock = folder, Clock()
        self.rng = np.random.default_rng(seed)
        self.cloud = ompd.Cloud.create("cloud", clock=self.clock)
        self.user = ompd.User.create("alice", clock=self.clock)
        hospital = ompd.Hospital.create("st-mary", clock=self.clock)
        self.keys = keys_of(hospital)
        ompd.introduce(hospital, self.cloud, self.user)
        self.hospital = None
        self.start()
        first = records(self.rng, rows, [f"p{number}" for number in range(rows)])
        self.encoder = None
        self.rows = {}
        self.count = 0
        self.hospital.deliver(
            self.hospital.publish("flu", first, cloud="cloud", k=K), self.cloud.store
        )
        self.note(first)

    def start(self):
        if self.hospital is not None:
            self.hospital = None
            gc.collect()
        self.hospital = ompd.Hospital(**self.keys, state=self.folder, share=1.0, clock=self.clock)
        self.hospital.meet(self.cloud.public, "cloud")
        self.hospital.meet(self.user.public)

    def note(self, data):
        encoder = self.hospital.tables["flu"].encoder
        for name, row, code in zip(
            data.ids, encoder.encode(data.features), data.labels, strict=True
        ):
            self.rows[str(name)] = (self.count, row.tolist(), int(code))
            self.count += 1

    def add(self, count):
        data = records(self.rng, count, [f"q{self.count + number}" for number in range(count)])
        self.hospital.deliver(self.hospital.add("flu", data), self.cloud.store)
        self.note(data)

    def remove(self, count):
        ids = self.rng.permutation(list(self.rows))[:count].tolist()
        self.hospital.deliver(self.hospital.remove("flu", ids), self.cloud.store)
        for name in ids:
            del self.rows[name]

    def relabel(self, count):
        ids = self.rng.permutation(list(self.rows))[:count].tolist()
        codes = self.rng.integers(0, 2, count)
        labels = [SCHEMA.classes[int(code)] for code in codes]
        self.hospital.deliver(self.hospital.relabel("flu", ids, labels), self.cloud.store)
        for name, code in zip(ids, codes, strict=True):
            number, row, _ = self.rows[name]
            self.rows[name] = number, row, int(code)

    def merge(self):
        upload = self.hospital.merged(self.cloud.answer(self.hospital.merge("flu")))
        self.hospital.deliver(upload, self.cloud.store)

    def check(self, queries=4):
        features = self.rng.uniform(0, 12, (queries, 3)).round(2)
        query = self.user.ask("st-mary", "flu", features)
        job = self.hospital.forward(query)
        found = self.user.read(self.hospital.report(self.cloud.answer(job)))
        encoded = self.hospital.tables["flu"].encoder.encode(features)
        for one, vector in zip(found, encoded.tolist(), strict=True):
            ranked = sorted(
                (sum(abs(a - b) for a, b in zip(row, vector, strict=True)), number, code)
                for number, row, code in self.rows.values()
            )[:K]
            votes = [sum(code == each for _, _, code in ranked) for each in range(2)]
            if one.certified:
                # Ties at the K-th distance could be others only where not all was fetched.
                assert list(one.votes.values()) == votes
        return np.mean([one.certified for one in found])


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_random_changes_and_crashes_equal_one_table(tmp_path_factory, data):
    rows = data.draw(st.sampled_from([30, 60, 2400]))
    world = Growing(
        tmp_path_factory.mktemp("state") / "here", data.draw(st.integers(0, 1 << 20)), rows
    )
    kinds = ["add", "remove", "relabel", "merge", "close", "kill"]
    for _ in range(data.draw(st.integers(2, 6))):
        kind = data.draw(st.sampled_from(kinds))
        many = int(world.rng.integers(1, 6))
        if kind in {"add", "remove", "relabel"}:
            getattr(world, kind)(many)
        elif kind == "merge":
            version = world.hospital.tables["flu"].ref.version
            world.merge()
            assert world.hospital.tables["flu"].ref.version > version
        else:
            if kind == "close":
                world.hospital.close()
            world.start()
        assert world.check() > 0.4
    world.merge()
    assert world.hospital.tables["flu"].rows == len(world.rows)
    world.add(2)
    world.remove(2)
    world.check()
    world.hospital.close()


@pytest.fixture
def growing(tmp_path):
    made = Growing(tmp_path / "state", rows=2400)
    yield made
    made.hospital.close()


def test_a_merge_takes_changes_to_the_cloud_without_training(growing):
    before = growing.hospital.tables["flu"]
    growing.add(3)
    growing.remove(4)
    assert growing.hospital.tables["flu"].ref == before.ref
    growing.merge()
    after = growing.hospital.tables["flu"]
    assert after.encoder is before.encoder
    assert after.rule == before.rule
    assert after.ref.version > before.ref.version
    assert after.retrieval.table.edits.changed == 0
    assert after.retrieval.table._secret.rows == 2399
    assert after.retrieval.table._secret.cipher.key != before.retrieval.table._secret.cipher.key
    assert growing.check(8) > 0.9
    # What was counted since training goes on.
    drift = growing.hospital.drift("flu")
    assert drift.added == pytest.approx(3 / 2400)


def test_queries_go_on_while_a_merge_is_on_its_way(growing):
    growing.add(2)
    answer = growing.cloud.answer(growing.hospital.merge("flu"))
    growing.check()
    growing.add(1)
    upload = growing.hospital.merged(answer)
    # Nothing may come between what is merged and its receipt.
    with pytest.raises(ParameterError, match="waits for its receipt"):
        growing.hospital.remove("flu", ["p3"])
    growing.check()
    job = growing.hospital.forward(growing.user.ask("st-mary", "flu", [5, 5, 5]))
    growing.hospital.deliver(upload, growing.cloud.store)
    growing.check()
    # What was asked of the version before is still answered.
    assert growing.user.read(growing.hospital.report(growing.cloud.answer(job)))[0].certified
    growing.remove(1)
    growing.check()


def test_a_merge_that_waits_outlives_the_process(growing):
    growing.add(3)
    growing.hospital.merged(growing.cloud.answer(growing.hospital.merge("flu")))
    growing.start()
    growing.check()
    growing.hospital.deliver(growing.hospital.resend("flu"), growing.cloud.store)
    assert growing.hospital.tables["flu"].retrieval.table._secret.rows == 2403
    growing.add(1)
    growing.check()


def test_answers_are_for_what_they_were_asked_for(growing):
    hospital, cloud = growing.hospital, growing.cloud
    growing.add(1)
    renewal, merge = hospital.renew("flu"), hospital.merge("flu")
    with pytest.raises(ContextMismatchError):
        hospital.merged(cloud.answer(renewal))
    with pytest.raises(ContextMismatchError):
        hospital.renewed(cloud.answer(merge))
    hospital.renewed(cloud.answer(renewal))
    answer = cloud.answer(merge)
    hospital.deliver(hospital.merged(answer), cloud.store)
    with pytest.raises(OmpdError):
        hospital.merged(answer)
    with pytest.raises(RefusedError):
        hospital.merged(cloud.refuse(hospital.merge("flu")))
    # A version that came meanwhile is not overwritten by what was before it.
    answer = cloud.answer(hospital.merge("flu"))
    data = records(growing.rng, 1200)
    hospital.deliver(hospital.publish("flu", data, cloud="cloud", k=K), cloud.store)
    with pytest.raises(ContextMismatchError, match="anew"):
        hospital.merged(answer)


def test_a_damaged_table_is_not_merged(growing):
    growing.add(1)
    job = growing.hospital.merge("flu")
    header = Frame.decode(growing.cloud.answer(job), Kind.SEALED_ANSWER).header
    body = post_of(growing.hospital).open(
        Frame.decode(growing.cloud.answer(job), Kind.SEALED_ANSWER), SealedAnswer
    )
    changed = bytearray(body.buckets)
    changed[7] ^= 1
    frame = post_of(growing.cloud).send(
        "st-mary",
        type(body)(body.table_id, body.version, bytes(changed)),
        nonce=header.nonce,
        sequence=header.sequence,
    )
    with pytest.raises(BucketAuthError):
        growing.hospital.merged(frame)
    growing.check()
    growing.merge()
    growing.check()


def test_what_is_due(growing, monkeypatch):
    hospital = growing.hospital
    assert hospital.due() == []
    growing.add(2)
    assert hospital.due() == []
    monkeypatch.setattr("ompd.sealed.edits._FEW", 1)
    monkeypatch.setattr("ompd.sealed.edits._SHARE", 10_000)
    assert hospital.due() == [("flu", "merge")]
    frame = hospital.merge("flu")
    assert hospital.due() == []
    growing.clock.now += 121
    assert hospital.due() == [("flu", "merge")]
    del frame
    growing.merge()
    assert hospital.due() == []
    # A removed row stays a day at most.
    monkeypatch.setattr("ompd.sealed.edits._FEW", 1000)
    growing.remove(1)
    assert hospital.due() == []
    monkeypatch.setattr("ompd.sealed.edits._LONGEST", 0.0)
    assert hospital.due() == [("flu", "merge")]
    growing.merge()
    # A window that is nearly used up.
    hospital.tables["flu"].retrieval.table._window.left = 1
    (due,) = hospital.due()
    assert (due.disease, due.what) == ("flu", "renew")
    frame = hospital.renew("flu")
    assert hospital.due() == []
    hospital.renewed(growing.cloud.answer(frame))
    assert hospital.due() == []
    assert hospital.remaining("flu") > 1


def test_k_neighbours_must_be_left():
    world = World(profile="sealed")
    world.publish("flu", k=5)
    with pytest.raises(NeighborsError):
        world.hospital.remove("flu", list(range(56)))
    world.hospital.deliver(world.hospital.remove("flu", list(range(55))), world.cloud.store)
    (found,) = world.user.read(world.frames([1, 2, 3])[-1])
    assert sum(found.votes.values()) == 5


def test_the_clouds_copy_of_a_removed_row_ends_a_window_after_the_merge(tmp_path, monkeypatch):
    monkeypatch.setattr(Upkeep, "plan", lambda self, soon=False: None)
    world = World(profile="sealed")
    world.cloud = ompd.Cloud(
        **keys_of(world.cloud), tables=FolderTables(tmp_path), clock=world.clock
    )
    ompd.introduce(world.hospital, world.cloud, world.user)
    hospital, cloud = world.hospital, world.cloud
    world.publish(data=records(np.random.default_rng(3), 40), k=3)
    ref = hospital.tables["flu"].ref
    answer = cloud.answer(hospital.merge("flu"))
    body = post_of(hospital).open(Frame.decode(answer, Kind.SEALED_ANSWER), SealedAnswer)
    old = bytes(body.buckets)[:64]

    def there():
        return any(old in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())

    hospital.deliver(hospital.remove("flu", [7]), cloud.store)
    world.clock.now += 3600
    cloud.tidy()
    assert there()
    receipt = hospital.deliver(hospital.merged(cloud.answer(hospital.merge("flu"))), cloud.store)
    assert receipt.erased == (world.clock.now + 120) * 1000
    world.clock.now += 59
    cloud.tidy()
    assert there()
    # Nobody asks meanwhile.
    world.clock.now += 2
    cloud.tidy()
    assert not there()
    assert [each.version for each in cloud.tables.versions(ref.table_id)] == [
        hospital.tables["flu"].ref.version
    ]
    world.frames([1, 2, 3])


def test_only_sealed_tables_are_merged(world):
    world.publish()
    with pytest.raises(ParameterError, match="only sealed"):
        world.hospital.merge("flu")
    assert world.hospital.due() == []

"""Tables that change: they answer as ones that are published at once with the same encoder."""

from __future__ import annotations

import contextlib
import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ompd
from ompd.datasets import Dataset
from ompd.errors import (
    BudgetExceededError,
    ContextMismatchError,
    LabelError,
    NeighborsError,
    OmpdError,
    ParameterError,
    UnknownDiseaseError,
    VersionError,
)
from ompd.roles.frozen import record_names
from ompd.search import LimbTable, compute, tally
from ompd.stores import BudgetLedger, FolderTables, MemoryTables
from tests.roles.conftest import World, keys_of

CLASSES = ("no", "yes", "perhaps")
SCHEMA = ompd.Schema(tuple(ompd.Feature(f"f{j}", "numeric", 0, 12) for j in range(3)), CLASSES)
K = 3


def drawn(rng, count, first):
    """Records without ties, with ids from a number on."""
    labels = rng.permutation(np.arange(count) % 3)
    values = np.clip(rng.normal(labels[:, None] * 3 + 3, 1.5, (count, 3)), 0, 12)
    names = [CLASSES[code] for code in labels]
    return Dataset.from_arrays(SCHEMA, values, names, ids=[f"p{first + i}" for i in range(count)])


class Scene:
    """A hospital and a cloud that end and begin again, and what their table should be."""

    def __init__(self, profile, path, *, folder, noise=False, state=True, limit=1e6):
        self.path, self.profile, self.folder, self.state = path, profile, folder, state
        self.hospital_options = {}
        if noise:
            self.ledger = BudgetLedger(path / "ledger", limit=limit)
            self.hospital_options = {"epsilon": 2.0, "ledger": self.ledger}
        if state:
            self.hospital_options["state"] = path / "state"
        tables = FolderTables(path / "tables") if folder else MemoryTables()
        self.world = World(profile=profile, **self.hospital_options)
        self.world.cloud.close()
        self.world.cloud = ompd.Cloud(
            **keys_of(self.world.cloud), tables=tables, clock=self.world.clock
        )
        self._meet()
        self.lost = False

    @property
    def hospital(self):
        return self.world.hospital

    @property
    def cloud(self):
        return self.world.cloud

    def _meet(self):
        ompd.introduce(self.world.hospital, self.world.cloud, self.world.user)

    def publish(self, records):
        upload = self.hospital.publish("flu", records, cloud="cloud", k=K)
        self.hospital.deliver(upload, self.cloud.store)
        self.model = {
            id: (records.features[row], int(records.labels[row]), int(records.labels[row]))
            for row, id in enumerate(records.ids.tolist())
        }

    def crash_hospital(self):
        """End without closing: a process that ended holds no lock, nor does what nobody knows."""
        keys = keys_of(self.hospital)
        self.world.hospital = None
        gc.collect()
        self.world.hospital = ompd.Hospital(
            **keys, profile=self.profile, clock=self.world.clock, share=1.0,
            **self.hospital_options,
        )  # fmt: skip
        self._meet()

    def crash_cloud(self):
        keys = keys_of(self.cloud)
        self.cloud._upkeep.close()
        self.cloud.tables._lock.release()
        self.world.cloud = ompd.Cloud(
            **keys, tables=FolderTables(self.path / "tables"), clock=self.world.clock
        )
        self._meet()

    def vectors(self):
        """What stands for all records in the table, in their order, and their classes."""
        table = self.hospital.tables["flu"]
        features = np.array([features for features, _, _ in self.model.values()])
        labels = np.array([label for _, label, _ in self.model.values()])
        frozen = self.hospital._shelf.frozen.get("flu")
        if frozen is None:
            return np.array(table.encoder.encode(features)), labels
        # A record goes by the class that it came with.
        first = np.array([first for _, _, first in self.model.values()])
        names = record_names(SCHEMA, features, first)
        vectors = frozen.vectors(names, features)
        return vectors if table.noise is None else table.noise.instances(vectors, names), labels

    def check_stored(self, table, vectors, labels):
        """Compare what the cloud has of rows that it can tell apart."""
        stored = self.cloud.tables.versions(table.ref.table_id)[0].stored
        live = np.setdiff1d(np.arange(len(stored.limbs)), stored.limbs.removed)
        assert stored.limbs.labels[live].tolist() == labels.tolist()
        if self.profile == "hardened":
            seen = stored.limbs.limbs[live, :, 0] + stored.table.origin
            assert np.array_equal(seen, table.retrieval.key.blind(vectors))

    def check(self, rng):
        """Compare answers, and what the cloud has."""
        table = self.hospital.tables["flu"]
        vectors, labels = self.vectors()
        if self.profile != "sealed":
            self.check_stored(table, vectors, labels)
        queries = np.clip(rng.normal(6, 3, (4, 3)), 0, 12)
        query = self.world.user.ask("st-mary", "flu", queries)
        job = self.hospital.forward(query)
        found = self.world.user.read(self.hospital.report(self.cloud.answer(job)))
        if table.noise is None:
            asked = np.array(table.encoder.encode(queries))
            least = np.minimum(vectors.min(axis=0), asked.min(axis=0))
            whole = LimbTable.from_prefix_sums(vectors - least, labels, 3)
            points = np.ascontiguousarray(asked - least).view(np.uint64)[:, :, np.newaxis]
            _, rows = compute(whole, points, K)
            assert np.array_equal(found.votes, tally(whole, rows))


STEPS = (
    "add", "remove", "relabel", "query", "hospital", "cloud", "lose", "twice", "later", "tidy",
)  # fmt: skip


def play(scene, rng, steps):
    """Change, query and crash; what is not delivered at once is in the end."""
    number = 100
    for step in steps:
        ids = sorted(scene.model)
        some = rng.permutation(ids)[: int(rng.integers(1, 5))].tolist()
        upload = None
        if step in {"add", "lose", "twice"}:
            records = drawn(rng, int(rng.integers(1, 5)), number)
            number += 10
            upload = scene.hospital.add("flu", records)
            scene.model |= {
                id: (records.features[row], int(records.labels[row]), int(records.labels[row]))
                for row, id in enumerate(records.ids.tolist())
            }
        elif step == "remove" and len(ids) - len(some) >= K:
            upload = scene.hospital.remove("flu", some)
            for id in some:
                del scene.model[id]
        elif step == "relabel":
            codes = rng.integers(0, 3, len(some))
            upload = scene.hospital.relabel("flu", some, [CLASSES[code] for code in codes])
            for id, code in zip(some, codes.tolist(), strict=True):
                scene.model[id] = (scene.model[id][0], code, scene.model[id][2])
        elif step == "hospital" and scene.state:
            scene.crash_hospital()
        elif step == "cloud" and scene.folder:
            scene.crash_cloud()
        elif step == "later":
            scene.world.clock.now += float(rng.choice([30, 61, 125]))
        elif step == "tidy":
            scene.cloud.tidy()
        if upload is not None and step == "lose":
            # The cloud has all, some or nothing of it, and the hospital does not know.
            for place in range(int(rng.integers(len(upload) + 1))):
                scene.cloud.store(upload[place])
        elif upload is not None:
            receipt = scene.hospital.deliver(upload, scene.cloud.store)
            assert receipt.have >= len(scene.model)
            if step == "twice" and scene.profile != "sealed":
                with pytest.raises(ContextMismatchError):
                    scene.hospital.deliver(upload, scene.cloud.store)
        if step == "query":
            with contextlib.suppress(UnknownDiseaseError):
                upload = scene.hospital.resend("flu")
                scene.hospital.deliver(upload, scene.cloud.store)
            scene.check(rng)
    with contextlib.suppress(UnknownDiseaseError):
        scene.hospital.deliver(scene.hospital.resend("flu"), scene.cloud.store)
    scene.check(rng)


@pytest.mark.parametrize("profile", ["paper", "hardened", "sealed"])
@pytest.mark.parametrize("folder", [False, True])
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(STEPS), max_size=14))
@settings(max_examples=8)
def test_any_changes_leave_a_table_as_published_at_once(
    tmp_path_factory, profile, folder, seed, steps
):
    rng = np.random.default_rng(seed)
    scene = Scene(profile, tmp_path_factory.mktemp("scene"), folder=folder)
    scene.publish(drawn(rng, 20, 0))
    play(scene, rng, steps)
    scene.hospital.close()
    scene.cloud.close()


@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(STEPS), max_size=10))
@settings(max_examples=8)
def test_noisy_tables_change_as_they_are_published(tmp_path_factory, seed, steps):
    rng = np.random.default_rng(seed)
    scene = Scene("hardened", tmp_path_factory.mktemp("scene"), folder=False, noise=True)
    scene.publish(drawn(rng, 20, 0))
    play(scene, rng, steps)
    scene.hospital.close()
    scene.ledger.close()


@pytest.mark.parametrize("noise", [False, True])
def test_a_hardened_change_tells_what_a_new_version_would(tmp_path, noise):
    """The same rows, byte for byte, and with noise at no further cost."""
    rng = np.random.default_rng(5)
    scene = Scene("hardened", tmp_path, folder=False, noise=noise, limit=3.0)
    first, more = drawn(rng, 20, 0), drawn(rng, 6, 100)
    # Two of the new records say what some that are there say, and are others all the same.
    features, labels = more.features.copy(), more.labels.copy()
    features[:2], labels[:2] = first.features[:2], first.labels[:2]
    more = Dataset.from_arrays(SCHEMA, features, [CLASSES[code] for code in labels], ids=more.ids)
    scene.publish(first)
    scene.hospital.deliver(scene.hospital.add("flu", more), scene.cloud.store)
    ref = scene.hospital.tables["flu"].ref

    def seen():
        stored = scene.cloud.tables.versions(ref.table_id)[0].stored
        return (stored.limbs.limbs[:, :, 0] + stored.table.origin).tolist()

    changed = seen()
    whole = Dataset.from_arrays(
        SCHEMA,
        np.concatenate([first.features, more.features]),
        [CLASSES[code] for code in (*first.labels, *more.labels)],
        ids=[*first.ids, *more.ids],
    )
    scene.hospital.deliver(
        scene.hospital.publish("flu", whole, cloud="cloud", k=K), scene.cloud.store
    )
    # With noise, no record could have paid twice.
    assert seen() == changed


def test_a_record_whose_budget_is_spent_is_not_added(tmp_path):
    scene = Scene("hardened", tmp_path, folder=False, noise=True)
    scene.ledger.close()
    rng = np.random.default_rng(5)
    scene.hospital.close()
    with BudgetLedger(tmp_path / "tight", limit=3.0) as ledger:
        hospital = ompd.Hospital.create(
            "st-luke", profile="hardened", epsilon=2.0, ledger=ledger, clock=scene.world.clock
        )
        ompd.introduce(hospital, scene.cloud)
        hospital.deliver(
            hospital.publish("flu", drawn(rng, 20, 0), cloud="cloud", k=K), scene.cloud.store
        )
        more = drawn(rng, 2, 50)
        (name, _) = record_names(SCHEMA, more.features, more.labels)
        ledger.spend_each([(name, b"x" * 32)], 2.0)
        with pytest.raises(BudgetExceededError):
            hospital.add("flu", more)
        with pytest.raises(UnknownDiseaseError):
            hospital.resend("flu")


@pytest.fixture
def world():
    made = World(profile="hardened")
    upload = made.hospital.publish(
        "flu", drawn(np.random.default_rng(1), 20, 0), cloud="cloud", k=K
    )
    made.hospital.deliver(upload, made.cloud.store)
    return made


def test_what_cannot_be_changed_is_refused_before_anything_is(world):
    hospital, rng = world.hospital, np.random.default_rng(2)
    other = ompd.Schema(SCHEMA.features, ("no", "yes", "who knows"))
    foreign = Dataset.from_arrays(other, np.ones((1, 3)), ["no"], ids=["new"])
    for act, error in (
        (lambda: hospital.add("cold", drawn(rng, 1, 50)), UnknownDiseaseError),
        (lambda: hospital.add("flu", foreign), ParameterError),
        (lambda: hospital.add("flu", drawn(rng, 2, 19)), ParameterError),
        (lambda: hospital.add("flu", drawn(rng, 2, 50).features), ParameterError),
        (lambda: hospital.remove("flu", ["nobody"]), ParameterError),
        (lambda: hospital.remove("flu", [f"p{row}" for row in range(18)]), NeighborsError),
        (lambda: hospital.relabel("flu", ["p1"], ["maybe"]), LabelError),
        (lambda: hospital.relabel("flu", ["p1"], ["no", "yes"]), LabelError),
        (lambda: hospital.withdraw("cold"), UnknownDiseaseError),
        (lambda: hospital.drift("cold"), UnknownDiseaseError),
    ):
        with pytest.raises(error):
            act()
    with pytest.raises(UnknownDiseaseError):
        hospital.resend("flu")
    assert hospital.tables["flu"].ref.version == 1


def test_a_table_with_an_upload_under_way_does_not_change(world):
    rng = np.random.default_rng(2)
    upload = world.hospital.publish("flu", drawn(rng, 25, 0), cloud="cloud", k=K)
    with pytest.raises(ParameterError, match="waits for its receipt"):
        world.hospital.remove("flu", ["p1"])
    world.hospital.deliver(upload, world.cloud.store)
    world.hospital.deliver(world.hospital.remove("flu", ["p24"]), world.cloud.store)
    assert world.hospital.tables["flu"].rows == 24


def test_a_table_published_anew_ends_the_changes_before(world):
    rng = np.random.default_rng(2)
    change = world.hospital.remove("flu", ["p1"])
    upload = world.hospital.publish("flu", drawn(rng, 25, 0), cloud="cloud", k=K)
    world.hospital.deliver(upload, world.cloud.store)
    with pytest.raises(VersionError):
        world.cloud.store(change[0])
    with pytest.raises(UnknownDiseaseError):
        world.hospital.resend("flu")


def test_a_receipt_for_a_change_stands_for_those_before(world):
    rng = np.random.default_rng(2)
    frames = [*world.hospital.add("flu", drawn(rng, 2, 50))]
    both = world.hospital.remove("flu", ["p1", "p51"])
    assert len(both) == 2
    world.cloud.store(frames[0])
    receipt = world.hospital.confirm(world.cloud.store(both[1]))
    assert receipt.version == world.hospital.tables["flu"].ref.version == 3
    assert world.hospital.tables["flu"].rows == 20
    with pytest.raises(UnknownDiseaseError):
        world.hospital.resend("flu")


def test_receipts_of_others_are_refused(world):
    change = world.hospital.remove("flu", ["p1"])
    other = World(profile="hardened")
    with pytest.raises(OmpdError):
        world.hospital.confirm(other.cloud.id.encode())
    receipt = world.cloud.store(change[0])
    world.hospital.confirm(receipt)
    with pytest.raises(ContextMismatchError):
        world.hospital.confirm(receipt)


def test_drift_is_told_as_shares(world):
    rng = np.random.default_rng(2)
    world.hospital.deliver(world.hospital.add("flu", drawn(rng, 5, 50)), world.cloud.store)
    world.hospital.deliver(world.hospital.remove("flu", ["p1"]), world.cloud.store)
    drift = world.hospital.drift("flu")
    assert (drift.added, drift.removed, drift.relabelled) == (0.25, 0.05, 0)
    assert set(drift.features) == {"f0", "f1", "f2"}
    assert "p1" not in repr(drift)

"""Tables that change: they answer as ones that are published at once with the same encoder."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ompd
from ompd.datasets import Dataset
from ompd.errors import (
    ContextMismatchError,
    UnknownDiseaseError,
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

    def __init__(self, profile, path, *, folder, noise=False, state=True):
        self.path, self.profile, self.folder, self.state = path, profile, folder, state
        self.hospital_options = {}
        if noise:
            self.ledger = BudgetLedger(path / "ledger", limit=1e6)
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
        """End without closing, but for what the system gives back by itself."""
        keys = keys_of(self.hospital)
        self.hospital._shelf._archive._folder_lock.release()
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

    def check(self, rng):
        """Compare answers, and what the cloud has."""
        table = self.hospital.tables["flu"]
        vectors, labels = self.vectors()
        stored = self.cloud.tables.versions(table.ref.table_id)[0].stored
        live = np.setdiff1d(np.arange(len(stored.limbs)), stored.limbs.removed)
        assert stored.limbs.labels[live].tolist() == labels.tolist()
        if self.profile == "hardened":
            seen = stored.limbs.limbs[live, :, 0] + stored.table.origin
            assert np.array_equal(seen, table.retrieval.key.blind(vectors))
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
            if step == "twice":
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


@pytest.mark.parametrize("profile", ["paper", "hardened"])
@pytest.mark.parametrize("folder", [False, True])
@given(seed=st.integers(0, 2**32), steps=st.lists(st.sampled_from(STEPS), max_size=14))
@settings(max_examples=12)
def test_any_changes_leave_a_table_as_published_at_once(
    tmp_path_factory, profile, folder, seed, steps
):
    rng = np.random.default_rng(seed)
    scene = Scene(profile, tmp_path_factory.mktemp("scene"), folder=folder, state=False)
    scene.publish(drawn(rng, 20, 0))
    play(scene, rng, steps)
    scene.hospital.close()
    scene.cloud.close()

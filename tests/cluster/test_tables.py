"""A cloud whose tables are answered by workers: the same answers, whatever happens to these."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import ompd
from ompd.cluster import spread as spreading
from ompd.cluster.crew import Crew
from ompd.cluster.spread import Parted, Spread
from ompd.cluster.tables import Tables
from ompd.commands.app import app
from ompd.errors import BackendUnavailableError, ClusterError, ParameterError
from ompd.search import LimbTable, compute
from tests.cluster.hands import Hands
from tests.roles.conftest import Clock, instances
from tests.search.test_engine import KINDS, make

PROFILES = ("paper", "hardened", "sealed")
#: Enough that each worker gets some of them.
QUERIES = 40


class Rig:
    """A hospital and a user, and a cloud on workers in this process."""

    #: Seconds for workers to have all.
    wait = 30

    def __init__(self, path, profile, *, parts=1, workers=3, rows=300, hands=None, monkeypatch):
        monkeypatch.setattr(spreading, "FEW", 1)
        monkeypatch.setattr(spreading, "SHARE", 8)
        monkeypatch.setattr(spreading, "FEW_BYTES", 1)
        monkeypatch.setattr(spreading, "SHARE_BYTES", 1 << 12)
        self.clock = Clock()
        self.hands = hands or Hands()
        self.path, self.parts, self.workers = path, parts, workers
        options = {"clock": self.clock}
        self.hospital = ompd.Hospital.create("st-mary", profile=profile, share=1.0, **options)
        self.user = ompd.User.create("alice", **options)
        self.tables = self.opened()
        self.cloud = ompd.Cloud.create("cloud", tables=self.tables, **options)
        ompd.introduce(self.hospital, self.cloud, self.user)
        self.data = instances(rows=rows)
        self.hospital.deliver(
            self.hospital.publish("flu", self.data, cloud="cloud", k=3), self.cloud.store
        )
        self.rng = np.random.default_rng(3)

    def opened(self):
        # Of one part, or so little memory that there are as many as there may be.
        memory = None if self.parts == 1 else 1
        return Tables(self.path, hands=self.hands, workers=self.workers, memory=memory)

    def ask(self, count=QUERIES, *, about_to=lambda: None):
        rows = self.rng.integers(0, 13, (count, 3)).astype(float)
        query = self.user.ask("st-mary", "flu", rows)
        job = self.hospital.forward(query)
        about_to()
        return self.user.read(self.hospital.report(self.cloud.answer(job)))

    def newest(self):
        (versions,) = self.tables.kept().values()
        return versions[0].stored

    def held(self):
        return {key for worker in self.hands.workers for key in worker.status()["held"]}

    def asked(self):
        return [worker.status()["asked"] for worker in self.hands.workers]

    def __enter__(self):
        assert self.tables.settle(self.wait)
        return self

    def __exit__(self, *_):
        self.cloud.close()


@pytest.fixture
def same(monkeypatch):
    """Compare each job's answer with that of the table itself, and count them."""
    compared = []
    prepare = Spread.prepare

    def prepared(self, body):
        run = prepare(self, body)

        def answer():
            found = run()
            assert found == self.stored.prepare(body)()
            compared.append(type(self).__name__)
            return found

        return answer

    monkeypatch.setattr(Spread, "prepare", prepared)
    return compared


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("profile", PROFILES)
def test_workers_answer_as_the_table_does(tmp_path, monkeypatch, same, profile, parts):
    with Rig(tmp_path / "t", profile, parts=parts, monkeypatch=monkeypatch) as rig:
        assert isinstance(rig.newest(), Spread)
        found = rig.ask()
        assert len(found) == QUERIES
        assert len(same) == 1
        # The hospital of `sealed` may have asked for all of the table, which is only sent.
        assert profile == "sealed" or all(rig.asked())
        assert len(rig.tables.status()) == 3
        assert all(each["bytes"] for each in rig.tables.status())


@pytest.mark.parametrize("parts", [1, 3])
def test_fetches_are_summed_by_workers(tmp_path, monkeypatch, same, parts):
    with Rig(tmp_path / "t", "sealed", rows=30_000, parts=parts, monkeypatch=monkeypatch) as rig:
        assert rig.newest().stored.layout.fetches
        rig.ask(1)
        assert same == ["Summed"]
        assert all(rig.asked())
        if parts > 1:
            # Each has its chunks, and no more.
            table = rig.newest().stored.layout.table_bytes
            assert all(each["bytes"] < table for each in rig.tables.status())


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("profile", ["paper", "hardened"])
def test_tables_change_and_are_erased(tmp_path, monkeypatch, same, profile, parts):
    with Rig(tmp_path / "t", profile, parts=parts, monkeypatch=monkeypatch) as rig:
        rig.ask()
        before = rig.held()
        hospital, store = rig.hospital, rig.cloud.store
        hospital.deliver(hospital.add("flu", instances(seed=1, rows=20)), store)
        hospital.deliver(hospital.remove("flu", np.arange(0, 90, 3)), store)
        assert rig.tables.settle(30)
        rig.ask()
        assert len(same) == 2
        # When its time is over, no worker has the version before, nor a row that is to be erased.
        rig.clock.now += 10_000
        rig.cloud.tidy()
        assert rig.tables.settle(30)
        assert not rig.held() & before
        (versions,) = rig.tables.kept().values()
        limbs = versions[0].stored.stored.limbs
        assert not limbs.limbs[limbs.removed].any()
        rig.ask()
        assert len(same) == 3
        assert all(rig.asked())


def test_parts_of_a_changed_table_are_not_sent_again(tmp_path, monkeypatch, same):
    with Rig(tmp_path / "t", "paper", parts=3, monkeypatch=monkeypatch) as rig:
        before = rig.held()
        update = rig.hospital.add("flu", instances(seed=1, rows=5))
        rig.hospital.deliver(update, rig.cloud.store)
        assert rig.tables.settle(30)
        assert rig.held() == before
        rig.ask()
        assert same == ["Parted"]


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_worker_that_dies_changes_no_answer(tmp_path, monkeypatch, same, profile, parts):
    rows = 30_000 if profile == "sealed" else 300
    with Rig(
        tmp_path / "t", profile, parts=parts, workers=4, rows=rows, monkeypatch=monkeypatch
    ) as rig:
        count = 1 if profile == "sealed" else QUERIES
        for place, calls in ((0, 0), (1, 0), (3, 1), (2, 0)):
            rig.hands.strike(place, calls)
            rig.ask(count)
            rig.ask(count)
            assert rig.tables.settle(30)
            assert len(rig.hands.workers) == 4
        assert len(same) == 8
        assert len(rig.hands.dead) == 4


@pytest.mark.parametrize("parts", [1, 3])
def test_without_workers_the_cloud_answers(tmp_path, monkeypatch, same, parts, caplog):
    with Rig(tmp_path / "t", "paper", parts=parts, monkeypatch=monkeypatch) as rig:
        rig.hands.starts = False
        for place in range(3):
            rig.hands.strike(place)
        rig.ask()
        rig.ask()
        assert len(same) == 2
        assert "by itself" in caplog.text
        assert not rig.tables.settle(0.1)
        # Nothing keeps rows from being erased then.
        update = rig.hospital.remove("flu", np.arange(9))
        rig.hospital.deliver(update, rig.cloud.store)
        rig.ask()
        rig.clock.now += 10_000
        rig.cloud.tidy()
        rig.hands.starts = True
        assert rig.tables.settle(30)
        rig.ask()
        assert any(rig.asked())


@pytest.mark.parametrize("profile", PROFILES)
def test_who_does_not_see_the_files_gets_them(tmp_path, monkeypatch, same, profile):
    hands = Hands(sees_files=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("ompd.cluster.copies._PIECE", 10_000)
    with Rig(tmp_path / "t", profile, hands=hands, monkeypatch=monkeypatch) as rig:
        rig.ask()
        assert len(same) == 1
        assert all(worker.status()["held"] for worker in rig.hands.workers)
        # Nothing of them is left on that machine's disk.
        assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_what_was_kept_is_brought_to_new_workers(tmp_path, monkeypatch, same):
    with Rig(tmp_path / "t", "hardened", monkeypatch=monkeypatch) as rig:
        rig.ask()
        rig.tables.close()
        assert not rig.hands.workers
        again = rig.opened()
        assert again.settle(30)
        assert len(rig.hands.workers) == 3
        assert rig.held()
        again.close()
        again.close()


def test_files_that_are_not_the_clouds_are_not_asked(tmp_path, monkeypatch):
    with Rig(tmp_path / "t", "paper", monkeypatch=monkeypatch) as rig:
        (versions,) = rig.tables.kept().values()
        version = versions[0]
        folder = str(rig.tables._folder.place(version))
        worker = rig.hands.workers[0]
        kind = version.upload.kind
        assert not worker.open("x", kind, folder, version.index, bytes(32))
        assert not worker.open("x", kind, str(tmp_path), version.index, bytes(32))
        assert "x" not in worker.status()["held"]


class Silent(Hands):
    """One worker is there, and gives no answer to questions."""

    silent = None

    def wait(self, calls, seconds):
        over = [call for call in calls if call.value != "silence"]
        if not over:
            time.sleep(min(seconds, 0.05))
        return over[:1]

    def call(self, worker, method, *arguments):
        call = super().call(worker, method, *arguments)
        if method == "do" and worker is self.silent:
            call.value = "silence"
        return call


def test_who_does_not_answer_counts_as_lost(tmp_path, monkeypatch, same):
    monkeypatch.setattr("ompd.cluster.rounds.PATIENCE", 0.5)
    with Rig(tmp_path / "t", "paper", hands=Silent(), monkeypatch=monkeypatch) as rig:
        rig.hands.silent = rig.hands.workers[0]
        # Nobody knows yet how long it should take.
        rig.ask()
        assert rig.tables.settle(30)
        assert rig.hands.silent in rig.hands.dead
        rig.hands.silent = rig.hands.workers[0]
        rig.ask()
        # Another one was asked long before that one is given up.
        assert rig.hands.silent not in rig.hands.dead
        time.sleep(0.6)
        rig.ask()
        assert rig.tables.settle(30)
        assert rig.hands.silent in rig.hands.dead
        assert len(same) == 3


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    rows=st.sampled_from([40, 130, 700]),
    added=st.integers(0, 40),
    gone=st.integers(0, 60),
    width=st.integers(1, 3),
    kind=st.sampled_from(KINDS),
    parts=st.integers(1, 16),
    k=st.integers(1, 30),
)
def test_parts_of_changed_tables(seed, rows, added, gone, width, kind, parts, k):
    rng = np.random.default_rng(seed)
    limbs = make(rng, rows + added, 3, width, kind)
    table = LimbTable(limbs[:rows].copy(), np.zeros(rows, np.int64), 1)
    if added:
        table = table.extended(limbs[rows:], np.zeros(added, np.int64))
    removed = rng.permutation(rows + added)[: min(gone, rows + added - 1)]
    table = table.without(np.sort(removed))
    crew = Crew(Hands(), 3)
    try:
        found, asked = parted(table, parts, crew).search(
            np.ascontiguousarray(limbs[rng.integers(0, rows, 5)]), min(k, table.live)
        )
    finally:
        crew.close()
    rng = np.random.default_rng(seed)
    limbs = make(rng, rows + added, 3, width, kind)
    rng.permutation(rows + added)
    queries = np.ascontiguousarray(limbs[rng.integers(0, rows, 5)])
    distances, whole = compute(table, queries, min(k, table.live))
    np.testing.assert_array_equal(found.distances, distances)
    np.testing.assert_array_equal(found.rows, whole)
    assert asked.max() <= parts


def parted(table, parts, crew):
    """Bring the parts of a table to a crew."""
    from types import SimpleNamespace

    from ompd.cluster.copies import PartCopy
    from ompd.search.parts import Boxes

    boxes = Boxes.cut(table.index, parts)
    keys = [f"part/{part}" for part in range(parts)]
    rows = [boxes.rows(part) for part in range(parts)]
    crew.place(
        {
            key: PartCopy(table.limbs, rows[part], 2)
            for part, key in enumerate(keys)
            if len(rows[part])
        }
    )
    assert crew.settle(30)
    return Parted(SimpleNamespace(limbs=table), crew, boxes, rows, keys, "now")


def test_only_clouds_have_clusters():
    told = CliRunner().invoke(app, ["serve", "hospital", "--ray", "auto"])
    assert told.exit_code == 2
    assert "is for a cloud alone" in told.stderr


def test_what_is_not_possible_is_refused(tmp_path, monkeypatch):
    for options in ({"workers": 0}, {"threads": 0}, {"memory": 0}):
        with pytest.raises(ParameterError, match="positive"):
            Tables(tmp_path / "t", hands=Hands(), **options)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ClusterError, match="expected token"):
        Tables(tmp_path / "t")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(BackendUnavailableError, match=r"pip install 'ompd\[cluster\]'"):
        Tables(tmp_path / "t")
    assert not (tmp_path / "t").exists()

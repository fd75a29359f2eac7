"""The same on a real cluster: several raylets on this machine, and processes that are killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from ompd.cluster.tables import Tables
from ompd.errors import ClusterError
from ompd.service.setup import Ports, set_up
from tests.cluster.test_scores import assert_alike, write
from tests.cluster.test_tables import PROFILES, Rig
from tests.cluster.test_tables import same as same_answers
from tests.places import ROOT
from tests.service.rig import until

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    # One cluster is for all of them, and Ray leaves sockets to the collector.
    pytest.mark.xdist_group("ray"),
    pytest.mark.filterwarnings("ignore"),
]
same = same_answers
#: Seconds for workers to start, where others use the machine as well.
WAIT = 240
#: Memory of a node for objects, in bytes.
STORE = 80 << 20


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of a processor each, of which the first is there to stay."""
    # Sockets must have short names.
    home = Path(tempfile.mkdtemp(prefix="ompd-ray-", dir="/tmp"))
    before = dict(os.environ)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 64, "RAY_TMPDIR": str(home)}
    os.environ |= token
    # Read when Ray is imported.
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False},
    )
    try:
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=STORE)
        made.wait_for_nodes()
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(home, ignore_errors=True)


class RayRig(Rig):
    """The same on actors."""

    wait = WAIT

    def __init__(self, cluster, path, profile, *, memory=None, **options):
        self.address, self.memory = cluster.address, memory
        super().__init__(path, profile, **options)

    def opened(self):
        return Tables(self.path, address=self.address, workers=self.workers, memory=self.memory)

    def pids(self):
        return [each["pid"] for each in self.tables.status()]


@pytest.mark.parametrize("memory", [None, 1])
@pytest.mark.parametrize("profile", PROFILES)
def test_actors_answer_as_the_table_does(cluster, tmp_path, monkeypatch, same, profile, memory):
    rows = 30_000 if profile == "sealed" else 300
    with RayRig(
        cluster, tmp_path / "t", profile, memory=memory, workers=2, rows=rows,
        monkeypatch=monkeypatch,
    ) as rig:  # fmt: skip
        rig.ask(1 if profile == "sealed" else 40)
        assert len(same) == 1
        told = rig.tables.status()
        assert all(each["asked"] for each in told)
        assert len({each["pid"] for each in told} | {os.getpid()}) == 3


@pytest.mark.parametrize("memory", [None, 1])
def test_twenty_kills_lose_no_query(cluster, tmp_path, monkeypatch, same, memory):
    rng = random.Random(7)  # noqa: S311
    with RayRig(
        cluster, tmp_path / "t", "paper", memory=memory, workers=3, rows=2000,
        monkeypatch=monkeypatch,
    ) as rig:  # fmt: skip
        begun = []
        rig.ask(1000)
        rig.ask(1000, about_to=lambda: begun.append(time.perf_counter()))
        batch = time.perf_counter() - begun[0]
        for _ in range(20):
            pid = rng.choice(rig.pids())
            killer = threading.Timer(rng.random() * batch, os.kill, (pid, signal.SIGKILL))
            assert len(rig.ask(1000, about_to=killer.start)) == 1000
            killer.join()
            assert len(rig.ask(100)) == 100
            assert rig.tables.settle(WAIT)
        # Each answer was compared with that of the table itself.
        assert len(same) == 42
        assert len(rig.pids()) == 3


def test_a_node_that_dies_loses_no_query(cluster, tmp_path, monkeypatch, same):
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    with RayRig(cluster, tmp_path / "t", "hardened", workers=4, monkeypatch=monkeypatch) as rig:
        killer = threading.Timer(0.01, cluster.remove_node, (node,), {"allow_graceful": False})
        killer.start()
        for _ in range(20):
            assert len(rig.ask(200)) == 200
        killer.join()
        assert len(same) == 20
        until(lambda: len(rig.pids()) == 3, "three workers are left")
        assert all(each["held"] for each in rig.tables.status())
        # For a fourth there is no room until a node comes.
        assert not rig.tables.settle(0.1)
        node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
        assert rig.tables.settle(WAIT)
        assert len(rig.pids()) == 4
    cluster.remove_node(node)


def test_nodes_with_other_versions_are_refused(cluster, tmp_path):
    info = tmp_path / "ompd-0.0.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ompd\nVersion: 0.0.9\n")
    for change, reason in (
        ({"PYTHONPATH": str(tmp_path)}, r"^node [0-9a-f]{8}: ompd 0\.0\.9, here [^\n]+$"),
    ):
        node = cluster.add_node(num_cpus=1, object_store_memory=STORE, env_vars=change)
        try:
            with pytest.raises(ClusterError, match=reason):
                Tables(tmp_path / "t", address=cluster.address)
        finally:
            cluster.remove_node(node)
    assert not (tmp_path / "t").exists()


def test_who_has_no_token_is_not_let_in(cluster):
    code = (
        "import ray\n"
        f"ray.init(address={cluster.address!r}, configure_logging=False, log_to_driver=False)\n"
        "print('in')"
    )
    done = {}
    for token in ("t" * 64, "u" * 64):
        env = os.environ | {"RAY_AUTH_TOKEN": token}
        ran = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False,
            timeout=120,
        )  # fmt: skip
        done[token[0]] = "in" in ran.stdout.split()
    assert done == {"t": True, "u": False}


def test_more_workers_than_processors_are_refused(cluster, tmp_path):
    with pytest.raises(ClusterError, match="room for 3 workers of 1 threads, not for 4"):
        Tables(tmp_path / "t", address=cluster.address, workers=4)
    import ray

    ray.shutdown()
    for address in ("127.0.0.1:1", "nowhere.invalid:6379", "ray://127.0.0.1:10001", "here"):
        with pytest.raises(ClusterError, match=r"^address: "):
            Tables(tmp_path / "t", address=address)


def test_status_lists_nodes_and_workers(cluster, tmp_path, monkeypatch):
    with RayRig(cluster, tmp_path / "t", "paper", workers=2, monkeypatch=monkeypatch) as rig:
        rig.ask()
        shown = _status(cluster)
        assert "3 nodes, 2 workers" in shown
        assert all(str(pid) in shown for pid in rig.pids())


def test_a_served_cloud_has_workers(cluster, tmp_path):
    set_up(tmp_path / "clinic", ports=Ports(0, 0, 0, 0))
    ompd = [sys.executable, "-m", "ompd"]
    bad = subprocess.run(
        [*ompd, "serve", "cloud", "--ray", "127.0.0.1:1"],
        cwd=tmp_path / "clinic", capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert bad.returncode == 2
    assert bad.stderr.splitlines()[-1].startswith("ompd: address: nobody answers there")
    with subprocess.Popen(
        [*ompd, "serve", "cloud", "--ray", cluster.address],
        cwd=tmp_path / "clinic", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as server:  # fmt: skip
        try:
            assert "cloud serves at" in server.stdout.readline()
            until(lambda: "3 nodes, 3 workers" in _status(cluster), "workers are there", 60)
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
    until(lambda: "3 nodes, 0 workers" in _status(cluster), "they end with it", 60)


def _status(cluster):
    return subprocess.run(
        [sys.executable, "-m", "ompd", "cluster", "status", "--ray", cluster.address],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip


def test_a_dataset_is_scored_as_a_file_is(cluster, tmp_path):
    import pyarrow.parquet as pq
    import ray.data

    from ompd.bulk.score import score as score_file
    from ompd.cluster import score

    records, _ = write(tmp_path / "in.parquet", 3000)
    score_file(tmp_path / "in.parquet", tmp_path / "out.parquet", records, id="who")
    expected = pq.read_table(tmp_path / "out.parquet").to_pandas()
    ray.data.DataContext.get_current().enable_progress_bars = False
    from ompd.cluster.rays import connect

    connect(cluster.address)
    dataset = ray.data.read_parquet(str(tmp_path / "in.parquet"))
    for pool in (3, 4, 0):
        with pytest.raises(ClusterError, match="fewer actors than the 3 processors"):
            score(dataset, records, id="who", pool=pool)
    assert_alike(score(dataset, records, id="who").to_pandas(), expected)

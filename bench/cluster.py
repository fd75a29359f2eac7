"""Tables on a Ray cluster: parts and copies beside one engine, kills, and larger clusters.

python -m bench.cluster [--rows 1000000] [--parts 16] [--workers 2] [--kills 20] [--quick] [--json]
                        [--out bench/results]

A WBC-like table under `paper`, 512 bits. The peer is the engine in one process with one thread, as
each worker has one. Both are asked by turns; times of parts and copies have all in them that a
batch costs the cloud: choosing parts, both round trips, merging and counting.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.data import population
from bench.timing import medians
from ompd.blind import PADDING, blind_queries, blind_table
from ompd.blind.keys import PaperKey
from ompd.cluster.copies import PartCopy, TableCopy, part_bytes
from ompd.cluster.crew import Crew
from ompd.cluster.spread import Copied, Parted
from ompd.params import PAPER
from ompd.search import LimbTable, ballots, compute
from ompd.search.conversion import Modulus, convert
from ompd.search.parts import Boxes
from ompd.stores.tables.paper import PaperStored
from ompd.threads import at_most
from ompd.wire import Kind, PaperJob

#: Neighbours that vote.
K = 9
#: Batches that are measured.
BATCHES = (256, 4096)


class World:
    """A blinded table in a folder, and blinded queries."""

    def __init__(self, rows, queries, folder):
        people = population("wbc")
        sums, labels = people.draw(rows, 1)
        asked, _ = people.draw(queries, 2)
        key = PaperKey.generate(PAPER, sums.shape[1] + PADDING, people.encoder.largest)
        limbs = blind_table(key, sums)
        self.modulus = Modulus.of(key.modulus, PAPER.limbs)
        sent = blind_queries(key, asked)
        self.points, self.tokens = sent.points, sent.tokens
        self.queries = convert(sent.points, sent.tokens, self.modulus)
        table = LimbTable(limbs, labels.astype(np.int64), 2)
        self.folder = Path(folder)
        values = self.folder / "values"
        limbs.tofile(values)
        stored = PaperStored(table, self.modulus, K, ballots)
        # Mapped from now on, as a cloud has it.
        self.stored = stored.save(self.folder / "table", values)
        self.table = self.stored.limbs

    def body(self, count):
        """A job on some of the queries."""
        return PaperJob(
            bytes(16), 1, count, self.points[:count].astype("<u8").tobytes(),
            self.tokens[:count].astype("<u8").tobytes(),
        )  # fmt: skip

    def copied(self, crew):
        """Copies of the table at all workers."""
        nbytes = part_bytes(*self.table.limbs.shape)
        copy = TableCopy(Kind.PAPER_UPLOAD, self.folder / "table", "index", nbytes, 64)
        crew.place({"table": copy})
        assert crew.settle(600)
        return Copied(self.stored, crew, "table")

    def parted(self, crew, parts, copies):
        """Parts of the table, each at some workers."""
        boxes = Boxes.cut(self.table.index, parts)
        keys = [f"part/{part}" for part in range(parts)]
        rows = [boxes.rows(part) for part in range(parts)]
        crew.place(
            {
                key: PartCopy(self.table.limbs, rows[part], copies)
                for part, key in enumerate(keys)
                if len(rows[part])
            }
        )
        assert crew.settle(600)
        return Parted(self.stored, crew, boxes, rows, keys, "now")


@contextmanager
def crew_of(hands, workers):
    """Workers with one thread each, for a while."""
    crew = Crew(hands, workers)
    try:
        yield crew
    finally:
        crew.close()


@contextmanager
def ray_hands(workers):
    """Workers on a Ray cluster of this machine, that ends afterwards."""
    from ompd.cluster.rays import RayHands, ray_module

    home = tempfile.mkdtemp(prefix="ompd-ray-", dir="/tmp")
    os.environ["RAY_TMPDIR"] = home
    ray = ray_module()
    ray.init(
        num_cpus=workers, include_dashboard=False, object_store_memory=300_000_000,
        configure_logging=False, log_to_driver=False, logging_level="ERROR",
    )  # fmt: skip
    try:
        yield RayHands(ray, workers, 1, None)
    finally:
        ray.shutdown()
        shutil.rmtree(home, ignore_errors=True)


def measured_copies(world, hands, workers, batches, rounds):
    """Seconds of a job by copies at so many workers, and of the engine with one thread."""
    with crew_of(hands, workers) as crew:
        copied = world.copied(crew)
        found = {}
        for count in batches:
            body = world.body(count)
            assert copied.answer(body) == world.stored.prepare(body)()
            times = medians(
                {
                    "copies": lambda body=body: copied.answer(body),
                    "engine": lambda count=count: ballots(
                        world.table, world.points[:count], world.tokens[:count], world.modulus, K,
                        threads=1,
                    ),
                },
                rounds,
            )  # fmt: skip
            found[count] = times
        return found


def measured_parts(world, hands, workers, parts, batches, rounds):
    """Seconds of a search in parts and of the engine, and how many parts were asked."""
    with crew_of(hands, workers) as crew:
        parted = world.parted(crew, parts, 1)
        found = {}
        for count in batches:
            queries = np.ascontiguousarray(world.queries[:count])
            merged, asked = parted.search(queries, K)
            distances, rows = compute(world.table, queries, K)
            identical = bool((merged.distances == distances).all() and (merged.rows == rows).all())
            times = medians(
                {
                    "routed": lambda queries=queries: parted.search(queries, K),
                    "engine": lambda queries=queries: compute(world.table, queries, K, threads=1),
                },
                rounds,
            )
            found[count] = times | {"identical": identical, "asked": float(asked.mean())}
        return found


def killed(world, hands, workers, count, kills, parts=1, seed=0):
    """Seconds of batches during which a worker is killed, beside undisturbed ones."""
    rng = np.random.default_rng(seed)
    with crew_of(hands, workers) as crew:
        asked = world.copied(crew) if parts == 1 else world.parted(crew, parts, 2)
        body = world.body(count)
        expected = world.stored.prepare(body)()
        quiet = medians({"batch": lambda: asked.answer(body)}, 9)["batch"]
        seconds, wrong, lost = [], 0, 0
        for _ in range(kills):
            pids = [each["pid"] for each in crew.status()]
            killer = threading.Timer(
                float(rng.random()) * quiet, os.kill, (int(rng.choice(pids)), signal.SIGKILL)
            )
            killer.start()
            start = time.perf_counter()
            try:
                wrong += asked.answer(body) != expected
            except Exception:
                lost += 1
            seconds.append(time.perf_counter() - start)
            killer.join()
            crew.status()
            assert crew.settle(120)
            # Whoever is new maps pages that are not its own yet.
            for _ in range(3):
                asked.answer(body)
        return {
            "kills": kills,
            "wrong": wrong,
            "lost": lost,
            "batch_s": quiet,
            "pause_over_batch": (statistics.median(seconds) - quiet) / quiet,
            "longest_pause_over_batch": (max(seconds) - quiet) / quiet,
        }


def measure(rows, parts, workers, kills, rounds, hands, batches=BATCHES):
    """All that is measured on workers, as one dictionary."""
    folder = tempfile.mkdtemp(prefix="ompd-bench-")
    try:
        world = World(rows, max(batches), folder)
        largest, smallest = max(batches), min(batches)
        counts = [1]
        while counts[-1] < workers:
            counts.append(min(workers, 2 * counts[-1]))
        with at_most(1):
            copies = {n: measured_copies(world, hands, n, batches, rounds) for n in counts}
            routed = {n: measured_parts(world, hands, n, parts, batches, rounds) for n in counts}
            struck = killed(world, hands, max(2, workers), largest, kills) if kills else {}
        first, last = copies[1][largest], routed[counts[-1]]
        return {
            "rows": rows,
            "parts": parts,
            "workers": workers,
            "identical": all(each[n]["identical"] for each in routed.values() for n in batches),
            "shards_asked_mean": last[largest]["asked"],
            "routed_over_engine": last[largest]["routed"] / last[largest]["engine"],
            "routed_over_engine_one_worker": (
                routed[1][largest]["routed"] / routed[1][largest]["engine"]
            ),
            "routed_over_engine_small": last[smallest]["routed"] / last[smallest]["engine"],
            "replicas_speedup": first["copies"] / copies[min(2, workers)][largest]["copies"],
            "replicas_over_engine_small": (
                copies[counts[-1]][smallest]["copies"] / copies[counts[-1]][smallest]["engine"]
            ),
            "copies_s": {n: {b: each[b]["copies"] for b in batches} for n, each in copies.items()},
            "routed_s": {n: {b: each[b]["routed"] for b in batches} for n, each in routed.items()},
            "engine_s": {b: first_of(copies, b) for b in batches},
            "kills": struck,
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def first_of(copies, batch):
    """Seconds of the engine, as the smallest crew had it beside it."""
    return copies[1][batch]["engine"]


@pytest.mark.benchmark(group="cluster")
def test_cluster(benchmark):
    """All is the same on little data, on workers of this process."""
    from tests.cluster.hands import Hands

    found = benchmark.pedantic(measure, (2000, 4, 2, 0, 1, Hands(), (40, 300)), rounds=1)
    assert found["identical"]
    assert 1 <= found["shards_asked_mean"] <= 4


@pytest.mark.benchmark(group="cluster")
def test_model(benchmark, tmp_path):
    """The model is calibrated and simulated on little data, and written."""
    from bench import cluster_model

    calibrated = cluster_model.calibrate((500, 2000), 60, (2, 4))
    lines = benchmark.pedantic(cluster_model.simulate, (calibrated, 2), rounds=1)
    cluster_model.write(lines, tmp_path)
    assert (tmp_path / "cluster.csv").read_text().count("\n") == len(lines) + 1
    assert (tmp_path / "cluster.png").stat().st_size > 1000
    assert any(line["breaks"] for line in lines)
    assert any(not line["breaks"] for line in lines)


def main(
    rows: Annotated[int, typer.Option(help="Instances in the table.")] = 1_000_000,
    parts: Annotated[int, typer.Option(help="Parts that it is cut into.")] = 16,
    workers: Annotated[int, typer.Option(help="Most workers, of one thread each.")] = 2,
    kills: Annotated[int, typer.Option(help="Workers killed during batches.")] = 20,
    rounds: Annotated[int, typer.Option(help="Turns of each.")] = 9,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of it, three kills.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Also simulate larger clusters; folder for the results.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a cluster of this machine's processors, and simulate larger ones."""
    if quick:
        rows, kills, rounds = rows // 10, min(kills, 3), min(rounds, 5)
    # Ray tells of lost workers on the standard output, which is for the result.
    with redirect_stdout(sys.stderr), ray_hands(max(2, workers)) as hands:
        found = measure(rows, parts, workers, kills, rounds, hands)
        if out is not None:
            from bench import cluster_model

            calibrated = cluster_model.calibrate(hands=hands)
            lines = cluster_model.simulate(calibrated)
            cluster_model.write(lines, out)
            found |= {"calibrated": calibrated, "simulated": lines}
    if as_json:
        print(json.dumps(found))
        return
    table = Table(title=f"{rows:,} rows, {parts} parts, {workers} workers", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in found.items():
        if not isinstance(value, (dict, list)):
            table.add_row(name, f"{value:,.3g}" if isinstance(value, float) else str(value))
    for name, value in found["kills"].items():
        table.add_row(f"kills: {name}", f"{value:,.3g}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)

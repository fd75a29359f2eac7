"""What a query costs at every station, alone and in batches of many users.

python -m bench.throughput [--rows 100000] [--users 1000] [--json]

One core: kernels run on one thread, and nothing runs beside the stage that is measured.
"""

from __future__ import annotations

import json
import statistics
import time
from functools import partial
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.data import population
from ompd.datasets import Dataset
from ompd.roles import Cloud, Hospital, User, introduce
from ompd.search import ballots
from ompd.stores import MemoryTables

#: The name of the built-in WBC table, since names have lengths.
DISEASE = "breast-cancer-cytology"
ADVICE = "Please see your physician within two weeks. " * 14
SINGLE = ("ask", "forward", "answer", "report", "read")
BATCH = ("forward_batch", "answer", "report_batch")


def world(rows, users, signatures=None):
    """A hospital with a WBC-like table of `rows` instances, a cloud and many users."""
    people = population("wbc")
    rng = np.random.default_rng(1)
    picked = rng.integers(0, len(people.rows), rows)
    schema = people.encoder.schema
    values = people.rows[picked] + people.jitter * rng.uniform(-1, 1, (rows, 9))
    data = Dataset.from_arrays(
        schema,
        np.clip(values, schema.low, schema.high),
        schema.names(people.labels[picked]),
    )
    hospital = Hospital.create("hospital", profile="paper", signatures=signatures)
    tables = MemoryTables(ballots=partial(ballots, threads=1))
    cloud = Cloud.create("cloud", tables=tables, signatures=signatures)
    introduce(hospital, cloud)
    advice = {"benign": ADVICE[:600], "malignant": ADVICE[:600]}
    upload = hospital.publish(DISEASE, data, cloud="cloud", k=9, advice=advice)
    hospital.deliver(upload, cloud.store)
    crowd = []
    for i in track(range(users), "registering users", transient=True):
        user = User.create(f"user-{i}", signatures=signatures)
        introduce(user, hospital)
        crowd.append(user)
    return hospital, cloud, crowd, data.features


def timed(times, stage, run, *arguments):
    """Call `run` and note its milliseconds under `stage`."""
    start = time.perf_counter()
    result = run(*arguments)
    times.setdefault(stage, []).append((time.perf_counter() - start) * 1e3)
    return result


def singles(hospital, cloud, user, features, queries):
    """Median milliseconds per stage of single queries, and bytes per frame."""
    times = {}
    sizes = []
    for i in range(queries + 5):
        query = timed(times, "ask", user.ask, "hospital", DISEASE, features[i])
        job = timed(times, "forward", hospital.forward, query)
        verdict = timed(times, "answer", cloud.answer, job)
        report = timed(times, "report", hospital.report, verdict)
        timed(times, "read", user.read, report)
        sizes.append([len(frame) for frame in (query, job, verdict, report)])
    median = {stage: statistics.median(values[5:]) for stage, values in times.items()}
    frames = ("query", "job", "verdict", "report")
    return median, dict(zip(frames, np.median(sizes, axis=0).astype(int).tolist(), strict=True))


def batches(hospital, cloud, crowd, features, rounds):
    """Median milliseconds per query and stage of batches with one query per user."""
    times = {}
    for turn in range(rounds + 1):
        queries = [
            user.ask("hospital", DISEASE, features[(turn * len(crowd) + i) % len(features)])
            for i, user in enumerate(crowd)
        ]
        batch = timed(times, "forward_batch", hospital.forward_batch, queries)
        assert not batch.refused
        (job,) = batch.jobs
        verdict = timed(times, "answer", cloud.answer, job.frame)
        reports = timed(times, "report_batch", hospital.report_batch, verdict)
        assert len(reports) == len(crowd)
        crowd[turn].read(reports[turn])
    return {stage: statistics.median(values[1:]) / len(crowd) for stage, values in times.items()}


def measure(rows, users, queries, rounds):
    """All figures."""
    hospital, cloud, crowd, features = world(rows, users)
    single, sizes = singles(hospital, cloud, crowd[0], features, queries)
    batch = batches(hospital, cloud, crowd, features, rounds)
    return {
        "rows": rows,
        "users": users,
        "single_ms": single,
        "single_total_ms": sum(single.values()),
        "frame_bytes": sizes,
        "total_bytes": sum(sizes.values()),
        "batch_ms_per_query": batch,
        "batch_queries_per_second": 1e3 / sum(batch.values()),
    }


@pytest.mark.benchmark(group="throughput")
def test_throughput(benchmark):
    """Twenty users in one batch, and the size of one exchange."""
    result = benchmark.pedantic(measure, (1000, 20, 5, 1), rounds=1)
    assert set(result["single_ms"]) == set(SINGLE)
    assert set(result["batch_ms_per_query"]) == set(BATCH)
    # 512-bit p, nine features, 600 bytes of advice, compact suite.
    assert result["total_bytes"] <= 2450


def main(
    rows: Annotated[int, typer.Option(help="Instances in the table.")] = 100_000,
    users: Annotated[int, typer.Option(help="Users, each with one query per batch.")] = 1000,
    queries: Annotated[int, typer.Option(help="Single queries.")] = 100,
    rounds: Annotated[int, typer.Option(help="Batches.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the cost of a query per station."""
    result = measure(rows, users, queries, rounds)
    if as_json:
        print(json.dumps(result))
        return
    console = Console()
    table = Table(title=f"One query, {rows:,} instances, one core", title_justify="left")
    table.add_column("stage")
    table.add_column("ms", justify="right")
    for stage, taken in result["single_ms"].items():
        table.add_row(stage, f"{taken:.2f}")
    table.add_section()
    table.add_row("all", f"{result['single_total_ms']:.2f}")
    console.print(table)
    table = Table(title=f"Batches of {users} queries, one per user", title_justify="left")
    table.add_column("stage")
    table.add_column("ms per query", justify="right")
    for stage, taken in result["batch_ms_per_query"].items():
        table.add_row(stage, f"{taken:.3f}")
    table.add_section()
    table.add_row("queries per second", f"{result['batch_queries_per_second']:.0f}")
    console.print(table)
    frames = ", ".join(f"{name} {size}" for name, size in result["frame_bytes"].items())
    console.print(f"bytes with 600 bytes of advice: {frames}; {result['total_bytes']} in all")


if __name__ == "__main__":
    typer.run(main)

"""What one call for many people costs beside a loop written by hand, under every profile.

python -m bench.bulk [--rows 100000] [--queries 100000] [--rounds 3] [--profile NAME] [--json]

Both ask the same parties in one process, by turns. The loop knows the largest query that they take
and does nothing else: it loses all if one row is bad, an answer is lost or somebody interrupts.
`ReliefMWClassifier.judge` is the peer in the open, which hides nothing.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

import ompd
from bench.data import population
from ompd.datasets import Dataset
from ompd.estimator import ReliefMWClassifier
from ompd.params import PROFILES
from ompd.roles.reports import most_rows

DISEASE = "breast-cancer-cytology"

#: Blind models answer one call at a time: there is no cloud that could take many.
CLOUDED = tuple(name for name in PROFILES if name != "blind")


def people(rows, seed):
    """WBC-like people, no two alike."""
    known = population("wbc")
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(known.rows), rows)
    values = known.rows[picked] + known.jitter * rng.uniform(-1, 1, (rows, 9))
    schema = known.encoder.schema
    return schema, np.clip(values, schema.low, schema.high), known.labels[picked]


class World:
    """Three parties with a published table."""

    def __init__(self, profile, records, k):
        self.hospital = ompd.Hospital.create("hospital", profile=profile, share=1.0)
        self.cloud, self.user = ompd.Cloud.create("cloud"), ompd.User.create("user")
        ompd.introduce(self.hospital, self.cloud, self.user)
        upload = self.hospital.publish(DISEASE, records, cloud="cloud", k=k)
        self.hospital.deliver(upload, self.cloud.store)

    def by_hand(self, queries):
        """The loop; also the seconds that `read` takes of it."""
        hospital, cloud, user = self.hospital, self.cloud, self.user
        most = most_rows(hospital.tables[DISEASE])
        found, first, reading = [], 0, 0.0
        while first < len(queries):
            part = queries[first : first + most]
            query = user.ask("hospital", DISEASE, part)
            report = hospital.report(cloud.answer(hospital.forward(query)))
            start = time.perf_counter()
            found.append(user.read(report))
            reading += time.perf_counter() - start
            first += len(part)
        return ompd.Diagnoses.concatenate(found), reading

    def in_one_call(self, queries):
        """The same by `ompd.diagnose`."""
        return ompd.diagnose(
            queries, disease=DISEASE, hospital=self.hospital, cloud=self.cloud, user=self.user,
            progress=False,
        )  # fmt: skip


def measure(profile, rows, queries, rounds, k):
    """Seconds of the loop, of its reading, and of the call; medians over rounds, by turns."""
    schema, values, labels = people(rows, 1)
    world = World(profile, Dataset.from_arrays(schema, values, schema.names(labels)), k)
    _, asked, _ = people(queries, 2)
    world.by_hand(asked[: min(500, queries)])
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        plain, reading = world.by_hand(asked)
        middle = time.perf_counter()
        found = world.in_one_call(asked)
        times.append((middle - start, reading, time.perf_counter() - middle))
        # A sealed table cannot always fetch all that it wants, and says so.
        sure = (found.certified & plain.certified) | (profile != "sealed")
        assert found.take(sure) == plain.take(sure)
    loop, reading, call = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "profile": profile,
        "loop_s": loop,
        "call_s": call,
        "speed_against_loop": statistics.median(one / other for one, _, other in times),
        "read_share": reading / loop,
        "rows_per_second": queries / call,
    }


def in_the_open(rows, queries, rounds, k):
    """Seconds of the classifier, which hides nothing."""
    _, values, labels = people(rows, 1)
    _, asked, _ = people(queries, 2)
    model = ReliefMWClassifier(k).fit(values, labels)
    model.judge(asked[:1000])
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        model.judge(asked)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


@pytest.mark.benchmark(group="bulk")
@pytest.mark.parametrize("profile", CLOUDED)
def test_bulk(benchmark, profile):
    """Both ways say the same, on little data."""
    result = benchmark.pedantic(measure, (profile, 400, 60, 1, 5), rounds=1)
    assert result["rows_per_second"] > 0


def main(
    rows: Annotated[int, typer.Option(help="Instances in the table.")] = 100_000,
    queries: Annotated[int, typer.Option(help="People who ask.")] = 100_000,
    rounds: Annotated[int, typer.Option(help="Turns of each.")] = 3,
    k: Annotated[int, typer.Option("--k", help="Neighbours that vote.")] = 9,
    profile: Annotated[str | None, typer.Option(help="One profile.", show_default="all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure one call for many people beside a loop written by hand."""
    results = [
        measure(name, rows, queries, rounds, k) for name in ([profile] if profile else CLOUDED)
    ]
    plain = in_the_open(rows, queries, rounds, k)
    if as_json:
        print(json.dumps({"results": results, "in_the_open_s": plain}))
        return
    table = Table(title=f"{queries:,} people, {rows:,} records, K = {k}", title_justify="left")
    for heading in ("profile", "loop s", "call s", "speed against loop", "reading", "people per s"):
        table.add_column(heading, justify="left" if heading == "profile" else "right")
    for each in results:
        table.add_row(
            each["profile"], f"{each['loop_s']:.2f}", f"{each['call_s']:.2f}",
            f"{each['speed_against_loop']:.2f}", f"{each['read_share']:.1%}",
            f"{each['rows_per_second']:,.0f}",
        )  # fmt: skip
    Console().print(table)
    print(f"in the open: {plain:.2f} s")


if __name__ == "__main__":
    typer.run(main)

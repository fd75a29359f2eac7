"""Exact neighbours over 512-bit blinded data, beside plaintext libraries.

python -m bench.topk [--rows 1000000] [--data wbc] [--features 9] [--queries 256] [--k 9] [--json]

Ours is everything that the cloud does for a query: multiplication by the token modulo p, heads,
search, vote, and exact distances over 512-bit limbs where the vote needs them. "Votes" also counts
the neighbours of every class, as a cloud does in the protocol; "all distances" has the rows and
distances of all neighbours, without the vote. The peers search the plain prefix sums and do not
vote.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench import peers
from bench.data import FEATURES, KINDS, population
from ompd.blind import PADDING, PaperKey, blind_queries, blind_table
from ompd.params import PAPER
from ompd.search import LimbTable, ballots, classify, compute, tally, vote
from ompd.search.conversion import Modulus, convert

#: Seconds that one alternative is repeated for, at least.
PATIENCE = 0.6
#: Queries whose neighbours are compared with a full sort of all plain distances.
CHECKED = 32


@dataclass(frozen=True)
class Case:
    """A population as the cloud and as the peers see it."""

    instances: np.ndarray
    points: np.ndarray
    table: LimbTable
    blinded: np.ndarray
    tokens: np.ndarray
    modulus: Modulus
    build_seconds: float
    blind_seconds: float

    def answer(self, k, threads=1, queries=slice(None)):
        """Do all of the cloud's work for a batch; returns class codes."""
        points, tokens = self.blinded[queries], self.tokens[queries]
        return classify(self.table, points, tokens, self.modulus, k, threads=threads)

    def count(self, k, threads=1, queries=slice(None)):
        """The same with the number of neighbours of every class."""
        points, tokens = self.blinded[queries], self.tokens[queries]
        return ballots(self.table, points, tokens, self.modulus, k, threads=threads)

    def neighbours(self, k, threads=1, queries=slice(None)):
        """The same with the rows and exact distances of all neighbours."""
        points, tokens = self.blinded[queries], self.tokens[queries]
        converted = convert(points, tokens, self.modulus, threads=threads)
        return compute(self.table, converted, k, threads=threads)


def make(kind, rows, features, queries):
    """Draw, encode and blind a population and fresh queries."""
    people = population(kind, features)
    instances, labels = people.draw(rows, seed=1)
    points, _ = people.draw(queries, seed=2)
    features = instances.shape[1]
    key = PaperKey.generate(PAPER, features + PADDING, people.encoder.largest)
    start = time.perf_counter()
    limbs = blind_table(key, instances)
    blinded_after = time.perf_counter()
    table = LimbTable(limbs, labels.astype(np.int64), 2)
    built_after = time.perf_counter()
    sent = blind_queries(key, points)
    return Case(
        instances,
        points,
        table,
        sent.points,
        sent.tokens,
        Modulus.of(key.modulus, PAPER.limbs),
        built_after - blinded_after,
        blinded_after - start,
    )


def is_exact(case, k):
    """Whether the rows found have the k smallest of all plain distances, and decide the vote."""
    distances, rows = case.neighbours(k)
    codes, votes = case.count(k)
    if not np.array_equal(case.answer(k), codes):
        return False
    if not np.array_equal(codes, vote(case.table, distances, rows)):
        return False
    if not np.array_equal(votes, tally(case.table, rows)):
        return False
    count = min(CHECKED, len(case.points))
    for point, found in zip(case.points[:count], rows[:count], strict=True):
        every = np.abs(case.instances - point).sum(axis=1)
        smallest = np.sort(np.partition(every, k - 1)[:k])
        if not np.array_equal(np.sort(every[found]), smallest):
            return False
    return True


def microseconds(run, queries):
    """Median microseconds per query of a batch, after one unmeasured run."""
    run()
    times = []
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / queries * 1e6


@dataclass(frozen=True)
class Result:
    """One comparison; the fields are the keys of the JSON output."""

    data: str
    rows: int
    features: int
    queries: int
    k: int
    threads: int
    ours_us: float
    ours_single_us: float
    ours_votes_us: float
    ours_neighbours_us: float
    peers_us: dict[str, float]
    best_peer: str
    ratio_best_peer: float
    exact: bool
    build_seconds: float
    blind_seconds: float
    index_bytes_per_row: float


def run(kind, rows, features, queries, k, threads, names=peers.NAMES):
    """Measure ours and the peers on the same data in this process."""
    case = make(kind, rows, features, queries)
    ours = microseconds(lambda: case.answer(k, threads), queries)
    single = slice(0, 1)
    alone = microseconds(lambda: case.answer(k, 1, single), 1)
    votes = microseconds(lambda: case.count(k, threads), queries)
    neighbours = microseconds(lambda: case.neighbours(k, threads), queries)
    points = {}
    for name in names:
        search = peers.build(name, case.instances.astype(np.float64), threads)
        # The slow ones get fewer queries; their cost per query does not depend on it.
        few = case.points[: max(8, min(queries, 64_000_000 // rows))].astype(np.float64)
        points[name] = microseconds(lambda search=search, few=few: search(few, k), len(few))
    best = min(points, key=points.get)
    return Result(
        data=kind,
        rows=rows,
        features=case.instances.shape[1],
        queries=queries,
        k=k,
        threads=threads,
        ours_us=ours,
        ours_single_us=alone,
        ours_votes_us=votes,
        ours_neighbours_us=neighbours,
        peers_us=points,
        best_peer=best,
        ratio_best_peer=points[best] / ours,
        exact=is_exact(case, k),
        build_seconds=case.build_seconds,
        blind_seconds=case.blind_seconds,
        index_bytes_per_row=case.table.index.nbytes / rows,
    )


def main(
    rows: Annotated[int, typer.Option(help="Instances.")] = 100_000,
    data: Annotated[str, typer.Option(help=f"Population: {', '.join(KINDS)}.")] = "wbc",
    features: Annotated[
        int | None, typer.Option(help="Features; 30 turns wbc into wdbc.", show_default="9")
    ] = None,
    queries: Annotated[int, typer.Option(help="Queries in the batch.")] = 256,
    k: Annotated[int, typer.Option("--k", help="Neighbours.")] = 9,
    threads: Annotated[int, typer.Option(help="Threads, for the peers too; 0: all.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time exact top-k over blinded data beside plaintext nearest-neighbour libraries."""
    if data not in KINDS:
        raise typer.BadParameter(f"expected one of {', '.join(KINDS)}", param_hint="--data")
    if data == "wbc" and features == FEATURES["wdbc"]:
        data = "wdbc"
    if data in FEATURES and features not in {None, FEATURES[data]}:
        raise typer.BadParameter(f"{data} has {FEATURES[data]}", param_hint="--features")
    threads = threads or len(os.sched_getaffinity(0))
    result = run(data, rows, features or 9, queries, k, threads)
    if as_json:
        print(json.dumps(asdict(result)))
        return
    table = Table(
        title=f"{result.data}, {rows:,} x {result.features}, {queries} queries, K = {k}, "
        f"{threads} thread(s)",
        title_justify="left",
    )
    for heading in ("who searches what", "us per query", "times ours"):
        table.add_column(heading, justify="left" if heading[0] == "w" else "right")
    table.add_row("ompd, 512-bit blinded", f"{result.ours_us:.2f}", "1.0")
    for more, slower in (
        ("  votes", result.ours_votes_us),
        ("  all distances", result.ours_neighbours_us),
    ):
        table.add_row(more, f"{slower:.2f}", f"{slower / result.ours_us:.1f}")
    for name, taken in sorted(result.peers_us.items(), key=lambda item: item[1]):
        table.add_row(f"{name}, plain", f"{taken:.1f}", f"{taken / result.ours_us:.1f}")
    console = Console()
    console.print(table)
    console.print(
        f"exact: {result.exact}; one query alone: {result.ours_single_us:.1f} us; "
        f"blinding {result.blind_seconds:.2f} s, index {result.build_seconds:.2f} s, "
        f"{result.index_bytes_per_row:.1f} resident bytes per row"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.benchmark(group="top-k, 5 000 rows")
def test_ours(benchmark, kind):
    """The cloud's whole work for 64 queries, exact."""
    case = make(kind, 5000, 30 if kind == "uniform" else 9, 64)
    benchmark(case.answer, 9)
    assert is_exact(case, 9)


@pytest.mark.parametrize("name", peers.NAMES)
@pytest.mark.benchmark(group="top-k, 5 000 rows")
def test_peer(benchmark, name):
    """The same search by a plaintext library finds the same distances."""
    case = make("wbc", 5000, 9, 64)
    search = peers.build(name, case.instances.astype(np.float64), 1)
    points = case.points.astype(np.float64)
    distances = np.asarray(benchmark(search, points, 9)[0])
    for point, found in zip(case.points, distances, strict=True):
        every = np.sort(np.abs(case.instances - point).sum(axis=1))[:9]
        # FAISS computes in float32.
        np.testing.assert_allclose(found, every, rtol=1e-3 if name == "faiss" else 1e-12)


if __name__ == "__main__":
    typer.run(main)

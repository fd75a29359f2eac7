"""Time to build the index, and what it keeps resident, beside plaintext libraries.

python -m bench.build [--rows 1000000] [--features 9] [--json]
"""

from __future__ import annotations

import json
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench import peers
from bench.data import population
from bench.timing import medians
from ompd.blind import PADDING, PaperKey, blind_table
from ompd.params import PAPER
from ompd.search import build_index

#: Brute force has nothing to build.
BUILDING = tuple(name for name in peers.NAMES if name != "sklearn_brute")


def make(rows, features):
    """Plain prefix sums and their blinded limbs."""
    people = population("wdbc" if features == 30 else "wbc")
    instances, _ = people.draw(rows, seed=1)
    key = PaperKey.generate(PAPER, instances.shape[1] + PADDING, people.encoder.largest)
    return instances, blind_table(key, instances)


@pytest.mark.benchmark(group="build, 20 000 x 9")
def test_ours(benchmark):
    """Index of blinded limbs."""
    _, limbs = make(20_000, 9)
    index = benchmark(build_index, limbs)
    assert index.nbytes <= 80 * 20_000


@pytest.mark.parametrize("name", BUILDING)
@pytest.mark.benchmark(group="build, 20 000 x 9")
def test_peer(benchmark, name):
    """Index of plain vectors."""
    instances, _ = make(20_000, 9)
    assert benchmark(peers.build, name, instances.astype(np.float64), 1)


def main(
    rows: Annotated[int, typer.Option(help="Instances.")] = 1_000_000,
    features: Annotated[int, typer.Option(help="9 (WBC-like) or 30 (WDBC-like).")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time the building of indexes."""
    instances, limbs = make(rows, features)
    plain = instances.astype(np.float64)
    ways = {
        "ours, 1 thread": lambda: build_index(limbs, threads=1),
        "ours, all threads": lambda: build_index(limbs),
    }
    ways |= {name: lambda name=name: peers.build(name, plain, 1) for name in BUILDING}
    seconds = medians(ways, rounds=3)
    size = build_index(limbs).nbytes / rows
    if as_json:
        print(json.dumps({"rows": rows, "seconds": seconds, "index_bytes_per_row": size}))
        return
    table = Table(title=f"Building an index of {rows:,} x {instances.shape[1]} features")
    table.add_column("who")
    table.add_column("seconds", justify="right")
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.2f}")
    Console().print(table)
    Console().print(f"ours keeps {size:.1f} bytes per row resident")


if __name__ == "__main__":
    typer.run(main)

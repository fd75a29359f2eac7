"""Relief weights beside scikit-rebate's ReliefF, and on a million patients.

python -m bench.relief [--rows 2000] [--large 1000000] [--json]
"""

from __future__ import annotations

import json
import time
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.timing import medians
from ompd import datasets
from ompd.encode import ReliefEncoder


def patients(rows, seed=1):
    """WBC patients drawn with replacement and jittered, with the schema for them."""
    from bench.data import population

    people = population("wbc")
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(people.rows), rows)
    values = people.rows[picked] + people.jitter * rng.uniform(-1, 1, (rows, 9))
    schema = people.encoder.schema
    return schema, np.clip(values, schema.low, schema.high), people.labels[picked]


def ours(schema, values, labels):
    """All instances visited, exact integer weights."""
    return ReliefEncoder.fit(schema, values, labels, keep_negative=True).weights


def skrebate(schema, values, labels):
    """ReliefF as published, with one neighbour as in the paper, all instances visited."""
    from skrebate import ReliefF

    scaled = (values - schema.low) / (schema.high - schema.low)
    model = ReliefF(n_neighbors=1, n_jobs=1, categorical_threshold=2)
    return model.fit(scaled, labels).feature_importances_


@pytest.mark.benchmark(group="relief, 683 rows")
def test_ours(benchmark):
    """Weights of the real table."""
    data = datasets.load("wbc")
    weights = benchmark(ours, data.schema, data.features, data.labels)
    assert len(weights) == 9


@pytest.mark.benchmark(group="relief, 683 rows")
def test_skrebate(benchmark):
    """The peer ranks the features of jittered patients much as we do."""
    schema, values, labels = patients(300)
    theirs = benchmark.pedantic(skrebate, (schema, values, labels), rounds=1)
    mine = ours(schema, values, labels)
    assert np.corrcoef(mine, theirs)[0, 1] > 0.9


def main(
    rows: Annotated[int, typer.Option(help="Rows for the comparison.")] = 2000,
    large: Annotated[int, typer.Option(help="Rows for ours alone; 0 leaves it out.")] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time Relief weights."""
    schema, values, labels = patients(rows)
    seconds = medians(
        {
            "ours": lambda: ours(schema, values, labels),
            "skrebate": lambda: skrebate(schema, values, labels),
        },
        rounds=3,
    )
    result = {
        "rows": rows,
        "seconds": seconds,
        "ratio_skrebate": seconds["skrebate"] / seconds["ours"],
        "correlation": float(
            np.corrcoef(ours(schema, values, labels), skrebate(schema, values, labels))[0, 1]
        ),
    }
    if large:
        data = patients(large)
        start = time.perf_counter()
        ours(*data)
        result |= {"large_rows": large, "large_seconds": time.perf_counter() - start}
    if as_json:
        print(json.dumps(result))
        return
    table = Table(title=f"Relief weights of {rows:,} x 9 values")
    for heading in ("who", "seconds", "times ours"):
        table.add_column(heading, justify="left" if heading == "who" else "right")
    for name, taken in seconds.items():
        table.add_row(name, f"{taken:.3f}", f"{taken / seconds['ours']:.0f}")
    console = Console()
    console.print(table)
    console.print(f"correlation of the weights: {result['correlation']:.3f}")
    if large:
        console.print(f"ours, {large:,} rows: {result['large_seconds']:.1f} s")


if __name__ == "__main__":
    typer.run(main)

"""Reading a CSV file of patients, beside pandas.read_csv; both in one process.

python -m bench.reading [--rows 1000000] [--rounds 3] [--json]
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.timing import medians
from ompd.datasets import Dataset, _blocks, load
from ompd.schema import Feature, Schema, TableForm

FEATURES = 9
CLASSES = ("benign", "malignant")


def write(path, rows, kind, seed=0):
    """Write a table and return its schema.

    kind : "scales" for whole numbers from 1 to 10, "measurements" for numbers of 2 to 4 digits,
        "floats" for all 17 digits of random floats, "gaps" for measurements of which one in a
        hundred is a question mark, "ids" for measurements with a column of ids.
    """
    rng = np.random.default_rng(seed)
    names = [f"f{place}" for place in range(FEATURES)]
    if kind == "scales":
        values = rng.integers(1, 11, (rows, FEATURES))
    elif kind == "floats":
        values = rng.random((rows, FEATURES)) * 1000
    else:
        values = np.round(rng.random((rows, FEATURES)) * 1000, 1)
    frame = pd.DataFrame(values, columns=names)
    if kind == "gaps":
        frame = frame.astype(object).mask(rng.random(frame.shape) < 0.01, "?")
    frame["diagnosis"] = np.array(CLASSES)[rng.integers(0, 2, rows)]
    form = None
    if kind == "ids":
        frame.insert(0, "id", [f"P-{place:08}" for place in range(rows)])
        form = TableForm(label="diagnosis", id="id")
    frame.to_csv(path, index=False)
    how = "ordinal" if kind == "scales" else "numeric"
    missing = "median" if kind == "gaps" else "refuse"
    features = tuple(Feature(name, how, 0, 1000, missing=missing) for name in names)
    return Schema(features, CLASSES, form)


KINDS = ("scales", "measurements", "floats", "gaps", "ids")


def peer(path):
    """Read as most people do: a frame, and nothing checked."""
    return pd.read_csv(path, na_values="?")


@pytest.mark.benchmark(group="reading 20 000 x 9")
@pytest.mark.parametrize("kind", KINDS)
def test_ours(benchmark, tmp_path, kind):
    """What is read is what pandas reads where it rounds correctly."""
    schema = write(tmp_path / "own.csv", 20_000, kind)
    assert (tmp_path / "own.csv").stat().st_size > _blocks.FAST_BYTES
    data = benchmark(load, tmp_path / "own.csv", schema)
    frame = pd.read_csv(tmp_path / "own.csv", na_values="?", engine="python")
    names = [feature.name for feature in schema.features]
    assert np.array_equal(data.features, frame[names].to_numpy(), equal_nan=True)
    assert data.schema.names(data.labels) == frame["diagnosis"].tolist()
    assert (data.ids is None) == (kind != "ids")


@pytest.mark.benchmark(group="reading 20 000 x 9")
def test_pandas(benchmark, tmp_path):
    """The peer."""
    write(tmp_path / "own.csv", 20_000, "scales")
    assert len(benchmark(peer, tmp_path / "own.csv")) == 20_000


def measure(rows, rounds, folder=None):
    """Seconds of both readers, and their quotient, by kind of table."""
    found = {}
    with tempfile.TemporaryDirectory(dir=folder) as room:
        for kind in KINDS:
            path = Path(room) / f"{kind}.csv"
            schema = write(path, rows, kind)
            frame = peer(path)
            seconds = medians(
                {
                    "load": lambda path=path, schema=schema: load(path, schema),
                    "pandas": lambda path=path: peer(path),
                    "from_frame": lambda frame=frame, schema=schema: Dataset.from_frame(
                        schema, frame
                    ),
                },
                rounds,
            )
            found[kind] = {"bytes": path.stat().st_size} | seconds
            found[kind]["times_pandas"] = seconds["load"] / seconds["pandas"]
            path.unlink()
    return found


def main(
    rows: Annotated[int, typer.Option(help="Rows of each file.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="Measurements of each, of which the median.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time reading beside pandas."""
    found = measure(rows, rounds)
    if as_json:
        print(json.dumps({"rows": rows, "processors": os.cpu_count(), "kinds": found}))
        return
    table = Table(title=f"{rows:,} rows of {FEATURES} features")
    for heading in ("kind", "MB", "load, s", "pandas, s", "times pandas", "from_frame, s"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for kind, each in found.items():
        table.add_row(
            kind,
            f"{each['bytes'] / 1e6:.0f}",
            f"{each['load']:.2f}",
            f"{each['pandas']:.2f}",
            f"{each['times_pandas']:.2f}",
            f"{each['from_frame']:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)

"""Cost against the number of instances, ours and the plaintext peers.

python -m bench.scaling [--largest 1000000] [--out DIR]

Writes scaling.csv and scaling.png: time per query, time to build, resident memory and bytes on
disk at powers of ten, with the exponent of growth fitted on a log-log scale.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import peers, topk

#: Colours that stay apart for colour-blind readers (Okabe and Ito).
COLOURS = {
    "ompd": "#000000",
    "scipy_ckdtree": "#0072B2",
    "sklearn_kdtree": "#E69F00",
    "faiss": "#009E73",
    "sklearn_brute": "#CC79A7",
}
TITLES = {
    "ompd": "ompd, exact over 512-bit blinded data",
    "scipy_ckdtree": "SciPy cKDTree, plain",
    "sklearn_kdtree": "scikit-learn KDTree, plain",
    "faiss": "FAISS flat L1, plain",
    "sklearn_brute": "scikit-learn brute, plain",
}
#: Beyond this a peer that scans everything takes seconds per query and tells nothing new.
LARGEST_SCAN = 1_000_000


def measure(kind, sizes, queries, k, progress=lambda done: None):
    """One row of figures per size."""
    rows = []
    for done, size in enumerate(sizes):
        names = [name for name in peers.NAMES if size <= LARGEST_SCAN or name.endswith("tree")]
        result = topk.run(kind, size, 9, queries, k, 1, names)
        if not result.exact:
            raise AssertionError(f"inexact at {size} rows")
        features = result.features
        rows.append(
            {
                "rows": size,
                "ompd_us": result.ours_us,
                **{f"{name}_us": result.peers_us.get(name, float("nan")) for name in peers.NAMES},
                "ompd_build_s": result.build_seconds,
                "ompd_blind_s": result.blind_seconds,
                "ompd_resident_bytes": result.index_bytes_per_row * size,
                "ompd_disk_bytes": (result.index_bytes_per_row + (features + 2) * 64 + 2) * size,
            }
        )
        progress(done + 1)
    return rows


def exponent(rows, column, from_rows=10_000):
    """Slope of log(column) against log(rows), from `from_rows` on."""
    pairs = [
        (row["rows"], row[column])
        for row in rows
        if row["rows"] >= from_rows and np.isfinite(row[column])
    ]
    if len(pairs) < 2:
        return float("nan")
    sizes, values = np.log(np.array(pairs)).T
    return float(np.polyfit(sizes, values, 1)[0])


def draw(rows, path, kind, k):
    """Time per query against the number of rows, log-log."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.6), dpi=160)
    for name in ("ompd", *peers.NAMES):
        values = [row[f"{name}_us"] for row in rows]
        slope = exponent(rows, f"{name}_us")
        axes.loglog(
            [row["rows"] for row in rows],
            values,
            marker="o",
            markersize=4,
            linewidth=2.6 if name == "ompd" else 1.4,
            color=COLOURS[name],
            label=f"{TITLES[name]} (N^{slope:.2f})",
        )
    axes.set_xlabel("instances N")
    axes.set_ylabel("microseconds per query, one thread")
    axes.set_title(
        f"Exact {k} nearest neighbours, {kind.upper()}-like patients, batches of 256", fontsize=10
    )
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def write(rows, path):
    """Save the figures as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.benchmark(group="scaling")
def test_scaling(benchmark, tmp_path):
    """The study runs end to end at small sizes."""
    rows = benchmark.pedantic(measure, ("wbc", (300, 1000), 16, 9), rounds=1)
    write(rows, tmp_path / "scaling.csv")
    draw(rows, tmp_path / "scaling.png", "wbc", 9)
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
    assert len((tmp_path / "scaling.csv").read_text().splitlines()) == 3


def main(
    largest: Annotated[int, typer.Option(help="Largest number of instances.")] = 1_000_000,
    data: Annotated[str, typer.Option(help="Population: wbc, wdbc, uniform.")] = "wbc",
    queries: Annotated[int, typer.Option(help="Queries in the batch.")] = 256,
    k: Annotated[int, typer.Option("--k", help="Neighbours.")] = 9,
    out: Annotated[Path, typer.Option(help="Folder for scaling.csv and scaling.png.")] = Path(),
) -> None:
    """Measure cost against the number of instances."""
    sizes = [10**power for power in range(3, 8) if 10**power <= largest]
    out.mkdir(parents=True, exist_ok=True)
    with Progress(transient=True) as bar:
        task = bar.add_task("sizes", total=len(sizes))
        rows = measure(data, sizes, queries, k, lambda done: bar.update(task, completed=done))
    write(rows, out / "scaling.csv")
    draw(rows, out / "scaling.png", data, k)
    table = Table(title=f"{data}: microseconds per query, one thread, K = {k}")
    table.add_column("rows", justify="right")
    for name in ("ompd", *peers.NAMES):
        table.add_column(name, justify="right")
    for row in rows:
        cells = [row[f"{name}_us"] for name in ("ompd", *peers.NAMES)]
        table.add_row(
            f"{row['rows']:,}", *(f"{cell:,.1f}" if np.isfinite(cell) else "-" for cell in cells)
        )
    table.add_section()
    slopes = [exponent(rows, f"{name}_us") for name in ("ompd", *peers.NAMES)]
    table.add_row("exponent", *(f"{slope:.2f}" for slope in slopes))
    console = Console()
    console.print(table)
    console.print(f"written: {out / 'scaling.csv'}, {out / 'scaling.png'}")


if __name__ == "__main__":
    typer.run(main)

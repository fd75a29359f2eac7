"""Private retrieval against the number of rows: time, bytes, exactness; beside BFV and FAISS.

python -m bench.sealed [--largest 1000000] [--queries 1000] [--out DIR] [--json]

At K = 9 and at K = 25, about what the hospital chooses for itself. Writes sealed.csv and sealed.png
(K = 25). Every party runs on one thread and answers one query after the
other; a new window's hints are built, and counted, whenever the old ones are used up. Answers are
compared with the exact neighbours that `ompd.search` finds among the plain integers, and their
votes by the same rule. BFV needs TenSEAL, FAISS its wheel; what is not installed is left out.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import statistics
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import typer
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import peers
from bench.data import population
from bench.scaling import exponent, write
from ompd.sealed import SealedTable, answer
from ompd.search import LimbTable, compute

K = 9
#: K that are measured; the last one is drawn.
SEVERAL_K = (K, 25)
#: What is drawn: column, colour (Okabe and Ito), title.
LINES = (
    ("hospital_ms", "#0072B2", "hospital, per query"),
    ("cloud_ms", "#D55E00", "cloud, per query"),
    ("hints_ms", "#009E73", "new windows, share of a query"),
    ("total_ms", "#000000", "all together"),
)


def vote(distances, labels, classes):
    """Majority of each row; ties by smaller summed distance, then smaller code."""
    winners = []
    for gaps, codes in zip(distances.tolist(), labels.tolist(), strict=True):
        ranked = [
            (
                -codes.count(code),
                sum(g for g, c in zip(gaps, codes, strict=True) if c == code),
                code,
            )
            for code in range(classes)
        ]
        winners.append(min(ranked)[2])
    return np.array(winners)


def plain_neighbours(vectors, labels, queries, k):
    """Distances and rows of the k nearest, exactly, from the plain integers."""
    table = LimbTable(vectors.astype(np.uint64)[:, :, np.newaxis], labels, 2)
    distances, rows = compute(table, queries.astype(np.uint64)[:, :, np.newaxis], k, threads=1)
    assert not distances[:, :, 1].any()
    return distances[:, :, 0].astype(np.int64), rows


def run(rows, queries, k=K, seed=1):
    """Figures of one size, as a flat dictionary."""
    people = population("wbc")
    vectors, labels = people.draw(rows, seed)
    asked, _ = people.draw(queries, seed + 1)
    labels = labels.astype(np.int64)
    start = time.perf_counter()
    table, ciphertexts = SealedTable.build(vectors, labels, 2, k)
    build = time.perf_counter() - start
    layout = table.layout
    hospital, cloud, renewals, found = [], [], [], []
    for query in asked:
        if not table.remaining:
            start = time.perf_counter()
            table.renew(ciphertexts)
            renewals.append(time.perf_counter() - start)
        start = time.perf_counter()
        request, ticket = table.ask(query[np.newaxis])
        sent = time.perf_counter()
        reply = answer(ciphertexts, layout, request)
        received = time.perf_counter()
        found.append(table.read(ticket, reply))
        hospital.append(time.perf_counter() - received + sent - start)
        cloud.append(received - sent)
    while layout.fetches and len(renewals) < 3:
        start = time.perf_counter()
        table.renew(ciphertexts)
        renewals.append(time.perf_counter() - start)
    distances = np.concatenate([one.distances for one in found])
    labels_found = np.concatenate([one.labels for one in found])
    certified = np.concatenate([one.certified for one in found])
    expected, nearest = plain_neighbours(vectors, labels, asked, k)
    exact = (distances == expected).all(axis=1)
    assert exact[certified].all()
    same = vote(distances, labels_found, 2) == vote(expected, labels[nearest], 2)
    whole = layout.fetches == 0
    hospital_ms, cloud_ms = 1e3 * statistics.median(hospital), 1e3 * statistics.median(cloud)
    hints_ms = 0.0 if whole else 1e3 * statistics.median(renewals) / layout.window
    return {
        "rows": rows,
        "k": k,
        "buckets": layout.buckets,
        "bucket_bytes": layout.bucket_bytes,
        "chunks": layout.chunks,
        "chunk": layout.chunk,
        "fetches": layout.fetches,
        "window": layout.window,
        "build_s": build,
        "hospital_ms": hospital_ms,
        "cloud_ms": cloud_ms,
        "hints_ms": hints_ms,
        "total_ms": hospital_ms + cloud_ms + hints_ms,
        "up_bytes": layout.request_bytes,
        "down_bytes": layout.answer_bytes,
        "window_bytes": 0 if whole else layout.table_bytes / layout.window,
        "hospital_mb": table.nbytes / 1e6,
        "table_mb": layout.table_bytes / 1e6,
        "memory_ratio": table.nbytes / layout.table_bytes,
        "exact": float(exact.mean()),
        "same_label": float(same.mean()),
        "certified": float(certified.mean()),
    }


def compare(rows, queries=20, k=K):
    """Seconds per query of the same search by BFV, FAISS on plain vectors, and ours.

    BFV computes squared Euclidean distances of coordinates cut to 16 bits, since it knows no
    absolute value; ours is hospital, cloud and the share of a window together.
    """
    own = run(rows, 10 * queries, k)
    result = {
        "rows": rows,
        "sealed_s": own["total_ms"] / 1e3,
        "sealed_bytes": own["up_bytes"] + own["down_bytes"] + own["window_bytes"],
    }
    people = population("wbc")
    vectors, _ = people.draw(rows, 1)
    asked, _ = people.draw(queries, 2)
    if importlib.util.find_spec("faiss"):
        search = peers.build("faiss", vectors, 1)
        times = []
        for query in asked:
            start = time.perf_counter()
            search(query[np.newaxis], k)
            times.append(time.perf_counter() - start)
        result["faiss_plain_s"] = statistics.median(times)
    if importlib.util.find_spec("tenseal"):
        from bench.homomorphic import bfv_scan

        shift = max(0, int(vectors.max()).bit_length() - 16)
        for name, hidden in (("bfv_plain_table", False), ("bfv", True)):
            _, seconds, sent = bfv_scan(
                vectors >> shift, asked[:1] >> shift, encrypted_table=hidden
            )
            result |= {f"{name}_s": seconds, f"{name}_bytes": sent}
            result[f"times_faster_than_{name}"] = seconds / result["sealed_s"]
    return result


def draw(rows, path):
    """Time and bytes per query against the number of rows, log-log."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.2), dpi=160)
    sizes = [row["rows"] for row in rows]
    for column, colour, title in LINES:
        values = [row[column] or float("nan") for row in rows]
        slope = exponent(rows, column)
        left.loglog(sizes, values, marker="o", markersize=4, color=colour,
                    label=f"{title} (N^{slope:.2f})")  # fmt: skip
    left.set_ylabel("milliseconds, one thread")
    left.set_title("Time", fontsize=10)
    for column, colour, title in (
        ("sent", "#0072B2", "up and down, per query"),
        ("window_bytes", "#009E73", "table for new windows, share of a query"),
    ):
        values = [
            row["up_bytes"] + row["down_bytes"] if column == "sent" else row[column] or float("nan")
            for row in rows
        ]
        right.loglog(
            sizes, np.array(values) / 1e3, marker="o", markersize=4, color=colour, label=title
        )
    right.set_ylabel("kilobytes")
    right.set_title("Traffic", fontsize=10)
    for axes in (left, right):
        axes.set_xlabel("rows N")
        axes.grid(which="major", color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(
        f"Private retrieval from one cloud, WBC-like patients, K = {rows[0]['k']}", fontsize=11
    )
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


@pytest.mark.benchmark(group="sealed, 5000 rows")
@pytest.mark.parametrize("who", ["hospital", "cloud"])
def test_query(benchmark, who):
    """One query of either party."""
    people = population("wbc")
    vectors, labels = people.draw(5000, 1)
    table, ciphertexts = SealedTable.build(vectors, labels.astype(np.int64), 2, K)
    query = vectors[:1]
    request, ticket = table.ask(query)
    reply = answer(ciphertexts, table.layout, request)

    def hospital():
        if not table.remaining:
            table.renew(ciphertexts)
        table.ask(query)

    if who == "hospital":
        benchmark(hospital)
    else:
        assert benchmark(answer, ciphertexts, table.layout, request) == reply
    assert table.read(ticket, reply).distances[0, 0] == 0


@pytest.mark.benchmark(group="sealed, study")
def test_study(benchmark, tmp_path):
    """The study runs end to end at small sizes, and the answers are exact."""

    def study():
        return [run(rows, 40, k) for k in SEVERAL_K for rows in (800, 3000)]

    rows = benchmark.pedantic(study, rounds=1)
    assert all(row["exact"] >= 0.95 and row["same_label"] == 1 for row in rows)
    write(rows, tmp_path / "sealed.csv")
    draw(rows[2:], tmp_path / "sealed.png")
    with (tmp_path / "sealed.csv").open() as file:
        assert [int(row["rows"]) for row in csv.DictReader(file)] == [800, 3000] * 2
    assert (tmp_path / "sealed.png").stat().st_size > 10_000


@pytest.mark.benchmark(group="sealed, against a scan")
def test_compare(benchmark):
    """A BFV scan takes far longer already at a few hundred rows."""
    pytest.importorskip("tenseal")
    result = benchmark.pedantic(compare, (300, 4), rounds=1)
    assert result["times_faster_than_bfv"] > 10


def main(
    largest: Annotated[int, typer.Option(help="Largest number of rows.")] = 1_000_000,
    queries: Annotated[int, typer.Option(help="Queries per size.")] = 1000,
    scan: Annotated[int, typer.Option(help="Rows of the comparison; 0 leaves it out.")] = 50_000,
    out: Annotated[Path, typer.Option(help="Folder for sealed.csv and sealed.png.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure private retrieval against the number of rows."""
    sizes = [10**power for power in range(3, 8) if 10**power <= largest]
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with Progress(transient=True, disable=as_json) as bar:
        task = bar.add_task("sizes", total=len(sizes) * len(SEVERAL_K))
        run(2000, 5)
        for k in SEVERAL_K:
            for size in sizes:
                rows.append(run(size, queries, k))
                bar.advance(task)
        scans = compare(scan) if scan else {}
    write(rows, out / "sealed.csv")
    drawn = rows[-len(sizes) :]
    draw(drawn, out / "sealed.png")
    exponents = {column: exponent(drawn, column) for column, _, _ in LINES}
    if as_json:
        print(json.dumps({"sizes": rows, "exponents": exponents, "scan": scans}))
        return
    table = Table(title="Private retrieval, one thread per party", box=box.SIMPLE)
    columns = {
        "rows": lambda row: f"{row['rows']:,}",
        "K": lambda row: f"{row['k']}",
        "hospital": lambda row: f"{row['hospital_ms']:.2f}",
        "cloud": lambda row: f"{row['cloud_ms']:.2f}",
        "windows": lambda row: f"{row['hints_ms']:.2f}",
        "KB": lambda row: f"{(row['up_bytes'] + row['down_bytes']) / 1e3:.1f}",
        "renewal KB": lambda row: f"{row['window_bytes'] / 1e3:.1f}",
        "memory": lambda row: f"{row['memory_ratio']:.2f}",
        "fetches": lambda row: f"{row['fetches']}",
        "exact": lambda row: f"{row['exact']:.1%}",
        "label": lambda row: f"{row['same_label']:.1%}",
        "proven": lambda row: f"{row['certified']:.1%}",
    }
    for heading in columns:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*(cell(row) for cell in columns.values()))
    table.caption = (
        "milliseconds per query; windows: the query's share of building new hints; renewal KB: and "
        "of their table; memory: the hospital's, of the encrypted table"
    )
    console = Console()
    console.print(table)
    for column, _, title in LINES:
        console.print(f"exponent of {title}: {exponents[column]:.2f}")
    for name, value in scans.items():
        console.print(f"{name}: {value:,.4g}")
    console.print(f"written: {out / 'sealed.csv'}, {out / 'sealed.png'}")


if __name__ == "__main__":
    typer.run(main)

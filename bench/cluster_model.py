"""Clusters that are not at hand: a simulation, calibrated from what is measured here.

Called by `python -m bench.cluster --out FOLDER`, which explains what is measured for real. A batch
goes through the cloud's own work, which one process does, and two rounds, each as slow as its
slowest node; which parts are asked is drawn anew for every batch. Search times are fitted as a
power of the rows of a part, and taken beyond the sizes that were measured. How many parts a query
asks is measured on the largest of these; on more rows neighbours are nearer, and it is fewer.
"""

from __future__ import annotations

import csv
import itertools
import time

import numpy as np

from bench.data import population
from bench.timing import medians
from ompd.blind import PADDING, blind_queries, blind_table
from ompd.blind.keys import PaperKey
from ompd.cluster.copies import part_bytes
from ompd.cluster.worker import Ask
from ompd.params import PAPER
from ompd.search import LimbTable, compute
from ompd.search.conversion import Modulus, convert
from ompd.search.parts import Boxes, Nearest

K = 9
#: What a node is taken to be: processors, bytes, dollars per hour, bytes per second to each other.
NODE = {"processors": 16, "memory": 64e9, "dollars": 0.8, "network": 1.25e9}
#: The machine of the cloud, which has index and labels of all rows, and maps their limbs.
CLOUD = {"memory": 512e9, "dollars": 4.0}
#: Part of a memory that tables may take, and what a worker takes besides.
USABLE, RESIDENT = 0.8, 0.5e9
ROWS = (10**8, 10**9, 10**10)
NODES = (10, 30, 100, 300, 1000)
BATCHES = (4096, 65536)
#: Fewest queries of a call that are worth another thread.
THREADED = 256
#: Batches that the cloud has under way at a time.
AT_ONCE = 4


def _tables(sizes, queries):
    people = population("wbc")
    key = None
    for rows in sizes:
        sums, _ = people.draw(rows, rows)
        key = key or PaperKey.generate(PAPER, sums.shape[1] + PADDING, people.encoder.largest)
        table = LimbTable(blind_table(key, sums), np.zeros(rows, np.int64), 1)
        sent = blind_queries(key, people.draw(queries, 2)[0])
        modulus = Modulus.of(key.modulus, PAPER.limbs)
        yield table, sent, modulus, convert(sent.points, sent.tokens, modulus)


def calibrate(sizes=(10_000, 50_000, 250_000), queries=1024, parts=(4, 16, 64, 256), hands=None):
    """Measure what a batch is made of.

    Parameters
    ----------
    sizes : sequence of int
        Rows of a part.
    queries : int
    parts : sequence of int
    hands : Hands, optional
        Workers whose messages are measured; without, those of this process.

    Returns
    -------
    dict
    """
    first, second, asked = [], [], {}
    for known in _tables(sizes, queries):
        table, sent, modulus, points = known
        within = np.ascontiguousarray(compute(table, points, K)[0][:, -1])
        times = medians(
            {
                "first": lambda table=table, points=points: compute(table, points, K, threads=1),
                "second": lambda table=table, points=points, within=within: compute(
                    table, points, K, within=within, threads=1
                ),
            },
            5,
            clock=time.process_time,
        )
        first.append(times["first"] / queries)
        second.append(times["second"] / queries)
    # Of the largest: how many parts, and the cloud's own work.
    for count in parts:
        boxes = Boxes.cut(table.index, count)
        bounds = boxes.bounds(points)
        reached = boxes.reachable(bounds, within)
        reached[np.arange(queries), bounds.argmin(axis=1)] = True
        asked[count] = float(reached.sum(axis=1).mean())
    distances, rows = compute(table, points, K)
    numbers = np.arange(queries)
    own = medians(
        {
            "convert": lambda: convert(sent.points, sent.tokens, modulus, threads=1),
            "bounds": lambda: boxes.reachable(boxes.bounds(points, threads=1), within),
            "merge": lambda: Nearest(queries, K, PAPER.limbs + 1).add(numbers, distances, rows),
        },
        5,
        clock=time.process_time,
    )
    message, byte = _messages(hands)
    coordinates = table.limbs.shape[1]
    return {
        "rows": list(sizes),
        "first_s": first,
        "second_s": second,
        "asked": asked,
        "convert_s": own["convert"] / queries,
        "bound_s": own["bounds"] / queries / len(boxes),
        "merge_s": own["merge"] / queries,
        "message_s": message,
        "byte_s": byte,
        "row_bytes": part_bytes(1000, coordinates, PAPER.limbs) / 1000,
        "cloud_row_bytes": (table.index.nbytes + table.labels.nbytes) / len(table) + 8,
        "query_bytes": 8 * coordinates * PAPER.limbs,
        "found_bytes": 8 * K * (PAPER.limbs + 2),
    }


def _messages(hands):
    """Seconds of the cloud's process for one call and its answer, and for a byte of it."""
    if hands is None:
        from tests.cluster.hands import Hands

        hands = Hands()
    worker = hands.start()
    calls = 64

    def many():
        begun = [hands.call(worker, "status") for _ in range(calls)]
        while begun:
            over = hands.wait(begun, 60)
            begun = [each for each in begun if each not in over]

    data = np.zeros(4 << 20, np.uint8)

    def large():
        # It gets there, and is about nothing.
        begun = hands.call(worker, "do", [Ask("nothing", "sums", (data,), 1)])
        hands.wait([begun], 60)

    times = medians({"many": many, "large": large}, 5)
    hands.stop(worker)
    each = times["many"] / calls
    return each, max(1e-12, (times["large"] - each) / data.nbytes)


def _power(rows, seconds):
    """Exponent and factor of the fitted power."""
    slope, offset = np.polyfit(np.log(rows), np.log(seconds), 1)
    return lambda count: float(np.exp(offset) * count**slope)


def simulate(calibrated, batches=50, seed=0):
    """What clusters would do; a dictionary for each."""
    rng = np.random.default_rng(seed)
    search = [
        _power(calibrated["rows"], calibrated["first_s"]),
        _power(calibrated["rows"], calibrated["second_s"]),
    ]
    # How many parts are asked grows with the logarithm of their number.
    counts = sorted(calibrated["asked"])
    slope, offset = np.polyfit(np.log(counts), [calibrated["asked"][each] for each in counts], 1)
    lines = []
    for rows, nodes, batch in itertools.product(ROWS, NODES, BATCHES):
        each = rows / nodes
        memory = each * calibrated["row_bytes"] + RESIDENT
        here = rows * calibrated["cloud_row_bytes"]
        asked = float(min(nodes, max(1.0, offset + slope * np.log(nodes))))
        reasons = []
        if memory > USABLE * NODE["memory"]:
            reasons.append("memory of a node")
        if here > USABLE * CLOUD["memory"]:
            reasons.append("memory of the cloud")
        own, seconds, work = [], [], []
        for _ in range(batches):
            cloud = batch * (calibrated["convert_s"] + calibrated["bound_s"] * nodes)
            cloud += batch * asked * calibrated["merge_s"]
            slowest, busy = 0.0, 0.0
            for share, cost in zip((1.0, asked - 1), search, strict=True):
                queries = rng.multinomial(round(batch * share), np.full(nodes, 1 / nodes))
                threads = np.clip(queries // THREADED, 1, NODE["processors"])
                moved = calibrated["query_bytes"] + calibrated["found_bytes"]
                cloud += np.count_nonzero(queries) * calibrated["message_s"]
                cloud += queries.sum() * moved * calibrated["byte_s"]
                node = queries * (cost(each) / threads + moved / NODE["network"])
                slowest += float(node.max())
                busy += float((queries * cost(each)).sum())
            own.append(cloud)
            seconds.append(cloud + slowest)
            work.append(busy)
        limit = batch / np.mean(own)
        together = nodes * NODE["processors"] * batch / np.mean(work)
        waiting = AT_ONCE * batch / np.mean(seconds)
        rate = float(min(limit, together, waiting))
        hour = nodes * NODE["dollars"] + CLOUD["dollars"]
        lines.append(
            {
                "rows": rows,
                "nodes": nodes,
                "batch": batch,
                "breaks": " and ".join(reasons),
                "bounded_by": min(
                    (limit, "the cloud's process"),
                    (together, "processors of the nodes"),
                    (waiting, "round trips"),
                )[1],
                "asked": round(asked, 2),
                "node_gb": round(memory / 1e9, 2),
                "cloud_gb": round(here / 1e9, 2),
                "bytes_per_query": round(
                    asked * (calibrated["query_bytes"] + calibrated["found_bytes"])
                ),
                "batch_ms": round(float(np.mean(seconds)) * 1e3, 1),
                "batch_ms_p99": round(float(np.quantile(seconds, 0.99)) * 1e3, 1),
                "queries_per_s": round(rate),
                "dollars_per_million": round(1e6 / rate / 3600 * hour, 3),
                "extrapolated": round(each / max(calibrated["rows"]), 1),
            }
        )
    return lines


def write(lines, folder):
    """Write the simulation as a table and a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "cluster.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    titles = {
        "queries_per_s": "queries per second",
        "batch_ms": "milliseconds of a batch",
        "dollars_per_million": "dollars per million queries",
    }
    for pane, (name, title) in zip(panes, titles.items(), strict=True):
        for rows, color in zip(ROWS, ("C0", "C1", "C2"), strict=True):
            for batch, style in zip(BATCHES, ("-", "--"), strict=True):
                some = [each for each in lines if (each["rows"], each["batch"]) == (rows, batch)]
                fits = [each for each in some if not each["breaks"]]
                label = f"$10^{{{len(str(rows)) - 1}}}$ rows, batches of {batch:,}"
                pane.plot(
                    [each["nodes"] for each in fits], [each[name] for each in fits],
                    style, color=color, marker="o", label=label,
                )  # fmt: skip
        pane.set(xscale="log", yscale="log", xlabel="nodes", title=title)
        pane.grid(alpha=0.3)
    panes[0].legend(fontsize=7)
    figure.suptitle("Simulated from measured parts; a line ends where memory does")
    figure.savefig(folder / "cluster.png", dpi=110)
    plt.close(figure)

"""Profile `hardened`: speed beside `paper`, accuracy against bits and against noise.

python -m bench.hardened [--largest 1000000] [--splits 100] [--out bench/results] [--json]

Three studies. Speed: microseconds per query for the cloud's whole work on one table, blinded with
512-bit integers and with values modulo 2**64. Bits: accuracy when the widest coordinate has so many
bits, and with the step that `choose_step` takes. Noise: accuracy when table and queries carry
discrete Laplace noise of epsilon per median distance of two patients.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import topk
from bench.data import population
from bench.timing import medians
from ompd import datasets
from ompd.blind import HardenedKey, LaplaceNoise, epsilon_per_unit
from ompd.encode import ReliefEncoder
from ompd.encode.coarse import choose_step, coarsen
from ompd.search import LimbTable, ballots, classify, limbs_of
from ompd.search.decision import Rule
from ompd.search.words import WordTable

#: Data sets of the paper with their K.
DATA = {"wbc": 9, "mm": 11}
TITLES = {"wbc": "WBC, K = 9", "mm": "MM, K = 11"}
EPSILONS = (4, 8, 16, 32, 64, 128, math.inf)
BITS = (2, 3, 4, 5, 6, 7, 8, 10, 12)
#: Okabe and Ito's blue and vermilion, told apart by everyone; the markers differ too.
STYLES = {"wbc": ("#0072B2", "o"), "mm": ("#D55E00", "s")}


def hardened_queries(instances, labels, points):
    """The cloud's table and its queries, blinded under one fresh key."""
    key = HardenedKey.generate(instances.shape[1])
    table = WordTable.of(key.blind(instances), labels, int(labels.max()) + 1)
    return table, key.blind(points)


def hardened_codes(table, points, k):
    """All that the cloud does for a batch of hardened queries, on one thread."""
    return classify(table.table, table.queries(points), None, None, k, threads=1)


def speed(rows, queries=256, k=9, rounds=15):
    """Microseconds per query of both profiles on the same WBC-like patients."""
    people = population("wbc")
    instances, labels = people.draw(rows, seed=1)
    points, _ = people.draw(queries, seed=2)
    labels = labels.astype(np.int64)
    step = choose_step(instances, labels, 2, k)
    paper = topk.make("wbc", rows, 9, queries)
    coarse, sent = hardened_queries(coarsen(instances, step), labels, coarsen(points, step))
    fine, fine_sent = hardened_queries(instances, labels, points)
    if not np.array_equal(hardened_codes(fine, fine_sent, k), paper.answer(k)):
        raise AssertionError("the profiles disagree on the same integers")
    seconds = medians(
        {
            "paper": lambda: paper.answer(k),
            "hardened": lambda: hardened_codes(coarse, sent, k),
            "hardened_fine": lambda: hardened_codes(fine, fine_sent, k),
        },
        rounds,
    )
    micro = {f"{name}_us": taken / queries * 1e6 for name, taken in seconds.items()}
    bits = (people.encoder.largest // step).bit_length()
    ratio = seconds["paper"] / seconds["hardened"]
    return {"rows": rows, "bits": bits, **micro, "times_faster": ratio}


def encoded(name, seed):
    """One split of a data set: training and test vectors, their labels."""
    train, test = datasets.load(name).split(test_per_class=100, seed=seed)
    encoder = ReliefEncoder.fit(train.schema, train.features, train.labels)
    return (
        encoder.encode(train.features),
        train.labels,
        encoder.encode(test.features),
        test.labels,
    )


def accuracy(instances, labels, points, truth, k):
    """Share of right labels through the blinded path, as the hospital decides."""
    table, sent = hardened_queries(instances, labels, points)
    found = ballots(table.table, table.queries(sent), None, None, k, threads=1)
    # Noise may have made vectors negative.
    own = LimbTable.from_prefix_sums(instances - instances.min(axis=0), labels, 2)
    return right(own, found, truth, k)


def plain_accuracy(instances, labels, points, truth, k):
    """Share of right labels on the plain integers."""
    table = LimbTable(limbs_of(instances), labels, 2)
    return right(table, ballots(table, limbs_of(points), None, None, k, threads=1), truth, k)


def right(table, found, truth, k):
    """Share of right labels by calibrated probability."""
    codes, votes = found
    outcome = Rule.learn(table, k, "probability", "equal").decide(votes, codes)
    return float((outcome.codes == truth).mean())


def bits_study(name, splits, progress=lambda: None):
    """Accuracy of every split by bits, and what the rule chose."""
    k = DATA[name]
    found = {bits: [] for bits in (*BITS, "chosen", "all")}
    chosen = Counter()
    for seed in range(splits):
        instances, labels, points, truth = encoded(name, seed)
        width = int(np.ptp(instances, axis=0).max()).bit_length()
        picked = choose_step(instances, labels, 2, k)
        steps = {bits: 1 << max(0, width - bits) for bits in BITS} | {"chosen": picked}
        for bits, step in steps.items():
            vectors = coarsen(instances, step), labels, coarsen(points, step), truth
            found[bits].append(accuracy(*vectors, k))
        found["all"].append(plain_accuracy(instances, labels, points, truth, k))
        chosen[width - picked.bit_length() + 1] += 1
        progress()
    return found, dict(sorted(chosen.items()))


def noise_study(name, splits, epsilons=EPSILONS, progress=lambda: None):
    """Accuracy of every split by epsilon, with the chosen step."""
    k = DATA[name]
    found = {epsilon: [] for epsilon in epsilons}
    for seed in range(splits):
        instances, labels, points, truth = encoded(name, seed)
        step = choose_step(instances, labels, 2, k)
        instances, points = coarsen(instances, step), coarsen(points, step)
        people = [str(place) for place in range(len(points))]
        for epsilon in epsilons:
            table, asked = instances, points
            if math.isfinite(epsilon):
                noise = LaplaceNoise.generate(epsilon_per_unit(epsilon, instances))
                table, asked = noise.instances(instances), noise.queries(points, people)
            found[epsilon].append(accuracy(table, labels, asked, truth, k))
        progress()
    return found


def summary(name, column, found):
    """One row per setting: mean, deviation over splits, 95% interval of the mean."""
    rows = []
    for setting, values in found.items():
        mean, deviation = float(np.mean(values)), float(np.std(values))
        error = 1.96 * deviation / math.sqrt(len(values))
        rows.append(
            {
                "data": name,
                column: setting,
                "splits": len(values),
                "accuracy": mean,
                "deviation": deviation,
                "low": mean - error,
                "high": mean + error,
            }
        )
    return rows


def write(rows, path):
    """Save figures as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def draw(rows, path):
    """Accuracy against epsilon, a band of one standard deviation over the splits."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.6), dpi=160)
    for name, (colour, marker) in STYLES.items():
        own = [row for row in rows if row["data"] == name]
        noisy = [row for row in own if math.isfinite(row["epsilon"])]
        epsilons = [row["epsilon"] for row in noisy]
        mean, spread = (
            100 * np.array([row[key] for row in noisy]) for key in ("accuracy", "deviation")
        )
        axes.plot(epsilons, mean, marker=marker, color=colour, linewidth=2, label=TITLES[name])
        axes.fill_between(epsilons, mean - spread, mean + spread, color=colour, alpha=0.18, lw=0)
        for row in own:
            if math.isinf(row["epsilon"]):
                axes.axhline(100 * row["accuracy"], color=colour, linestyle=":", linewidth=1.4)
    axes.plot([], [], color="#555555", linestyle=":", linewidth=1.4, label="without noise")
    axes.set_xscale("log", base=2)
    ticks = sorted({row["epsilon"] for row in rows if math.isfinite(row["epsilon"])})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel("ε per median distance of two patients (smaller: more private)")
    axes.set_ylabel("accuracy on held-out patients, %")
    splits = rows[0]["splits"]
    axes.set_title(
        f"Noise on table and queries: mean of {splits} splits, band one standard deviation",
        fontsize=10,
    )
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def show(title, headings, rows):
    """Print one table."""
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def percent(row):
    """Mean with its 95% interval."""
    return f"{100 * row['accuracy']:.2f} ± {50 * (row['high'] - row['low']):.2f}"


def main(
    largest: Annotated[int, typer.Option(help="Largest table for the speed.")] = 1_000_000,
    splits: Annotated[int, typer.Option(help="Random splits for the accuracies.")] = 100,
    out: Annotated[
        Path | None, typer.Option(help="Folder for epsilon.csv and epsilon.png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the hardened profile."""
    sizes = [10**power for power in range(3, 7) if 10**power <= largest]
    bits, noise, chosen = [], [], {}
    with Progress(transient=True, disable=as_json) as bar:
        task = bar.add_task("studies", total=len(sizes) + 2 * len(DATA) * splits)

        def step():
            bar.advance(task)

        for name in DATA:
            found, chosen[name] = bits_study(name, splits, step)
            bits += summary(name, "bits", found)
            noise += summary(name, "epsilon", noise_study(name, splits, progress=step))
        speeds = []
        for size in sizes:
            speeds.append(speed(size))
            step()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write(noise, out / "epsilon.csv")
        draw(noise, out / "epsilon.png")
    if as_json:
        # JSON has no infinity.
        noise = [row | {"epsilon": str(row["epsilon"])} for row in noise]
        print(json.dumps({"speed": speeds, "bits": bits, "chosen_bits": chosen, "noise": noise}))
        return
    show(
        "Microseconds per query, batch of 256, K = 9, one thread",
        ("rows", "bits", "paper", "hardened", "all bits", "times faster"),
        [
            (
                f"{row['rows']:,}",
                str(row["bits"]),
                *(f"{row[f'{key}_us']:.2f}" for key in ("paper", "hardened", "hardened_fine")),
                f"{row['times_faster']:.2f}",
            )
            for row in speeds
        ],
    )
    for column, rows in (("bits", bits), ("epsilon", noise)):
        by_name = [[row for row in rows if row["data"] == name] for name in DATA]
        show(
            f"Accuracy in % by {column}, mean of {splits} splits with 95% interval",
            (column, *TITLES.values()),
            [
                (str(left[column]), percent(left), percent(right))
                for left, right in zip(*by_name, strict=True)
            ],
        )
    Console().print(f"bits chosen, by number of splits: {chosen}")


@pytest.mark.benchmark(group="hardened, 5 000 rows")
def test_hardened(benchmark):
    """The cloud's whole work for 64 queries; labels as in plain search."""
    people = population("wbc")
    instances, labels = people.draw(5000, seed=1)
    points, _ = people.draw(64, seed=2)
    table, sent = hardened_queries(instances, labels.astype(np.int64), points)
    codes = benchmark(hardened_codes, table, sent, 9)
    plain = LimbTable(limbs_of(instances), labels.astype(np.int64), 2)
    assert np.array_equal(codes, classify(plain, limbs_of(points), None, None, 9))


@pytest.mark.benchmark(group="hardened, noise")
def test_noise(benchmark):
    """Noise for 2 000 rows."""
    vectors = np.zeros((2000, 9), np.int64)
    noise = LaplaceNoise.generate(epsilon_per_unit(8, np.arange(90).reshape(10, 9)))
    assert benchmark(noise.instances, vectors).any()


@pytest.mark.benchmark(group="hardened, studies")
def test_studies(benchmark, tmp_path):
    """Everything runs end to end on a few splits; noise costs accuracy, coarse bits do not."""
    found = benchmark.pedantic(noise_study, ("wbc", 3, (1, math.inf)), rounds=1)
    rows = summary("wbc", "epsilon", found) + summary(
        "mm", "epsilon", noise_study("mm", 3, (1, math.inf))
    )
    for name in DATA:
        noisy, clean = (row["accuracy"] for row in rows if row["data"] == name)
        assert noisy < clean - 0.05
    write(rows, tmp_path / "epsilon.csv")
    draw(rows, tmp_path / "epsilon.png")
    assert (tmp_path / "epsilon.png").stat().st_size > 10_000
    assert len((tmp_path / "epsilon.csv").read_text().splitlines()) == 5
    by_bits, chosen = bits_study("wbc", 3)
    assert abs(np.mean(by_bits["chosen"]) - np.mean(by_bits["all"])) < 0.02
    assert sum(chosen.values()) == 3
    assert speed(1000, queries=16, rounds=1)["paper_us"] > 0


if __name__ == "__main__":
    typer.run(main)

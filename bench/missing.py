"""What becomes of missing values, and what each rule costs.

python -m bench.missing [--splits 20] [--own FILE ...] [--out bench/results]

Values are taken out of complete tables: at random, more of the high ones, or in one class more than
in the other. Own tables, which take their place, have gaps already; beside each FILE stands its
schema, the same name with `.toml`. Every rule is learned on 70 % of the rows, gaps and all, and
judged on the others.

complete: train with complete rows only; a query gets the median of the training rows.
median: all rows and queries get it (for a nominal feature the most frequent value).
class medians: training rows get the median of their class, queries that of all rows.
level: nominal features have a level of their own, others the median.
indicator: the median, and a further feature that says whether one was missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from threadpoolctl import threadpool_limits

from bench.evidence import K, scored, splits
from bench.paper.tables import write_csv
from ompd import datasets
from ompd.datasets import Dataset
from ompd.encode import Filling
from ompd.estimator import EvidenceClassifier, ReliefMWClassifier
from ompd.schema import Feature, Schema

RULES = ("complete", "median", "class medians", "level", "indicator")
METHODS = {
    "relief-mw": lambda schema: ReliefMWClassifier(K, schema=schema),
    "evidence": lambda schema: EvidenceClassifier(schema=schema),
}
#: How values are taken out, and which share of them.
GAPS = (("at random", 0.1), ("at random", 0.3), ("high values", 0.3), ("one class", 0.3))


@dataclass(frozen=True)
class Ready:
    """Training rows after a rule, and what it makes of queries."""

    schema: Schema
    features: np.ndarray
    codes: np.ndarray
    ask: Callable[[np.ndarray], np.ndarray]


def declared(schema: Schema, missing: str = "median") -> Schema:
    """The schema with a rule for every feature; those that are not nominal have medians only."""
    return Schema(
        tuple(
            msgspec.structs.replace(each, missing=missing if each.kind == "nominal" else "median")
            for each in schema.features
        ),
        schema.classes,
    )


def removed(data: Dataset, how: str, rate: float, seed: int = 5) -> np.ndarray:
    """Features of which about so many values are taken out."""
    rng = np.random.default_rng(seed)
    values = np.array(data.features)
    chance = np.full(values.shape, rate)
    if how == "high values":
        # By rank, so that it means the same for every feature.
        order = (values + 1e-9 * rng.random(values.shape)).argsort(axis=0).argsort(axis=0)
        chance *= 2 * order / len(values)
    elif how == "one class":
        # As where only those are tested further who look ill.
        chance[data.labels == 0] *= 1.8
        chance[data.labels != 0] *= 0.2
    values[rng.random(values.shape) < chance] = np.nan
    return values


def ready(rule: str, schema: Schema, values: np.ndarray, codes: np.ndarray) -> Ready | None:
    """Training rows as a rule makes them; None where too few are left."""
    if rule in {"median", "level"}:
        # What the package does itself.
        return Ready(declared(schema, rule), values, codes, lambda asked: asked)
    filling = Filling.learn(declared(schema), values)
    plain = filling.inner

    def ask(asked: np.ndarray) -> np.ndarray:
        return filling.fill(asked)[0]

    if rule == "complete":
        kept = ~np.isnan(values).any(axis=1)
        counts = np.bincount(codes[kept], minlength=len(schema.classes))
        return Ready(plain, values[kept], codes[kept], ask) if counts.min() >= 2 else None
    if rule == "class medians":
        filled = values.copy()
        for code in range(len(schema.classes)):
            own = codes == code
            # A feature that nobody of the class has is filled like a query.
            rows = values[own]
            rows[:, np.isnan(rows).all(axis=0)] = np.array(filling.values)[
                np.isnan(rows).all(axis=0)
            ]
            filled[own] = Filling.learn(declared(schema), rows).fill(rows)[0]
        return Ready(plain, filled, codes, ask)
    gappy = np.flatnonzero(np.isnan(values).any(axis=0))
    more = tuple(Feature(f"{plain.features[j].name} is missing", "nominal", 0, 1) for j in gappy)

    def marked(asked: np.ndarray) -> np.ndarray:
        return np.hstack([ask(asked), np.isnan(asked[:, gappy])])

    wider = Schema((*plain.features, *more), plain.classes)
    return Ready(wider, marked(values), codes, marked)


def study(data: Dataset, values: np.ndarray, count: int) -> dict[tuple[str, str], list]:
    """Accuracy, balanced accuracy and log loss of every split, by method and rule."""
    found: dict[tuple[str, str], list] = {(m, rule): [] for m in METHODS for rule in RULES}
    for train, test in splits(data, count):
        truth = data.labels[test]
        for rule in RULES:
            made = ready(rule, data.schema, values[train], data.labels[train])
            if made is None:
                continue
            for method, make in METHODS.items():
                model = make(made.schema).fit(made.features, made.codes)
                chances = model.predict_proba(made.ask(values[test]))
                right = float((chances.argmax(axis=1) == truth).mean())
                found[method, rule].append((right, *scored(chances, truth)))
    return found


def tables(own: list[Path]) -> dict[str, tuple[Dataset, np.ndarray]]:
    """Every table with gaps, by name."""
    found = {}
    for path in own:
        data = datasets.load(path, path.with_suffix(".toml"))
        found[data.name] = data, np.array(data.features)
    for name in () if own else ("wbc", "mm"):
        data = datasets.load(name)
        for how, rate in GAPS:
            found[f"{name}, {how}, {rate:.0%}"] = data, removed(data, how, rate)
    return found


def summary(name: str, values: np.ndarray, found: dict[tuple[str, str], list]) -> list[dict]:
    """One row per method and rule."""
    gaps = np.isnan(values)
    rows = []
    for (method, rule), scores in found.items():
        means = np.mean(scores, axis=0) if scores else np.full(3, np.nan)
        rows.append(
            {
                "table": name,
                "rows": len(values),
                "incomplete_rows": f"{gaps.any(axis=1).mean():.3f}",
                "missing_values": f"{gaps.mean():.3f}",
                "method": method,
                "rule": rule,
                # Fewer than all where a class had too few complete rows.
                "splits": len(scores),
                "accuracy": f"{means[0]:.4f}",
                "balanced_accuracy": f"{means[1]:.4f}",
                "log_loss": f"{means[2]:.4f}",
            }
        )
    return rows


def show(rows: list[dict]) -> None:
    """Print balanced accuracy and log loss, a line per method and table."""
    for method in METHODS:
        table = Table(title=f"{method}: balanced accuracy in %, log loss", title_justify="left")
        table.add_column("table")
        for rule in RULES:
            table.add_column(rule, justify="right")
        own = [row for row in rows if row["method"] == method]
        for name in dict.fromkeys(row["table"] for row in own):
            cells = [
                f"{100 * float(row['balanced_accuracy']):.1f} {float(row['log_loss']):.3f}"
                for row in own
                if row["table"] == name
            ]
            table.add_row(name, *cells)
        Console().print(table)


def main(
    count: Annotated[int, typer.Option("--splits", min=1, help="Splits per table.")] = 20,
    own: Annotated[list[Path] | None, typer.Option(help="A table with gaps.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the CSV file.")] = None,
) -> None:
    """Compare the rules."""
    rows = []
    with Progress(transient=True) as bar, threadpool_limits(1):
        todo = tables(own or [])
        task = bar.add_task("tables", total=len(todo))
        for name, (data, values) in todo.items():
            rows += summary(name, values, study(data, values, count))
            bar.advance(task)
            if out is not None:
                # After every table, since each takes minutes.
                out.mkdir(parents=True, exist_ok=True)
                write_csv(out / "missing.csv", rows)
    show(rows)


if __name__ == "__main__":
    typer.run(main)

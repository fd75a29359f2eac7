"""How well the questionnaire on the heart does, how many questions it takes, how fast it chooses.

python -m bench.questionnaire [--repeats 5] [--rounds 300] [--model FILE] [--json]

Accuracy: ten folds, five times over, of the Cleveland table. All that is learned - where numbers
are cut, counts, the sigmoid, which is fitted on inner folds - is learned without the part that is
judged. The adaptive order is beside a fixed one, by information before the first answer, and a
random one; all stop on the same calibrated probability.

Speed: the choice of the next of 200 questions with four answers beside that of catsim, which takes
the most informative of 200 items of its own model. `--model` learns the shipped file again, with
these figures in it; it is the same, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.timing import medians
from ompd import datasets
from ompd.record.questionnaire import Posterior, Questionnaire, load
from ompd.record.questionnaire.form import FORM, Figures, Level, Option, Origin, Outcome, Question
from ompd.record.questionnaire.training import Cases, calibrate, folds_of, learn, train

FOLDS = 10
INNER = 5
ORDERS = ("adaptive", "fixed", "random")
#: What somebody does not know whose practice makes no exercise test.
EXERCISE = ("highest_rate", "st_depression", "slope")
ITEMS, ANSWERS, GIVEN = 200, 4, 10


def auc(probability: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a row with the outcome has the larger probability, ties counting half."""
    there, gone = np.sort(probability[truth == 1]), probability[truth == 0]
    below = np.searchsorted(there, gone, "left")
    upto = np.searchsorted(there, gone, "right")
    return float((2 * len(there) - below - upto).sum() / (2 * len(there) * len(gone)))


def calibration_error(probability: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of probability and frequency in ten bins of probability."""
    bins = np.minimum((probability * 10).astype(int), 9)
    return float(
        sum(
            abs((probability - truth)[bins == each].mean()) * (bins == each).mean()
            for each in np.unique(bins)
        )
    )


def ordered(posterior: Posterior, places: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Log-odds before and after each answer if questions come in `order` (rows, questions)."""
    gains = np.where(places >= 0, posterior.gains[posterior.starts[:-1] + places], 0.0)
    given = np.take_along_axis(places, order, 1) >= 0
    # Whoever does not know an answer is asked the next one instead.
    front = np.argsort(~given, axis=1, kind="stable")
    steps = np.take_along_axis(np.take_along_axis(gains, order, 1), front, 1)
    return posterior.prior + np.cumsum(np.pad(steps, ((0, 0), (1, 0))), axis=1)


def informative(posterior: Posterior) -> list[int]:
    """Places of the questions by information before the first answer, the largest first."""
    left, found = {question.id for question in posterior.questions}, []
    while left:
        best = posterior.next_question(
            posterior.prior, [q.id for q in posterior.questions if q.id not in left]
        )
        assert best is not None
        left.remove(best.id)
        found.append(posterior.place(best.id))
    return found


def held_out(
    questionnaire: Questionnaire, cases: Cases, repeats: int
) -> Iterator[tuple[Questionnaire, Cases, int]]:
    """A questionnaire learned without a part, and the part, for every part of every repeat."""
    for seed in range(repeats):
        for rest, part in folds_of(cases.truth, FOLDS, seed):
            known = cases.take(rest)
            yield learn(calibrate(questionnaire, known, INNER, seed), known), cases.take(part), seed


def accuracy(questionnaire: Questionnaire, cases: Cases, repeats: int) -> dict[str, Any]:
    """Figures by level and order; and of a practice without an exercise test."""
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for learned, part, seed in held_out(questionnaire, cases, repeats):
        rng = np.random.default_rng(seed)
        for level in learned.levels:
            posterior = Posterior(learned, level.id)
            places = part.places(learned, level.id)
            shape = places.shape
            # As if no question had been asked yet.
            fixed = np.broadcast_to(informative(posterior), shape)
            random = rng.permuted(np.tile(np.arange(shape[1]), (shape[0], 1)), axis=1)
            runs = {
                "adaptive": (places, posterior.interviews(places)[0]),
                "fixed": (places, ordered(posterior, places, fixed)),
                "random": (places, ordered(posterior, places, random)),
            }
            columns = [posterior.place(name) for name in EXERCISE if name in posterior]
            if columns and level.id == "practice":
                fewer = places.copy()
                fewer[:, columns] = -1
                runs["no exercise test"] = (fewer, posterior.interviews(fewer)[0])
            for order, (known, odds) in runs.items():
                value = level.slope * odds + level.offset
                chance = 0.5 + 0.5 * np.tanh(value / 2)
                last = (known >= 0).sum(axis=1)
                sure = np.maximum(chance, 1 - chance) >= learned.stop
                sure |= np.arange(chance.shape[1]) >= last[:, None]
                stop = sure.argmax(axis=1)
                rows = np.arange(len(stop))
                raw = 0.5 + 0.5 * np.tanh(odds[rows, stop] / 2)
                found.setdefault((level.id, order), []).append(
                    np.stack([chance[:, -1], chance[rows, stop], raw, stop, part.truth], axis=1)
                )
    return {
        f"{level}, {order}": _figures(np.concatenate(parts))
        for (level, order), parts in found.items()
    }


def _figures(rows: np.ndarray) -> dict[str, float]:
    whole, stopped, raw, questions, truth = rows.T
    return {
        "accuracy": _round(((whole > 0.5) == truth).mean()),
        "auc": _round(auc(whole, truth)),
        "calibration_error": _round(calibration_error(stopped, truth)),
        "questions": _round(questions.mean()),
        "stopped_accuracy": _round(((stopped > 0.5) == truth).mean()),
        "uncalibrated_error": _round(calibration_error(raw, truth)),
    }


def _round(value: Any) -> float:
    return round(float(value), 3)


def model(repeats: int) -> Questionnaire:
    """The shipped questionnaire, learned again from the table, with its figures."""
    shipped, data = load("heart"), datasets.load("cleveland")
    figures = accuracy(shipped, Cases.of(shipped, data), repeats)
    learned = train(shipped, data)
    names = Figures.__struct_fields__
    levels = tuple(
        msgspec.structs.replace(
            level,
            figures=Figures(**{name: figures[f"{level.id}, adaptive"][name] for name in names}),
        )
        for level in learned.levels
    )
    return msgspec.structs.replace(learned, levels=levels)


def many_questions(count: int, seed: int = 0) -> Questionnaire:
    """A questionnaire of `count` questions with invented counts."""
    rng = np.random.default_rng(seed)
    text = {"en": "x", "de": "x"}
    questions = []
    for place in range(count):
        counts = tuple(
            tuple(rng.multinomial(1000, rng.dirichlet(np.ones(ANSWERS))).tolist()) for _ in range(2)
        )
        options = tuple(Option(id=f"o{i}", text=text) for i in range(ANSWERS))
        questions.append(
            Question(
                id=f"q{place}", text=text, kind="choice", level="all", options=options,
                counts=counts,
            )
        )  # fmt: skip
    return Questionnaire(
        form=FORM, id="many", version=1, title=text, about=text, rows=(1000, 1000),
        outcomes=(Outcome(id="a", text=text), Outcome(id="b", text=text)),
        levels=(Level(id="all", text=text),), questions=tuple(questions),
        origin=Origin(title="invented"),
    )  # fmt: skip


def choices(items: int = ITEMS) -> dict[str, Callable[[], Any]]:
    """One choice among `items` after ten answers, ours and that of catsim."""
    posterior = Posterior(many_questions(items), "all")
    given = [f"q{place}" for place in range(GIVEN)]
    found: dict[str, Callable[[], Any]] = {"ompd": lambda: posterior.next_question(0.3, given)}
    try:
        from catsim.item_bank import ItemBank
        from catsim.selection import MaxInfoSelector
    except ImportError:
        return found
    bank, selector = ItemBank.generate_item_bank(items), MaxInfoSelector()
    administered = list(range(GIVEN))
    return found | {
        "catsim": lambda: selector.select(
            item_bank=bank, administered_items=administered, est_theta=0.3
        )
    }


def speed(rounds: int) -> dict[str, float]:
    """Microseconds of one choice."""
    return {name: value * 1e6 for name, value in medians(choices(), rounds).items()}


@pytest.mark.benchmark(group="one of 200 questions")
@pytest.mark.parametrize("name", ["ompd", "catsim"])
def test_choice(benchmark, name):
    alternatives = choices()
    if name not in alternatives:
        pytest.skip("needs catsim")
    assert benchmark(alternatives[name]) is not None


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Times that the folds are drawn.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Choices that are timed.")] = 300,
    model_file: Annotated[
        Path | None, typer.Option("--model", help="Learn the shipped file again, into this one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judge the questionnaire, and time its choice of questions."""
    if model_file is not None:
        model_file.write_bytes(model(repeats).to_json())
        return
    shipped = load("heart")
    cases = Cases.of(shipped, datasets.load("cleveland"))
    figures = accuracy(shipped, cases, repeats)
    times = speed(rounds)
    if as_json:
        print(json.dumps({"figures": figures, "microseconds": times}))
        return
    columns = ("accuracy", "AUC", "calibration error", "questions", "when stopped", "uncalibrated")
    table = Table("level, order", *columns)
    for name, found in figures.items():
        table.add_row(name, *(f"{value:.3f}" for value in found.values()))
    console = Console()
    console.print(table)
    for name, value in times.items():
        console.print(f"one of {ITEMS} questions, {name}: {value:.1f} us")


if __name__ == "__main__":
    typer.run(main)

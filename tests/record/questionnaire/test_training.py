from __future__ import annotations

import math
from importlib.resources import files

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd import datasets
from ompd.record.errors import QuestionnaireError
from ompd.record.questionnaire import Figures, Posterior, Questionnaire, load, train
from ompd.record.questionnaire.sigmoid import LEAST_SLOPE, fit_sigmoid
from ompd.record.questionnaire.training import Cases, calibrate, folds_of, learn
from ompd.schema import Feature, Schema
from tests.record.questionnaire.invented import choice, number, questionnaire


def heart():
    shipped = load("heart")
    return shipped, Cases.of(shipped, datasets.load("cleveland"))


def test_the_shipped_questionnaire_is_learned_again_bit_by_bit():
    shipped = load("heart")
    forgotten = msgspec.structs.replace(
        shipped,
        rows=(),
        questions=tuple(msgspec.structs.replace(q, counts=(), cuts=()) for q in shipped.questions),
        levels=tuple(
            msgspec.structs.replace(level, slope=1.0, offset=0.0) for level in shipped.levels
        ),
    )
    assert train(forgotten, datasets.load("cleveland")).to_json() == shipped.to_json()
    assert isinstance(shipped.levels[0].figures, Figures)


def test_counts_are_those_of_the_table():
    shipped, _ = heart()
    lines = files("ompd.datasets").joinpath("data", "cleveland.csv").read_text().splitlines()
    header, *rows = [line.split(",") for line in lines]
    for question in shipped.questions:
        column = header.index(question.id)
        for k, outcome in enumerate(("absent", "present")):
            values = [row[column] for row in rows if row[-1] == outcome and row[column] != "?"]
            if question.kind == "choice":
                expected = [values.count(option.id) for option in question.options]
            else:
                expected = [0] * question.answers
                for value in values:
                    expected[sum(float(value) >= cut for cut in question.cuts)] += 1
            assert list(question.counts[k]) == expected
    assert shipped.rows == (164, 139)


@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(2, 5), st.integers(0, 3))
def test_folds_are_a_partition_with_equal_shares(truth, count, seed):
    truth = np.array(truth, np.int64)
    parts = list(folds_of(truth, count, seed))
    assert len(parts) == count
    assert sorted(np.concatenate([part for _, part in parts]).tolist()) == list(range(len(truth)))
    for rest, part in parts:
        assert not set(rest) & set(part)
        assert len(rest) + len(part) == len(truth)
    for k in (0, 1):
        sizes = [(truth[part] == k).sum() for _, part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_what_is_learned_does_not_see_the_part_that_is_left_out():
    shipped, cases = heart()
    rest, part = next(folds_of(cases.truth, 10))
    spoiled = Cases(tuple(column.copy() for column in cases.columns), cases.truth)
    for column, question in zip(spoiled.columns, shipped.questions, strict=True):
        column[part] = 0 if question.kind == "choice" else question.high
    assert learn(shipped, spoiled.take(rest)) == learn(shipped, cases.take(rest))
    # The comparison can fail: all rows together differ, also in where numbers are cut.
    all_, seen = learn(shipped, spoiled), learn(shipped, cases)
    assert [q.cuts for q in all_.questions] != [q.cuts for q in seen.questions]


def test_calibration_is_of_rows_that_were_not_learned_from():
    """Answers that are random say nothing, however well they can be learned by heart."""
    rng = np.random.default_rng(3)
    questions = [choice(f"q{i}", (1, 1, 1, 1), (1, 1, 1, 1)) for i in range(12)]
    columns = tuple(rng.integers(0, 4, 80).astype(float) for _ in questions)
    cases = Cases(columns, rng.integers(0, 2, 80))
    learned = learn(calibrate(questionnaire(questions, rows=(80, 80)), cases), cases)
    level = learned.levels[-1]
    assert level.slope < 0.3
    # By its own rows it would be sure of itself.
    odds, _ = Posterior(learned, level.id).interviews(cases.places(learned, level.id))
    slope, _ = fit_sigmoid(odds[:, -1], cases.truth.astype(float), np.ones(80))
    assert slope > 0.8


@given(st.lists(st.tuples(st.floats(-8, 8), st.booleans()), min_size=1, max_size=30))
def test_the_sigmoid_is_the_likeliest(rows):
    scores = np.array([score for score, _ in rows])
    truth = np.array([float(is_there) for _, is_there in rows])

    def cost(slope, offset):
        total = 0.5 * ((slope - 1) ** 2 + offset**2)
        for z, y in zip(scores, truth, strict=True):
            value = slope * z + offset
            total += math.log1p(math.exp(-abs(value))) + max(value, 0) - y * value
        return total

    slope, offset = fit_sigmoid(scores, truth, np.ones(len(rows)))
    if slope == LEAST_SLOPE:
        return
    best = cost(slope, offset)
    for step in (1e-3, -1e-3):
        assert cost(slope + step, offset) >= best - 1e-12
        assert cost(slope, offset + step) >= best - 1e-12


TWO = (Feature("a", "nominal", 0, 1, levels=("o0", "o1")), Feature("b", "numeric", 0, 50))
NAMES = ("gone", "there")


def table(features=TWO, classes=NAMES, scale=1):
    rng = np.random.default_rng(1)
    values = np.stack([rng.integers(0, 2, 40), rng.integers(0, 51, 40) * scale], axis=1)
    return datasets.Dataset.from_arrays(
        Schema(features, classes), values.astype(float), list(NAMES) * 20
    )


def wanted():
    questions = [choice("a", (1, 1), (1, 1)), number("b", (), (1,), (1,))]
    untrained = [msgspec.structs.replace(question, counts=()) for question in questions]
    return questionnaire(untrained, rows=())


def test_another_table():
    learned = train(wanted(), table())
    assert learned.rows == (20, 20)
    assert [sum(counts) for question in learned.questions for counts in question.counts] == [20] * 4
    assert Questionnaire.from_json(learned.to_json()).to_json() == learned.to_json()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (table(classes=("there", "gone")), "classes"),
        (table((Feature("c", "numeric", 0, 1), TWO[1])), "question a: expected a feature"),
        # Numbers without texts name options by themselves.
        (table((Feature("a", "nominal", 0, 1), TWO[1])), "an option for each value"),
        (table((TWO[0], Feature("b", "numeric", 0, 500)), scale=9), "domain"),
    ],
)
def test_tables_that_do_not_fit(data, message):
    with pytest.raises(QuestionnaireError, match=message):
        train(wanted(), data)


def test_one_outcome_alone_teaches_nothing():
    shipped, cases = heart()
    with pytest.raises(QuestionnaireError, match="both outcomes"):
        learn(shipped, cases.take(np.flatnonzero(cases.truth == 0)))

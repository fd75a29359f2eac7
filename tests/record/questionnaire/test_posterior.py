from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.record.errors import AnswerError, QuestionnaireError
from ompd.record.questionnaire import Posterior
from ompd.record.questionnaire.posterior import check_answer, place_of
from tests.record.questionnaire.invented import (
    choice,
    expected_entropy,
    number,
    posterior,
    questionnaire,
    questionnaires,
)


@st.composite
def answered(draw):
    """A questionnaire, and the answers of somebody who does not know all."""
    found = draw(questionnaires())
    answers = {}
    for question in draw(st.permutations(found.questions)):
        if not draw(st.booleans()):
            continue
        if draw(st.booleans()) and draw(st.booleans()):
            answers[question.id] = None
        elif question.kind == "choice":
            answers[question.id] = draw(st.sampled_from([o.id for o in question.options]))
        else:
            answers[question.id] = float(draw(st.integers(0, 100)))
    return found, answers


def tables(questions, answers):
    """What the oracle takes: counts, and the place of the answer by its own rule."""
    for question in questions:
        answer = answers.get(question.id)
        if isinstance(answer, str):
            yield question.counts, [option.id for option in question.options].index(answer)
        elif answer is None:
            yield question.counts, None
        else:
            yield question.counts, sum(answer >= cut for cut in question.cuts)


@given(answered())
def test_the_posterior_is_that_of_the_oracle(case):
    found, answers = case
    model = Posterior(found, "clinic")
    expected = posterior(found.rows, tables(found.questions, answers), found.smoothing)
    odds = model.log_odds(answers)
    assert 1 / (1 + math.exp(-odds)) == pytest.approx(float(expected), abs=1e-12)
    assert odds == pytest.approx(math.log(expected / (1 - expected)), abs=1e-12, rel=1e-12)


@given(answered())
def test_the_next_question_leaves_least_entropy(case):
    found, answers = case
    model = Posterior(found, "clinic")
    chance = posterior(found.rows, tables(found.questions, answers), found.smoothing)
    left = [question for question in found.questions if question.id not in answers]
    chosen = model.next_question(model.log_odds(answers), answers)
    if not left:
        assert chosen is None
        return
    entropies = {q.id: expected_entropy(chance, q.counts, found.smoothing) for q in left}
    assert chosen is not None
    assert entropies[chosen.id] <= min(entropies.values()) + 1e-12


@given(answered())
def test_who_does_not_know_is_as_if_not_asked(case):
    found, answers = case
    model = Posterior(found, "clinic")
    known = {name: answer for name, answer in answers.items() if answer is not None}
    assert model.log_odds(answers) == model.log_odds(known)
    without = [q for q in found.questions if q.id in known] or [found.questions[0]]
    fewer = Posterior(questionnaire(without, found.rows, smoothing=found.smoothing), "clinic")
    assert fewer.log_odds(known) == pytest.approx(model.log_odds(answers), abs=1e-12)


@given(answered(), st.randoms())
def test_the_order_of_answers_does_not_matter(case, random):
    found, answers = case
    model = Posterior(found, "clinic")
    shuffled = list(answers.items())
    random.shuffle(shuffled)
    assert model.log_odds(dict(shuffled)) == model.log_odds(answers)


@given(answered())
def test_gains_add_up(case):
    found, answers = case
    model = Posterior(found, "clinic")
    gains = [model.gain(name, answer) for name, answer in answers.items()]
    assert model.log_odds(answers) == pytest.approx(model.prior + sum(gains), abs=1e-12)
    assert all(g == 0 for g, a in zip(gains, answers.values(), strict=True) if a is None)


@given(answered())
def test_a_whole_interview_is_one_question_after_the_other(case):
    found, answers = case
    model = Posterior(found, "clinic")
    places = [[place_of(q, answers.get(q.id)) for q in model.questions]]
    odds, asked = model.interviews(np.array(places, np.int64))
    given_, unknown = {}, [q.id for q in model.questions if answers.get(q.id) is None]
    for turn in range(len(model.questions)):
        assert odds[0, turn] == pytest.approx(model.log_odds(given_), abs=1e-12)
        question = model.next_question(odds[0, turn], [*given_, *unknown])
        if question is None:
            assert asked[0, turn] == -1
            continue
        assert model.questions[asked[0, turn]] == question
        given_[question.id] = answers[question.id]
    assert odds[0, -1] == pytest.approx(model.log_odds(answers), abs=1e-12)


def test_calibrated_is_a_rising_sigmoid_that_never_overflows():
    model = Posterior(questionnaire([choice("q", (1, 2), (2, 1))]), "home")
    values = [model.calibrated(z) for z in (-1e308, -800.0, -2.0, 0.0, 2.0, 800.0, 1e308)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[3] == 0.5
    assert values[-1] == 1
    assert values[2] + values[4] == pytest.approx(1)


def test_a_level_asks_its_questions_and_those_of_levels_before():
    both = questionnaire([choice("a", (1, 2), (2, 1)), choice("b", (1, 2), (2, 1), level="clinic")])
    assert [q.id for q in Posterior(both, "home").questions] == ["a"]
    assert [q.id for q in Posterior(both, "clinic").questions] == ["a", "b"]
    with pytest.raises(AnswerError, match="this level"):
        Posterior(both, "home").gain("b", "o0")
    with pytest.raises(QuestionnaireError, match="expected one of home, clinic"):
        Posterior(both, "moon")


def test_untrained_ones_answer_nothing():
    empty = questionnaire([choice("a", (1, 2), (2, 1))])
    question = type(empty.questions[0])(
        id="a", text=empty.title, kind="choice", level="home", options=empty.questions[0].options
    )
    with pytest.raises(QuestionnaireError, match="nothing was learned"):
        Posterior(questionnaire([question], rows=()), "home")


@pytest.mark.parametrize("answer", ["o2", "", 1, 0.0, True, b"o0", ["o0"], float("nan"), object()])
def test_answers_that_are_no_option(answer):
    with pytest.raises(AnswerError, match="options") as caught:
        check_answer(choice("q", (1, 2), (2, 1)), answer)
    assert repr(answer) not in str(caught.value)


@pytest.mark.parametrize(
    "answer", [-0.1, 100.5, float("nan"), float("inf"), "5", True, None.__class__, 10**400]
)
def test_numbers_outside_the_domain(answer):
    with pytest.raises(AnswerError, match="expected"):
        check_answer(number("q", [10.0], (1, 2), (2, 1)), answer)


def test_a_number_at_a_cut_belongs_above():
    question = number("q", [10.0, 20.0], (1, 2, 3), (3, 2, 1))
    values = [0, 9.99, 10, 19.99, 20, np.float64(100), None]
    places = [place_of(question, check_answer(question, value)) for value in values]
    assert places == [0, 0, 1, 1, 2, 2, -1]

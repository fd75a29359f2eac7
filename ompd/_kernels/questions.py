"""Which question tells most about an outcome, and whole interviews for training.

A questionnaire's tables lie flat: question j has the answers starts[j] to starts[j + 1], and
`absent` and `present` hold their probabilities under either outcome, each question's adding up to
1. `noise` int[2, j] is the entropy of its answer once the outcome is known, in nats.

The entropy of the outcome that is expected after an answer is H(outcome) - H(answer) +
H(answer | outcome). The first is the same for all questions and the last needs no logarithm, so the
question of least expected entropy is that of largest H(answer) - H(answer | outcome).
"""

import math

import numpy as np

from ompd._kernels.jit import kernel


@kernel(_nrt=False)
def most_telling(odds, starts, absent, present, noise, open_):
    """The open question of largest information about an outcome of log-odds `odds`; -1 if none.

    starts int64[q + 1], absent and present float64[starts[q]], noise float64[2, q], open_ bool[q].
    Of equal ones the first.
    """
    # 1 / (1 + exp(-odds)), which would overflow.
    there = 0.5 + 0.5 * math.tanh(0.5 * odds)
    gone = 1.0 - there
    best = -1
    most = -np.inf
    for question in range(open_.shape[0]):
        if not open_[question]:
            continue
        found = -gone * noise[0, question] - there * noise[1, question]
        for answer in range(starts[question], starts[question + 1]):
            chance = gone * absent[answer] + there * present[answer]
            if chance > 0.0:
                found -= chance * math.log(chance)
        if found > most:
            most = found
            best = question
    return best


@kernel()
def interviews(prior, starts, absent, present, noise, answers, odds, asked):
    """Ask every row all that it can answer, each time the most telling question.

    answers int64[n, q], -1 for none; odds float64[n, q + 1] becomes the log-odds before the first
    and after each answer, and asked int64[n, q] the questions in order. Behind the last answer of a
    row the odds stay, and asked is -1.
    """
    rows, questions = answers.shape
    open_ = np.empty(questions, np.bool_)
    for row in range(rows):
        for question in range(questions):
            open_[question] = answers[row, question] >= 0
        value = prior
        odds[row, 0] = value
        for turn in range(questions):
            question = most_telling(value, starts, absent, present, noise, open_)
            if question >= 0:
                open_[question] = False
                answer = starts[question] + answers[row, question]
                value += math.log(present[answer]) - math.log(absent[answer])
            asked[row, turn] = question
            odds[row, turn + 1] = value

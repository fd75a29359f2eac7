"""What the hospital does to slots: honest queries get scores, all others uniform numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from ompd.aggregate.packing import packer_of
from ompd.errors import ParameterError, TooLargeError
from ompd.params import SCORING
from ompd.scoring import Layout
from ompd.scoring.masks import masks, uniform

T, N = SCORING.plain_modulus, SCORING.degree
SMALL = Layout((2, 3), 1)
WEIGHTS = np.array([[500, -300, 20, 7000, -9000]])
#: Slots of one row that are no indicators, by what is wrong with them.
MALFORMED = {
    "none": [0, 0, 0, 0, 0],
    "two in one feature": [1, 1, 0, 1, 0],
    "one feature": [1, 0, 0, 0, 0],
    "value 2": [2, 0, 0, 1, 0],
    "negative, with the right sums": [2, T - 1, 0, 1, 0],
    "half in each, with the right sums": [(T + 1) // 2, (T + 1) // 2, 0, 1, 0],
    "powers, to have all weights in one sum": [1, 0, 1, 100, T - 100],
}


def naive_reply(slots, linear, square, constant):
    numbers = zip(slots, linear, square, constant, strict=True)
    return [(a * x + b * x * x + c) % T for x, a, b, c in numbers]


def asked(row, layout=SMALL):
    """As many rows of the same slots as fit."""
    slots = np.zeros(N, dtype=np.int64)
    layout.grid(slots, layout.most_rows)[:] = row
    return slots


def sums(slots, rows, layout=SMALL):
    """What the blocks of rows add up to, between -t/2 and t/2."""
    found = layout.blocks(slots, rows).sum(axis=2) % T
    return np.where(found > T // 2, found - T, found)


def answered(slots, layout=SMALL, weights=WEIGHTS):
    linear, square, constant = masks(layout, weights, layout.most_rows)
    return (linear * slots + square * slots % T * slots + constant) % T


def surprise(values, parts=64):
    """How likely numbers from 0 to t - 1 are to be less even than these, if they are uniform."""
    counts = np.bincount(values * parts // T, minlength=parts)
    expected = len(values) / parts
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), parts - 1))


@given(st.data())
def test_honest_queries_get_their_scores(data):
    cells = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)))
    layout = Layout(cells, data.draw(st.integers(1, 3)))
    rows = data.draw(st.integers(1, min(4, layout.most_rows)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    most = T // 2 // len(cells)
    weights = rng.integers(-most, most + 1, (layout.scores, layout.width))
    places = layout.starts + rng.integers(0, 1 << 30, (rows, len(cells))) % np.array(cells)
    slots = layout.indicators(places).tolist()
    reply = naive_reply(slots, *(each.tolist() for each in masks(layout, weights, rows)))
    expected = [
        [sum(weights[score, place].item() for place in row) for score in range(layout.scores)]
        for row in places.tolist()
    ]
    assert sums(np.array(reply), rows, layout).tolist() == expected


def test_the_sum_is_all_that_slots_tell():
    reply = answered(asked([1, 0, 0, 1, 0]))
    slots = SMALL.blocks(reply, SMALL.most_rows)[:, 0]
    assert set(sums(reply, len(slots)).ravel().tolist()) == {500 + 7000}
    # Every proper part is uniform, also the sums of single features.
    for part in (slots[:, 0], slots[:, :2].sum(axis=1) % T, slots[:, 1:].sum(axis=1) % T):
        assert surprise(part) > 1e-9


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_queries_get_uniform_numbers(kind):
    slots = asked(MALFORMED[kind])
    found = np.concatenate([sums(answered(slots), SMALL.most_rows) % T for _ in range(4)])
    assert len(np.unique(found)) > len(found) / 2
    assert surprise(found.ravel()) > 1e-9


@pytest.mark.parametrize("kind", MALFORMED)
def test_without_the_random_multiples_they_get_weights(kind):
    """The control: with masks that only hide slots, the sum is whatever its asker likes."""
    row = np.array(MALFORMED[kind])
    _, _, constant = masks(SMALL, np.zeros_like(WEIGHTS), SMALL.most_rows)
    own = SMALL.blocks(constant, SMALL.most_rows)
    own[..., 0] -= own.sum(axis=2)
    found = sums((asked(WEIGHTS[0]) * asked(row) + constant) % T, SMALL.most_rows) % T
    assert set(found.ravel().tolist()) == {int(row @ WEIGHTS[0]) % T}
    assert surprise(found.ravel()) < 1e-9


def test_right_sums_alone_are_not_enough():
    """The control without multiples of x (x - 1): weights may be combined as one likes."""
    linear, square, constant = masks(SMALL, WEIGHTS, SMALL.most_rows)
    slots = asked(MALFORMED["negative, with the right sums"])
    found = sums(((linear + square) * slots + constant) % T, SMALL.most_rows)
    assert set(found.ravel().tolist()) == {2 * 500 + 300 + 7000}


def test_slots_of_no_cell_tell_nothing():
    for numbers in masks(Layout((3,), 1), np.array([[1, 2, 3]]), 1):
        assert surprise(numbers[3:]) > 1e-9


def test_slots_of_no_cell_must_be_0():
    found = []
    for _ in range(2000):
        linear, square, constant = masks(Layout((3,), 1), np.array([[1, 2, 3]]), 1)
        slots = np.zeros(N, dtype=np.int64)
        slots[[0, 77]] = 1
        found.append(int((linear * slots + square * slots + constant).sum() % T))
    assert surprise(np.array(found)) > 1e-9


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 4), st.data())
def test_coefficients_tell_what_blocks_add_up_to(cells, scores, data):
    layout = Layout(tuple(cells), scores)
    rows = data.draw(st.integers(1, min(9, layout.most_rows)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    slots = rng.integers(0, T, N)
    packed = packer_of(SCORING).pack(slots).astype(np.int64)
    block = layout.block(rows)
    assert block * rows * scores <= N < 2 * block * rows * scores or block == N
    wanted = [
        sum(slots[first : first + block].tolist()) % T
        for first in range(0, block * rows * scores, block)
    ]
    found = layout.scores_of(packed[::block] % T, rows)
    assert (found % T).ravel().tolist() == wanted
    assert sums(slots, rows, layout).tolist() == found.tolist()


def test_uniform_numbers_are_uniform():
    found = uniform(100_000)
    assert 0 <= found.min() < found.max() < T
    assert surprise(found, 256) > 1e-9


def test_layouts_that_do_not_fit_are_refused():
    with pytest.raises(TooLargeError, match="slots"):
        Layout((N + 1,), 1)
    with pytest.raises(TooLargeError, match="slots"):
        Layout((N // 2 + 1,), 2)
    for cells, scores in (((), 1), ((3, 0), 1), ((3,), 0)):
        with pytest.raises(ParameterError):
            Layout(cells, scores)
    layout = Layout((N,), 1)
    assert layout.most_rows == 1
    with pytest.raises(TooLargeError, match="rows"):
        layout.indicators(np.zeros((2, 1), np.int64))
    for rows in (0, 2):
        with pytest.raises(TooLargeError, match="rows"):
            masks(layout, np.zeros((1, N), np.int64), rows)

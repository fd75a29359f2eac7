from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.audit.levels import distinct, fit_line, fit_scale, lines_through, nearest

NUMBERS = st.floats(-1e6, 1e6)


@given(st.lists(NUMBERS, min_size=1, max_size=12, unique=True), st.lists(NUMBERS, min_size=1))
def test_nearest_is_nearest(grid, wanted):
    grid, wanted = np.sort(grid), np.array(wanted)
    found = np.abs(grid[nearest(grid, wanted)] - wanted)
    np.testing.assert_array_equal(found, np.abs(grid - wanted[:, np.newaxis]).min(axis=1))


@given(st.integers(-5, 5), st.integers(1, 40), st.lists(NUMBERS, min_size=1))
def test_nearest_on_whole_numbers(low, count, wanted):
    grid, wanted = low + np.arange(count, dtype=float), np.array(wanted)
    found = np.abs(grid[nearest(grid, wanted)] - wanted)
    np.testing.assert_allclose(found, np.abs(grid - wanted[:, np.newaxis]).min(axis=1))


def test_distinct_takes_one_of_each_group():
    column = np.array([5.0, 0.1, 0.0, 5.2, 9.0, 0.2])
    np.testing.assert_array_equal(distinct(column, 0.5), [0.0, 5.0, 9.0])


# With a step between observed neighbours; several spacings, scales and domains.
@given(
    st.sets(st.integers(0, 8), min_size=1, max_size=7),
    st.floats(1e-3, 1e20),
    st.sampled_from([10, 79]),
)
def test_scale_of_levels(extra, scale, count):
    positions = np.rint(np.arange(count) / (count - 1) * 65536)
    places = np.array(sorted({0, 3, 4, *extra}))
    found = fit_scale(positions[places] * scale, positions)
    assert found == pytest.approx(scale, rel=1e-9)


def test_two_levels_are_the_ends_of_the_domain():
    positions = np.array([0.0, 100.0, 200.0])
    assert fit_scale(np.array([0.0, 6.0]), positions) == pytest.approx(0.03)


def test_no_scale_explains_other_levels():
    assert fit_scale(np.array([0.0, 1.0, 1.37, 2.0]), np.arange(0.0, 4.0)) is None
    assert fit_scale(np.array([0.0]), np.arange(4.0)) is None
    assert fit_scale(np.array([3.0]), np.zeros(1)) is None


@given(st.integers(0, 4), st.integers(5, 9), st.floats(0.5, 1e6), st.floats(-1e6, 1e6))
def test_line_through_levels(low, high, factor, shift):
    positions = np.rint(np.arange(10) / 9 * 65536)
    chosen = positions[[low, low + 1, high]]
    found = fit_line(chosen * factor + shift, positions, tolerance=1e-5 * factor)
    assert found is not None
    # Whatever stretch is taken, it explains the levels; spacings leave few choices.
    exact = (chosen * factor + shift - found[1]) / found[0]
    assert np.abs(positions[nearest(positions, exact)] - exact).max() <= 1e-3
    assert found[0] <= factor * (1 + 1e-6)


def test_line_needs_two_levels():
    assert fit_line(np.array([4.0]), np.arange(5.0), tolerance=0.1) is None
    assert fit_line(np.array([0.0, 1.0, 1.4]), np.arange(3.0), tolerance=0.01) is None


def test_known_cells_extend_to_their_columns():
    steps = np.array([[0.0, 5.0, 1.0], [2.0, 5.0, 2.0], [4.0, 7.0, 1.0], [6.0, 9.0, 1.0]])
    known = np.array([[10.0, 3.0, 8.0], [11.0, 3.0, 7.0]])
    guess = lines_through(steps, np.array([0, 1]), known, tolerance=0.5)
    np.testing.assert_allclose(guess[:, 0], [10, 11, 12, 13])
    np.testing.assert_allclose(guess[:, 1], [3, 3, np.nan, np.nan])
    np.testing.assert_allclose(guess[:, 2], [8, 7, 8, 8])

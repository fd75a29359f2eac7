"""Operators and layout: what is public about images of a size."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from ompd.errors import ParameterError
from ompd.images.forms import pyramid
from ompd.images.geometry import LAYERS, SHORT, SIGN, geometry
from tests.images import clear
from tests.images.runs import texture
from tests.marks import long

SIZES = [(16, 16), (40, 64), (37, 53), (64, 33)]


@pytest.mark.parametrize("size", SIZES)
def test_levels_equal_the_oracle(size):
    image = texture(*size, 1)
    found = pyramid(geometry(*size), image.astype(np.uint64))
    expected = clear.levels(image, len(found))
    assert len(found) >= 1
    for mine, theirs in zip(found, expected, strict=True):
        assert np.array_equal(mine.view(np.int64), theirs)


def test_levels_are_linear_modulo_two_to_the_64():
    size = geometry(20, 31)
    rng = np.random.default_rng(2)
    left, right = (rng.integers(0, 2**64, (20, 31), np.uint64) for _ in range(2))
    for a, b, c in zip(*(pyramid(size, each) for each in (left, right, left + right)), strict=True):
        assert np.array_equal(a + b, c)
    # Above 2^63, against Python's integers.
    operator = size.octaves[0].rows[2].values
    across = size.octaves[0].columns[2].values
    exact = operator.astype(object) @ left.astype(object) @ across.astype(object).T
    assert (pyramid(size, left)[0][2].astype(object) == exact % 2**64).all()


def test_levels_are_those_of_opencv():
    image = texture(64, 50, 3)
    found = pyramid(geometry(64, 50), image.astype(np.uint64))[0] / 2.0**36
    base = cv2.resize(image.astype(np.float32), (100, 128), interpolation=cv2.INTER_LINEAR)
    level = cv2.GaussianBlur(base, (0, 0), np.sqrt(1.6**2 - 1))
    for number in range(6):
        # A level is 0 to 255; what is rounded is one in 2^18 per coefficient.
        assert np.abs(found[number] - level).max() < 0.02
        factor = 2 ** (1 / 3)
        level = cv2.GaussianBlur(level, (0, 0), 1.6 * factor**number * np.sqrt(factor**2 - 1))


@pytest.mark.parametrize("depth", [8, *long(16)])
@pytest.mark.parametrize("size", [(18, 19)])
def test_no_image_makes_a_window_wrap(size, depth):
    """The bound of every comparison, by the worst image for it at every place."""
    shape = geometry(*size, depth)
    for octave, levels in zip(shape.octaves, _float_levels(size, len(shape.octaves)), strict=True):
        sides = range(5, min(octave.height, octave.width) - 5, 3)
        for plane, y, x in itertools.product(shape.planes, sides, sides):
            low = _form(levels, plane.low, y, x)
            high = _form(levels, plane.high, y + plane.down, x + plane.right)
            # The coefficients of a form add up to nothing; a threshold is 3.
            most = 128 * np.abs(low - high).sum() + 3 * (plane.comparator == SHORT)
            assert most * 2**plane.fraction + 2 < 2 ** (plane.comparator.bits - 1)
        for layer, y, x in itertools.product((1, 2, 3), sides, sides):
            across = _level(levels, layer, y, x + 1) - _level(levels, layer, y, x - 1)
            up = _level(levels, layer, y - 1, x) - _level(levels, layer, y + 1, x)
            for a, b in shape.normals.T / 64:
                most = 128 * np.abs(a * across + b * up).sum()
                assert most * 2**shape.sign_fraction + 2 < 2 ** (SIGN.bits - 1)


def _float_levels(size, octaves):
    sides = [clear.operators(side, octaves) for side in size]
    return list(zip(*sides, strict=True))


def _level(levels, number, y, x):
    rows, columns = levels
    return np.outer(rows[number][y], columns[number][x])


def _form(levels, layer, y, x):
    if layer < 0:
        return 0.0
    return _level(levels, layer + 1, y, x) - _level(levels, layer, y, x)


def test_places_and_validity():
    shape = geometry(40, 26)
    bits = np.tile(shape.valid(), (LAYERS, 1))
    found = {tuple(row) for row in shape.places(bits).tolist()}
    expected = {
        (number, layer, y, x)
        for number, octave in enumerate(shape.octaves)
        for layer in (1, 2, 3)
        for y in range(5, octave.height - 5)
        for x in range(5, octave.width - 5)
    }
    assert found == expected


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((15, 64), "height"),
        ((64, 513), "width"),
        ((64.0, 64), "height"),
        ((True, 64), "height"),
        ((64, 64, 12), "depth"),
        ((64, 64, 8.0), "depth"),
    ],
)
def test_sizes_out_of_range(arguments, name):
    with pytest.raises(ParameterError, match=name):
        geometry(*arguments)


def test_costs_per_pixel():
    """Online at most 220 bytes a pixel each way, dealt at most 3.8 kB."""
    from ompd.images.material import Plan
    from ompd.images.rounds import round_bytes

    for side in (128, 256):
        shape = geometry(side, side)
        assert sum(round_bytes(shape, number) for number in range(1, 5)) <= 220 * side**2
        assert Plan(shape).size <= 3800 * side**2

"""Both clouds against the oracle: candidates, cubes, orientations, descriptors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.images.extraction import DESCRIPTOR_WEIGHT, ORIENTATION_WEIGHT
from ompd.images.geometry import (
    DIRECTION,
    FIELD_FRACTION,
    SHORT,
    STRIDES,
    THRESHOLD,
    geometry,
)
from ompd.images.reading import signed
from ompd.images.streams import Draws
from tests.images import clear
from tests.images.runs import dealt, pixels, run, texture


def margins(size, sign):
    """By how much a comparison must hold, in units of the levels.

    Each window is off by less than a quarter of its last place, their difference by less than one
    more; a threshold is exact.
    """
    places = {}
    for plane in size.planes:
        unit = 2 ** (size.shift - plane.fraction) * sign
        if plane.comparator == SHORT:
            layer = plane.high if plane.low < 0 else plane.low
            places[layer, None, 0, 0] = 1.25 * unit
            continue
        places[plane.low, plane.high, plane.down, plane.right] = 1.5 * unit
        places[plane.high, plane.low, -plane.down, -plane.right] = 1.5 * unit
    return lambda *key: places[key]


def check(image, found):
    """Compare with the oracle; returns how many candidates there must be."""
    size = found.size
    levels = clear.levels(pixels(image), len(size.octaves))
    threshold = THRESHOLD * 2.0**size.shift
    must, may = set(), set()
    for number, each in enumerate(levels):
        differences = np.diff(each, axis=0)
        for places, sign in ((must, 1), (may, -1)):
            some = clear.candidates(differences, threshold, margins(size, sign))
            places |= {(number, *place) for place in some}
    candidates = set(map(tuple, found.candidates.tolist()))
    assert must <= candidates <= may
    for (octave, _, y, x), cube in zip(found.candidates, found.cubes, strict=True):
        exact = np.diff(levels[octave][:, y - 2 : y + 3, x - 2 : x + 3], axis=0)
        assert np.array_equal(cube.view(np.int64), exact)
    return len(must)


@pytest.mark.parametrize(
    "image",
    [
        texture(48, 48, 1),
        texture(37, 53, 2),
        texture(64, 33, 3),
        texture(40, 48, 4, np.uint16),
        texture(16, 16, 5),
    ],
    ids=["square", "odd", "tall", "16 bits", "smallest"],
)
def test_candidates_and_cubes(image):
    assert check(image, run(image)) > (5 if min(image.shape) > 16 else -1)


def board(side, step):
    y, x = np.mgrid[:side, :side] // step
    return ((y + x) % 2 * 255).astype(np.uint8)


def dot(value):
    image = np.full((32, 32), 255 - value, np.uint8)
    image[15, 17] = value
    return image


WORST = {
    "black": np.zeros((32, 32), np.uint8),
    "white": np.full((32, 32), 255, np.uint8),
    "white pixel": dot(255),
    "black pixel": dot(0),
    "checkerboard": board(32, 1),
    "board of 3": board(32, 3),
    "board of 6": board(40, 6),
    "edge": np.repeat(np.array([[0] * 16 + [255] * 16], np.uint8), 32, axis=0),
    "noise": np.random.default_rng(1).integers(0, 2, (32, 32), np.uint8) * 255,
    "65535": np.full((20, 20), 65535, np.uint16),
}


@pytest.mark.parametrize("name", WORST)
def test_worst_contrast(name):
    found = run(WORST[name])
    check(WORST[name], found)
    if name in {"black", "white", "65535"}:
        assert not len(found.candidates)
        assert not len(found.features)


@settings(max_examples=5, deadline=None)
@given(st.integers(16, 34), st.integers(16, 34), st.integers(0, 2**16), st.booleans())
def test_any_size(height, width, seed, deep):
    image = texture(height, width, seed, np.uint16 if deep else np.uint8, smooth=1)
    check(image, run(image))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_orientations_and_descriptors(dtype):
    image = texture(48, 56, 6, dtype)
    found = run(image)
    levels = clear.levels(pixels(image), len(found.size.octaves))
    turned = signed(found.turned, found.size.field_bits) / found.size.gains
    places = found.points.places
    assert len(places) > 10
    cosines = []
    for (octave, layer, y, x), scale, bins in zip(places, found.points.scales, turned, strict=True):
        step = STRIDES[layer - 1]
        expected = clear.orientations(levels[octave][layer], y, x, scale, step)
        cosines.append(cosine(bins, expected))
    # Signs are asked of quarters of a grey level: a small gradient may go to the next bin.
    assert np.median(cosines) > 0.97
    described = signed(found.described, found.size.field_bits)
    cosines = []
    for place, pose, sums in zip(found.poses.places, found.poses.poses, described, strict=True):
        octave, layer, y, x = place
        step = STRIDES[layer - 1]
        expected = clear.descriptor(levels[octave][layer], y, x, pose[0], pose[1], step)
        cosines.append(cosine(sums, expected))
    assert np.median(cosines) > 0.998
    assert min(cosines) > 0.99


def cosine(left, right):
    return left @ right / np.linalg.norm(left) / np.linalg.norm(right)


def test_sums_are_the_same_whatever_the_masks_but_for_the_last_place():
    image = texture(40, 40, 7)
    first, second = run(image), run(image)
    both = set(map(tuple, first.points.places.tolist())) & set(
        map(tuple, second.points.places.tolist())
    )
    assert len(both) >= 0.9 * len(first.points.places) > 5


def test_threads_change_nothing(monkeypatch):
    image = texture(40, 40, 8)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMPD_THREADS", threads)
        found.append(run(image, (Draws(b"a" * 16), Draws(b"b" * 16))))
    for left, right in zip(found[0].rounds[0][0], found[1].rounds[0][0], strict=True):
        assert np.array_equal(left, right)
    assert np.array_equal(found[0].described, found[1].described)


def test_what_one_cloud_holds_looks_like_nothing():
    """Bytes that a cloud gets or opens before the last round, of a black image and of a texture."""
    for image in (np.zeros((32, 32), np.uint8), texture(32, 32, 9)):
        found = run(image)
        _, masked, _ = dealt(image)
        opened = [masked]
        for sent in found.rounds[:2]:
            opened += [a ^ b for a, b in zip(*sent, strict=True)] + sent[0] + sent[1]
        for each in opened:
            ones = np.unpackbits(np.ascontiguousarray(each).view(np.uint8))
            assert abs(ones.mean() - 0.5) * 2 * np.sqrt(ones.size) < 5.5


def test_interpreted():
    """A blob has one keypoint, or few; small enough for kernels that are not compiled."""
    y, x = np.mgrid[:18, :18] - 9
    image = np.rint(200 * np.exp(-(y**2 + x**2) / 12)).astype(np.uint8)
    found = run(image)
    check(image, found)
    assert 1 <= len(found.features) <= 6


def test_sums_of_the_steepest_image_fit_their_ring():
    """Of all gradients in a patch in one direction, with the largest weights there are."""
    for depth in (8, 16):
        size = geometry(64, 64, depth)
        scale = 1.6 * 2 ** (3.5 / 3)
        steepest = 1.1 * 102 * 2**FIELD_FRACTION * DIRECTION
        turned = ORIENTATION_WEIGHT[depth] * 2 * np.pi * (1.5 * scale / 2) ** 2
        described = np.prod(DESCRIPTOR_WEIGHT[depth]) * (3 * scale / 2) ** 2
        assert max(turned, described) * steepest < 2 ** (size.field_bits - 1)
    # No image is steeper: the largest sum of coefficients of a gradient, times half of white.
    rows = clear.operators(40, 1)[0][1]
    steep = max(
        127.5 * np.abs(np.outer(rows[y], rows[x + 1] - rows[x - 1])).sum()
        for y in (40, 41)
        for x in (40, 41)
    )
    assert 95 < steep < 102

"""Both clouds against the oracle: which features, and their descriptors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.images.geometry import FIELD_FRACTION, THRESHOLD
from ompd.images.hidden.layout import EDGES, SCALES, WINDOWS, hidden_geometry
from ompd.images.streams import Draws
from tests.images import clear
from tests.images.hidden import oracle
from tests.images.hidden.runs import clouds_of, run
from tests.images.runs import pixels, texture
from tests.images.test_extraction import WORST, cosine
from tests.marks import LONG, long


def margins(size, sign):
    """By how much comparisons must hold, in units of the levels."""
    near, edges = {}, {}
    for plane in size.planes:
        unit = 2 ** (size.shift - plane.fraction) * sign
        if plane.form >= 0:
            # The oracle's forms are multiples of these: 20 in all eight directions.
            times = 20 // {1: 5, 9: 5, 8: 10, 2: 20, 30: 20}[abs(EDGES[plane.form][0])]
            edges[plane.low, EDGES[plane.form]] = 1.1 * times * unit
        elif min(plane.low, plane.high) < 0:
            near[max(plane.low, plane.high), None, 0, 0] = unit
        else:
            near[plane.low, plane.high, plane.down, plane.right] = 2 * unit
            near[plane.high, plane.low, -plane.down, -plane.right] = 2 * unit
    widest = {layer: max(v for (own, _), v in edges.items() if own == layer) for layer in (1, 2, 3)}
    if sign < 0:
        widest = {
            layer: -max(-v for (o, _), v in edges.items() if o == layer) for layer in (1, 2, 3)
        }
    return (lambda *key: near[key]), (lambda layer, _: widest[layer])


def check(image, found):
    """Compare with the oracle; returns how many features there must be."""
    size = found.size
    levels = clear.levels(pixels(image), len(size.octaves))
    threshold = THRESHOLD * 2.0**size.shift
    certain, possible = set(), set()
    for number, each in enumerate(levels):
        differences = np.diff(each, axis=0)
        must = oracle.extrema(differences, threshold, *margins(size, 1))
        may = oracle.extrema(differences, threshold, *margins(size, -1))
        assert must <= may
        lonely = oracle.alone(may)
        certain |= {(number, *place) for place in must & lonely}
        possible |= {(number, *place) for place in may}
    places = set(map(tuple, found.places.tolist()))
    assert len(places) == len(found.places)
    assert certain <= places <= possible
    return len(certain), levels


@pytest.mark.parametrize(
    "image",
    [
        texture(48, 48, 1),
        texture(37, 45, 2),
        pytest.param(texture(64, 33, 3), marks=LONG),
        texture(32, 40, 4, np.uint16, smooth=1),
        texture(16, 16, 5),
    ],
    ids=["square", "odd", "tall", "16 bits", "smallest"],
)
def test_features_are_those_of_the_oracle(image):
    found = run(image)
    count, levels = check(image, found)
    assert count > (4 if min(image.shape) > 16 else -1)
    cosines = []
    for (octave, layer, y, x), sums in zip(found.places, found.sums, strict=True):
        expected = oracle.descriptor(levels[octave][layer], layer, y, x)
        cosines.append(cosine(sums, np.array(expected)))
        # In steps of a quarter of a grey level, thirteen times.
        length = np.linalg.norm(expected) * 13 * 2.0 ** (FIELD_FRACTION - found.size.shift)
        assert abs(np.linalg.norm(sums) / length - 1) < 0.1
    assert not cosines or (np.median(cosines) > 0.995 and min(cosines) > 0.97)


@pytest.mark.parametrize("name", WORST)
def test_worst_contrast(name):
    found = run(WORST[name])
    check(WORST[name], found)
    if name in {"black", "white", "65535"}:
        assert not len(found.sums)


def ridge(angle, height):
    """A bright line with beads of that height: extrema that lie on an edge, unless it is high."""
    y, x = np.mgrid[:44, :44] - 21.7
    along = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    across = y * np.cos(np.radians(angle)) - x * np.sin(np.radians(angle))
    beads = 1 + height * np.cos(along / 2.2)
    return np.rint(30 + 150 * np.exp(-(across**2) / 8) * beads / (1 + height)).astype(np.uint8)


@pytest.mark.parametrize("angle", [*range(0, 90, 45), *long(*range(22, 180, 45), 90, 135)])
def test_lines_in_all_directions(angle):
    """Beads are found if they are high, and are edges if they are not, whichever way."""
    counts = []
    for height in (0.04, 0.5):
        found = run(ridge(angle, height))
        check(ridge(angle, height), found)
        middle = 0.5 * 2.0 ** found.places[:, :1] * found.places[:, 2:] - 21.7
        # The ends of the line at the border are others.
        counts.append(int((np.hypot(*middle.T) < 12).sum()))
    assert counts[0] == 0
    assert counts[1] >= 3


@settings(max_examples=3, deadline=None)
@given(st.integers(16, 30), st.integers(16, 30), st.integers(0, 2**16), st.booleans())
def test_any_size(height, width, seed, deep):
    image = texture(height, width, seed, np.uint16 if deep else np.uint8, smooth=1)
    check(image, run(image))


def test_interpreted():
    """A blob has one feature, or few; small enough for kernels that are not compiled."""
    y, x = np.mgrid[:18, :18] - 9
    image = np.rint(200 * np.exp(-(y**2 + x**2) / 12)).astype(np.uint8)
    found = run(image)
    check(image, found)
    assert 1 <= len(found.sums) <= 6


def test_order_is_another_each_time():
    """Features come in an order that both clouds' keys make; either alone changes it."""
    image = texture(40, 40, 7)
    keys = b"a" * 16, b"b" * 16
    orders = {}
    for name, chosen in {
        "same": keys, "again": keys, "leader": (b"c" * 16, keys[1]), "other": (keys[0], b"d" * 16)
    }.items():  # fmt: skip
        found = run(image, tuple(map(Draws, chosen)))
        orders[name] = list(map(tuple, found.places.tolist()))
    assert orders["same"] == orders["again"]
    assert len(orders["same"]) > 5
    for name in ("leader", "other"):
        both = set(orders["same"]) & set(orders[name])
        assert len(both) > 5
        assert [p for p in orders["same"] if p in both] != [p for p in orders[name] if p in both]


def test_control_a_cloud_that_deviates_learns_where_features_are():
    """Why clouds must follow the protocol: one that changes counts asks of cells of its choice."""
    image = texture(40, 40, 7)
    draws = Draws.generate(), Draws.generate()
    size, masked, clouds, _ = clouds_of(image, draws)
    found = run(image, draws)
    row = found.places[0]
    lane = (size.places_of(np.arange(3 * size.lanes)) == row).all(axis=1)
    chosen = size.slots_of[size.sites_of[np.flatnonzero(lane & (size.sites_of >= 0))]]
    sent = [cloud.open_chunks(masked) for cloud in clouds]
    while clouds[0].wanted < 5:
        sent = [clouds[i].advance(sent[1 - i])[1] for i in range(2)]
    sent = [[each.copy() for each in some] for some in sent]
    # Counts of all other cells become sixteen more, which is not one.
    moved = np.full(size.slots, 16, np.uint8)
    moved[chosen] = 0
    clouds[0]._own[2] += moved
    sent[0][2] += moved
    (_, opened), _ = (clouds[i].advance(sent[1 - i]) for i in range(2))
    opened = clouds[1].advance(opened)[1]
    opened = clouds[0].advance(opened)[1]
    clouds[1].advance(opened)
    assert len(clouds[0].found.sums) == 1 < len(found.sums)


def test_threads_change_nothing(monkeypatch):
    image = texture(40, 40, 8)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMPD_THREADS", threads)
        found.append(run(image, (Draws(b"a" * 16), Draws(b"b" * 16))))
    for left, right in zip(found[0].rounds, found[1].rounds, strict=True):
        for mine, other in zip(left, right, strict=True):
            for a, b in zip(mine or [], other or [], strict=True):
                assert np.array_equal(a, b)


@pytest.mark.parametrize("depth", [8, 16])
def test_sums_of_the_steepest_image_fit_their_ring(depth):
    """Of all gradients in a window in one direction, with the largest weights there are."""
    size = hidden_geometry(64, 64, depth)
    # No image is steeper than 102 grey levels over two pixels: see the test of extract mode.
    steepest = 102 * 2**FIELD_FRACTION * np.hypot(*size.directions).max()
    weights = max((2 * sum(each) - each[0]) ** 2 for each in WINDOWS)
    entry = 2 * steepest * weights * int(SCALES[depth])
    assert entry < 2 ** (size.field_bits - 1)
    # A window's bins add up to one entry at most. Matching takes descriptors up to this length.
    assert 4 * entry < 2 ** {8: 27.9, 16: 25.9}[depth]

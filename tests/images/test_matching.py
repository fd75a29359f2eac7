"""Matches on shares: exact counts, bounds, and what rounds open."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd._kernels.image_wide import (
    deal_wide_crossed,
    deal_wide_products,
    open_wide_chunks,
    open_wide_results,
)
from ompd.errors import ParameterError
from ompd.images.extraction import DESCRIPTOR_WEIGHT
from ompd.images.features import SharedFeatures, SharedTemplates, share, template_integers
from ompd.images.geometry import DIRECTION, FIELD_FRACTION, STRIDES
from ompd.images.match_plan import match_plan
from ompd.images.streams import Draws
from tests.images.matches import UNIT, clear, exchange, match, sides, spread
from tests.images.runs import run, texture


def near(rng, templates, count, least, most):
    """Features between templates and anything else, in units; of all lengths that occur."""
    found = spread(rng, count)
    if len(templates):
        part = rng.uniform(0, 1, (count, 1))
        found = part * found + (1 - part) * templates[rng.integers(0, len(templates), count)] / 1024
    return np.rint(found * rng.uniform(least, most, (count, 1))).astype(np.int64)


#: Units of the longest features.
LONGEST = {8: 30_000, 16: 12_000}


@pytest.mark.parametrize(
    ("features", "templates", "depth"),
    [
        (0, 5, 8), (5, 0, 8), (5, 1, 16), (1, 2, 8), (9, 3, 16), (65, 9, 8), (70, 30, 8),
        (20, 150, 16), (3, 300, 8),
    ],
)  # fmt: skip
def test_counts_equal_the_definition(features, templates, depth):
    rng = np.random.default_rng(features + templates)
    integers = template_integers(spread(rng, templates))
    x = near(rng, integers, features, 20, LONGEST[depth])
    found = match(x * UNIT[depth], integers, depth)
    assert found.count == clear(x, integers)
    assert len(found.rounds) == found.plan.rounds
    if features and templates > 1:
        assert found.plan.rounds == 6 + 4 * len(found.plan.stages)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 6), st.integers(2, 12), st.integers(0, 2**32))
def test_ties_and_signs(features, templates, seed):
    """Templates that are the same, features that are templates, entries below zero, nothing."""
    rng = np.random.default_rng(seed)
    integers = template_integers(spread(rng, templates))
    integers = integers[rng.integers(0, templates, templates)]
    x = integers[rng.integers(0, templates, features)] * rng.integers(-1, 29, (features, 1))
    x += rng.integers(-3, 4, x.shape) * rng.integers(0, 2, (features, 1))
    assert match(x * UNIT[8], integers).count == clear(x, integers)


def test_extremes():
    """The longest features that are allowed, in one entry and in all, and the shortest."""
    rng = np.random.default_rng(5)
    integers = template_integers(np.concatenate([np.eye(128)[:2], np.ones((1, 128))]))
    length = 2**14.9 - 1
    x = np.zeros((6, 128), np.int64)
    x[0, 0] = x[1, 1] = x[2, 5] = int(length)
    x[3] = int(length / math.sqrt(128))
    x[4, 0] = 1
    x[5] = -rng.integers(0, 100, 128)
    assert match(x * UNIT[8], integers).count == clear(x, integers) >= 4


def test_control_longer_features_are_miscounted():
    """Bounds are needed: with scores that do not fit, counts are wrong."""
    rng = np.random.default_rng(6)
    integers = template_integers(spread(rng, 12))
    x = near(rng, integers, 40, 100, 30_000)
    assert match(x * UNIT[8], integers).count == clear(x, integers)
    assert match(x * 4 * UNIT[8], integers).count != clear(4 * x, integers)


def test_no_image_has_longer_features():
    """Of all gradients around a keypoint as steep as can be: see `test_extraction`."""
    steepest = 1.1 * 102 * 2**FIELD_FRACTION * DIRECTION
    most = 0.0
    for layer, step in enumerate(STRIDES):
        for part in (0.5, 0.0, -0.5):
            wide = 3 * 1.6 * 2 ** ((layer + 1 + part) / 3)
            for angle in (0, 20, 45):
                cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
                for start in range(step):
                    reach = np.arange(start - 36 * step, 36 * step, step) / wide
                    down, right = np.meshgrid(reach, reach, indexing="ij")
                    along, across = right * sine + down * cosine, right * cosine - down * sine
                    bell = np.exp(-(along**2 + across**2) / 8)
                    cells = np.array([-1.5, -0.5, 0.5, 1.5])
                    tall = np.maximum(0, 1 - np.abs(along[..., None] - cells))
                    broad = np.maximum(0, 1 - np.abs(across[..., None] - cells))
                    found = np.einsum("ij,ijk,ijl->kl", bell, tall, broad)
                    most = max(most, float(np.linalg.norm(found)))
    for depth, unit in UNIT.items():
        weight = math.prod(DESCRIPTOR_WEIGHT[depth])
        assert most * weight * steepest < 2**14.9 * unit
    # Scores, their differences and tests fit, with some below zero: of a gradient next to its bin.
    assert 2**14.9 * 1025 * 1.03 < 2**25
    assert 25 * 2**14.9 * 1025 + 16 * 0.03 * 2**24.9 + 2**28 < 2**31
    assert (25 * 2**24.95) ** 2 + 81 * 1024**2 * 2**31 < 2**63


@pytest.mark.parametrize("depth", [8, 16])
def test_settled_features_are_off_by_less_than_one_unit(depth):
    rng = np.random.default_rng(depth)
    ring = {8: 30, 16: 26}[depth]
    least, most = -(2 ** (ring - 5)), 2 ** (ring - 1) - 2 ** (ring - 5)
    sums = rng.integers(least, most, (3, 128))
    sums[0, :4] = least, most - 1, -1, 0
    found = sides(match_plan(3, 2, depth), sums, np.zeros((2, 128), np.int64))
    (left, right), _ = exchange(*(each._settled() for each in found))
    x = (left[0] + right[0]).view(np.int32).astype(np.int64)
    below = np.floor_divide(sums, UNIT[depth])
    assert ((x == below) | (x == below + 1)).all()
    assert (x == below).any()
    assert (x == below + 1).any()


def ratio(features, templates):
    """How many features pass OpenCV's test of distances at .8, in floats."""
    unit = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (features, templates)]
    squares = np.sort(2 - 2 * unit[0] @ unit[1].T, axis=1)
    return squares[:, 0] < 0.64 * squares[:, 1]


def agreement(images):
    """Share of features, one by one, for which the count is that of the float definition."""
    right = total = 0
    for first, second in images:
        sums, templates = (run(each).described for each in (first, second))
        sums = (sums << 2).view(np.int32).astype(np.int64) >> 2
        raw = np.maximum((templates << 2).view(np.int32).astype(np.int64) >> 2, 0)
        expected = ratio(sums.astype(float), raw.astype(float))
        # Every feature by itself: a count of all could hide two errors.
        for mine, passes in zip(sums, expected, strict=True):
            total += 1
            right += match(mine[None], template_integers(raw)).count == passes
    return right / total, total


def test_counts_of_real_descriptors_are_those_of_floats():
    image = texture(64, 64, 1, smooth=1)
    noisy = np.clip(image + np.random.default_rng(1).normal(0, 5, image.shape), 0, 255)
    found, total = agreement([(image, noisy.astype(np.uint8))])
    assert total > 60
    assert found > 0.98


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_templates_have_one_length(scale):
    rng = np.random.default_rng(7)
    rows = np.concatenate([spread(rng, 50), np.eye(128)[:2], np.ones((1, 128))]) * scale
    found = template_integers(rows)
    assert np.abs((found**2).sum(axis=1) - 1024**2).max() < 100
    exact = rows / scale / np.linalg.norm(rows / scale, axis=1, keepdims=True)
    assert np.abs(found - 1024 * exact).max() <= 1
    left, right = share(found)
    assert np.array_equal((left.shares + right.shares).astype(np.int64), found)
    assert not np.array_equal(share(found)[0].shares, left.shares)
    with pytest.raises(ValueError, match="read-only"):
        left.shares[0, 0] = 1
    assert "shares" not in repr(left)


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((2, 128)), np.ones((2, 127)), np.ones(128), -np.ones((1, 128)),
        np.full((1, 128), np.nan), np.ones((4097, 128)), np.full((1, 128), "a"),
    ],
    ids=["zeros", "short", "one", "negative", "nan", "many", "text"],
)  # fmt: skip
def test_what_is_no_template(rows):
    with pytest.raises(ParameterError, match="templates: expected"):
        template_integers(rows)


def test_what_is_no_share():
    for array in (np.zeros((2, 128)), np.zeros((2, 127), np.uint32), np.zeros(128, np.uint32)):
        with pytest.raises(ParameterError, match="expected uint32"):
            SharedTemplates(array)
        with pytest.raises(ParameterError, match="expected uint32"):
            SharedFeatures(8, array)
    with pytest.raises(ParameterError, match="depth"):
        SharedFeatures(12, np.zeros((2, 128), np.uint32))
    for arguments in ((-1, 2, 8), (1, 4097, 8), (1.0, 2, 8), (1, 2, 12), (1, 2, True)):
        with pytest.raises(ParameterError):
            match_plan(*arguments)
    plan = match_plan(3, 2)
    rows = np.zeros((4, 128), np.int64)
    for sums, templates in ((rows, rows[:2]), (rows[:3], rows[:3])):
        with pytest.raises(ParameterError, match="plan"):
            sides(plan, sums, templates)


def test_fewer_features_than_were_dealt_for():
    rng = np.random.default_rng(8)
    integers = template_integers(spread(rng, 7))
    x = near(rng, integers, 66, 20, 9000)
    for count in (0, 1, 64, 66):
        found = match(x[:count] * UNIT[8], integers, most=200)
        assert found.count == clear(x[:count], integers)
        sent = [[each.nbytes for each in opened[0]] for opened in found.rounds]
        assert sent == [[each.size for each in some] for some in found.plan.openings(count)]


def test_shares_of_a_count_do_not_tell_that_there_are_no_features():
    """Whoever opens 0 cannot tell nothing from features that do not match."""
    integers = template_integers(spread(np.random.default_rng(9), 5))
    plan = match_plan(40, 5)
    for count in (0, 3):
        works = sides(plan, np.zeros((count, 128), np.int64), integers)
        shares, rounds = exchange(*(each.rounds() for each in works))
        assert len(rounds) == plan.rounds
        assert sum(shares) % 2**32 == 0
        assert shares[0] % 2**32 > 2**8
        assert shares[1] % 2**32 > 2**8


def compared(values, seed, dtype, chunks):
    """[value < 0] of integers, through masks and both clouds, in rows of two."""
    rng = np.random.default_rng(seed)
    most = np.iinfo(dtype).max
    masks = rng.integers(0, most, (len(values), 2), dtype, endpoint=True)
    masked = masks.copy()
    masked[:, 0] += values.astype(dtype)
    ends = np.array([0]), np.array([1])
    chunks = np.array(chunks)
    groups, equals = -(-len(values) // 512), len(chunks) - 1

    def words(*shape):
        return rng.integers(0, 2**64, shape, np.uint64)

    given = [words(groups, 1 + sum(2**c - 1 for c in chunks), 8)]
    given.append(given[0].copy())
    deal_wide_products(masks, *ends, chunks, given[1])
    first = [words(groups, 2 * equals, 8) for _ in range(2)]
    holds = [np.empty((groups, 8), np.uint64) for _ in range(2)]
    opened = [np.empty_like(each) for each in first]
    for i in range(2):
        open_wide_chunks(masked, *ends, chunks, not i, given[i], first[i], holds[i], opened[i])
    crossed = 2 ** (equals + 1) - 2 - equals + 2**equals - 1 - equals
    given = [words(groups, crossed, 8)]
    given.append(given[0].copy())
    deal_wide_crossed(*first, given[1])
    last = [words(groups, 8) for _ in range(2)]
    results = [np.empty((groups, 8), np.uint64) for _ in range(2)]
    for i in range(2):
        open_wide_results(
            opened[i], opened[1 - i], not i, first[i], given[i], holds[i], last[i], results[i]
        )
    plain = results[0] ^ results[1] ^ last[0] ^ last[1]
    bits = np.unpackbits(plain.view(np.uint8), bitorder="little")
    return bits[: len(values)].astype(bool)


@pytest.mark.parametrize(
    ("dtype", "chunks"), [(np.uint32, (5,) * 5), (np.uint64, (7,) * 9), (np.uint32, (3, 4))]
)
def test_wide_comparisons(dtype, chunks):
    rng = np.random.default_rng(9)
    half = 1 << sum(chunks)
    powers = [2**k for k in range(sum(chunks))]
    edges = [0, half - 1, -half, *powers, *(-each for each in powers), *(p - 1 for p in powers)]
    values = np.array([*edges, *rng.integers(-half, half, 600)], np.int64)
    assert np.array_equal(compared(values, 10, dtype, chunks), values < 0)


def test_threads_change_nothing(monkeypatch):
    rng = np.random.default_rng(11)
    integers = template_integers(spread(rng, 9))
    x = near(rng, integers, 130, 20, 9000)
    draws = Draws(b"a" * 16), Draws(b"b" * 16)
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMPD_THREADS", threads)
        found.append(match(x * UNIT[8], integers, draws=draws))
    assert found[0].count == found[1].count == clear(x, integers)


def zscores(found):
    """How far the bits that are opened in each round are from even, in standard deviations."""
    scores = []
    for opened in found.rounds:
        for mine, other in zip(*opened, strict=True):
            if mine.dtype == np.uint8:
                # Ranks are below the size of a group: their sums are looked at by value.
                continue
            bits = np.unpackbits((mine + other if mine.itemsize < 8 else mine ^ other).view("u1"))
            scores.append(abs(bits.mean() - 0.5) * 2 * math.sqrt(bits.size))
    return scores


def test_what_is_opened_looks_like_nothing():
    """Of features that match, and of features of zeros; the first round fills 30 of 32 bits."""
    rng = np.random.default_rng(12)
    integers = template_integers(spread(rng, 60))
    for x in (near(rng, integers, 64, 20, 9000), np.zeros((64, 128), np.int64)):
        found = match(x * UNIT[8], integers)
        (first,) = found.rounds[0][0]
        (second,) = found.rounds[0][1]
        opened = ((first + second) & (2**30 - 1)).astype("<u4")
        bits = np.unpackbits(opened.view(np.uint8), bitorder="little").reshape(-1, 32)[:, :30]
        assert abs(bits.mean() - 0.5) * 2 * math.sqrt(bits.size) < 5
        assert max(zscores(found._replace(rounds=found.rounds[1:]))) < 5
        for round_number, stage in ((5, found.plan.stages[0]), (9, found.plan.stages[1])):
            ranks = found.rounds[round_number][0][0].astype(int) + found.rounds[round_number][1][0]
            counts = np.bincount((ranks % stage.modulus).ravel(), minlength=stage.modulus)
            expected = ranks.size / stage.modulus
            square = ((counts - expected) ** 2 / expected).sum()
            assert abs(square - (stage.modulus - 1)) < 6 * math.sqrt(2 * stage.modulus)


def test_control_material_that_is_used_twice_tells_the_difference():
    rng = np.random.default_rng(13)
    integers = template_integers(spread(rng, 5))
    draws = Draws(b"a" * 16), Draws(b"b" * 16)
    x = [near(rng, integers, 4, 20, 9000) * UNIT[8] for _ in range(2)]

    def opened(sums, some):
        first, second = match(sums, integers, draws=some).rounds[0]
        return (first[0] + second[0])[:4]

    def apart(some):
        return ((opened(x[1], some) - opened(x[0], some)) << np.uint32(2)).view(np.int32) >> 2

    assert np.array_equal(apart(draws), x[1] - x[0])
    assert (apart(None) == x[1] - x[0]).mean() < 0.01


def test_the_definition_is_the_ratio_test():
    """Exactly: for templates of one length, in fractions."""
    rng = np.random.default_rng(14)
    for _ in range(200):
        x, a, b = (rng.integers(0, 40, 3) for _ in range(3))
        norm = Fraction(int(x @ x) * 25)
        first, second = sorted((int(x @ a), int(x @ b)), reverse=True)
        # With |t| = 5 for both, distances of unit vectors are 2 - 2 s / (5 |x|).
        best, worse = 25 * first - 16 * second, 9
        squared = best > 0 and Fraction(best) ** 2 > worse**2 * norm
        root = math.sqrt(norm)
        distances = [1 - first / max(root, 1e-9), 1 - second / max(root, 1e-9)]
        if abs(distances[0] - 0.64 * distances[1]) > 1e-9:
            assert squared == (distances[0] < 0.64 * distances[1])

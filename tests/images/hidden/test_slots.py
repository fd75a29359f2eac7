"""Kernels of hidden mode against sums written out, exactly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ompd._kernels.image_slots import (
    cut_forms,
    deal_bits,
    deal_slots,
    pool_field,
    sum_bits,
    sum_slots,
)
from ompd.images import streams
from ompd.images.hidden.layout import EDGES, MOVES, WINDOWS
from ompd.images.hidden.material import bits_of, moved, shuffle, words_of
from ompd.images.streams import Draws
from tests.images.hidden import oracle

M = 2**32


def uniform(rng, *shape, kind=np.uint32):
    return rng.integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)


def test_forms_of_second_differences():
    """Exactly, of values that need no more than the bits that are kept."""
    rng = np.random.default_rng(1)
    height, width, trim, dropped = 9, 12, 3, 24
    levels = (rng.integers(-(2**18), 2**18, (6, height, width)) << dropped).astype(np.uint64)
    factors = np.array(EDGES).astype(np.uint32)
    shifts = np.full(8, 11, np.uint32)
    out = np.zeros((8, 200), np.uint16)
    cut_forms(levels, 2, trim, factors, np.uint64(dropped), shifts, 64, out)
    difference = (levels[3] - levels[2]).view(np.int64) >> dropped
    for y, x in itertools.product(range(trim + 1, height - trim - 1), range(trim, width - trim)):
        across = difference[y, x + 1] + difference[y, x - 1] - 2 * difference[y, x]
        down = difference[y + 1, x] + difference[y - 1, x] - 2 * difference[y, x]
        corners = difference[y + 1, x + 1] + difference[y - 1, x - 1]
        corners -= difference[y - 1, x + 1] + difference[y + 1, x - 1]
        place = 64 + (y - trim) * (width - 2 * trim) + x - trim
        for k, (a, b, c) in enumerate(EDGES):
            assert out[k, place] == (a * across + b * down + c * corners) >> 11 & 0xFFFF
        # The oracle has the same eight, and twenty times the circle's radius.
        forms = oracle.edge_forms(difference, y, x)
        times = [5 if 9 in np.abs(e) else 10 if 8 in np.abs(e) else 20 for e in EDGES]
        mine = [20 // t * (a * across + b * down + c * corners)
                for t, (a, b, c) in zip(times, EDGES, strict=True)]  # fmt: skip
        assert sorted(forms) == sorted(mine)


def test_bits_are_summed_by_site_and_slot():
    rng = np.random.default_rng(2)
    words, sites, slots = 5, 40, 7
    plain = rng.integers(0, 2, 64 * words, np.uint8)
    masks = [uniform(rng, words, kind=np.uint64) for _ in range(2)]
    shares = [uniform(rng, 64 * words)]
    shares.append(shares[0].copy())
    deal_bits(*masks, shares[1])
    opened = words_of(plain) ^ masks[0] ^ masks[1]
    sites_of = rng.integers(-1, sites, 64 * words).astype(np.int32)
    slots_of = rng.integers(0, slots, sites).astype(np.int32)
    found, numbers = np.zeros((2, sites), np.uint32), np.zeros((2, slots), np.uint32)
    for i in range(2):
        sum_bits(opened, shares[i], 1 - i, sites_of, slots_of, found[i], numbers[i])
    expected, wanted = [0] * sites, [0] * slots
    for lane in np.flatnonzero(plain):
        if sites_of[lane] >= 0:
            expected[sites_of[lane]] += 1
            wanted[slots_of[sites_of[lane]]] += lane
    assert found.sum(axis=0, dtype=np.uint32).tolist() == expected
    assert numbers.sum(axis=0, dtype=np.uint32).tolist() == wanted
    # Either share alone is far from it.
    assert (found[0] != expected).sum() > 20


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 9), (11, 3)])
@pytest.mark.parametrize("layer", [0, 1])
def test_windows(rows, columns, layer):
    rng = np.random.default_rng(3)
    first = 5
    field = uniform(rng, first + rows * columns, 16)
    maps = np.full((len(field), 8), 77, np.uint32)
    pool_field(field, first, rows, columns, np.array(WINDOWS[layer], np.uint32), maps)
    assert (maps[:first] == 77).all()
    weights = oracle.WEIGHTS[layer]
    for y, x in itertools.product(range(rows), range(columns)):
        total = [0] * 8
        for i, j in itertools.product(range(rows), range(columns)):
            weight = weights.get(abs(i - y), 0) * weights.get(abs(j - x), 0)
            for k in range(16):
                value = weight * int(field[first + i * columns + j, k])
                for turn in range(8):
                    away = min((k - 2 * turn) % 16, (2 * turn - k) % 16)
                    total[turn] += value * {0: 2, 1: 1}.get(away, 0)
        assert maps[first + y * columns + x].tolist() == [each % M for each in total]


@pytest.mark.parametrize(("rows", "columns", "cell"), [(1, 1, 4), (9, 14, 4), (13, 7, 3)])
def test_products_summed_by_cell(rows, columns, cell):
    rng = np.random.default_rng(4)
    first, slot, moves = 3, 2, np.array(MOVES[1])
    count = first + rows * columns
    across = -(-columns // cell)
    slots = slot + -(-rows // cell) * across
    sites, maps = uniform(rng, count), uniform(rng, count, 8)
    site_masks = [uniform(rng, count) for _ in range(2)]
    map_masks = [uniform(rng, count, 8) for _ in range(2)]
    shares = [uniform(rng, slots, 128)]
    shares.append(shares[0].copy())
    deal_slots(sum(site_masks), sum(map_masks), first, rows, columns, cell, moves, slot, shares[1])
    found = np.zeros((2, slots, 129), np.uint32)
    for i in range(2):
        found[i, :, :128] = shares[i]
        sum_slots(
            sites + sum(site_masks), maps + sum(map_masks), site_masks[i], map_masks[i], 1 - i,
            first, rows, columns, cell, moves, slot, found[i],
        )  # fmt: skip
    expected = np.zeros((slots - slot, 16, 8), object)
    for i, j, (a, down), (b, right) in itertools.product(
        range(rows), range(columns), enumerate(moves), enumerate(moves)
    ):
        if 0 <= i + down < rows and 0 <= j + right < columns:
            there = maps[first + (i + down) * columns + j + right].astype(object)
            value = there * int(sites[first + i * columns + j])
            expected[i // cell * across + j // cell, 4 * a + b] += value
    total = found.sum(axis=0, dtype=np.uint32)[slot:, :128]
    assert (total == expected.reshape(-1, 128) % M).all()
    assert not found[:, :, 128].any()


def test_orders():
    rng = np.random.default_rng(5)
    for count in (1, 63, 64, 65, 300):
        order = shuffle(Draws.generate(), count)
        assert sorted(order) == list(range(count))
        bits = rng.integers(0, 2, count, np.uint8)
        words = words_of(bits)
        assert words.shape == (-(-count // 64),)
        assert np.array_equal(bits_of(words, count), bits)
        assert np.array_equal(bits_of(moved(words, order), count), bits[order])


def test_every_slot_may_go_anywhere():
    """Orders of five slots: all 120 come up, about as often."""
    orders, counts = np.unique(
        [shuffle(Draws.generate(), 5) for _ in range(6000)], axis=0, return_counts=True
    )
    assert len(orders) == 120
    # The sum of squared deviations has mean 119 and deviation 15.4.
    assert ((counts - 50) ** 2 / 50).sum() < 119 + 6 * 15.4


def test_no_two_masks_come_from_one_stream():
    labels = [value for name, value in vars(streams).items() if type(value) is int and
              name.lstrip("_").isupper() and name != "STREAM_KEY_BYTES"]  # fmt: skip
    assert len(labels) > 20
    assert len(set(labels)) == len(labels)

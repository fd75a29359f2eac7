"""Comparisons: dealt products, two rounds, opened results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd._kernels.image_compare import deal_crossed, deal_products, open_chunks, open_results
from ompd._kernels.image_count import add_counts, deal_shares, deal_tables, look_up, mask_counts
from ompd.images.geometry import LONG, MIDDLE, SHORT, SIGN

COMPARATORS = [LONG, MIDDLE, SHORT, SIGN]


def words(rng, *shape):
    return rng.integers(0, 2**64, shape, np.uint64)


def bits(array):
    return np.unpackbits(np.ascontiguousarray(array).view(np.uint8), bitorder="little")


def compared(comparator, left, right, seed):
    """[left < right] of integers whose difference fits, through masks and both clouds."""
    rng = np.random.default_rng(seed)
    count = len(left)
    groups = -(-count // 512)
    windows = np.zeros((4, 512 * groups), np.uint16)
    masks = rng.integers(0, 2**16, (2, 512 * groups), np.uint16)
    # Two bits below the last place, of which the masks make something.
    windows[0, :count] = (4 * left.astype(np.int64) + masks[0, :count]) & 0xFFFF
    windows[1, :count] = (4 * right.astype(np.int64) + masks[1, :count]) & 0xFFFF
    windows[2:] = masks
    starts = 64 * np.arange(8 * groups)
    chunks = np.array(comparator.chunks)
    first = words(rng, groups, comparator.products, 8)
    second = first.copy()
    deal_products(windows[2], windows[3], starts, starts, chunks, second)
    first_masks = [words(rng, groups, comparator.opened, 8) for _ in range(2)]
    opened, hold = [], []
    for leader, part, own in ((True, first, first_masks[0]), (False, second, first_masks[1])):
        hold.append(np.empty((groups, 8), np.uint64))
        opened.append(np.empty_like(own))
        arguments = (windows[0], windows[1], starts, starts, chunks, leader, part, own)
        open_chunks(*arguments, hold[-1], opened[-1])
    crossed = [words(rng, groups, comparator.crossed, 8)]
    crossed.append(crossed[0].copy())
    deal_crossed(*first_masks, crossed[1])
    last_masks = [words(rng, groups, 8) for _ in range(2)]
    results = [np.empty((groups, 8), np.uint64) for _ in range(2)]
    for i, leader in enumerate((True, False)):
        open_results(
            opened[i], opened[1 - i], leader, first_masks[i], crossed[i], hold[i], last_masks[i],
            results[i],
        )  # fmt: skip
    plain = results[0] ^ results[1] ^ last_masks[0] ^ last_masks[1]
    return bits(plain)[:count].astype(bool), results, last_masks


@pytest.mark.parametrize("comparator", COMPARATORS)
def test_every_difference_of_a_window(comparator):
    half = 1 << comparator.bits - 1
    differences = np.arange(-half, half)
    right = np.random.default_rng(1).integers(0, 1 << 15, len(differences))
    found, *_ = compared(comparator, right + differences, right, 2)
    assert np.array_equal(found, differences < 0)


def test_a_million_comparisons():
    rng = np.random.default_rng(3)
    left = rng.integers(-4096, 4096, 1 << 20)
    right = left + rng.integers(-4095, 4096, 1 << 20)
    near = rng.integers(-1, 2, 1 << 18)
    right[: 1 << 18] = left[: 1 << 18] + near
    right[1 << 18 : 1 << 19] = left[1 << 18 : 1 << 19] + np.where(near > 0, 8191, -8191)
    found, results, _ = compared(LONG, left, right, 4)
    assert np.array_equal(found, left < right)
    # What is opened is masked: it looks nothing like the result.
    opened = bits(results[0] ^ results[1])[: 1 << 20].astype(bool)
    assert abs((opened == found).mean() - 0.5) < 0.0025


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(COMPARATORS),
    st.lists(st.integers(-255, 255), min_size=1, max_size=70),
    st.integers(0, 2**32),
)
def test_some_comparisons(comparator, differences, seed):
    differences = np.array(differences) % (1 << comparator.bits) - (1 << comparator.bits - 1)
    found, *_ = compared(comparator, differences, np.zeros_like(differences), seed)
    assert np.array_equal(found, differences < 0)


@pytest.mark.parametrize("low", [0, 1, 3])
def test_counts_and_tables(low):
    """Bits become counts modulo 32, and a table says whether they are 0 or 28."""
    rng = np.random.default_rng(5)
    groups, high = 2, low + 1
    lanes = 512 * groups
    starts_low, starts_high = 64 * np.arange(8 * groups), 64 * np.arange(8 * groups) + 3
    plain = words(rng, groups, 8)
    masks = [words(rng, groups, 8) for _ in range(2)]
    first = words(rng, groups, 8)
    results = [first, first ^ plain ^ masks[0] ^ masks[1]]
    shares = [words(rng, groups, 5, 8)]
    shares.append(shares[0].copy())
    deal_shares(*masks, shares[1])
    before = rng.integers(0, 32, (3, lanes + 64), np.uint8)
    blind = rng.integers(0, 256, before.shape, np.uint8)
    counts = [before + blind, -blind]
    for i in range(2):
        add_counts(
            results[i], results[1 - i], shares[i], starts_low, starts_high, 1 - i, low, high,
            counts[i],
        )  # fmt: skip
    expected = before.astype(int)
    bit = bits(plain).astype(int)
    if low >= 1:
        expected[low - 1, :lanes] += 1 - bit
    if high <= 3:
        expected[high - 1, 3 : lanes + 3] += bit
    assert np.array_equal((counts[0] + counts[1]) % 32, expected % 32)

    blinds = [rng.integers(0, 256, (3, lanes), np.uint8) for _ in range(2)]
    tables = [rng.integers(0, 2**32, 3 * lanes, np.uint32)]
    tables.append(tables[0].copy())
    deal_tables(blinds[0].ravel(), blinds[1].ravel(), tables[1])
    opened = [np.empty((3, groups, 5, 8), np.uint64) for _ in range(2)]
    for i in range(2):
        mask_counts(counts[i], starts_low, blinds[i], opened[i])
    found = [np.empty((3, groups, 8), np.uint64) for _ in range(2)]
    for i in range(2):
        look_up(opened[i], opened[1 - i], tables[i], found[i])
    wanted = np.isin(expected[:, :lanes] % 32, (0, 28))
    assert np.array_equal(bits(found[0] ^ found[1]).reshape(3, -1).astype(bool), wanted)
    assert wanted.any()
    assert not wanted.all()

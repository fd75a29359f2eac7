from __future__ import annotations

import copy
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.blind import HardenedKey
from ompd.errors import OverflowParameterError, ParameterError

COORDINATE = st.integers(-(2**62), 2**62 - 1)


@st.composite
def keys_and_vectors(draw):
    m = draw(st.integers(1, 9))
    order = draw(st.permutations(range(m)))
    signs = draw(st.lists(st.sampled_from([1, -1]), min_size=m, max_size=m))
    shifts = draw(st.lists(st.integers(0, 2**64 - 1), min_size=m, max_size=m))
    row = st.lists(COORDINATE, min_size=m, max_size=m)
    vectors = draw(st.lists(row, max_size=6))
    key = HardenedKey(
        np.array(order, dtype=np.int64),
        np.array(signs, dtype=np.int64),
        np.array(shifts, dtype=np.uint64),
    )
    return key, (order, signs, shifts), vectors


@given(keys_and_vectors())
def test_blinding_is_a_signed_permutation_and_shifts(drawn):
    key, (order, signs, shifts), vectors = drawn
    blinded = key.blind(np.array(vectors, dtype=np.int64).reshape(-1, len(order)))
    assert blinded.dtype == np.uint64
    assert blinded.flags.c_contiguous
    expected = [
        [(sign * row[place] + shift) % 2**64 for place, sign, shift in zip(*parts, strict=True)]
        for row in vectors
        for parts in [(order, signs, shifts)]
    ]
    assert blinded.tolist() == expected


def test_generated_keys_are_fresh_and_cover_orders_signs_and_shifts():
    # 0 shows the shift, the unit vectors show order and sign.
    probe = np.concatenate([np.zeros((1, 3), np.int64), np.eye(3, dtype=np.int64)])
    orders, signs, tops = Counter(), Counter(), Counter()
    for _ in range(600):
        blinded = HardenedKey.generate(3).blind(probe)
        moved = (blinded[1:] - blinded[0]).view(np.int64)
        orders[tuple(np.abs(moved).argmax(axis=1).tolist())] += 1
        signs[tuple(moved.sum(axis=0).tolist())] += 1
        tops.update((blinded[0] >> np.uint64(61)).tolist())
    assert len(orders) == 6
    assert len(signs) == 8
    assert len(tops) == 8
    # Expected 100, 75 and 225; a fair draw misses by half with a probability below 1e-6.
    assert min(orders.values()) > 50
    assert min(signs.values()) > 30
    assert min(tops.values()) > 130


def test_a_column_alone_tells_nothing_of_the_value():
    low, high = (np.full((1, 1), value, np.int64) for value in (-(2**62), 2**62 - 1))
    bits = [
        np.mean([int(HardenedKey.generate(1).blind(value)[0, 0]) >> 63 for _ in range(600)])
        for value in (low, high)
    ]
    # Standard deviation 0.02 each.
    assert abs(bits[0] - 0.5) < 0.12
    assert abs(bits[1] - 0.5) < 0.12


def test_wrong_vectors_are_refused_without_their_values():
    key = HardenedKey.generate(2)
    for bad in (np.zeros((3, 3), np.int64), np.zeros(2, np.int64), np.zeros((1, 2), np.uint64)):
        with pytest.raises(ParameterError, match=r"vectors: expected int64 of shape \(rows, 2\)"):
            key.blind(bad)
    for value in (2**62, -(2**62) - 1):
        with pytest.raises(OverflowParameterError, match="vectors: expected values of") as caught:
            key.blind(np.array([[0, value]]))
        assert str(abs(value)) not in str(caught.value)
    assert key.blind(np.empty((0, 2), np.int64)).shape == (0, 2)


@pytest.mark.parametrize("coordinates", [0, -1, 2.0, True, "3"])
def test_senseless_sizes_are_refused(coordinates):
    with pytest.raises(ParameterError, match="coordinates: expected"):
        HardenedKey.generate(coordinates)


def test_unusable_numbers_are_refused():
    order, signs = np.array([1, 0]), np.array([1, -1])
    shifts = np.array([5, 6], np.uint64)
    HardenedKey(order, signs, shifts)
    for bad in (np.array([0, 0]), np.array([0, 2]), np.empty(0, np.int64), np.array([1.0, 0.0])):
        with pytest.raises(ParameterError, match="order: expected"):
            HardenedKey(bad, signs, shifts)
    for bad in (np.array([1, 0]), np.array([1, 3]), np.array([1]), np.array([1.0, 1.0])):
        with pytest.raises(ParameterError, match="signs: expected"):
            HardenedKey(order, bad, shifts)
    for bad in (shifts.astype(np.int64), shifts[:1]):
        with pytest.raises(ParameterError, match="shifts: expected"):
            HardenedKey(order, signs, bad)


@given(keys_and_vectors())
def test_a_stored_key_is_the_same(drawn):
    key, (order, _, _), vectors = drawn
    data = key.to_bytes()
    assert len(data) == 24 * len(order)
    vectors = np.array(vectors, dtype=np.int64).reshape(-1, len(order))
    assert (HardenedKey.from_bytes(data).blind(vectors) == key.blind(vectors)).all()
    for bad in (b"", data[:-1], data + b"x", bytes([len(order)]) + data[1:]):
        with pytest.raises(ParameterError):
            HardenedKey.from_bytes(bad)


def test_key_keeps_its_secret():
    key = HardenedKey.generate(7)
    for text in (repr(key), str(key), f"{key}"):
        assert text == "<HardenedKey of 7 coordinates>"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            attempt(key)


def test_a_key_does_not_follow_the_arrays_it_was_made_of():
    shifts = np.array([7], np.uint64)
    key = HardenedKey(np.array([0]), np.array([1]), shifts)
    shifts[0] = 9
    assert key.blind(np.zeros((1, 1), np.int64)).tolist() == [[7]]

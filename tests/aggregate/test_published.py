from __future__ import annotations

import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.aggregate import published
from ompd.errors import (
    Bottom,
    BrokenSchemeError,
    ContextMismatchError,
    OverflowParameterError,
    ParameterError,
)


@pytest.fixture(scope="module")
def key():
    return published.keygen(512, allow_broken=True)


KEYS = [published.keygen(bits, allow_broken=True) for bits in (256, 512)]


@given(
    st.sampled_from(KEYS),
    st.lists(st.lists(st.integers(0, 255), min_size=2, max_size=2), min_size=1, max_size=9),
)
def test_sums_of_products_are_exact(key, rows):
    total = None
    for row in rows:
        one, other = (published.encrypt(key, value) for value in row)
        product = published.multiply(one, other)
        total = product if total is None else published.add(total, product)
    assert published.decrypt(key, total) == sum(one * other for one, other in rows)
    assert total.degree == 2
    assert total.bound == len(rows) * 255**2


@given(st.lists(st.integers(0, 2**70), min_size=1, max_size=5))
def test_what_may_have_passed_p_is_bottom(values):
    key = KEYS[0]
    product = published.encrypt(key, values[0], 71)
    for value in values[1:]:
        product = published.multiply(product, published.encrypt(key, value, 71))
    if len(values) * 71 < 128:
        assert published.decrypt(key, product) == math.prod(values)
    else:
        with pytest.raises(Bottom):
            published.decrypt(key, product)


def test_it_is_refused_unless_asked_for():
    for allow in (False, 1, "yes", None):
        with pytest.raises(BrokenSchemeError, match="gives its key away"):
            published.keygen(512, allow_broken=allow)
    with pytest.raises(BrokenSchemeError):
        published.keygen()


@pytest.mark.parametrize("bits", [255, 257, 0, -2, 8194, 512.0, True, "512", None])
def test_lengths_of_keys(bits):
    with pytest.raises(ParameterError, match="bits"):
        published.keygen(bits, allow_broken=True)


def test_keys_have_the_length_that_was_asked_for(key):
    assert key.modulus.bit_length() == 512
    assert published.keygen(256, allow_broken=True).modulus.bit_length() == 256


@pytest.mark.parametrize("value", [-1, 256, 1.0, True, None, "3", 2**300])
def test_values_out_of_range(key, value):
    with pytest.raises(ParameterError, match="value") as caught:
        published.encrypt(key, value)
    assert "300" not in str(caught.value)


def test_wrong_arguments(key):
    good = published.encrypt(key, 3)
    with pytest.raises(OverflowParameterError):
        published.encrypt(key, 1, 256)
    for bits in (0, 1.5, None, True):
        with pytest.raises(ParameterError, match="bits"):
            published.encrypt(key, 1, bits)
    for call in (
        lambda: published.encrypt(None, 1),
        lambda: published.decrypt("key", good),
        lambda: published.decrypt(key, 5),
        lambda: published.add(good, 5),
        lambda: published.multiply(None, good),
    ):
        with pytest.raises(ParameterError):
            call()


def test_keys_and_degrees_are_not_mixed(key):
    mine, square = published.encrypt(key, 3), published.multiply(*[published.encrypt(key, 3)] * 2)
    foreign = published.encrypt(KEYS[0], 3)
    with pytest.raises(ParameterError, match="degree"):
        published.add(mine, square)
    for call in (published.add, published.multiply):
        with pytest.raises(ContextMismatchError):
            call(mine, foreign)
    with pytest.raises(Bottom):
        published.decrypt(key, foreign)


def test_a_key_shows_nothing_of_itself(key):
    assert repr(key) == str(key) == "<SessionKey>"
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            call(key)
    assert not key.is_factor(key.modulus)
    assert "value" not in repr(published.encrypt(key, 7))


def test_ciphertexts_are_fresh(key):
    assert published.encrypt(key, 9).value != published.encrypt(key, 9).value

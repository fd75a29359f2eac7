"""Encrypted distances are the plain ones; extrapolated counts are those of a real run."""

from __future__ import annotations

import numpy as np
import pytest

from bench import homomorphic
from ompd.errors import OverflowParameterError, ParameterError


def squared(instances, queries):
    return ((instances[np.newaxis] - queries[:, np.newaxis]) ** 2).sum(axis=2)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("rows", "features", "least", "most"),
    [
        (1, 1, 0, 2),
        (5, 3, -9, 10),
        (8200, 2, 1, 11),
        (20, 4, 0, 1 << 20),
        (9, 2, -(1 << 20), 1 << 20),
    ],
)
def test_bfv_distances(rng, rows, features, least, most, encrypted):
    """Fewer and more instances than slots, negative values, a column of zeros, both degrees."""
    pytest.importorskip("tenseal")
    instances = rng.integers(least, most, (rows, features))
    instances[:, -1] = 0
    queries = rng.integers(least, most, (2, features))
    queries[0] = most - 1
    distances, seconds, sent = homomorphic.bfv_scan(instances, queries, encrypted_table=encrypted)
    np.testing.assert_array_equal(distances, squared(instances, queries))
    assert seconds > 0
    assert sent > 50_000 * (features + 1)


def test_bfv_refuses_what_does_not_fit():
    pytest.importorskip("tenseal")
    with pytest.raises(OverflowParameterError):
        homomorphic.bfv_scan(np.array([[1 << 25]]), np.array([[0]]))
    with pytest.raises(OverflowParameterError):
        homomorphic.bfv_scan(np.array([[1 << 23]]), np.array([[0]]), encrypted_table=True)
    for bad in (np.array([[0.5]]), np.array([1]), np.zeros((0, 1), int), np.zeros((1, 2), int)):
        with pytest.raises(ParameterError):
            homomorphic.bfv_scan(np.array([[1]]), bad)


@pytest.fixture(scope="module")
def key():
    return homomorphic.PaillierKey(512)


def test_paillier_arithmetic(key, rng):
    modulus = int(key.modulus)
    for value in (0, 1, modulus - 1, int(rng.integers(1 << 62)) ** 7 % modulus):
        one, other = key.encrypt(value), key.encrypt(value)
        assert one != other
        assert key.decrypt(one) == key.decrypt(other) == value
        assert key.decrypt(key.add(one, key.encrypt(5))) == (value + 5) % modulus
        assert key.decrypt(key.multiply(one, -3)) == -3 * value % modulus
        assert key.decrypt(key.negate(one)) == -value % modulus
    assert repr(key) == "<PaillierKey of 512 bits>"


@pytest.mark.parametrize(("rows", "features"), [(1, 1), (4, 3)])
def test_paillier_distances_and_their_primitives(key, rng, rows, features):
    table = rng.integers(-50, 50, (rows, features))
    query = rng.integers(-50, 50, (1, features))
    hidden = [[key.encrypt(value) for value in row] for row in table.tolist()]
    key.used.clear()
    asked = [key.encrypt(value) for value in query[0].tolist()]
    found = homomorphic.secure_distances(key, hidden, asked)
    assert found == squared(table, query)[0].tolist()
    assert dict(key.used) == homomorphic.paillier_uses(rows, features)


def test_the_estimate_is_marked_and_grows_with_the_table():
    small, large = (homomorphic.paillier_estimate(rows, 2) for rows in (10, 1000))
    assert small["extrapolated"] is large["extrapolated"] is True
    assert large["seconds"] > 50 * small["seconds"]
    assert small["bytes"] == 512 * (2 + 40 + 10)
    assert set(small["primitives"]) == {"encrypt", "decrypt", "multiply", "add", "negate"}

"""EPDK gives the labels of a plain nearest-neighbour search under Spearman's distance."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from bench import epdk
from bench.transcript import Tally, plain, smallest
from ompd import datasets
from ompd.errors import NeighborsError, ParameterError


def naive_ranks(record):
    return [
        2 * sum(other < own for other in record) + sum(other == own for other in record) + 1
        for own in record
    ]


def naive_code(features, labels, record, k, order):
    """The class by exact signed squares of Spearman's correlation, in the server's order."""
    own = naive_ranks(record)
    n = len(own)
    keys = []
    for i in order:
        theirs = naive_ranks(features[i])
        mean = Fraction(n + 1)
        covariance = sum((a - mean) * (b - mean) for a, b in zip(own, theirs, strict=True))
        variance = sum((b - mean) ** 2 for b in theirs)
        keys.append(covariance * abs(covariance) / variance if variance else Fraction(0))
    nearest = sorted(range(len(order)), key=lambda place: (-keys[place], place))[:k]
    return int(np.bincount([labels[order[place]] for place in nearest]).argmax())


def check(features, labels, queries, k, seed=0):
    order = np.random.default_rng(seed).permutation(len(features))
    result = epdk.run(features, labels, queries, k=k, seed=seed)
    expected = [naive_code(features, labels, record, k, order) for record in queries]
    assert result.codes.tolist() == expected


@pytest.mark.parametrize(("rows", "features", "classes", "k"), [
    (1, 1, 1, 1), (1, 4, 2, 1), (7, 2, 2, 7), (60, 5, 2, 9), (40, 12, 3, 4), (50, 3, 300, 5),
])  # fmt: skip
def test_labels_equal_the_plain_search(rng, rows, features, classes, k):
    """Ties in ranks, in distances and in votes, records without spread, one feature."""
    table = rng.integers(0, 4, (rows, features)).astype(float)
    table[rows // 2 :: 5] = 1.0
    labels = rng.integers(0, classes, rows)
    queries = np.vstack([rng.normal(size=(6, features)), np.zeros((1, features)), table[:1]])
    check(table, labels, queries, k, seed=rows)


def test_labels_on_real_records():
    train, test = datasets.load("mm").split(test_per_class=100, seed=3)
    check(train.features, train.labels, test.features[::20], 11)


def test_ranks_agree_with_scipy(rng):
    stats = pytest.importorskip("scipy.stats")
    table = rng.integers(0, 5, (30, 7)).astype(float)
    np.testing.assert_array_equal(epdk.ranks(table), 2 * stats.rankdata(table, axis=1))


def test_every_masked_product_is_exact_and_reduced(rng):
    """More instances than one step holds; the user's quotients are the scalar products."""
    table = rng.normal(size=(5000, 3))
    user = epdk.User()
    server = epdk.Server(table, np.zeros(5000, np.int64), user.hello(), 0)
    own = epdk.ranks(rng.normal(size=(1, 3)))[0]
    query = user.ask(own.tolist())
    answer = server.answer(query.message)
    inverse = pow(int(query.scalar), -1, int(user._p))
    theirs = epdk.ranks(table[np.random.default_rng(0).permutation(5000)])
    for i, row in enumerate(theirs):
        masked = int.from_bytes(answer[64 * i : 64 * i + 64], "little")
        assert masked < user._p
        assert masked * inverse % user._p // user._alpha**2 == int(row @ own)


def test_quotients_next_to_an_integer_are_reduced_exactly():
    """Sums that are multiples of p, or one less: the floor of a float may be one off."""
    user = epdk.User()
    server = epdk.Server(np.zeros((1, 1)), np.zeros(1, np.int64), user.hello(), 0)
    p = user._p
    weights = [p - 1, epdk.gmpy2.mpz(1)]
    terms = np.array([[1.0, 60000.0, 60000.0, 3.0], [1.0, 60000.0, 59999.0, 2.0]])
    table = np.vstack([epdk._digits(weights), [[float(epdk.gmpy2.mpfr(w) / p) for w in weights]]])
    reduced = server._reduced(table @ terms, terms, weights)
    exact = [(int(a) * (p - 1) + int(b)) % p for a, b in terms.T]
    assert [int.from_bytes(row.tobytes(), "little") for row in reduced] == exact


def test_nothing_plain_travels_and_masks_are_fresh():
    user = epdk.User()
    one, other = user.ask([2, 4, 6]), user.ask([2, 4, 6])
    assert one.message != other.message
    assert not set(one.masked) & set(other.masked)
    assert "message" not in repr(one)


@pytest.mark.parametrize(("rows", "features", "k"), [(5, 2, 1), (30, 9, 9), (17, 5, 17)])
def test_counts_equal_the_formulas(rng, rows, features, k):
    table = rng.normal(size=(rows, features))
    labels = np.arange(rows) % 2
    result = epdk.run(table, labels, table[:2], k=k, count=True)
    assert result.operations == epdk.formulas(rows, features, k, 2)


def test_bytes_grow_with_the_table(rng):
    labels = np.arange(64) % 2
    table = rng.normal(size=(64, 4))
    small = epdk.run(table[:32], labels[:32], table[:1], k=1)
    large = epdk.run(table, labels, table[:1], k=1)
    assert small.bytes_sent == {"user_to_server": 64 * 6, "server_to_user": 32 * 70}
    assert large.bytes_sent["server_to_user"] == 64 * 70
    assert set(large.seconds) == {"setup", "user", "server", "read"}
    assert large.operations == {}


def test_wrong_input_is_refused(rng):
    table, labels = rng.normal(size=(6, 2)), np.arange(6) % 2
    with pytest.raises(NeighborsError):
        epdk.run(table, labels, table, k=7)
    for bad in (table[:, :1], table[:0], table * np.nan):
        with pytest.raises(ParameterError):
            epdk.run(table, labels, bad, k=1)
    with pytest.raises(ParameterError):
        epdk.run(table, labels[:5], table, k=1)
    with pytest.raises(ParameterError):
        epdk.run(np.zeros((6, 129)), labels, np.zeros((1, 129)), k=1)


def test_counting_numbers_report_what_they_did():
    tally = Tally()
    with tally.stage("a"):
        x = tally.number(7)
        assert plain((x + 1) * 3 - 2) == 22
        with tally.stage("b"):
            assert plain(abs(x * -1) % 4 // 2) == 1
        assert not x < 7
        assert plain(x.inverse(11)) == 8
    assert tally.operations == {
        "a": {"add": 2, "multiply": 1, "compare": 1, "invert": 1},
        "b": {"multiply": 1, "absolute": 1, "modulo": 1, "divide": 1},
    }


def test_smallest_keeps_the_first_among_equals():
    assert smallest([3, 1, 2, 1, 1], 4) == [1, 3, 4, 2]

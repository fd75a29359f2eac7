"""`classify` gives what conversion, search and vote give one after the other."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import NeighborsError, TableError
from ompd.search import LimbTable, ballots, classify, compute, tally, vote
from ompd.search.conversion import Modulus, convert
from tests.search.test_engine import KINDS, make

#: Interpreted kernels take a thousand times as long.
QUERIES = 4 if os.environ.get("NUMBA_DISABLE_JIT") else 40


def modulus_for(rng, width):
    """A large odd number; a blinded table need not lie below it for the search."""
    value = int.from_bytes(rng.bytes(8 * width), "little") | 1 << (64 * width - 1) | 1
    return Modulus.of(value, width)


def sent_for(rng, wanted):
    """Points and tokens; where the token is 1, points at the table's scale."""
    count, _, width = wanted.shape
    points = wanted.copy()
    points[:, :, -1] &= np.uint64(2**63 - 1)
    tokens = np.zeros((count, width), np.uint64)
    tokens[:, 0] = rng.integers(1, 3, count)
    return points, tokens


def check(table, points, tokens, modulus, k, threads=1):
    queries = convert(points, tokens, modulus)
    distances, rows = compute(table, queries, k)
    expected = vote(table, distances, rows)
    found = classify(table, points, tokens, modulus, k, threads=threads)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(classify(table, queries, None, None, k), expected)
    counted = [[list(table.labels[own]).count(c) for c in range(table.classes)] for own in rows]
    for sent in ((points, tokens, modulus), (queries, None, None)):
        found, votes = ballots(table, *sent, k, threads=threads)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(votes, counted)
    np.testing.assert_array_equal(tally(table, rows), counted)


@given(
    seed=st.integers(0, 2**32),
    rows=st.one_of(st.integers(1, 70), st.sampled_from([400, 1025, 1500])),
    coordinates=st.integers(1, 12),
    width=st.sampled_from([1, 2, 3, 8, 9]),
    kind=st.sampled_from(KINDS),
    far=st.booleans(),
    k=st.integers(1, 40),
    classes=st.sampled_from([1, 2, 3, 5, 20]),
    changed=st.booleans(),
    clear=st.booleans(),
    threads=st.integers(1, 3),
)
def test_classify(seed, rows, coordinates, width, kind, far, k, classes, changed, clear, threads):
    rng = np.random.default_rng(seed)
    limbs = make(rng, rows, coordinates, width, kind)
    # Random labels lead to close votes, those that depend on the place to clear ones.
    labels = rng.integers(0, classes, rows)
    if clear:
        labels = (limbs[:, 0, -1] >> np.uint64(32)).astype(np.int64) * classes >> 32
    table = LimbTable(limbs, labels, classes)
    if changed and rows > 8:
        more = limbs[rng.integers(0, rows, 40)]
        table = table.extended(more, labels[rng.integers(0, rows, 40)])
        table = table.without(rng.permutation(rows)[:5])
    modulus = modulus_for(rng, width)
    wanted = make(rng, QUERIES, coordinates, width, "random")
    if not far:
        wanted = limbs[rng.integers(0, rows, QUERIES)].copy()
        wanted[0, :, 0] ^= np.uint64(3)
    points, tokens = sent_for(rng, wanted)
    check(table, points, tokens, modulus, min(k, table.live), threads)


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_ties_larger_than_the_pool(classes):
    """More rows than the scan can hold share a head sum; each class keeps its nearest."""
    rng = np.random.default_rng(5)
    limbs = np.zeros((6000, 4, 8), np.uint64)
    limbs[:, :, 7] = rng.integers(0, 3, (6000, 4)).astype(np.uint64) << np.uint64(60)
    limbs[:, :, :3] = rng.integers(0, 2**63, (6000, 4, 3), dtype=np.uint64)
    for labels in (
        rng.integers(0, classes, 6000),
        (limbs[:, 0, 7] >> np.uint64(60)).astype(np.int64) % classes,
        np.where(rng.random(6000) < 0.01, 1, 0),
    ):
        table = LimbTable(limbs, labels.astype(np.int64), classes)
        modulus = modulus_for(rng, 8)
        points, tokens = sent_for(rng, limbs[:50].copy())
        for k in (1, 9, 30, 31):
            check(table, points, tokens, modulus, k)


def test_most_votes_read_no_limbs(monkeypatch):
    """Clear votes never come to an exact search."""
    rng = np.random.default_rng(6)
    limbs = make(rng, 3000, 5, 8, "random")
    limbs[:, :, 7] >>= np.uint64(1)
    labels = (limbs[:, 0, 7] >> np.uint64(62)).astype(np.int64)
    table = LimbTable(limbs, labels, 2)
    modulus = modulus_for(rng, 8)
    points, tokens = sent_for(rng, limbs[:300].copy())
    tokens[:, 0] = 1
    searched = []

    def counted(table, queries, k, **options):
        searched.append(len(queries))
        return compute(table, queries, k, **options)

    monkeypatch.setattr("ompd.search.verdicts.compute", counted)
    classify(table, points, tokens, modulus, 9)
    assert sum(searched) < 15
    assert ballots(table, points, tokens, modulus, 9)[1].sum() == 9 * len(points)
    assert sum(searched) < 40


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(7)
    table = LimbTable(make(rng, 9, 3, 2, "random"), np.zeros(9, dtype=np.int64), 1)
    modulus = modulus_for(rng, 2)
    points, tokens = np.zeros((4, 3, 2), np.uint64), np.zeros((4, 2), np.uint64)
    for wrong in (points[:, :2].copy(), points[:, :, :1].copy(), points.astype(np.int64)):
        with pytest.raises(TableError):
            classify(table, wrong, tokens, modulus, 1)
    for wrong in (tokens[:3], tokens[:, :1].copy(), tokens.astype(float)):
        with pytest.raises(TableError):
            classify(table, points, wrong, modulus, 1)
    for tokens_and_modulus in ((tokens, modulus_for(rng, 3)), (tokens, None), (None, modulus)):
        with pytest.raises(TableError):
            classify(table, points, *tokens_and_modulus, 1)
    for k in (0, 10, 1.0):
        with pytest.raises(NeighborsError):
            classify(table, points, tokens, modulus, k)
    assert classify(table, points[:0], tokens[:0], modulus, 1).tolist() == []

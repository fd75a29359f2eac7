"""Ring values: the neighbours found are those of the true vectors, with their exact distances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import LabelError, TableError
from ompd.search import compute, vote
from ompd.search.words import WordTable
from tests import naive


def ring(vectors, signs, shifts):
    """Values as a cloud sees them, from Python integers."""
    return np.array(
        [
            [(s * x + c) % 2**64 for x, s, c in zip(row, signs, shifts, strict=True)]
            for row in vectors
        ],
        dtype=np.uint64,
    ).reshape(len(vectors), len(signs))


def integers(limbs):
    return [sum(int(limb) << (64 * place) for place, limb in enumerate(row)) for row in limbs]


@st.composite
def blinded_tables(draw):
    m = draw(st.integers(1, 8))
    # Coordinates of one column, table and queries together, span less than 2**63.
    span = draw(st.sampled_from([0, 1, 3, 200, 2**32, 2**62 + 5, 2**63 - 1]))
    low = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=m, max_size=m))
    offset = st.one_of(st.integers(0, span), st.sampled_from([0, span]))
    row = st.lists(offset, min_size=m, max_size=m)
    rows, queries = (
        [[base + x for base, x in zip(low, vector, strict=True)] for vector in vectors]
        for vectors in (
            draw(st.lists(row, min_size=1, max_size=40)),
            draw(st.lists(row, min_size=1, max_size=4)),
        )
    )
    signs = draw(st.lists(st.sampled_from([1, -1]), min_size=m, max_size=m))
    shifts = draw(st.lists(st.integers(0, 2**64 - 1), min_size=m, max_size=m))
    return rows, queries, signs, shifts


@given(blinded_tables(), st.integers(1, 40))
def test_distances_rows_and_ties_are_those_of_the_true_vectors(drawn, k):
    rows, queries, signs, shifts = drawn
    k = min(k, len(rows))
    table = WordTable.of(
        ring(rows, signs, shifts), np.arange(len(rows), dtype=np.int64) % 3, classes=3
    )
    limbs = table.queries(ring(queries, signs, shifts))
    distances, found = compute(table.table, limbs, k)
    codes = vote(table.table, distances, found)
    for place, query in enumerate(queries):
        expected = naive.nearest(rows, query, k)
        pairs = list(zip(integers(distances[place]), found[place].tolist(), strict=True))
        assert pairs == expected
        assert codes[place] == naive.vote(expected, [row % 3 for row in range(len(rows))])


@given(blinded_tables())
def test_every_pairwise_distance_is_kept(drawn):
    rows, queries, signs, shifts = drawn
    table = WordTable.of(ring(rows, signs, shifts), np.zeros(len(rows), np.int64), 1)
    limbs = table.queries(ring(queries, signs, shifts))
    for place, query in enumerate(queries):
        seen = [
            naive.l1(row, limbs[place, :, 0].tolist())
            for row in table.table.limbs[:, :, 0].tolist()
        ]
        assert seen == [naive.l1(row, query) for row in rows]


@given(blinded_tables())
def test_the_origin_tells_little_more_than_how_far_a_column_reaches(drawn):
    rows, _, signs, shifts = drawn
    table = WordTable.of(ring(rows, signs, shifts), np.zeros(len(rows), np.int64), 1)
    for place, origin in enumerate(table.origin.tolist()):
        column = [row[place] for row in rows]
        span = max(column) - min(column)
        assert origin % (1 << max(0, span.bit_length() - 1)) == 0
        limbs = table.table.limbs[:, place, 0].tolist()
        assert min(limbs) >= 2**63 - span
        assert max(limbs) <= 2**63 + span


def test_columns_wider_than_half_the_ring_are_refused():
    labels = np.zeros(3, np.int64)
    widest = ring([[0], [5], [2**63 - 1]], [1], [2**64 - 7])
    assert len(WordTable.of(widest, labels, 1)) == 3
    for values in ([[0], [5], [2**63]], [[0], [2**62], [2**63 + 2**62]]):
        with pytest.raises(TableError, match="spans half of the ring"):
            WordTable.of(ring(values, [1], [9]), labels, 1)


def test_wrong_arrays_are_refused():
    labels = np.zeros(2, np.int64)
    good = np.ones((2, 3), np.uint64)
    for bad in (good.astype(np.int64), [[1, 2, 3]]):
        with pytest.raises(TableError, match="values: expected a uint64 array"):
            WordTable.of(bad, labels, 1)
    for bad in (good[0], good[:0], good[:, :0]):
        with pytest.raises(TableError, match="values: expected shape"):
            WordTable.of(bad, labels, 1)
    with pytest.raises(LabelError):
        WordTable.of(good, np.array([0, 1]), 1)
    table = WordTable.of(good, labels, 1)
    assert repr(table) == "<WordTable 2 x 3, 1 classes>"
    for bad in (good.astype(np.int64), [[1, 2, 3]]):
        with pytest.raises(TableError, match="values: expected a uint64 array"):
            table.queries(bad)
    for bad in (good[0], good[:, :2]):
        with pytest.raises(TableError, match=r"values: expected shape \(queries, 3\)"):
            table.queries(bad)
    assert table.queries(good[:0]).shape == (0, 3, 1)


def test_strided_values_are_taken(rng):
    values = rng.integers(0, 1000, (20, 6)).astype(np.uint64)
    table = WordTable.of(values[:, ::2], np.zeros(20, np.int64), 1)
    distances, rows = compute(table.table, table.queries(values[:, ::2]), 1)
    assert not distances.any()
    assert (values[rows[:, 0], ::2] == values[:, ::2]).all()

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.blind.limbs import to_limbs
from ompd.errors import LabelError, NeighborsError, TableError
from ompd.search import LimbTable, check_k, choose_k, compute, limbs_of, vote
from tests import naive


def as_vectors(rows, limbs):
    flat = to_limbs([value for row in rows for value in row], limbs)
    return np.ascontiguousarray(flat.reshape(len(rows), len(rows[0]), limbs))


def as_table(rows, limbs, labels=None, classes=1):
    labels = np.zeros(len(rows), dtype=np.int64) if labels is None else np.array(labels)
    return LimbTable(as_vectors(rows, limbs), labels, classes)


@st.composite
def tables_and_queries(draw):
    limbs = draw(st.integers(1, 17))
    m = draw(st.integers(1, 40))
    top = (1 << (64 * limbs)) - 1
    value = draw(
        st.sampled_from(
            [
                st.integers(0, top),
                st.integers(0, 3),
                st.integers(max(0, top - 3), top),
                st.integers(0, 3).map(lambda v: v << (64 * (limbs - 1))),
                st.sampled_from([0, top, 1 << 63, (1 << 64) - 1]),
            ]
        )
    )
    rows = st.lists(value, min_size=m, max_size=m)
    distinct = draw(st.lists(rows, min_size=1, max_size=6))
    table = draw(st.lists(st.sampled_from(distinct), min_size=1, max_size=20))
    queries = draw(st.lists(st.one_of(rows, st.sampled_from(distinct)), min_size=1, max_size=3))
    return limbs, table, queries, draw(st.integers(1, len(table)))


def as_pairs(distances, rows):
    return [
        list(zip(naive.from_limbs(d), r.tolist(), strict=True))
        for d, r in zip(distances, rows, strict=True)
    ]


@given(tables_and_queries())
def test_neighbours_equal_the_oracle(drawn):
    limbs, rows, queries, k = drawn
    found = compute(as_table(rows, limbs), as_vectors(queries, limbs), k)
    assert as_pairs(*found) == [naive.nearest(rows, query, k) for query in queries]


@given(tables_and_queries(), st.data())
def test_excluded_rows_are_left_out(drawn, data):
    limbs, rows, queries, k = drawn
    rows = [*rows, rows[0]]
    chosen = [data.draw(st.integers(-1, len(rows) - 1)) for _ in queries]
    found = compute(as_table(rows, limbs), as_vectors(queries, limbs), k, exclude=np.array(chosen))
    assert as_pairs(*found) == [
        naive.nearest(rows, query, k, exclude=row)
        for query, row in zip(queries, chosen, strict=True)
    ]


@given(tables_and_queries(), st.integers(1, 4), st.data())
def test_vote_equals_the_oracle(drawn, classes, data):
    limbs, rows, queries, k = drawn
    labels = [data.draw(st.integers(0, classes - 1)) for _ in rows]
    table = as_table(rows, limbs, labels, classes)
    distances, found = compute(table, as_vectors(queries, limbs), k)
    codes = vote(table, distances, found, k)
    assert codes.tolist() == [naive.vote(naive.nearest(rows, q, k), labels) for q in queries]


def test_vote_ties_go_to_the_smaller_sum_then_the_smaller_code():
    table = as_table([[0]] * 4, 1, [2, 1, 2, 1], 3)
    rows = np.array([[0, 1, 2, 3]])
    top = 2**64 - 1
    near = np.array([[[0, 1], [1, 0], [top, 1], [top, 1]]], dtype=np.uint64)
    assert vote(table, near, rows).tolist() == [1]
    swapped = np.ascontiguousarray(near[:, [1, 0, 2, 3]])
    assert vote(table, swapped, rows).tolist() == [2]
    assert vote(table, np.zeros_like(near), rows).tolist() == [1]


def test_vote_refuses_what_is_no_result_of_its_table():
    table = as_table([[1], [2], [3]], 1, [0, 1, 0], 2)
    distances, rows = compute(table, as_vectors([[1]], 1), 2)
    for k in (0, 3, 50):
        with pytest.raises(NeighborsError, match="from 1 to 2"):
            vote(table, distances, rows, k)
    for bad in (
        (distances[:, :1], rows),
        (distances, rows[:, :1]),
        (distances, rows + 2),
        (distances, rows - 2),
        (distances, rows.astype(np.int32)),
        (distances.astype(np.int64), rows),
        (distances, rows[0]),
    ):
        with pytest.raises(TableError):
            vote(table, *bad)


@given(st.integers(2, 14), st.integers(1, 3), st.randoms(use_true_random=False))
def test_choice_of_k_equals_the_oracle(count, classes, random):
    rows = [[random.randrange(8) << 60 for _ in range(2)] for _ in range(count)]
    labels = [random.randrange(classes) for _ in rows]
    table = as_table(rows, 2, labels, classes)
    candidates = (1, 3, 5, 7)
    assert choose_k(table, candidates=candidates) == naive.choose_k(rows, labels, candidates)


def test_choice_of_k_holds_out_a_part(rng, monkeypatch):
    rows = rng.integers(0, 100, (300, 2)).tolist()
    calls = []

    def search(table, queries, k, exclude):
        calls.append(len(queries))
        return compute(table, queries, k, exclude=exclude)

    monkeypatch.setattr("ompd.search.left_out.compute", search)
    choose_k(as_table(rows, 1, [i % 2 for i in range(300)], 2), held_out=50)
    assert calls == [50]
    with pytest.raises(NeighborsError, match="candidates"):
        choose_k(as_table(rows[:1], 1))


def test_prefix_sums_become_one_limb():
    sums = np.array([[0, 1], [2**62, 5]])
    table = LimbTable.from_prefix_sums(sums, np.array([0, 1]), 2)
    assert table.limbs.tolist() == [[[0], [1]], [[2**62], [5]]]
    distances, rows = compute(table, limbs_of(np.array([[2**62, 0]])), 2)
    assert as_pairs(distances, rows) == [[(5, 1), (2**62 + 1, 0)]]


@pytest.mark.parametrize("k", [0, -1, 2, 6, 5, True, 3.0, "3", None])
def test_k_must_be_odd_and_within_the_table(k):
    with pytest.raises(NeighborsError, match="k: expected an odd integer"):
        check_k(k, 4)
    assert check_k(3, 4) == 3
    assert check_k(np.int64(1), 1) == 1


def test_wrong_arrays_are_refused():
    table = as_table([[1, 2], [3, 4]], 2)
    good = as_vectors([[1, 2]], 2)
    for bad in (good.astype(np.int64), good[0], good[:, :, ::-1], good[:, :0], [[1, 2]]):
        with pytest.raises(TableError, match="queries"):
            compute(table, bad, 1)
    with pytest.raises(TableError, match="expected vectors of shape"):
        compute(table, as_vectors([[1, 2]], 3), 1)
    for k in (0, 3):
        with pytest.raises(NeighborsError, match="from 1 to 2"):
            compute(table, good, k)
    with pytest.raises(NeighborsError, match="from 1 to 1"):
        compute(table, good, 2, exclude=np.array([0]))
    for exclude in (np.array([0, 1]), np.array([2]), np.array([-2]), np.array([0.0])):
        with pytest.raises(TableError, match="exclude"):
            compute(table, good, 1, exclude=exclude)
    with pytest.raises(TableError, match="at least one instance"):
        LimbTable(np.empty((0, 2, 1), dtype=np.uint64), np.empty(0, dtype=np.int64), 1)
    for labels in (np.array([0]), np.array([0, 2]), np.array([-1, 0]), np.array([0.0, 1.0])):
        with pytest.raises(LabelError, match="labels"):
            LimbTable(table.limbs, labels, 2)
    with pytest.raises(LabelError, match="classes"):
        LimbTable(table.limbs, table.labels, 0)
    assert compute(table, good[:0], 1)[1].shape == (0, 1)


def test_table_does_not_show_its_values():
    assert repr(as_table([[7, 8]], 2)) == "<LimbTable 1 x 2 x 2 limbs, 1 classes>"

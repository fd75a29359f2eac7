"""A table in parts against Python integers, and against the engine on the whole table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import ParameterError, TableError
from ompd.search import LimbTable, ballots, compute
from ompd.search.parts import Boxes, Nearest, search_parts
from tests import naive
from tests.search.test_engine import KINDS, integers, make


class Parts:
    """Parts of a table as tables of their own."""

    def __init__(self, table, boxes):
        self.rows = [boxes.rows(part) for part in range(len(boxes))]
        nobody = np.zeros(len(table), np.int64)
        self.tables = [
            LimbTable(np.ascontiguousarray(table.limbs[rows]), nobody[: len(rows)], 1)
            if len(rows)
            else None
            for rows in self.rows
        ]
        self.queries = self.k = None
        self.rounds = []

    def ask(self, asked):
        self.rounds.append(asked)
        for part, numbers, within in asked:
            table, rows = self.tables[part], self.rows[part]
            assert table is not None, "an empty part is asked nothing"
            queries = np.ascontiguousarray(self.queries[numbers])
            distances, found = compute(table, queries, min(self.k, len(rows)), within=within)
            yield numbers, distances, np.where(found < 0, -1, rows[found])


def searched(table, count, queries, k):
    boxes = Boxes.cut(table.index, count)
    parts = Parts(table, boxes)
    parts.queries, parts.k = queries, k
    found = Nearest(len(queries), k, table.limbs.shape[2] + 1)
    asked = search_parts(boxes, parts.ask, queries, found)
    return found, asked, parts


@given(
    seed=st.integers(0, 2**32),
    rows=st.one_of(st.integers(1, 90), st.sampled_from([512, 700])),
    coordinates=st.integers(1, 6),
    width=st.integers(1, 9),
    kind=st.sampled_from(KINDS),
    far=st.booleans(),
    count=st.integers(1, 16),
    k=st.integers(1, 40),
)
def test_parts_find_what_the_whole_has(seed, rows, coordinates, width, kind, far, count, k):
    rng = np.random.default_rng(seed)
    limbs = make(rng, rows, coordinates, width, kind)
    labels = rng.integers(0, 3, rows)
    table = LimbTable(limbs, labels, 3)
    queries = limbs[rng.integers(0, rows, 4)].copy()
    queries[1, :, 0] ^= np.uint64(5)
    if far:
        queries[2], queries[3] = 0, 2**64 - 1
    k = min(k, rows)
    found, asked, parts = searched(table, count, queries, k)
    wanted = integers(limbs)
    for place, query in enumerate(integers(queries)):
        told = zip(naive.from_limbs(found.distances[place]), found.rows[place], strict=True)
        assert list(told) == naive.nearest(wanted, query, k)
    if k % 2:
        codes, votes = ballots(table, queries, None, None, k)
        merged = found.ballots(table.labels, 3)
        np.testing.assert_array_equal(merged[0], codes)
        np.testing.assert_array_equal(merged[1], votes)
    assert (asked >= 1).all()
    assert len(parts.rounds) <= 2


def test_a_tie_in_another_part_is_asked_for():
    # The query is as far from row 0, in another part, as from the K-th of its home.
    values = np.full((64, 1, 1), 1000, np.uint64)
    values[:32, 0, 0] = 10
    table = LimbTable(values, np.zeros(64, np.int64), 1)
    query = np.full((1, 1, 1), 505, np.uint64)
    boxes = Boxes.cut(table.index, 2)
    assert boxes.bounds(query).tolist() == [[495, 495]]
    found, asked, _ = searched(table, 2, query, 3)
    assert found.rows.tolist() == [[0, 1, 2]]
    assert asked.tolist() == [2]


def test_few_parts_are_asked():
    rng = np.random.default_rng(5)
    values = rng.integers(0, 2**20, (20_000, 3, 2), dtype=np.uint64)
    values[:, :, 1] = 0
    table = LimbTable(values, np.zeros(20_000, np.int64), 1)
    queries = values[:300] + np.array([7, 0], np.uint64)
    found, asked, _ = searched(table, 16, queries, 9)
    whole = compute(table, queries, 9)
    np.testing.assert_array_equal(found.distances, whole[0])
    np.testing.assert_array_equal(found.rows, whole[1])
    assert asked.mean() < 2.5


def test_rows_that_belong_to_no_part_count():
    values = np.arange(64, dtype=np.uint64).reshape(64, 1, 1)
    table = LimbTable(values, np.zeros(64, np.int64), 1)
    parts = Parts(table, Boxes.cut(table.index, 2))
    queries = parts.queries = np.full((1, 1, 1), 10, np.uint64)
    parts.k = 3
    found = Nearest(1, 3, 2)
    found.add(np.array([0]), np.array([[[1, 0], [1, 0]]], np.uint64), np.array([[99, 100]]))
    search_parts(Boxes.cut(table.index, 2), parts.ask, queries, found)
    assert found.rows.tolist() == [[10, 9, 11]]
    assert naive.from_limbs(found.distances[0]) == [0, 1, 1]


@pytest.mark.parametrize("rows", [1, 32, 33, 1024, 2100, 5000])
@pytest.mark.parametrize("count", [1, 3, 16])
def test_every_row_is_in_one_part(rows, count):
    table = LimbTable(
        np.arange(rows, dtype=np.uint64).reshape(rows, 1, 1) % np.uint64(97),
        np.zeros(rows, np.int64), 1,
    )  # fmt: skip
    boxes = Boxes.cut(table.index, count)
    parts = [boxes.rows(part) for part in range(count)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    assert max(map(len, parts)) <= max(1024, 2.2 * rows / count)


def test_the_order_of_parts_does_not_matter(rng):
    lines = [
        (np.array([0]), np.array([[[3, 0], [8, 1]]], np.uint64), np.array([[4, 2]])),
        (np.array([0]), np.array([[[3, 0], [9, 0]]], np.uint64), np.array([[1, -1]])),
        (np.array([0]), np.array([[[9, 0]]], np.uint64), np.array([[7]])),
    ]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        found = Nearest(1, 3, 2)
        for place in order:
            found.add(*lines[place])
        assert found.rows.tolist() == [[1, 4, 7]]


def test_what_does_not_fit_is_refused():
    table = LimbTable(np.zeros((40, 2, 1), np.uint64), np.zeros(40, np.int64), 1)
    with pytest.raises(ParameterError, match="parts"):
        Boxes.cut(table.index, 0)
    with pytest.raises(TableError, match="queries"):
        Boxes.cut(table.index, 2).bounds(np.zeros((1, 3, 1), np.uint64))

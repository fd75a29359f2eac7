"""Tables that grow and shrink: every version answers as one that is made of its rows at once."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.errors import LabelError, TableError
from ompd.search import LimbTable, MemoryRoom, WordTable, ballots, compute, tally, vote
from tests import naive

CLASSES = 3
SPANS = {"ties": 3, "wide": 2**61, "narrow": 2**20}


class Words:
    """A ring table, its rows given as true coordinates."""

    def __init__(self, rows, labels, rng):
        self.signs = rng.choice([-1, 1], len(rows[0])).astype(np.int64).view(np.uint64)
        self.shifts = rng.integers(0, 2**64, len(rows[0]), dtype=np.uint64)
        self.table = WordTable.of(self.ring(rows), labels, CLASSES)

    def ring(self, rows):
        return np.array(rows, np.int64).view(np.uint64) * self.signs + self.shifts

    @property
    def limbs(self):
        return self.table.table

    def extended(self, rows, labels):
        return self._next(self.table.extended(self.ring(rows), labels))

    def edited(self, table):
        return self._next(WordTable(table, self.table.origin))

    def _next(self, table):
        new = copy.copy(self)
        new.table = table
        return new

    def queries(self, rows):
        return self.table.queries(self.ring(rows))


class Limbs:
    """A limb table of two limbs per coordinate."""

    def __init__(self, rows, labels, rng):
        self.limbs = LimbTable(self.queries(rows), labels, CLASSES)

    def queries(self, rows):
        rows = np.array(rows, np.int64) + 2**62
        return np.stack([rows.view(np.uint64), rows.view(np.uint64) >> np.uint64(3)], axis=2)

    def extended(self, rows, labels):
        return self.edited(self.limbs.extended(self.queries(rows), labels))

    def edited(self, table):
        new = copy.copy(self)
        new.limbs = table
        return new


class Model:
    """The same as plain lists."""

    def __init__(self, rows, labels):
        self.rows = dict(enumerate(rows))
        self.labels = dict(enumerate(labels))

    def live(self):
        return sorted(self.rows)

    def copy(self):
        return copy.deepcopy(self)


def check(kind, table, model, queries, k):
    """Compare with the oracle, and with a table made at once of the rows that are left."""
    live = model.live()
    assert table.limbs.live == len(live)
    k = min(k, len(live))
    points = table.queries(queries)
    distances, rows = compute(table.limbs, points, k)
    codes = vote(table.limbs, distances, rows)
    same, votes = ballots(table.limbs, points, None, None, k)
    left = [model.rows[row] for row in live]
    labels = [model.labels[row] for row in live]
    whole = kind(left, np.array(labels), np.random.default_rng(5))
    again, places = compute(whole.limbs, whole.queries(queries), k)
    assert np.array_equal(again, distances)
    assert np.array_equal(np.array(live)[places], rows)
    assert np.array_equal(votes, tally(whole.limbs, places))
    assert codes.tolist() == same.tolist() == vote(whole.limbs, again, places).tolist()
    if kind is Words:
        for place, query in enumerate(queries):
            expected = naive.nearest(left, query, k)
            assert [int(each[0]) + (int(each[1]) << 64) for each in distances[place]] == [
                distance for distance, _ in expected
            ]
            assert rows[place].tolist() == [live[row] for _, row in expected]
            assert codes[place] == naive.vote(expected, labels)


@pytest.mark.parametrize("kind", [Words, Limbs])
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(2, 70),
    span=st.sampled_from(sorted(SPANS)),
    steps=st.lists(
        st.sampled_from(["add", "far", "remove", "relabel", "reindex", "erase", "none"]),
        min_size=1,
        max_size=8,
    ),
)
@settings(max_examples=40)
def test_every_version_answers_as_one_that_is_made_at_once(kind, seed, rows, span, steps):
    rng = np.random.default_rng(seed)
    coordinates = int(rng.integers(1, 6))

    def drawn(count, reach):
        return rng.integers(-reach, reach, (count, coordinates), endpoint=True).tolist()

    first = drawn(rows, SPANS[span])
    labels = rng.integers(0, CLASSES, rows)
    table, model = kind(first, labels, rng), Model(first, labels.tolist())
    versions = [(table, model)]
    for step in steps:
        model = model.copy()
        live = np.array(model.live())
        some = np.sort(rng.permutation(live)[: int(rng.integers(0, len(live)))])
        if step in ("add", "far"):
            more = drawn(int(rng.integers(1, 40)), SPANS[span] if step == "add" else 2**61)
            codes = rng.integers(0, CLASSES, len(more))
            known = len(table.limbs)
            table = table.extended(more, codes)
            model.rows |= dict(enumerate(more, known))
            model.labels |= dict(enumerate(codes.tolist(), known))
        elif step == "remove":
            table = table.edited(table.limbs.without(some))
            for row in some:
                del model.rows[row]
        elif step == "relabel":
            codes = rng.integers(0, CLASSES, len(some))
            table = table.edited(table.limbs.relabelled(some, codes))
            model.labels |= dict(zip(some.tolist(), codes.tolist(), strict=True))
        elif step == "reindex":
            table = table.edited(table.limbs.reindexed())
            assert table.limbs.scanned == 0
        elif step == "erase":
            # As a place of tables does it: versions that have the rows are over.
            room = table.limbs.room or MemoryRoom.copied(table.limbs.limbs)
            moved = table.limbs.moved(room, room.seen(len(table.limbs)))
            table = table.edited(moved.reindexed())
            room.will_erase(moved.removed)
            room.erase()
            assert not table.limbs.limbs[moved.removed].any()
            versions = []
        versions.append((table, model))
    queries = drawn(3, SPANS[span]) + drawn(1, 2**61) + [first[0]]
    for table, model in versions:
        check(kind, table, model, queries, int(rng.integers(1, 12)))


def small(rows=20):
    values = np.arange(rows * 4, dtype=np.uint64).reshape(rows, 4, 1)
    return LimbTable(values, np.zeros(rows, np.int64), 2)


def test_rows_are_added_without_a_copy_of_those_that_are_there():
    one = small().extended(small().limbs[:1], np.array([1]))
    two = one.extended(small().limbs[:2], np.array([1, 1]))
    assert np.shares_memory(one.limbs, two.limbs)
    assert not two.limbs.flags.writeable


def test_two_versions_of_one_table_do_not_share_what_they_add():
    one = small().extended(small().limbs[:1], np.array([1]))
    left = one.extended(small().limbs[:1] + np.uint64(100), np.array([1]))
    right = one.extended(small().limbs[:1] + np.uint64(200), np.array([0]))
    assert not np.shares_memory(left.limbs, right.limbs)
    assert left.limbs[21, 0, 0] == 100
    assert right.limbs[21, 0, 0] == 200
    assert np.array_equal(left.limbs[:21], right.limbs[:21])


def test_what_no_version_has_makes_room_again():
    one = small().extended(small().limbs[:1], np.array([1]))
    two = one.extended(small().limbs[:3], np.array([1, 1, 1]))
    whole = two.limbs
    one.room.cut(len(one))
    assert not whole[len(one) :].any()
    assert np.shares_memory(one.extended(small().limbs[:1], np.array([1])).limbs, one.limbs)


def test_a_full_room_is_left_for_a_larger_one():
    table = small().extended(small().limbs[:1], np.array([1]))
    many = np.zeros((3000, 4, 1), np.uint64)
    grown = table.extended(many, np.ones(3000, np.int64))
    assert not np.shares_memory(grown.limbs, table.limbs)
    assert np.array_equal(grown.limbs[:21], table.limbs)


def test_a_table_tells_when_to_index_it_anew():
    table = LimbTable(np.full((64, 2, 1), 7, np.uint64), np.zeros(64, np.int64), 1)
    near = table.extended(table.limbs[:9], np.zeros(9, np.int64))
    assert not near.is_slow
    many = near.extended(np.full((1100, 2, 1), 7, np.uint64), np.zeros(1100, np.int64))
    assert many.is_slow
    far = table.extended(table.limbs[:1] + np.uint64(1 << 60), np.zeros(1, np.int64))
    assert far.is_slow
    assert not many.reindexed().is_slow
    assert not far.reindexed().is_slow


def test_an_index_has_nothing_of_removed_rows():
    values = np.arange(64, dtype=np.uint64).reshape(64, 1, 1) << np.uint64(40)
    table = LimbTable(values, np.zeros(64, np.int64), 1)
    ends = table.without(np.array([0, 63])).reindexed().index
    inner = LimbTable(values[1:63].copy(), np.zeros(62, np.int64), 1).index
    assert (ends.bits, ends.floor.tolist()) == (inner.bits, inner.floor.tolist())
    assert set(ends.heads.tolist()) <= set(inner.heads.tolist())


def test_a_copy_has_no_room_of_another():
    table = small().extended(small().limbs[:1], np.array([1]))
    assert pickle.loads(pickle.dumps(table)).room is None


@pytest.mark.parametrize("rows", [[20], [-1], [3, 3], [0.5], [[1]]])
def test_impossible_rows_are_not_relabelled(rows):
    with pytest.raises(TableError, match="rows"):
        small().relabelled(np.array(rows), np.zeros(len(rows), np.int64))


def test_impossible_codes_are_refused():
    table = small()
    for codes in (np.array([2]), np.array([-1]), np.array([0, 1]), np.array([0.0])):
        with pytest.raises(LabelError):
            table.relabelled(np.array([3]), codes)
    gone = table.without(np.array([3]))
    with pytest.raises(TableError, match="still there"):
        gone.relabelled(np.array([3]), np.array([0]))
    assert table.relabelled(np.array([], np.int64), np.array([], np.int64)).labels.sum() == 0


def test_ring_rows_of_another_shape_are_refused():
    table = WordTable.of(np.ones((3, 2), np.uint64), np.zeros(3, np.int64), 1)
    for values in (
        np.ones((1, 3), np.uint64),
        np.ones((1, 2), np.int64),
        np.ones((0, 2), np.uint64),
    ):
        with pytest.raises(TableError):
            table.extended(values, np.zeros(len(values), np.int64))

"""The engine against Python integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import LabelError, TableError
from ompd.search import (
    LimbTable,
    ballots,
    build_index,
    classify,
    compute,
    limbs_of,
    nearest_hit_miss,
    tally,
    vote,
)
from tests import naive
from tests.marks import long


def integers(vectors):
    return [naive.from_limbs(row) for row in vectors]


def table_of(limbs):
    return LimbTable(limbs, np.zeros(len(limbs), dtype=np.int64), 1)


def check(table, queries, k, *, exclude=None, removed=(), threads=1):
    distances, rows = compute(table, queries, k, exclude=exclude, threads=threads)
    wanted = integers(table.limbs)
    for place, query in enumerate(integers(queries)):
        absent = set(removed)
        if exclude is not None:
            absent.add(int(exclude[place]))
        found = list(zip(naive.from_limbs(distances[place]), rows[place].tolist(), strict=True))
        pairs = sorted((naive.l1(r, query), i) for i, r in enumerate(wanted) if i not in absent)
        assert found == pairs[:k]


def make(rng, rows, coordinates, width, kind):
    """Tables of every kind that once could have gone wrong."""
    table = rng.integers(0, 2**64, (rows, coordinates, width), dtype=np.uint64)
    if kind == "small":
        table[:] = 0
        table[:, :, 0] = rng.integers(0, 5, (rows, coordinates))
    elif kind == "equal":
        table[:] = table[0]
    elif kind == "low":
        table[:, :, 1:] = table[0, :, 1:]
        table[:, :, 0] = rng.integers(0, 9, (rows, coordinates))
    elif kind == "outlier":
        table[:, :, 1:] = 0
        table[rng.integers(rows), rng.integers(coordinates), -1] = 2**64 - 1
    elif kind == "clusters":
        table = table[rng.integers(0, min(3, rows), rows)]
        table[:, :, 0] = rng.integers(0, 2**64, (rows, coordinates), dtype=np.uint64)
    elif kind == "duplicates":
        table = table[rng.integers(0, min(7, rows), rows)]
    elif kind == "high":
        table |= np.uint64(1 << 63)
    elif kind == "padded":
        table[:, : coordinates // 2, 1:] = 0
    return table


KINDS = ["random", "small", "equal", "low", "outlier", "clusters", "duplicates", "high", "padded"]


@given(
    seed=st.integers(0, 2**32),
    rows=st.one_of(st.integers(1, 70), st.sampled_from([1023, 1024, 1025, 1100])),
    coordinates=st.integers(1, 42),
    width=st.integers(1, 17),
    kind=st.sampled_from(KINDS),
    far=st.sampled_from(["table", "random", "ends"]),
    k=st.integers(1, 60),
    threads=st.integers(1, 3),
)
def test_exact(seed, rows, coordinates, width, kind, far, k, threads):
    rng = np.random.default_rng(seed)
    table = make(rng, rows, coordinates, width, kind)
    if far == "table":
        queries = table[rng.integers(0, rows, 3)].copy()
        queries[0, :, 0] ^= np.uint64(3)
    else:
        queries = make(rng, 3, coordinates, width, "random")
        if far == "ends":
            queries[0] = 0
            queries[1] = 2**64 - 1
    check(table_of(table), queries, min(k, rows), threads=threads)


@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 60),
    appended=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    width=st.integers(1, 9),
    kind=st.sampled_from(KINDS),
    new=st.sampled_from(["same", "random", "ends"]),
    gone=st.integers(0, 30),
)
def test_append_remove_exclude(seed, rows, appended, width, kind, new, gone):
    rng = np.random.default_rng(seed)
    total = rows + sum(appended)
    table = make(rng, total, 5, width, kind)
    if new != "same":
        table[rows:] = make(rng, total - rows, 5, width, "random")
    if new == "ends":
        table[-1] = 2**64 - 1
        table[rows] = 0
    grown = table_of(table[:rows].copy())
    known = rows
    removed = []
    for count in appended:
        gone_now = np.setdiff1d(rng.permutation(known)[: gone // 3], removed)
        if len(gone_now) < grown.live:
            grown = grown.without(gone_now)
            removed += gone_now.tolist()
        grown = grown.extended(table[known : known + count], np.zeros(count, dtype=np.int64))
        known += count
    live = np.setdiff1d(np.arange(known), removed)
    assert grown.live == len(live)
    assert np.flatnonzero(grown.index.is_removed(np.arange(known))).tolist() == sorted(removed)
    queries = table[rng.integers(0, known, 4)].copy()
    queries[1] = make(rng, 1, 5, width, "random")[0]
    exclude = np.array([live[0], -1, live[-1], live[len(live) // 2]])
    k = int(rng.integers(1, len(live)))
    for searched in (grown, grown.reindexed()):
        check(searched, queries, k, exclude=exclude, removed=removed)
        check(searched, queries, len(live), removed=removed)


def test_impossible_changes_are_refused():
    table = table_of(np.arange(12, dtype=np.uint64).reshape(4, 3, 1))
    for rows in ([4], [-1], [1, 1], [0.5], [[1]], [0, 1, 2, 3]):
        with pytest.raises(TableError, match="rows"):
            table.without(np.array(rows))
    with pytest.raises(TableError, match="still there"):
        table.without(np.array([1])).without(np.array([1]))
    label = np.zeros(1, dtype=np.int64)
    for limbs in (table.limbs[:1, :2].copy(), table.limbs[:0], np.zeros((1, 3, 2), np.uint64)):
        with pytest.raises(TableError):
            table.extended(limbs, label)
    for labels in (label + 1, np.zeros(2, dtype=np.int64), label.astype(float)):
        with pytest.raises(LabelError):
            table.extended(table.limbs[:1], labels)


@pytest.mark.parametrize("kind", ["duplicates", "small", "random", *long("equal", "clusters")])
def test_neither_threads_nor_batches_change_the_answer(kind):
    rng = np.random.default_rng(7)
    limbs = make(rng, 40_000, 3, 2, kind)
    near = limbs[rng.integers(0, len(limbs), 1090)]
    queries = np.concatenate([near, make(rng, 10, 3, 2, "random")])
    table = table_of(limbs)
    one = compute(table, queries, 40, threads=1)
    for threads in (2, 3):
        two = compute(table, queries, 40, threads=threads)
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    for place in (0, 50, 1099):
        single = compute(table, queries[place : place + 1], 40)
        np.testing.assert_array_equal(one[0][place], single[0][0])
        np.testing.assert_array_equal(one[1][place], single[1][0])
    check(table, queries[[0, 1099]], 40)


def test_the_index_does_not_depend_on_threads():
    limbs = make(np.random.default_rng(7), 40_000, 3, 2, "random")
    one, two = (build_index(limbs, threads=threads) for threads in (1, 2))
    for name in ("heads", "rows", "leaf_boxes", "group_boxes", "base", "kept"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_many_neighbours():
    rng = np.random.default_rng(3)
    table = make(rng, 3000, 4, 8, "random")
    queries = make(rng, 2, 4, 8, "random")
    check(table_of(table), queries, 3000)
    check(table_of(table), queries, 333)


def test_progress_ends_at_one():
    seen = []
    table = make(np.random.default_rng(0), 200, 3, 8, "random")
    build_index(table, progress=seen.append)
    assert seen[-1] == 1.0
    assert seen == sorted(seen)


def hits_and_misses(table, labels, classes):
    """For every row the nearest other row of each class; -1 if there is none."""
    result = []
    for place, row in enumerate(table):
        by_class = [
            [
                (naive.l1(row, other), i)
                for i, other in enumerate(table)
                if i != place and labels[i] == code
            ]
            for code in range(classes)
        ]
        result.append([min(pairs)[1] if pairs else -1 for pairs in by_class])
    return result


@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([2, 4, 100, 2**64]),
)
def test_hits_and_misses(seed, rows, columns, classes, top):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, top, (rows, columns, 1), dtype=np.uint64)
    labels = rng.integers(0, classes, rows)
    found = nearest_hit_miss(table, labels, classes)
    assert found.tolist() == hits_and_misses(integers(table), labels, classes)
    some = rng.integers(0, rows, rng.integers(0, rows + 1))
    assert nearest_hit_miss(table, labels, classes, rows=some).tolist() == found[some].tolist()


def test_hits_and_misses_of_some_rows_cost_no_search_for_others(monkeypatch):
    # One report of progress per part of the search.
    monkeypatch.setattr("ompd.search.relief._PART", 10)
    table = make(np.random.default_rng(0), 200, 3, 1, "random")
    labels = np.arange(200) % 2
    counts = {}
    for number in (200, 30):
        shares = []
        rows = np.arange(number) * 7 % 200
        nearest_hit_miss(table, labels, 2, rows=rows, progress=shares.append)
        assert shares == sorted(shares)
        assert shares[-1] == 1
        counts[number] = len(shares)
    # What they have in common is the index.
    assert counts[200] - counts[30] == 2 * (20 - 3)


@pytest.mark.parametrize("rows", [[200], [-1], [[0]], [0.0]])
def test_hits_and_misses_are_found_for_rows_that_exist(rows):
    table = make(np.random.default_rng(0), 200, 3, 1, "random")
    with pytest.raises(TableError, match="rows: expected"):
        nearest_hit_miss(table, np.arange(200) % 2, 2, rows=np.array(rows))


#: Rows at both ends of 24 bits, so that heads leave out the 8 low ones.
ENDS = (0, (1 << 24) - 1)
SHIFT = 8


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_the_bound_of_head_sums_is_reached(columns):
    # The query stands at the start of a head. One row is almost a head farther from it in every
    # coordinate than their heads are, the other almost a head nearer but for one coordinate:
    # 2 * columns - 1 heads farther, and nearer all the same.
    last = (1 << SHIFT) - 1
    query = 1000 << SHIFT
    far = [query + (5 << SHIFT) + last] * columns
    near = [query - (7 << SHIFT) + last] * columns
    near[0] += 1 << SHIFT
    rows = [[end] * columns for end in ENDS] * 20 + [far, near]
    labels = np.zeros(len(rows), dtype=np.int64)
    labels[-1] = 1
    values = np.array(rows, dtype=np.int64)
    table = LimbTable(limbs_of(values), labels, 2)
    assert table.index.bits == SHIFT
    asked = limbs_of(np.full((1, columns), query, dtype=np.int64))
    check(table, asked, 1)
    assert compute(table, asked, 1)[1].tolist() == [[len(rows) - 1]]
    assert classify(table, asked, None, None, 1).tolist() == [1]


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_rows_at_the_edges_of_their_heads(columns, rng):
    # Low bits all 0 or all 1: sums of heads are wrong by as much as they can be.
    def edges(rows):
        heads = rng.integers(1000, 1006, (rows, columns)) << SHIFT
        return heads + rng.choice([0, (1 << SHIFT) - 1], (rows, columns))

    for _ in range(20):
        ends = np.repeat(ENDS, 100)[:, np.newaxis].repeat(columns, axis=1)
        values = np.concatenate([ends, edges(12)])
        labels = rng.integers(0, 3, len(values))
        table = LimbTable(limbs_of(values), labels, 3)
        assert table.index.bits == SHIFT
        queries = limbs_of(edges(8))
        for k in (1, 3, 4):
            check(table, queries, k)
            rows = compute(table, queries, k)[1]
            codes, votes = ballots(table, queries, None, None, k)
            assert (votes == tally(table, rows)).all()
            assert (codes == vote(table, *compute(table, queries, k))).all()


@given(
    seed=st.integers(0, 2**32),
    rows=st.one_of(st.integers(1, 70), st.just(1100)),
    coordinates=st.integers(1, 12),
    width=st.integers(1, 9),
    kind=st.sampled_from(KINDS),
    far=st.booleans(),
    k=st.integers(1, 40),
    bound=st.sampled_from(["zero", "least", "rank", "below", "random", "all"]),
)
def test_within(seed, rows, coordinates, width, kind, far, k, bound):
    rng = np.random.default_rng(seed)
    limbs = make(rng, rows, coordinates, width, kind)
    table = table_of(limbs)
    if rows > 3:
        # Some are scanned, some are gone.
        more = make(rng, 5, coordinates, width, "random")
        table = table.extended(more, np.zeros(5, dtype=np.int64)).without(np.array([0, rows + 1]))
        limbs = table.limbs
    gone = set(table.removed.tolist())
    queries = limbs[rng.integers(0, len(limbs), 3)].copy()
    if far:
        queries[0], queries[1] = 0, 2**64 - 1
    wanted = integers(limbs)
    ranked = [
        sorted((naive.l1(row, query), i) for i, row in enumerate(wanted) if i not in gone)
        for query in integers(queries)
    ]
    bounds = []
    for pairs in ranked:
        rank = pairs[int(rng.integers(len(pairs)))][0]
        bounds.append(
            {
                "zero": 0,
                "least": pairs[0][0],
                "rank": rank,
                "below": max(0, rank - 1),
                "random": int(rng.integers(0, 2**63)) << int(rng.integers(0, 64 * width)),
                "all": 2 ** (64 * width + 64) - 1,
            }[bound]
        )
    within = np.array(
        [[each >> 64 * i & 2**64 - 1 for i in range(width + 1)] for each in bounds], np.uint64
    )
    k = min(k, table.live)
    distances, found = compute(table, queries, k, within=within)
    for place, pairs in enumerate(ranked):
        near = [pair for pair in pairs if pair[0] <= bounds[place]][:k]
        told = list(zip(naive.from_limbs(distances[place]), found[place].tolist(), strict=True))
        assert told[: len(near)] == near
        assert set(told[len(near) :]) <= {(2 ** (64 * width + 64) - 1, -1)}


def test_impossible_bounds_are_refused():
    table = table_of(np.arange(12, dtype=np.uint64).reshape(4, 3, 1))
    for within in (
        np.zeros((1, 1), np.uint64),
        np.zeros((2, 2), np.uint64),
        np.zeros((1, 2)),
        np.zeros((1, 4), np.uint64)[:, ::2],
    ):
        with pytest.raises(TableError, match="within"):
            compute(table, table.limbs[:1], 1, within=within)

"""Rows removed, relabelled and added: as if the table had been sealed so."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.errors import (
    BucketAuthError,
    FeatureError,
    FramingError,
    HintStateError,
    LabelError,
    NeighborsError,
    OverflowParameterError,
    ParameterError,
)
from ompd.sealed import Layout, SealedTable
from ompd.sealed.edits import Change
from tests.faults import EVERY, torture
from tests.sealed.conftest import SMALL, clustered, find

NONE = np.empty(0, dtype=np.int64)
PARTS = Layout(64, 384, 4, 16, 10, 8)


def change(
    removed=NONE, relabelled=NONE, codes=NONE, first=0, vectors=None, labels=NONE, columns=4
):
    vectors = np.empty((0, columns), np.int64) if vectors is None else np.asarray(vectors)
    arrays = (np.asarray(each, dtype=np.int64) for each in (removed, relabelled, codes))
    return Change(*arrays, first, vectors, np.asarray(labels, dtype=np.int64))


class Model:
    """A table with the rows it should have, by number."""

    def __init__(self, vectors, labels, k, layout):
        self.k, self.layout = k, layout
        self.edition = 0
        self.build(vectors, labels)

    def build(self, vectors, labels):
        self.table, self.stored = SealedTable.build(
            vectors, labels, 3, self.k, layout=self.layout, changes=True
        )
        self.rows = {
            number: (row, int(label))
            for number, (row, label) in enumerate(zip(vectors.tolist(), labels, strict=True))
        }
        self.next = len(vectors)

    def edit(self, removed=(), relabelled=(), codes=(), added=(), labels=()):
        columns = len(self.table._secret.code.bases)
        vectors = np.array(added, dtype=np.int64).reshape(-1, columns)
        self.edition += 1
        made = change(sorted(removed), relabelled, codes, self.next, vectors, labels)
        self.table.edit(made, self.edition)
        for number in removed:
            del self.rows[number]
        for number, code in zip(relabelled, codes, strict=True):
            self.rows[number] = (self.rows[number][0], code)
        for row, label in zip(vectors.tolist(), labels, strict=True):
            self.rows[self.next] = (row, label)
            self.next += 1

    def naive(self, query):
        ranked = sorted(
            (sum(abs(a - int(b)) for a, b in zip(row, query, strict=True)), number, label)
            for number, (row, label) in self.rows.items()
        )[: self.k]
        return [list(each) for each in zip(*ranked, strict=True)]

    def check(self, queries):
        whole = self.table.read(self.table.ask_whole(queries), self.stored.tobytes())
        sure = 0
        for index, query in enumerate(queries):
            one = slice(index, index + 1)
            if self.table.remaining < 1:
                self.table.renew(self.stored)
            found = find(self.table, self.stored, queries[one])
            distances, rows, labels = self.naive(query)
            for each in (found, type(found)(*(part[one] for part in whole))):
                assert each.answered[0]
                got = each.distances[0].tolist()
                assert all(a >= b for a, b in zip(got, distances, strict=True))
                # Whatever is found is there, and is what it is said to be.
                for number, label, far in zip(each.rows[0], each.labels[0], got, strict=True):
                    row, code = self.rows[int(number)]
                    assert label == code
                    assert far == sum(abs(a - int(b)) for a, b in zip(row, query, strict=True))
                if each.certified[0]:
                    assert got == distances
                    sure += 1
                if not self.table.layout.fetches:
                    assert each.certified[0]
                    assert each.rows[0].tolist() == rows
                    assert each.labels[0].tolist() == labels
        return sure / (2 * len(queries))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_changes_equal_a_table_that_was_sealed_so(tmp_path_factory, data):
    parts = data.draw(st.booleans(), "parts")
    count = data.draw(st.integers(64 if parts else 6, 200 if parts else 40))
    columns = data.draw(st.integers(1, 3))
    top = data.draw(st.sampled_from([1, 9, 1 << 16, 1 << 40, (1 << 61) - 1]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 20)))
    draw = lambda rows: rng.integers(0, top, (rows, columns), endpoint=True)  # noqa: E731
    k = data.draw(st.sampled_from([1, 3, 5]))
    model = Model(draw(count), rng.integers(0, 3, count), k, PARTS if parts else None)
    folder = None
    for _ in range(data.draw(st.integers(1, 6))):
        what = data.draw(st.sampled_from(["edit", "edit", "remove", "save", "kill", "merge"]))
        there = rng.permutation(list(model.rows))
        if what == "edit":
            removed = there[: rng.integers(0, max(1, min(6, len(there) - k)))].tolist()
            relabelled = np.sort(there[len(removed) : len(removed) + rng.integers(0, 5)])
            more = int(rng.integers(0, 8))
            model.edit(
                removed, relabelled.tolist(), rng.integers(0, 3, len(relabelled)).tolist(),
                draw(more).tolist(), rng.integers(0, 3, more).tolist(),
            )  # fmt: skip
        elif what == "remove" and len(there) > 2 * k:
            model.edit(there[: len(there) // 3].tolist())
        elif what == "save" and folder is None:
            folder = tmp_path_factory.mktemp("table") / "here"
            model.table.save(folder)
        elif what == "kill" and folder is not None:
            # Nothing is closed, as in a process that ended.
            model.table._folder._lock.release()
            model.table = SealedTable.open(folder)
            assert model.table.edits.edition == model.edition
        elif what == "merge":
            vectors, labels = model.table.merged(model.stored)
            left = [model.rows[number] for number in sorted(model.rows)]
            assert vectors.tolist() == [row for row, _ in left]
            assert labels.tolist() == [label for _, label in left]
            if not parts or len(left) >= 64:
                model.table.close()
                model.build(vectors, labels)
                folder, model.edition = None, 0
        asked = draw(3)
        asked[0] = model.rows[int(next(iter(model.rows)))][0]
        model.check(asked)
    model.table.close()


def test_proofs_stay_right_and_frequent(rng):
    vectors, labels = clustered(rng, 600)
    model = Model(vectors, labels, 5, SMALL)
    model.edit(rng.permutation(600)[:150].tolist())
    more = vectors[rng.integers(0, 600, 60)] + rng.integers(0, 1 << 12, (60, 4))
    model.edit(added=more.tolist(), labels=rng.integers(0, 3, 60).tolist())
    queries = vectors[rng.integers(0, 600, 40)] + rng.integers(0, 1 << 12, (40, 4))
    assert model.check(queries) > 0.8


def test_a_query_is_answered_as_the_table_was_when_it_was_asked(small):
    _, _, vectors, labels = small
    table, stored = SealedTable.build(vectors, labels, 3, 5, layout=SMALL, changes=True)
    before = table.ask_whole(vectors[:1])
    request, hinted = table.ask(vectors[:1])
    table.edit(change([0]), 1)
    from ompd.sealed import answer

    for ticket, sent in ((before, stored.tobytes()), (hinted, answer(stored, SMALL, request))):
        assert table.read(ticket, sent).rows[0, 0] == 0
    assert 0 not in find(table, stored, vectors[:1]).rows[0]


def test_equal_distances_come_in_order_of_row_among_both():
    vectors = np.full((40, 2), 7)
    table, stored = SealedTable.build(vectors, np.zeros(40, np.int64), 3, 5, changes=True)
    made = change([0, 2], [3], [2], 40, np.full((3, 2), 7), [1, 1, 1], columns=2)
    table.edit(made, 1)
    found = find(table, stored, np.array([[7, 7]]))
    assert found.rows[0].tolist() == [1, 3, 4, 5, 6]
    assert found.labels[0].tolist() == [0, 2, 0, 0, 0]
    table.edit(change(np.arange(4, 40), columns=2), 2)
    found = find(table, stored, np.array([[7, 7]]))
    assert found.rows[0].tolist() == [1, 3, 40, 41, 42]
    # Later labels hold, also of rows that were added; numbers are not used again.
    table.edit(change([41], [1, 42], [1, 0], 43, np.full((1, 2), 7), [2], columns=2), 3)
    found = find(table, stored, np.array([[7, 7]]))
    assert found.rows[0].tolist() == [1, 3, 40, 42, 43]
    assert found.labels[0].tolist() == [1, 2, 1, 0, 2]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"removed": [3, 3]}, ParameterError),
        ({"removed": [4, 3]}, ParameterError),
        ({"removed": [-1]}, ParameterError),
        ({"removed": [600]}, ParameterError),
        ({"removed": [7]}, ParameterError),
        ({"removed": [0, 1, 2, *range(8, 600)]}, NeighborsError),
        ({"relabelled": [7], "codes": [1]}, ParameterError),
        ({"relabelled": [600], "codes": [1]}, ParameterError),
        ({"relabelled": [8], "codes": [3]}, LabelError),
        ({"removed": [8], "relabelled": [8], "codes": [1]}, ParameterError),
        ({"first": 600, "vectors": np.ones((1, 4), np.int64), "labels": [1]}, ParameterError),
        ({"first": 601, "vectors": np.ones((1, 4), np.int64), "labels": [3]}, LabelError),
        ({"first": 601, "vectors": np.ones((1, 3), np.int64), "labels": [1]}, FeatureError),
        ({"first": 601, "vectors": -np.ones((1, 4), np.int64), "labels": [1]}, FeatureError),
        ({"first": 601, "vectors": np.full((1, 4), 1 << 62), "labels": [1]}, FeatureError),
        (
            {"first": 601, "vectors": np.full((1, 4), (1 << 62) - 1), "labels": [1]},
            OverflowParameterError,
        ),
    ],
)
def test_what_is_not_possible_changes_nothing(small, wrong, error):
    _, _, vectors, labels = small
    table, _ = SealedTable.build(vectors, labels, 3, 5, layout=SMALL, changes=True)
    table.edit(change([7], first=600, vectors=vectors[:1], labels=[1]), 1)
    table.edit(change([600]), 2)
    table.edit(change(first=600, vectors=vectors[:1], labels=[1]), 3)
    table.edit(change([600]), 4)
    edits = table.edits
    if wrong.get("first") == 600:
        table.edit(change(first=600, vectors=vectors[:1], labels=[1]), 5)
        edits = table.edits
    with pytest.raises(error):
        table.edit(change(**wrong), 6)
    assert table.edits is edits


def test_tables_are_built_for_removal(small):
    table, _, vectors, _ = small
    with pytest.raises(ParameterError, match="without changes"):
        table.edit(change([3]), 1)
    table.edit(change(first=600, vectors=vectors[:1], labels=[1]), 1)
    assert table.edits.rows.tolist() == [600]
    assert repr(table.edits) == "<Edits of 1 rows>"


@pytest.mark.parametrize("how", ["flipped", "short"])
def test_a_damaged_table_is_not_merged(small, how):
    table, stored, _, _ = small
    sent = bytearray(stored.tobytes())
    if how == "flipped":
        sent[5] ^= 1
    else:
        del sent[-1:]
    with pytest.raises(BucketAuthError if how == "flipped" else FramingError):
        table.merged(bytes(sent))


def saved(small, folder):
    _, _, vectors, labels = small
    table, stored = SealedTable.build(vectors, labels, 3, 5, layout=SMALL, changes=True)
    table.save(folder)
    return table, stored


def test_changes_outlive_the_process_and_ranks_leave_memory(small, tmp_path):
    vectors = small[2]
    table, stored = saved(small, tmp_path / "table")
    assert table._ranks is None
    made = change([1, 5], [2], [1], 600, vectors[:2] + 1, [2, 0])
    table.edit(made, 9)
    table.close()
    with pytest.raises(HintStateError):
        table.edit(change([3]), 10)
    with SealedTable.open(tmp_path / "table") as table:
        assert table.edits.edition == 9
        assert table.edits.removed.tolist() == [1, 5]
        table.edit(change([600, 7][::-1]), 10)
        rows = find(table, stored, vectors[:1]).rows[0]
        assert not {1, 5, 7, 600} & set(rows.tolist())
    (tmp_path / "table" / "ranks").unlink()
    with SealedTable.open(tmp_path / "table") as table:
        with pytest.raises(HintStateError, match="ranks"):
            table.edit(change([9]), 11)
        table.edit(change(first=700, vectors=vectors[:1], labels=[1]), 11)
        assert table.edits.rows.tolist() == [601, 700]


@pytest.mark.parametrize("name", ["edits", "ranks"])
def test_damage_and_mix_ups_are_noticed(small, tmp_path, name):
    for number in range(2):
        table, _ = saved(small, tmp_path / str(number))
        table.edit(change([1 + number]), 9)
        table.close()
    one, two = (tmp_path / str(number) / name for number in range(2))
    whole, other = one.read_bytes(), two.read_bytes()
    for content in (other, whole[:-1], whole[:-3] + b"\xff" * 3):
        one.write_bytes(content)
        with pytest.raises(HintStateError):
            SealedTable.open(tmp_path / "0").edit(change([8]), 10)
    one.write_bytes(whole)
    with SealedTable.open(tmp_path / "0") as table:
        table.edit(change([8]), 10)


@EVERY
@pytest.mark.parametrize("full", [False, True])
def test_a_change_that_cannot_be_written_is_not_in_effect(small, tmp_path, full, every):
    def prepare(at):
        table, _ = saved(small, tmp_path / str(at))
        table.edit(change([1]), 1)
        return tmp_path / str(at), table

    def check(world, refused):
        folder, table = world
        assert table.edits.removed.tolist() == ([1] if refused else [1, 2])
        table._folder._lock.release()
        with SealedTable.open(folder) as again:
            assert again.edits.removed.tolist() == table.edits.removed.tolist()
            again.edit(change([3]), 3)
            assert again.edits.edition == 3

    failed = torture(
        prepare, lambda world: world[1].edit(change([2]), 2), check, full=full, every=every
    )
    assert "write" in failed


def die_at_write(number):
    """Let this process be killed when it writes for the so manieth time, from 0."""
    real = os.write
    left = iter(range(number, -1, -1))

    def write(*given):
        if not next(left):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given)

    os.write = write


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_kill_leaves_the_changes_before_or_after(small, tmp_path):
    table, _ = saved(small, tmp_path / "table")
    table.close()
    seen = set()
    for turn in range(12):
        child = os.fork()
        if child == 0:
            die_at_write(turn)
            table = SealedTable.open(tmp_path / "table")
            edition = table.edits.edition
            table.edit(change([edition]), edition + 1)
            os._exit(7)
        os.waitpid(child, 0)
        with SealedTable.open(tmp_path / "table") as table:
            assert table.edits.removed.tolist() == list(range(table.edits.edition))
            seen.add(table.edits.edition)
    assert len(seen) > 1

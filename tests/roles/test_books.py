"""Books on disk: what was remembered is there again, whatever ended the process."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd import Feature, Schema
from ompd.errors import StoreError
from ompd.roles.book_files import BookFiles
from ompd.roles.books import Book, Delta, Step
from ompd.roles.drift import Summary
from ompd.roles.rows import Rows
from ompd.wire import Kind
from tests.faults import EVERY, torture

TABLE, OTHER = b"t" * 16, b"o" * 16
SCHEMA = Schema((Feature("a", "numeric", 0, 9), Feature("b", "nominal", 0, 3)), ("no", "yes"))


def book_of(rows=5, named=True):
    ids = np.array([f"id{row}" for row in range(rows)]) if named else None
    labels = np.arange(rows) % 2
    features = np.stack([np.arange(rows) % 10.0, np.arange(rows) % 4.0], axis=1)
    names = [f"{row:032x}" for row in range(rows)]
    return Book(Rows.of(ids, labels, names), Summary.of(SCHEMA, features, labels))


def delta_of(book, rng):
    """Any change of a book."""
    live = np.flatnonzero(~book.rows.gone)
    some = np.sort(rng.permutation(live)[: rng.integers(0, len(live) + 1)])
    cut = len(some) // 2
    count = int(rng.integers(0, 4))
    features = np.stack([rng.uniform(0, 9, count), rng.integers(0, 4, count) * 1.0], axis=1)
    counts, outside = book.summary.counted(SCHEMA, features)
    return Delta(
        some[:cut],
        some[cut:],
        rng.integers(0, 2, len(some) - cut),
        rng.integers(0, 2**63, (count, 2)).astype(np.uint64),
        rng.integers(0, 2, count).astype(np.uint16),
        rng.integers(0, 2**63, count).astype(np.uint64),
        counts,
        outside,
    )


def step_of(base, version, delta, kind=Kind.PAPER_CHANGE):
    return Step(base, version, delta, int(kind), b"body of %d" % version, b"n" * 16)


def same(one, two):
    assert one.rows.key == two.rows.key
    for part in ("rows", "summary"):
        for field in dataclasses.fields(getattr(one, part)):
            left, right = (getattr(getattr(each, part), field.name) for each in (one, two))
            assert np.array_equal(left, right), field.name


def files_in(path):
    return sorted(each.name for each in path.iterdir())


@given(st.integers(0, 2**32), st.integers(0, 40), st.data())
def test_a_book_is_what_its_changes_made_of_it(tmp_path_factory, seed, count, data):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("books")
    files = BookFiles(path)
    books = {1: book_of()}
    files.save(TABLE, 1, books[1])
    files.save(OTHER, 1, book_of(3))
    now = asked = 1
    for _ in range(count):
        version = now + int(rng.integers(1, 3))
        delta = delta_of(books[now], rng)
        files.add(TABLE, step_of(now, version, delta))
        books[version] = books[now].after(delta)
        now = version
        if data.draw(st.booleans()):
            asked = now
            files.settle(TABLE, asked, books[asked])
    again = BookFiles(path)
    found, waiting = again.load(TABLE, asked)
    same(found, books[asked])
    for step in waiting:
        found = found.after(step.delta)
        same(found, books[step.version])
        assert step.body == b"body of %d" % step.version
    assert (waiting[-1].version if waiting else asked) == now
    assert len([name for name in files_in(path) if TABLE.hex() in name]) <= 20 + len(waiting)
    assert again.load(OTHER, 1)[0].rows.live == 3


def test_changes_that_came_to_nothing_are_not_taken_up(tmp_path):
    rng = np.random.default_rng(1)
    files = BookFiles(tmp_path / "records")
    book = book_of()
    files.save(TABLE, 4, book)
    lost = step_of(4, 5, delta_of(book, rng))
    kept = step_of(4, 6, delta_of(book, rng))
    files.add(TABLE, lost)
    files.add(TABLE, kept)
    assert [step.version for step in files.load(TABLE, 4)[1]] == [6]
    files.give_up(TABLE, kept)
    assert [step.version for step in files.load(TABLE, 4)[1]] == [5]


def test_a_withdrawal_waits_whatever_it_was_said_after(tmp_path):
    rng = np.random.default_rng(1)
    files = BookFiles(tmp_path / "records")
    book = book_of()
    files.save(TABLE, 4, book)
    files.add(TABLE, step_of(4, 5, delta_of(book, rng)))
    files.add(TABLE, step_of(3, 6, delta_of(book, rng), Kind.WITHDRAWAL))
    assert [step.version for step in files.load(TABLE, 4)[1]] == [6]


def test_what_is_gone_or_damaged_is_told(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "records"
    files = BookFiles(path)
    with pytest.raises(StoreError, match="missing"):
        files.load(TABLE, 1)
    book = book_of()
    files.save(TABLE, 1, book)
    step = step_of(1, 2, delta_of(book, rng))
    files.add(TABLE, step)
    with pytest.raises(StoreError, match="missing"):
        files.load(TABLE, 3)
    for name in files_in(path):
        whole = (path / name).read_bytes()
        for place in rng.integers(0, len(whole), 25):
            bad = bytearray(whole)
            bad[place] ^= 1
            (path / name).write_bytes(bad)
            with pytest.raises(StoreError):
                files.load(TABLE, 2)
        (path / name).write_bytes(whole[:-1])
        with pytest.raises(StoreError):
            files.load(TABLE, 2)
        (path / name).write_bytes(whole)
    # The one for the other.
    shutil.copy(path / files_in(path)[0], path / f"rows-{TABLE.hex()}-1")
    with pytest.raises(StoreError):
        files.load(TABLE, 2)


def test_files_are_for_the_owner_only(tmp_path):
    files = BookFiles(tmp_path / "records")
    book = book_of()
    files.save(TABLE, 1, book)
    files.add(TABLE, step_of(1, 2, delta_of(book, np.random.default_rng(1))))
    for path in (tmp_path / "records").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "records").stat().st_mode & 0o777 == 0o700


def test_tables_that_nobody_has_are_removed(tmp_path):
    files = BookFiles(tmp_path / "records")
    for table in (TABLE, OTHER):
        files.save(table, 1, book_of())
    files.keep_only({OTHER})
    assert files_in(tmp_path / "records") == [f"rows-{OTHER.hex()}-1"]
    files.drop(OTHER)
    assert files_in(tmp_path / "records") == []


@EVERY
@pytest.mark.parametrize("full", [False, True])
def test_a_failing_disk_leaves_the_old_book_or_the_new_one(tmp_path, full, every):
    rng = np.random.default_rng(1)
    book = book_of()
    delta = delta_of(book, rng)
    after = book.after(delta)

    def prepare(at):
        files = BookFiles(tmp_path / f"records-{at}-{full}")
        files.save(TABLE, 1, book)
        return tmp_path / f"records-{at}-{full}"

    def act(path):
        files = BookFiles(path)
        files.add(TABLE, step_of(1, 2, delta))
        files.settle(TABLE, 2, after)

    def check(path, refused):
        files = BookFiles(path)
        found, waiting = files.load(TABLE, 1)
        same(found, book)
        if not refused:
            same(files.load(TABLE, 2)[0], after)
        if waiting:
            same(book.after(waiting[0].delta), after)

    assert {"write", "fsync", "replace"} - (set() if not full else {"fsync", "replace"}) <= torture(
        prepare, act, check, full=full, every=every
    )


def test_a_table_is_forgotten_with_its_versions(tmp_path):
    files = BookFiles(tmp_path / "records")
    for version in (1, 2, 5):
        files.save(TABLE, version, book_of())
    files.drop(TABLE, below=5)
    assert files_in(tmp_path / "records") == [f"rows-{TABLE.hex()}-5"]

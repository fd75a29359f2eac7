"""Jobs that ask for the whole table: what they find, and the windows that begin with them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.errors import BucketAuthError, FeatureError, FramingError, HintStateError
from ompd.sealed import Layout, SealedTable, answer, whole_is_cheaper
from ompd.sealed.hints import Hints
from ompd.sealed.window import Window
from tests.sealed.conftest import SMALL, assert_exact, clustered, find, naive


def whole(table, ciphertexts, queries, *, renews=False, threads=None):
    ticket = table.ask_whole(queries, renews=renews)
    assert ticket.answer_bytes == table.layout.table_bytes
    return table.read(ticket, ciphertexts.tobytes(), threads=threads)


def assert_same(one, other):
    for name, found, expected in zip(one._fields, one, other, strict=True):
        assert found.tolist() == expected.tolist(), name


@settings(max_examples=25)
@given(st.data())
def test_what_is_found_is_what_hints_would_have_brought(data):
    columns = data.draw(st.integers(1, 3))
    rows = data.draw(st.integers(64, 300))
    top = data.draw(st.sampled_from([1, 9, 1 << 16, 1 << 40, (1 << 61) - 1]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 20)))
    vectors = rng.integers(0, top, (rows, columns), endpoint=True)
    labels = rng.integers(0, 3, rows)
    k = data.draw(st.sampled_from([1, 3, 5]))
    # Slots for all that one query may want of a chunk; a hint with any bucket but for 2**-28.
    layout = Layout(64, 384, 4, 16, data.draw(st.integers(5, 12)), 8)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, k, layout=layout)
    queries = rng.integers(0, top, (5, columns), endpoint=True)
    queries[0] = vectors[0]
    found = whole(table, ciphertexts, queries)
    assert table.remaining == 8
    for index in range(5):
        one = slice(index, index + 1)
        assert_same(find(table, ciphertexts, queries[one]), type(found)(*(a[one] for a in found)))
        expected = naive(vectors, labels, queries[index], k)
        if found.certified[index]:
            assert found.distances[index].tolist() == expected[0]
        assert found.distances[index].tolist() >= expected[0]
        table.renew(ciphertexts)


def test_many_queries_are_found_alike_in_any_parts_and_threads(rng, monkeypatch):
    monkeypatch.setattr("ompd.sealed.whole._BLOCK", 33)
    monkeypatch.setattr("ompd.sealed.whole._SMALLEST_PART", 4)
    vectors, labels = clustered(rng, 600)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=SMALL)
    queries = vectors[rng.integers(0, 600, 250)] + rng.integers(0, 1 << 12, (250, 4))
    together = whole(table, ciphertexts, queries)
    for threads in (2, 3):
        assert_same(whole(table, ciphertexts, queries, threads=threads), together)
    for index in np.flatnonzero(together.certified)[:40]:
        assert_exact(together, index, naive(vectors, labels, queries[index], 5))
    assert together.certified.sum() > 200
    assert table.remaining == SMALL.window


def test_a_table_without_windows_answers_many(rng):
    vectors, labels = clustered(rng, 300)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5)
    assert not table.layout.fetches
    queries = vectors[rng.integers(0, 300, 60)] + rng.integers(0, 1 << 12, (60, 4))
    found = whole(table, ciphertexts, queries, threads=2)
    assert found.certified.all()
    for index in range(60):
        assert_exact(found, index, naive(vectors, labels, queries[index], 5))
    assert not table.due


def test_a_window_begins_with_the_table_that_comes(small):
    table, ciphertexts, vectors, _ = small
    find(table, ciphertexts, vectors[: SMALL.window])
    assert table.remaining == 0
    assert table.due
    assert table.prefers_whole(1)
    before = table._window.hints
    whole(table, ciphertexts, vectors[:1], renews=True)
    assert table.remaining == SMALL.window
    assert table._window.hints is not before
    assert not table.due
    found = find(table, ciphertexts, vectors[:1])
    assert found.answered.all()


def test_one_download_makes_one_window_and_a_late_one_none(small, monkeypatch):
    table, ciphertexts, vectors, _ = small
    find(table, ciphertexts, vectors[: SMALL.window])
    one, two = (table.ask_whole(vectors[:1], renews=True) for _ in range(2))
    made = []
    build = Hints.build.__func__
    monkeypatch.setattr(Hints, "build", classmethod(lambda *given: made.append(1) or build(*given)))
    table.read(two, ciphertexts.tobytes())
    find(table, ciphertexts, vectors[:3])
    table.read(one, ciphertexts.tobytes())
    assert made == [1]
    assert table.remaining == SMALL.window - 3
    with pytest.raises(HintStateError):
        table.read(one, ciphertexts.tobytes())


def test_a_table_that_was_asked_for_its_rows_begins_no_window(small):
    table, ciphertexts, vectors, _ = small
    find(table, ciphertexts, vectors[:4])
    hints = table._window.hints
    whole(table, ciphertexts, vectors[:50])
    assert table._window.hints is hints
    assert table.remaining == SMALL.window - 4
    # But where the window is about to end, it does.
    find(table, ciphertexts, vectors[: table.remaining - 1])
    whole(table, ciphertexts, vectors[:50])
    assert table.remaining == SMALL.window


@pytest.mark.parametrize("how", ["flipped", "swapped", "short"])
def test_a_damaged_table_answers_nothing_and_begins_nothing(small, how):
    table, ciphertexts, vectors, _ = small
    find(table, ciphertexts, vectors[: SMALL.window])
    ticket = table.ask_whole(vectors[:2], renews=True)
    assert not table.due
    sent = bytearray(ciphertexts.tobytes())
    size = SMALL.bucket_bytes
    if how == "flipped":
        sent[-1] ^= 1
    elif how == "swapped":
        sent[:size], sent[size : 2 * size] = sent[size : 2 * size], sent[:size]
    else:
        del sent[-1:]
    with pytest.raises(FramingError if how == "short" else BucketAuthError):
        table.read(ticket, bytes(sent))
    assert table.remaining == 0
    # Another is due at once.
    assert table.due
    with pytest.raises(HintStateError):
        table.read(ticket, ciphertexts.tobytes())
    whole(table, ciphertexts, vectors[:1], renews=True)
    assert table.remaining == SMALL.window


def test_a_table_that_does_not_come_is_due_again(small):
    table, ciphertexts, vectors, _ = small
    find(table, ciphertexts, vectors[: SMALL.window])
    ticket = table.ask_whole(vectors[:1], renews=True)
    assert not table.due
    table.abandon(ticket)
    assert table.due
    with pytest.raises(FeatureError):
        table.ask_whole(vectors[:0], renews=True)
    assert table.due


def test_closing_meanwhile_costs_the_window_and_not_the_answer(small, monkeypatch):
    table, ciphertexts, vectors, labels = small
    ticket = table.ask_whole(vectors[:1], renews=True)
    build = Hints.build.__func__

    def closing(*given):
        table.close()
        return build(*given)

    monkeypatch.setattr(Hints, "build", classmethod(closing))
    found = table.read(ticket, ciphertexts.tobytes())
    assert found.distances[0].tolist() == naive(vectors, labels, vectors[0], 5)[0]


def test_queries_go_on_while_the_next_window_is_made(small, monkeypatch):
    table, ciphertexts, vectors, labels = small
    find(table, ciphertexts, vectors[:10])
    begun, go_on = threading.Event(), threading.Event()
    build = Hints.build.__func__

    def slow(*given):
        begun.set()
        assert go_on.wait(60)
        return build(*given)

    monkeypatch.setattr(Hints, "build", classmethod(slow))
    renewal = threading.Thread(target=table.renew, args=(ciphertexts,))
    renewal.start()
    assert begun.wait(60)
    found = find(table, ciphertexts, vectors[:2])
    assert found.distances[0].tolist() == naive(vectors, labels, vectors[0], 5)[0]
    assert table.remaining == 0
    assert whole(table, ciphertexts, vectors[:3]).answered.all()
    go_on.set()
    renewal.join()
    assert table.remaining == SMALL.window


def test_the_whole_table_is_chosen_where_it_is_no_more_bytes():
    # A query is its request, its answer and a 40th of the table.
    layout = Layout(64, 64, 4, 16, 10, 40)
    each = layout.request_bytes + layout.answer_bytes + layout.table_bytes / 40
    most = int(layout.table_bytes / each)
    assert 0 < most < 10
    assert not whole_is_cheaper(layout, most)
    assert whole_is_cheaper(layout, most + 1)
    assert whole_is_cheaper(Layout(1, 64, 1, 1, 0, 0), 1)


def test_the_whole_table_is_chosen_for_more_than_a_quarter_of_a_window():
    layout = Layout(1 << 20, 64, 1024, 1024, 2, 400)
    assert not whole_is_cheaper(layout, 100)
    assert whole_is_cheaper(layout, 101)


def test_people_who_are_alike_are_served_in_one_job(rng):
    # Their queries want the same buckets, whose chunks would run out of hints.
    vectors = rng.integers(0, 1000, (20_000, 4))
    labels = rng.integers(0, 2, 20_000)
    table, ciphertexts = SealedTable.build(vectors, labels, 2, 9)
    middle = np.abs(vectors - 500).sum(axis=1).argsort()
    most = table.layout.window // 4
    assert most >= 4
    request, ticket = table.ask(np.ascontiguousarray(vectors[middle[:most]]), [1] * most)
    found = table.read(ticket, answer(ciphertexts, table.layout, request))
    assert found.answered.all()
    assert found.certified.mean() > 0.9


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("ompd.sealed.window.monotonic", made)
    return made


class Unread:
    """Hints as far as a window looks at them."""

    spent = False
    unread = 0


def test_a_new_window_is_due_before_the_old_one_ends(clock):
    window = Window(Layout(4096, 64, 64, 64, 6, 800), Unread(), 800)
    assert not window.due
    window.left = 101
    assert not window.due
    # An eighth is the least, whoever asks.
    window.left = 100
    assert window.due
    # 120 queries in a minute are 20 in ten seconds, and 30 more for a table that takes five.
    window.left = 800
    window.count(6000)
    assert window._recent == 6000
    window.left = 401
    assert not window.due
    window.left = 400
    assert window.due
    window.await_table()
    assert not window.due
    clock.now += 20
    assert not window.due
    clock.now += 20
    assert window.due
    window.await_table()
    clock.now += 5
    window.begin(Unread())
    assert window.left == 800
    assert not window.due
    # An hour later nobody asks any more.
    clock.now += 3600
    window.left = 101
    assert not window.due


def test_what_is_left_serves_those_who_come_while_the_table_is_on_its_way(clock):
    window = Window(Layout(4096, 64, 64, 64, 6, 800), Unread(), 800)
    assert not whole_is_cheaper(window._layout, 1)
    window.left = 10
    assert not window.prefers_whole(1)
    window.hints.unread = 2
    assert window.prefers_whole(3)
    assert not window.prefers_whole(2)
    window.await_table()
    assert not window.prefers_whole(10)
    assert window.prefers_whole(11)
    window.give_up_table()
    window.left = 201
    window.hints.unread = 1000
    assert not window.prefers_whole(1)
    assert window.prefers_whole(2)

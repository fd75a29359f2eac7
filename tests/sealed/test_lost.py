"""Answers that are lost, wrong, late or out of order, and what becomes of the hints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd._kernels.retrieval import ASKED, DEAD, READY, WAITING, resolve
from ompd.errors import FramingError, HintStateError, WindowExhaustedError
from ompd.sealed import Layout, SealedTable, answer
from ompd.sealed.offsets import vectors_of
from tests.sealed.conftest import SMALL, assert_exact, clustered, find, naive


def assert_hints_fit(table, ciphertexts):
    """Every parity and every bucket that is known is what the table says."""
    hints, layout = table._window.hints, table.layout
    words = ciphertexts.view(np.uint64)
    vectors = vectors_of(hints._stream, hints.numbers, hints.patched, layout)
    for hint, vector in enumerate(vectors):
        places = vector.astype(int) + np.arange(layout.chunks) * layout.chunk
        missing = hints.waits[hint]
        assert missing < 0 or missing in places
        there = places[places != missing]
        assert (np.bitwise_xor.reduce(words[there], axis=0) == hints.parities[hint]).all()
    for slot in np.flatnonzero(hints.states == READY):
        assert (hints.contents[slot] == words[hints.places[slot]]).all()
    for slot in np.flatnonzero(hints.states == WAITING):
        both = words[hints.places[slot]] ^ words[hints.sources[slot]]
        assert (hints.contents[slot] == both).all()


def test_what_was_given_up_is_asked_for_again_twice(small):
    table, ciphertexts, vectors, _ = small
    _, ticket = table.ask(vectors[:1])
    table.abandon(ticket)
    with pytest.raises(HintStateError):
        table.read(ticket, bytes(SMALL.answer_bytes))
    owed = sorted(ticket.asked.records[:, 1].tolist())
    request, again = table.ask(vectors[:1])
    # The query's own wants come first, and its uniform vectors serve those that others will want.
    assert again.asked.records[: len(owed), 1].tolist() == ticket.asked.records[:, 1].tolist()
    assert not set(again.asked.records[:, 0].tolist()) & set(ticket.asked.records[:, 0].tolist())
    table.read(again, answer(ciphertexts, SMALL, request))
    asked = again.asked.records[:, 1].tolist()
    while table.remaining:
        request, other = table.ask(vectors[:1])
        table.read(other, answer(ciphertexts, SMALL, request))
        asked += other.asked.records[:, 1].tolist()
    assert [asked.count(place) for place in owed] == [2] * len(owed)
    assert all(asked.count(place) == 1 for place in set(asked) - set(owed))


@pytest.mark.parametrize("change", [lambda reply: reply[:-1], lambda reply: b"", lambda r: r + r])
def test_an_answer_of_another_length_counts_as_lost(small, change):
    table, ciphertexts, vectors, _ = small
    request, ticket = table.ask(vectors[:1])
    reply = answer(ciphertexts, SMALL, request)
    with pytest.raises(FramingError):
        table.read(ticket, change(reply))
    with pytest.raises(HintStateError):
        table.read(ticket, reply)
    assert not (table._window.hints.states == ASKED).any()
    _, again = table.ask(vectors[:1])
    wanted = ticket.asked.records[:, 1].tolist()
    assert again.asked.records[: len(wanted), 1].tolist() == wanted


def test_whole_tables_read_an_answer_once_too(rng):
    vectors, labels = clustered(rng, 50)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5)
    _, ticket = table.ask(vectors[:1])
    with pytest.raises(FramingError):
        table.read(ticket, b"")
    with pytest.raises(HintStateError):
        table.read(ticket, ciphertexts.tobytes())


def test_only_wrong_answers_are_asked_for_again(small):
    table, ciphertexts, vectors, _ = small
    request, ticket = table.ask(vectors[:1])
    sent = bytearray(answer(ciphertexts, SMALL, request))
    sent[SMALL.bucket_bytes] ^= 1
    assert not table.read(ticket, bytes(sent)).answered.any()
    places = ticket.asked.records[:, 1].tolist()
    hints = table._window.hints
    assert hints.owed.tolist() == [2 * (place == places[1]) for place in range(SMALL.buckets)]
    assert [hints.heard[place] for place in places] == [1, 0, *[1] * (len(places) - 2)]
    _, again = table.ask(vectors[:1])
    asked = again.asked.records[:, 1].tolist()
    assert asked[0] == places[1]
    assert asked.count(places[1]) == 2
    assert set(asked) & set(places) == {places[1]}


def test_tickets_that_want_nothing_leave_the_waiting_ones_alone(rng, monkeypatch):
    monkeypatch.setattr("ompd.sealed.hints.COVER", 16)
    vectors = np.cumsum(rng.integers(0, 1000, (2048, 4)), axis=1)
    # So few hints that later requests hang on the first one.
    layout = Layout(128, 512, 16, 8, 8, 60)
    table, ciphertexts = SealedTable.build(vectors, rng.integers(0, 2, 2048), 2, 3, layout=layout)
    hanging = 0
    while not hanging:
        table.renew(ciphertexts)
        first = table.ask(vectors[:12])
        for row in range(100, 1700, 100):
            request, ticket = table.ask(vectors[row : row + 1])
            table.read(ticket, answer(ciphertexts, layout, request))
        hints = table._window.hints
        hanging = int((hints.states == WAITING).sum())
    empty = 0
    for row in range(100, 1700, 100):
        request, ticket = table.ask(vectors[row : row + 1])
        empty += not len(ticket.asked.records)
        table.read(ticket, answer(ciphertexts, layout, request))
    assert empty
    assert (hints.states == WAITING).sum() >= hanging
    table.read(first[1], answer(ciphertexts, layout, first[0]))
    # All that is known is right, and nothing was given up.
    assert not (hints.states == DEAD).any()
    assert not (hints.states == WAITING).any()
    assert_hints_fit(table, ciphertexts)


@settings(max_examples=30)
@given(st.data())
def test_hints_fit_whatever_comes_and_in_whatever_order(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 20)))
    vectors, labels = clustered(rng, 300)
    layout = Layout(64, 192, 16, 4, 8, 1 << 12)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 3, layout=layout)
    asked = []
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(["ask", "ask", "read", "read", "wrong", "lose"]))
        if step == "ask" or not asked:
            asked.append(table.ask(vectors[rng.integers(0, 300, 1 + rng.integers(2))]))
            continue
        request, ticket = asked.pop(data.draw(st.integers(0, len(asked) - 1)))
        sent = bytearray(answer(ciphertexts, layout, request))
        if step == "lose":
            table.abandon(ticket)
            continue
        if step == "wrong":
            for position in rng.integers(0, len(sent), 3):
                sent[position] ^= 4
        table.read(ticket, bytes(sent))
        assert_hints_fit(table, ciphertexts)


def test_a_bucket_gives_what_it_hangs_on_and_the_other_way_round():
    """Slot 0 has 5 + 6, slot 1 has 6 + 7, slot 2 has 5 + 5; then 7 comes, in slot 3."""
    buckets = np.arange(1, 9, dtype=np.uint64)[:, np.newaxis] ** np.uint64(7)
    places = np.array([5, 6, 5, 7], dtype=np.int32)
    sources = np.array([6, 7, 5, -1], dtype=np.int32)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        # Also if what is asked for is known and what it hangs on is not.
        for turned in (False, True):
            have, missing = (sources.copy(), places.copy()) if turned else (places, sources)
            have, missing = have.copy(), missing.copy()
            have[3], missing[3] = 7, -1
            contents = buckets[places] ^ np.where(sources[:, None] < 0, 0, buckets[sources])
            contents = contents.astype(np.uint64)
            slot_of = np.full(8, -1, dtype=np.int32)
            slot_of[have] = np.arange(4)
            states = np.full(4, WAITING, dtype=np.uint8)
            resolve(np.array(order[:-1]), contents, states, have, missing, slot_of)
            resolve(np.array(order), contents, states, have, missing, slot_of)
            assert (states != WAITING).all()
            assert (contents == buckets[have]).all()
            assert sorted(set(have.tolist())) == [5, 6, 7]


def test_lost_answers_cost_little(rng):
    vectors, labels = clustered(rng, 20000)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5)
    share = {}
    for lost in (0, 1):
        exact = served = 0
        for _ in range(6):
            table.renew(ciphertexts)
            queries = vectors[rng.integers(0, len(vectors), table.remaining)] + 500
            for query in queries[:lost]:
                table.abandon(table.ask(query[np.newaxis])[1])
            for query in queries[lost:]:
                found = find(table, ciphertexts, query[np.newaxis])
                nearest = np.sort(np.abs(vectors - query).sum(axis=1))[:5]
                exact += found.distances[0].tolist() == nearest.tolist()
                served += 1
            assert table.remaining == 0
        share[lost] = exact / served
    assert share[0] > 0.99
    assert share[1] > 0.97


def share_exact(table, ciphertexts, vectors, rng, lost):
    """Whole windows in flight at once, read in the order of asking; a share of them is lost."""
    exact = served = 0
    for _ in range(4):
        table.renew(ciphertexts)
        queries = vectors[rng.integers(0, len(vectors), table.remaining)] + 500
        asked = [(query, *table.ask(query[np.newaxis])) for query in queries]
        for query, request, ticket in asked:
            if rng.random() < lost:
                table.abandon(ticket)
                continue
            found = table.read(ticket, answer(ciphertexts, table.layout, request))
            assert found.answered.all()
            nearest = np.sort(np.abs(vectors - query).sum(axis=1))[:5]
            right = found.distances[0].tolist() == nearest.tolist()
            assert right or not found.certified[0]
            exact += right
            served += 1
    assert served > 150
    return exact / served


def test_windows_in_flight_are_exact_and_losses_among_them_cost_little(rng):
    vectors, labels = clustered(rng, 12000)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5)
    assert share_exact(table, ciphertexts, vectors, rng, 0) > 0.99
    assert share_exact(table, ciphertexts, vectors, rng, 0.05) > 0.96


def test_members_of_one_request_do_not_hang_on_one_another(rng):
    """Whichever member's answer is spoilt, others that asked the same are answered."""
    vectors, labels = clustered(rng, 3000)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 3)
    asked = vectors[[7] * 6]
    missing = 0
    for spoilt in range(6):
        table.renew(ciphertexts)
        request, ticket = table.ask(asked, [1] * 6)
        sent = bytearray(answer(ciphertexts, table.layout, request))
        size = table.layout.answer_bytes
        sent[spoilt * size : (spoilt + 1) * size] = bytes(size)
        found = table.read(ticket, bytes(sent))
        others = [member for member in range(6) if member != spoilt]
        assert not found.answered[spoilt]
        assert found.answered[others].all()
        missing += 5 - int(found.certified[others].sum())
    assert missing <= 10


def test_many_lost_answers_end_the_window(rng):
    vectors, labels = clustered(rng, 3000)
    layout = Layout(256, 384, 8, 32, 10, 130)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 3, layout=layout)
    # Two of 130 queries are outlived, and a third one if four others were answered meanwhile.
    for between, ended in ((0, True), (3, True), (4, False)):
        table.renew(ciphertexts)
        assert table.remaining == 130
        for row in range(2):
            table.abandon(table.ask(vectors[row : row + 1])[1])
        for row in range(between):
            find(table, ciphertexts, vectors[row : row + 1])
        request, late = table.ask(vectors[5:6])
        table.abandon(table.ask(vectors[1:2])[1])
        assert (table.remaining == 0) == ended
        if ended:
            with pytest.raises(WindowExhaustedError):
                table.ask(vectors[:1])
        # What was asked before is read all the same.
        table.read(late, answer(ciphertexts, layout, request))
        assert not late.unread


def test_lost_answers_of_an_old_window_do_not_end_the_new_one(small):
    table, ciphertexts, vectors, _ = small
    tickets = [table.ask(vectors[row : row + 1])[1] for row in range(4)]
    table.renew(ciphertexts)
    for ticket in tickets:
        table.abandon(ticket)
    assert table.remaining == SMALL.window


def test_tickets_read_in_any_order(small, rng):
    table, ciphertexts, vectors, labels = small
    rows = rng.choice(600, 12, replace=False)
    asked = [table.ask(vectors[row : row + 1]) for row in rows]
    for index in rng.permutation(12):
        request, ticket = asked[index]
        found = table.read(ticket, answer(ciphertexts, SMALL, request))
        expected = naive(vectors, labels, vectors[rows[index]], 5)
        if found.certified[0]:
            assert_exact(found, 0, expected)
    # All answers came, so that nothing is left waiting.
    assert not (table._window.hints.states == WAITING).any()
    assert (table._window.hints.waits < 0).all()


def test_hints_outlive_a_wrong_answer(small):
    table, ciphertexts, vectors, labels = small
    request, ticket = table.ask(vectors[:1])
    found = table.read(ticket, bytes(len(answer(ciphertexts, SMALL, request))))
    assert not found.answered.any()
    assert not found.certified.any()
    own = 0
    for row in range(200, 211):
        found = find(table, ciphertexts, vectors[row : row + 1])
        if found.certified[0]:
            assert_exact(found, 0, naive(vectors, labels, vectors[row], 5))
        own += found.distances[0, 0] == 0
    # What was spoilt has been asked for again.
    assert own >= 8

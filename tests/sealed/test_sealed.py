"""Private retrieval end to end: exact answers, windows, wrong answers, bad input."""

from __future__ import annotations

import copy
import os
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd._kernels.retrieval_boxes import split_buckets
from ompd.errors import (
    BucketAuthError,
    FeatureError,
    FramingError,
    HintStateError,
    LabelError,
    NeighborsError,
    OverflowParameterError,
    ParameterError,
    RangeError,
    TrainingError,
    WindowExhaustedError,
)
from ompd.sealed import Layout, SealedTable, answer, check_layout, check_request
from ompd.sealed.checks import Checks
from ompd.sealed.partition import Partition, leaf_buckets
from ompd.sealed.rows import RowCode
from tests.sealed.conftest import SMALL, assert_exact, clustered, find, naive


def test_a_window_of_queries_equals_the_oracle(small, rng):
    table, ciphertexts, vectors, labels = small
    exact = 0
    for _ in range(3):
        while table.remaining:
            query = vectors[rng.integers(len(vectors))] + rng.integers(0, 1 << 12, 4)
            found = find(table, ciphertexts, query[np.newaxis])
            expected = naive(vectors, labels, query, 5)
            if found.certified[0]:
                assert_exact(found, 0, expected)
            exact += found.distances[0].tolist() == expected[0]
        table.renew(ciphertexts)
    assert exact >= 33


def test_rule_finds_all_neighbours(rng):
    vectors, labels = clustered(rng, 5000, columns=3)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 9)
    assert table.layout.fetches % 4 == 0 < table.layout.fetches
    queries = vectors[rng.integers(0, 5000, 40)] + rng.integers(0, 1 << 12, (40, 3))
    exact = certified = 0
    for first in range(0, 40, 10):
        if table.remaining < 10:
            table.renew(ciphertexts)
        found = find(table, ciphertexts, queries[first : first + 10])
        for index in range(10):
            expected = naive(vectors, labels, queries[first + index], 9)
            exact += found.distances[index].tolist() == expected[0]
            certified += found.certified[index]
            if found.certified[index]:
                assert_exact(found, index, expected)
    assert exact >= 39
    assert certified >= 37


@settings(max_examples=25)
@given(st.data())
def test_whole_tables_equal_the_oracle(data):
    rows = data.draw(st.integers(1, 12))
    columns = data.draw(st.integers(1, 3))
    top = (1 << 62) - 1 if columns < 3 else (1 << 61) - 1
    values = st.one_of(st.integers(0, 3), st.integers(0, top), st.integers(top - 2, top))
    vectors = np.array(
        [[data.draw(values) for _ in range(columns)] for _ in range(rows)], dtype=np.int64
    )
    query = np.array([[data.draw(values) for _ in range(columns)]], dtype=np.int64)
    classes = data.draw(st.integers(1, 3))
    labels = np.array([data.draw(st.integers(0, classes - 1)) for _ in range(rows)])
    k = data.draw(st.integers(1, rows))
    table, ciphertexts = SealedTable.build(vectors, labels, classes, k)
    assert table.layout.fetches == 0
    found = find(table, ciphertexts, query)
    assert found.certified.all()
    assert_exact(found, 0, naive(vectors, labels, query[0], k))


@settings(max_examples=25)
@given(st.data())
def test_certified_answers_equal_the_oracle(data):
    columns = data.draw(st.integers(1, 3))
    rows = data.draw(st.integers(16, 60))
    top = data.draw(st.sampled_from([1, 9, 1 << 16, 1 << 40, (1 << 61) - 1]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 20)))
    vectors = rng.integers(0, top, (rows, columns), endpoint=True)
    labels = rng.integers(0, 2, rows)
    layout = Layout(16, 192, 4, 4, 6, 8)
    table, ciphertexts = SealedTable.build(vectors, labels, 2, 3, layout=layout)
    queries = rng.integers(0, top, (4, columns), endpoint=True)
    found = find(table, ciphertexts, queries)
    for index in range(4):
        expected = naive(vectors, labels, queries[index], 3)
        assert found.distances[index].tolist() >= expected[0]
        if found.certified[index]:
            assert found.distances[index].tolist() == expected[0]


def test_queries_outside_the_table_are_certified_rightly(rng):
    vectors, labels = clustered(rng, 600)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=SMALL)
    queries = np.array([[0] * 4, [1 << 40] * 4, [0, 1 << 30, 0, 1 << 30]])
    found = find(table, ciphertexts, queries)
    for index in np.flatnonzero(found.certified):
        assert_exact(found, index, naive(vectors, labels, queries[index], 5))
    assert found.certified.any()


def test_equal_rows_come_in_order_of_row():
    vectors = np.zeros((300, 2), dtype=np.int64)
    vectors[::3] = 7
    table, ciphertexts = SealedTable.build(vectors, np.arange(300) % 2, 2, 9)
    found = find(table, ciphertexts, np.array([[7, 7]]))
    assert found.rows[0].tolist() == list(range(0, 27, 3))


def test_request_and_answer_lengths_depend_on_the_layout_only(small):
    table, ciphertexts, vectors, _ = small
    lengths = set()
    for queries in (vectors[:2], vectors[[5, 5]], np.zeros((2, 4), np.int64)):
        request, _ = table.ask(queries)
        lengths.add((len(request), len(answer(ciphertexts, table.layout, request))))
    layout = table.layout
    assert lengths == {(2 * layout.request_bytes, 2 * layout.answer_bytes)}


def test_batches_find_what_single_queries_find(rng):
    vectors, labels = clustered(rng, 600)
    one, sealed_one = SealedTable.build(vectors, labels, 3, 5, layout=SMALL)
    many, sealed_many = SealedTable.build(vectors, labels, 3, 5, layout=SMALL)
    batch = find(many, sealed_many, vectors[:8])
    for index in range(8):
        found = find(one, sealed_one, vectors[index : index + 1])
        if found.certified[0] and batch.certified[index]:
            assert found.rows[0].tolist() == batch.rows[index].tolist()
    assert batch.distances[:, 0].tolist() == [0] * 8


def test_window_ends_before_anything_is_used_up(small):
    table, ciphertexts, vectors, _ = small
    find(table, ciphertexts, vectors[:10])
    with pytest.raises(WindowExhaustedError):
        table.ask(vectors[:3])
    assert table.remaining == 2
    found = find(table, ciphertexts, vectors[:2])
    assert found.distances.shape == (2, 5)
    assert table.remaining == 0
    with pytest.raises(WindowExhaustedError):
        table.ask(vectors[:1])


def test_tickets_of_the_old_window_are_read_after_renewal(small):
    table, ciphertexts, vectors, labels = small
    request, ticket = table.ask(vectors[:1])
    table.renew(ciphertexts)
    assert table.remaining == SMALL.window
    found = table.read(ticket, answer(ciphertexts, SMALL, request))
    assert found.distances[0].tolist() == naive(vectors, labels, vectors[0], 5)[0]


def test_every_bit_flip_in_an_answer_is_caught(small):
    _, ciphertexts, vectors, labels = small
    # As many fresh windows as tests: a flipped answer spoils hints.
    layout = Layout(128, 128, 8, 16, 6, 1 << 20)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=layout)
    caught = 0
    for bit in range(0, 8 * layout.bucket_bytes, 37):
        table.renew(ciphertexts)
        request, ticket = table.ask(vectors[:1])
        sent = bytearray(answer(ciphertexts, layout, request))
        sent[bit // 8] ^= 1 << bit % 8
        caught += not table.read(ticket, bytes(sent)).answered[0]
    assert caught == 28


def test_sums_that_nobody_needs_are_checked_as_well(small):
    """A repeated query wants nothing new, so that all of what comes back is filling."""
    table, ciphertexts, vectors, _ = small
    for bit in range(0, 8 * SMALL.answer_bytes, 509):
        table.renew(ciphertexts)
        for _ in range(4):
            find(table, ciphertexts, vectors[:1])
        request, ticket = table.ask(vectors[:1])
        assert not len(ticket.asked.records)
        sent = bytearray(answer(ciphertexts, SMALL, request))
        sent[bit // 8] ^= 1 << bit % 8
        assert not table.read(ticket, bytes(sent)).answered[0]


@given(st.data())
def test_checksums_are_linear(data):
    """Against polynomials over two elements, multiplied bit by bit."""
    rows = data.draw(
        st.lists(
            st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3), min_size=4, max_size=4
        )
    )
    buckets = np.array(rows, dtype=np.uint64)
    checks = Checks.draw(buckets)
    for bucket, known in zip(rows, checks.known.tolist(), strict=True):
        total = 0
        for word, key in zip(bucket, checks.keys.tolist(), strict=True):
            product = 0
            for bit in range(64):
                product ^= (key << bit) * (word >> bit & 1)
            for bit in range(127, 63, -1):
                product ^= ((1 << 64 | 0x1B) << (bit - 64)) * (product >> bit & 1)
            total ^= product
        assert known == total
    # Two chunks of two buckets.
    messages = np.array([[0, 0], [1, 0], [1, 1]], dtype=np.uint16)
    sums = np.array([buckets[a] ^ buckets[2 + b] for a, b in messages.tolist()])
    expected = checks.expected(messages, 2)
    assert checks.wrong(sums, expected).tolist() == [False, False, False]
    sums[1, 2] ^= np.uint64(1 << 63)
    assert checks.wrong(sums, expected).tolist() == [False, True, False]


def test_buckets_of_another_place_or_table_do_not_open(small):
    table, ciphertexts, vectors, labels = small
    swapped = ciphertexts.copy()
    swapped[[3, 4]] = swapped[[4, 3]]
    left = table.remaining
    with pytest.raises(BucketAuthError):
        table.renew(swapped)
    _, other = SealedTable.build(vectors, labels, 3, 5, layout=SMALL)
    with pytest.raises(BucketAuthError):
        table.renew(other.tobytes())
    assert table.remaining == left
    assert find(table, ciphertexts, vectors[:1]).distances[0, 0] == 0


def test_context_is_authenticated(rng):
    vectors, labels = clustered(rng, 50)
    one, _ = SealedTable.build(vectors, labels, 3, 5, context=b"table 1")
    _, sealed = SealedTable.build(vectors, labels, 3, 5, context=b"table 2")
    _, ticket = one.ask(vectors[:1])
    with pytest.raises(BucketAuthError):
        one.read(ticket, sealed.tobytes())


def test_tickets_are_read_once_and_by_their_table(small):
    table, ciphertexts, vectors, labels = small
    other, sealed = SealedTable.build(vectors, labels, 3, 5, layout=SMALL)
    request, ticket = table.ask(vectors[:1])
    reply = answer(ciphertexts, SMALL, request)
    with pytest.raises(HintStateError):
        other.read(ticket, answer(sealed, SMALL, request))
    table.read(ticket, reply)
    with pytest.raises(HintStateError):
        table.read(ticket, reply)


def test_threads_never_share_a_hint(rng):
    vectors, labels = clustered(rng, 600)
    layout = Layout(128, 128, 8, 16, 6, 60)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=layout)
    slots, wrong = [], []

    def work(offset):
        for index in range(15):
            row = offset * 150 + index * 10
            request, ticket = table.ask(vectors[row : row + 1])
            slots.extend(ticket.asked.records[:, 0].tolist())
            found = table.read(ticket, answer(ciphertexts, layout, request))
            expected = naive(vectors, labels, vectors[row], 5)
            if found.certified[0] and found.distances[0].tolist() != expected[0]:
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.remaining == 0
    assert not wrong
    assert len(slots) == len(set(slots)) > 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_refused(small):
    table, _, vectors, _ = small
    child = os.fork()
    if child == 0:
        try:
            table.ask(vectors[:1])
        except HintStateError:
            os._exit(42)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_secrets_are_neither_shown_nor_copied(small):
    table, ciphertexts, vectors, _ = small
    request, ticket = table.ask(vectors[:1])
    held, hints = table._secret, table._window.hints
    ranking = held.partition.rank(vectors[0], 5)
    secrets = (
        table, ticket, ticket.asked, ticket.asked.wants[0], ranking, hints, table._window, held,
        held.cipher, held.checks, held.code, held.partition,
    )  # fmt: skip
    for secret in secrets:
        assert len(repr(secret)) < 70
        for copying in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                copying(secret)
    found = table.read(ticket, answer(ciphertexts, SMALL, request))
    assert repr(found) == "<Found for 1 queries>"


def test_keys_and_nonces_never_repeat(rng, monkeypatch):
    from ompd.crypto.buckets import BucketCipher

    used = []
    seal = BucketCipher.seal

    def recorded(self, place, plain, into):
        used.append((self.key, place))
        seal(self, place, plain, into)

    monkeypatch.setattr(BucketCipher, "seal", recorded)
    vectors, labels = clustered(rng, 200)
    layout = Layout(32, 192, 4, 8, 4, 4)
    for _ in range(5):
        table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=layout)
        find(table, ciphertexts, vectors[:2])
        table.renew(ciphertexts)
    assert len(used) == len(set(used)) == 5 * 32
    assert len({key for key, _ in used}) == 5


def test_cloud_refuses_wrong_requests(small):
    table, ciphertexts, vectors, labels = small
    request, _ = table.ask(vectors[:2])
    for wrong in (b"", request[:-1], request[: SMALL.request_bytes + 1], request + b"\0\0"):
        with pytest.raises(FramingError):
            answer(ciphertexts, SMALL, wrong)
        with pytest.raises(FramingError):
            check_request(SMALL, wrong)
    assert check_request(SMALL, request) == 2
    for offset in (16, 255):
        spoilt = bytearray(request)
        spoilt[10] = offset
        with pytest.raises(RangeError):
            answer(ciphertexts, SMALL, bytes(spoilt))
        with pytest.raises(RangeError):
            check_request(SMALL, bytes(spoilt))
    with pytest.raises(FramingError):
        answer(ciphertexts[:-1], SMALL, request)
    with pytest.raises(FramingError):
        check_layout(SMALL, ciphertexts.nbytes + 1)
    whole, sealed = SealedTable.build(vectors[:50], labels[:50], 3, 5)
    with pytest.raises(FramingError):
        answer(sealed, whole.layout, b"\0\0")
    assert check_request(whole.layout, b"") == 0


def test_answers_are_the_same_for_any_number_of_threads_and_any_buffer(small):
    table, ciphertexts, vectors, _ = small
    request, _ = table.ask(vectors[:8])
    expected = answer(ciphertexts, SMALL, request)
    offsets = np.frombuffer(request, SMALL.offset_type).reshape(-1, SMALL.chunks)
    naive_xor = np.zeros((len(offsets), SMALL.bucket_bytes), np.uint8)
    for fetch, row in enumerate(offsets.tolist()):
        for part, offset in enumerate(row):
            naive_xor[fetch] ^= ciphertexts[part * SMALL.chunk + offset]
    assert expected == naive_xor.tobytes()
    assert answer(ciphertexts.tobytes(), SMALL, request, threads=2) == expected
    assert answer(memoryview(ciphertexts.reshape(-1)), SMALL, request) == expected


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"vectors": np.zeros((5, 2))}, TrainingError),
        ({"vectors": np.zeros(5, np.int64)}, TrainingError),
        ({"vectors": np.zeros((0, 2), np.int64)}, TrainingError),
        ({"vectors": np.full((5, 2), -1)}, TrainingError),
        ({"vectors": np.full((5, 1), 1 << 62)}, TrainingError),
        ({"vectors": np.full((5, 3), (1 << 62) - 1)}, OverflowParameterError),
        ({"labels": np.full(5, 2)}, LabelError),
        ({"labels": np.full(5, -1)}, LabelError),
        ({"labels": np.zeros(4, np.int64)}, LabelError),
        ({"labels": np.zeros(5)}, LabelError),
        ({"k": 0}, NeighborsError),
        ({"k": 6}, NeighborsError),
        ({"k": True}, NeighborsError),
        ({"layout": SMALL}, ParameterError),
        ({"layout": Layout(4, 64, 2, 2, 1, 1), "k": 5}, ParameterError),
    ],
)
def test_bad_tables(change, error):
    good = {"vectors": np.ones((5, 2), np.int64), "labels": np.zeros(5, np.int64), "k": 1}
    settings_ = good | change
    with pytest.raises(error):
        SealedTable.build(classes=2, **settings_)


def test_layout_too_small_for_the_rows(rng):
    vectors, labels = clustered(rng, 600)
    with pytest.raises(ParameterError):
        SealedTable.build(vectors, labels, 3, 5, layout=Layout(128, 64, 8, 16, 6, 12))


@pytest.mark.parametrize(
    ("queries", "error"),
    [
        (np.zeros((1, 3), np.int64), FeatureError),
        (np.zeros(4, np.int64), FeatureError),
        (np.zeros((0, 4), np.int64), FeatureError),
        (np.zeros((1, 4)), FeatureError),
        ([[0, 0, 0, 0]], FeatureError),
        (np.full((1, 4), -1), FeatureError),
        (np.full((1, 4), 1 << 62), FeatureError),
        (np.full((1, 4), (1 << 62) - 1), OverflowParameterError),
    ],
)
def test_bad_queries(small, queries, error):
    table = small[0]
    with pytest.raises(error):
        table.ask(queries)
    assert table.remaining == SMALL.window


@pytest.mark.parametrize(("rows", "classes", "bits"), [(8, 2, 4), (9, 2, 5), (9, 3, 6), (1, 1, 0)])
def test_rows_take_no_more_bits_than_the_table_needs(rows, classes, bits):
    # Constant columns take none; what is left are label and row number.
    assert RowCode.fit(np.full((rows, 2), 5), classes).row_bits == bits
    ramp = np.full((rows, 2), 5)
    ramp[0, 1] = 5 + 3
    assert RowCode.fit(ramp, classes).row_bits == bits + (rows > 1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("part", [1, 7, 100])
@given(rows=st.integers(1, 500), share=st.integers(1, 500), seed=st.integers(0, 2**32 - 1))
def test_rows_are_ordered_part_by_part_as_in_one_call(part, threads, rows, share, seed):
    vectors = np.random.default_rng(seed).integers(0, 50, (rows, 3))
    buckets = min(rows, share)
    shares = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ompd.sealed.partition._PART", part)
        _, order, _ = Partition.build(
            vectors, buckets, 1, np.arange(min(3, rows - 1)), threads, shares.append
        )
    heads = (vectors - vectors.min(axis=0)).astype(np.uint16)
    same = np.arange(rows)
    split_buckets(heads, same, buckets, leaf_buckets(rows, buckets), 0, buckets)
    assert order.tolist() == same.tolist()
    assert shares == sorted(shares)

"""The hospital's own search in the buckets of profile `sealed`."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.crypto.buckets import TAG_BYTES, BucketCipher
from ompd.errors import BucketAuthError
from ompd.roles.retrieval.contract import TableRef, Way
from ompd.roles.retrieval.sealed import SealedRetrieval
from ompd.sealed import answer
from ompd.search import LimbTable, compute, limbs_of, tally, vote
from ompd.wire import SealedAnswer

REF = TableRef(bytes(range(16)), 7)


def asked(vectors, labels, queries, classes, k, way=Way.SHARED):
    """What the hospital reads in the answer of an honest cloud."""
    retrieval, pieces = SealedRetrieval.build(REF, vectors, labels, classes=classes, k=k)
    job, ticket = retrieval.job(queries, [len(queries)], way)
    assert job.whole == (way is not Way.SHARED and retrieval.table.layout.fetches > 0)
    sums = pieces.body(0).buckets
    if not job.whole:
        sums = answer(sums, retrieval.table.layout, job.request)
    body = SealedAnswer(REF.table_id, REF.version, sums)
    return retrieval.table.layout, retrieval.read(body, ticket, len(queries), k)


def test_tied_votes_go_to_the_smaller_summed_distance():
    # One record of each class, the last one nearest; then the middle one.
    vectors = np.array([[0], [110], [140]])
    labels = np.arange(3)
    queries = np.array([[139], [111], [1]])
    _, found = asked(vectors, labels, queries, 3, 3)
    assert found.votes.tolist() == [[1, 1, 1]] * 3
    assert found.codes.tolist() == [2, 1, 0]


@pytest.mark.parametrize("way", [Way.SHARED, Way.FREE])
@pytest.mark.parametrize("rows", [40, 6000])
@pytest.mark.parametrize("k", [3, 5, 7])
def test_votes_are_those_of_the_plain_search(rng, rows, k, way):
    vectors = rng.integers(0, 1 << 12, (rows, 3))
    labels = rng.integers(0, 4, rows)
    queries = rng.integers(0, 1 << 12, (20, 3))
    layout, found = asked(vectors, labels, queries, 4, k, way)
    assert bool(layout.fetches) == (rows > 1000)
    table = LimbTable(limbs_of(vectors), labels, 4)
    distances, near = compute(table, limbs_of(queries), k)
    sure = found.certified
    assert sure.sum() > 15
    assert (found.votes == tally(table, near))[sure].all()
    assert (found.codes == vote(table, distances, near))[sure].all()
    # Some of them are ties, which the code alone would decide otherwise.
    assert (found.votes.argmax(axis=1) != found.codes).any()


def test_sums_of_distances_pass_64_bits():
    # Three times the largest distance would be negative, and so the smaller sum.
    largest, smaller = (1 << 62) - 1, 1 << 61
    vectors = np.array([[largest]] * 3 + [[smaller]] * 3 + [[0]])
    labels = np.array([1, 1, 1, 0, 0, 0, 2])
    _, found = asked(vectors, labels, np.array([[0]]), 3, 7)
    assert found.votes.tolist() == [[3, 3, 1]]
    assert found.codes.tolist() == [0]


def test_buckets_are_bound_to_table_and_version(rng):
    vectors, labels = rng.integers(0, 1 << 12, (50, 3)), rng.integers(0, 2, 50)
    retrieval, pieces = SealedRetrieval.build(REF, vectors, labels, classes=2, k=3)
    upload = pieces.body(0)
    cipher = retrieval.table._secret.cipher
    data = memoryview(upload.buckets)[: upload.bucket_bytes]
    into = memoryview(bytearray(upload.bucket_bytes - TAG_BYTES))
    right = REF.table_id + REF.version.to_bytes(8, "little")
    BucketCipher(cipher.key, right).open(0, data, into)
    other_table = bytes(16) + right[16:]
    other_version = right[:16] + (8).to_bytes(8, "little")
    for wrong in (b"", right[:16], right[16:], other_table, other_version):
        with pytest.raises(BucketAuthError):
            BucketCipher(cipher.key, wrong).open(0, data, into)

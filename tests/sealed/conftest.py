"""Tables for the tests of private retrieval, and the search they are compared with."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.sealed import Layout, SealedTable, answer

#: Small enough to be built often, large enough for chunks, windows and misses.
SMALL = Layout(buckets=128, bucket_bytes=128, chunks=8, chunk=16, fetches=6, window=12)


def naive(vectors, labels, query, k):
    """Distances, labels and rows of the k nearest by (distance, row), with Python's integers."""
    ranked = sorted(
        (sum(abs(int(a) - int(b)) for a, b in zip(row, query, strict=True)), number)
        for number, row in enumerate(vectors)
    )[:k]
    return (
        [distance for distance, _ in ranked],
        [int(labels[number]) for _, number in ranked],
        [number for _, number in ranked],
    )


def clustered(rng, rows, columns=4):
    """Rows around a few centres, as int64 below 2**20, with class codes below 3."""
    centres = rng.integers(1 << 17, 1 << 19, (12, columns))
    picked = rng.integers(0, 12, rows)
    vectors = centres[picked] + rng.integers(0, 1 << 14, (rows, columns))
    return vectors.astype(np.int64), (picked % 3).astype(np.int64)


def find(table, ciphertexts, queries):
    request, ticket = table.ask(queries)
    return table.read(ticket, answer(ciphertexts, table.layout, request))


def assert_exact(found, index, expected):
    distances, labels, rows = expected
    assert found.distances[index].tolist() == distances
    assert found.labels[index].tolist() == labels
    assert found.rows[index].tolist() == rows


@pytest.fixture
def small(rng):
    """A table of 600 rows in 128 buckets: (table, ciphertexts, vectors, labels)."""
    vectors, labels = clustered(rng, 600)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=SMALL)
    return table, ciphertexts, vectors, labels

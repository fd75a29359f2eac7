"""What the cloud sees is uniform and independent, however skewed the queries are."""

from __future__ import annotations

import numpy as np
import pytest

from ompd.errors import BucketAuthError, HintStateError
from ompd.sealed import Layout, SealedTable, answer
from tests.sealed.conftest import clustered

LAYOUT = Layout(buckets=64, bucket_bytes=192, chunks=8, chunk=8, fetches=8, window=8)


def excess(counts):
    """Standard score of a chi-square test against equal counts (Wilson and Hilferty)."""
    counts = np.asarray(counts, dtype=float).reshape(-1)
    expected = counts.mean()
    assert expected > 20
    freedom = counts.size - 1
    ratio = ((counts - expected) ** 2 / expected).sum() / freedom
    return (ratio ** (1 / 3) - 1 + 2 / (9 * freedom)) / (2 / (9 * freedom)) ** 0.5


def transcripts(table, ciphertexts, queries, how, windows):
    """Requests of whole windows, (windows, fetches, chunks), and the places asked for."""
    requests, places = [], []
    for _ in range(windows):
        table.renew(ciphertexts)
        window, asked, tickets = [], [], []
        for query in queries[: LAYOUT.window]:
            request, ticket = table.ask(query[np.newaxis])
            window.append(np.frombuffer(request, "<u2").reshape(-1, LAYOUT.chunks))
            asked += [(len(asked), place) for place in ticket.records[:, 1].tolist()]
            tickets.append((request, ticket))
            reply = answer(ciphertexts, LAYOUT, request)
            if how == "read":
                table.read(ticket, reply)
            elif how == "wrong":
                with pytest.raises((BucketAuthError, HintStateError)):
                    table.read(ticket, bytes(len(reply)))
        requests.append(np.concatenate(window))
        places.append(tickets[0][1].records[:, 1].tolist())
    return np.array(requests), places


@pytest.fixture(scope="module")
def sealed():
    rng = np.random.default_rng(5)
    vectors, labels = clustered(rng, 400)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=LAYOUT)
    return table, ciphertexts, vectors


@pytest.mark.parametrize("how", ["read", "lost", "wrong"])
@pytest.mark.parametrize("skew", ["one query", "neighbours", "spread"])
def test_offsets_are_uniform_and_tell_nothing_of_the_places(sealed, how, skew):
    table, ciphertexts, vectors = sealed
    queries = {
        "one query": vectors[[7] * 8],
        "neighbours": np.sort(vectors, axis=0)[200:208],
        "spread": vectors[::50],
    }[skew]
    requests, places = transcripts(table, ciphertexts, queries, how, 80)
    # Each chunk's offsets, over all fetches and by place within the window.
    for part in range(LAYOUT.chunks):
        assert excess(np.bincount(requests[:, :, part].reshape(-1), minlength=8)) < 5.5
    # Offsets in the chunk of a bucket that the first query of a window asked for, seen from that
    # bucket: a hint that is avoided, or sent again, would make them rarer or more frequent.
    relative = np.zeros(8, dtype=np.int64)
    for window, wanted in zip(requests, places, strict=True):
        for place in wanted:
            part, offset = divmod(place, LAYOUT.chunk)
            relative += np.bincount((window[:, part] - offset) % 8, minlength=8)
    assert excess(relative) < 5.5
    # Pairs of neighbouring chunks, and of vectors that follow one another.
    pairs = requests[:, :, :-1].astype(np.int64) * 8 + requests[:, :, 1:]
    assert excess(np.bincount(pairs.reshape(-1), minlength=64)) < 5.5
    pairs = requests[:, :-1].astype(np.int64) * 8 + requests[:, 1:]
    assert excess(np.bincount(pairs.reshape(-1), minlength=64)) < 5.5
    # No vector is sent twice: 80 windows of 64 vectors among 8**8 differ but for a handful.
    for window in requests:
        assert len(np.unique(window, axis=0)) >= len(window) - 1


def test_the_statistic_sees_hints_that_are_sent_again():
    rng = np.random.default_rng(3)
    good = rng.integers(0, 8, (5000,))
    assert excess(np.bincount(good, minlength=8)) < 5.5
    # One offset a fifth rarer than the others.
    bad = good[(good != 3) | (rng.random(5000) < 0.8)]
    assert excess(np.bincount(bad, minlength=8)) > 3

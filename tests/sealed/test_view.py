"""What the cloud sees is uniform and independent, however skewed the queries are."""

from __future__ import annotations

import numpy as np
import pytest

from ompd._kernels.retrieval import find_hints
from ompd.errors import FramingError
from ompd.sealed import Layout, SealedTable, answer
from tests.marks import long
from tests.sealed.conftest import clustered

#: Standard scores that chance does not reach: p is far below 1e-6.
LIMIT = 6.0

LAYOUT = Layout(buckets=64, bucket_bytes=192, chunks=8, chunk=8, fetches=8, window=8)

#: What the cloud does to answers.
HOWS = (
    "read", "unread", "given up", "cut", "some wrong", "wrong", "swapped", "in pairs", "backwards",
)  # fmt: skip


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
            window.append(np.frombuffer(request, LAYOUT.offset_type).reshape(-1, LAYOUT.chunks))
            asked += [(len(asked), place) for place in ticket.asked.records[:, 1].tolist()]
            tickets.append((request, ticket))
            reply = answer(ciphertexts, LAYOUT, request)
            if how == "read":
                table.read(ticket, reply)
            elif how == "given up":
                table.abandon(ticket)
            elif how == "cut":
                with pytest.raises(FramingError):
                    table.read(ticket, reply[1:])
            elif how == "some wrong":
                # Every third vector, wherever in the window.
                sent = bytearray(reply)
                for fetch in range(len(requests) % 3, LAYOUT.fetches, 3):
                    sent[fetch * LAYOUT.bucket_bytes] ^= 1
                assert not table.read(ticket, bytes(sent)).answered.any()
            elif how == "swapped" and len(tickets) % 2 == 0:
                # Of two requests, each gets the answer to the other.
                earlier = tickets[-2]
                table.read(earlier[1], reply)
                table.read(ticket, answer(ciphertexts, LAYOUT, earlier[0]))
            elif how == "in pairs" and len(tickets) % 2 == 0:
                for sent_request, late in tickets[-2:]:
                    table.read(late, answer(ciphertexts, LAYOUT, sent_request))
            elif how == "backwards" and len(tickets) % 4 == 0:
                for sent_request, late in tickets[:-5:-1]:
                    table.read(late, answer(ciphertexts, LAYOUT, sent_request))
            elif how == "wrong":
                assert not table.read(ticket, bytes(len(reply))).answered.any()
        requests.append(np.concatenate(window))
        places.append(tickets[0][1].asked.records[:, 1].tolist())
    return np.array(requests), places


@pytest.fixture(scope="module")
def sealed():
    rng = np.random.default_rng(5)
    vectors, labels = clustered(rng, 400)
    with pytest.MonkeyPatch.context() as patch:
        # So few hints that many buckets are in none and that hints meet often: whatever went wrong
        # then would show sooner.
        patch.setattr("ompd.sealed.hints.COVER", 2)
        # No window ends early, so that places are asked for again as often as can be.
        patch.setattr("ompd.sealed.hints._TOLERATED", 0.1)
        table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=LAYOUT)
        yield table, ciphertexts, vectors


def seen_from(requests, places):
    """How often each offset comes, relative to the buckets that a window's first query wanted.

    A hint that is avoided, or sent again, makes 0 rarer or more frequent.
    """
    relative = np.zeros(8, dtype=np.int64)
    for window, wanted in zip(requests, places, strict=True):
        for place in wanted:
            part, offset = divmod(place, LAYOUT.chunk)
            relative += np.bincount((window[:, part] - offset) % 8, minlength=8)
    return relative


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("skew", ["one query", *long("neighbours", "spread")])
def test_offsets_are_uniform_and_tell_nothing_of_the_places(sealed, how, skew):
    table, ciphertexts, vectors = sealed
    queries = {
        "one query": vectors[[7] * 8],
        "neighbours": np.sort(vectors, axis=0)[200:208],
        "spread": vectors[::50],
    }[skew]
    requests, places = transcripts(table, ciphertexts, queries, how, 150)
    for part in range(LAYOUT.chunks):
        assert excess(np.bincount(requests[:, :, part].reshape(-1), minlength=8)) < LIMIT
    assert excess(seen_from(requests, places)) < LIMIT
    # Pairs of neighbouring chunks, and of vectors that follow one another.
    pairs = requests[:, :, ::2].astype(np.int64) * 8 + requests[:, :, 1::2]
    assert excess(np.bincount(pairs.reshape(-1), minlength=64)) < LIMIT
    pairs = requests[:, ::2].astype(np.int64) * 8 + requests[:, 1::2]
    assert excess(np.bincount(pairs.reshape(-1), minlength=64)) < LIMIT
    # Among 8**8 vectors the 64 of a window differ, but for a rare coincidence.
    for window in requests:
        assert len(np.unique(window, axis=0)) >= len(window) - 2


def test_avoiding_incomplete_hints_would_show(sealed, monkeypatch):
    def avoiding(
        places, count, starts, chunk, size, drawn, first, last, left, patched, fresh, turns, *found
    ):
        hints = table._window.hints
        for fetch in range(first, last):
            other = places[fetch] // chunk * chunk + (places[fetch] + 1) % chunk
            pending = (hints.waits >= 0) | (turns >= 0)
            before = turns.copy()
            reached = find_hints(
                places, count, starts, chunk, size, drawn[fetch - first :], fetch, fetch + 1,
                left, np.where(pending, other, patched).astype(np.int32), fresh,
                np.where(pending, -1, turns), *found,
            )  # fmt: skip
            if reached == fetch:
                return fetch
            turns[:] = before
            if found[0][fetch] >= 0 and fetch < count:
                turns[found[0][fetch]] = fetch
        return last

    monkeypatch.setattr("ompd.sealed.finding.find_hints", avoiding)
    table, ciphertexts, vectors = sealed
    requests, places = transcripts(table, ciphertexts, vectors[::50], "unread", 1200)
    assert excess(seen_from(requests, places)) > LIMIT

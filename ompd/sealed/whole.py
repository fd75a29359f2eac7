"""Queries on a table that comes as a whole: opened bucket by bucket, and searched at once.

A query searches the buckets that it would have asked for through hints, and no others: what it
finds is the same whichever way its job went, and so is whether that is certified.
"""

from __future__ import annotations

import numpy as np

from ompd._kernels.retrieval_whole import FAR
from ompd.arrays import I32, I64, U64, frozen
from ompd.crypto.buckets import TAG_BYTES
from ompd.sealed.build import Secret
from ompd.sealed.edits import Edits
from ompd.sealed.found import Found
from ompd.sealed.rows import NOWHERE
from ompd.threads import run_ranges

# Queries that are ranked before they are searched: each bucket is unpacked once for all of them.
_BLOCK = 4096
# Fewest queries that are worth a thread.
_SMALLEST_PART = 64


def open_all(secret: Secret, ciphertexts: memoryview) -> U64:
    """Open every bucket of a table, in the cloud's order.

    Parameters
    ----------
    secret : Secret
    ciphertexts : memoryview of layout.table_bytes bytes

    Returns
    -------
    uint64 array of shape (buckets, words - 2)

    Raises
    ------
    BucketAuthError
        If a bucket is not the one that was stored.
    """
    layout = secret.layout
    size, short = layout.bucket_bytes, layout.bucket_bytes - TAG_BYTES
    plain = np.empty((layout.buckets, short // 8), dtype=np.uint64)
    into = plain.reshape(-1).view(np.uint8).data
    for place in range(layout.buckets):
        secret.cipher.open(
            place, ciphertexts[place * size : (place + 1) * size],
            into[place * short : (place + 1) * short],
        )  # fmt: skip
    return plain


def check_all(secret: Secret, ciphertexts: memoryview) -> None:
    """Authenticate every bucket of a table, in the memory of one.

    Raises
    ------
    BucketAuthError
        If a bucket is not the one that was stored.
    """
    size = secret.layout.bucket_bytes
    plain = memoryview(bytearray(size - TAG_BYTES))
    for place in range(secret.layout.buckets):
        secret.cipher.open(place, ciphertexts[place * size : (place + 1) * size], plain)


def search_whole(secret: Secret, edits: Edits, queries: I64, plain: U64, threads: int) -> Found:
    """Find the K nearest rows of q queries.

    Parameters
    ----------
    secret : Secret
    edits : Edits
    queries : int64 array of shape (q, m)
    plain : uint64 array of shape (buckets, words - 2)
        As `open_all` returned it.
    threads : int
    """
    count = len(queries)
    distances = np.full((count, secret.k), NOWHERE, dtype=np.int64)
    labels = np.zeros((count, secret.k), dtype=np.int64)
    rows = np.full((count, secret.k), -1, dtype=np.int64)
    certified = np.empty(count, dtype=np.bool_)
    answered = np.empty(count, dtype=np.bool_)
    plain = frozen(plain)

    def work(first: int, last: int) -> None:
        for start in range(first, last, _BLOCK):
            part = slice(start, min(last, start + _BLOCK))
            own = frozen(queries[part])
            picked, counts, least = _buckets_of(secret, edits, own)
            secret.code.nearest_of_all(
                plain, secret.place_of, secret.rows, own, picked, counts,
                distances[part], labels[part], rows[part], edits.gone,
            )  # fmt: skip
            edits.join(own, distances[part], labels[part], rows[part])
            farthest = distances[part, -1]
            answered[part] = farthest != NOWHERE
            certified[part] = answered[part] & (farthest <= least)

    run_ranges(work, count, threads, _SMALLEST_PART)
    return Found(distances, labels, rows, certified, answered)


def _buckets_of(secret: Secret, edits: Edits, queries: I64) -> tuple[I32, I64, I64]:
    """Buckets of every query, how many they are, and what no row of the others is nearer than."""
    if secret.partition is None:
        count = len(queries)
        one = np.zeros((count, 1), dtype=np.int32)
        return one, np.ones(count, dtype=np.int64), np.full(count, NOWHERE, dtype=np.int64)
    ranked = secret.partition.rank_all(queries, secret.k, secret.layout.fetches, edits.gone)
    least = secret.partition.least_distances(ranked.others, ranked.excess)
    least[ranked.others == FAR] = NOWHERE
    return ranked.buckets, ranked.counts, least

"""Many queries on a table of which all buckets are there: ranked and searched in blocks.

The arguments are those of `candidates` and `keep_nearest`; so are the results, query by query.
"""

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.retrieval_boxes import candidates, edge, is_gone
from ompd._kernels.retrieval_rows import insert, read_row

#: The bound of buckets that are not there.
FAR = 1 << 62
# Rows that all queries are compared with, one after the other: a first-level cache has them.
_BLOCK = 256


@kernel()
def rank_all(
    above, boxes, cells, gone, buckets, per, total, lows, spans, shift, slack, k, reach, queries,
    picked, counts, others, excess,
):  # fmt: skip
    """The likely buckets of every query, the best first, as picked int32[queries, :] has room.

    queries int64[:, columns] from 0 below 2**62. Overwritten are, per query, picked; how many of
    them there are, counts int64; the smallest bound of all other candidates or FAR, others int64;
    and what every distance has on top, excess int64.
    """
    columns = queries.shape[1]
    most = picked.shape[1]
    heads = np.empty(columns, np.int32)
    for index in range(queries.shape[0]):
        beyond = np.int64(0)
        for column in range(columns):
            offset = queries[index, column] - lows[column]
            inside = min(max(offset, np.int64(0)), spans[column])
            beyond += abs(offset - inside)
            heads[column] = np.int32(inside >> shift)
        excess[index] = beyond
        found, bounds, likely, _, _ = candidates(
            above, boxes, cells, gone, buckets, per, total, heads, k, slack, reach
        )
        count = min(most, likely)
        counts[index] = count
        for place in range(count):
            picked[index, place] = np.int32(found[place])
        others[index] = FAR
        for place in range(count, found.shape[0]):
            others[index] = min(others[index], bounds[place])


@kernel()
def unpack(
    words, places, gone, total, bases, steps, widths, relative, bucket, vectors, labels, rows
):
    """Read a bucket's rows, but those that are gone; returns how many there are.

    words uint64[buckets, :], places int32[buckets]. Overwritten: vectors int64[columns, :], labels
    and rows int64[:], as long as the largest bucket.
    """
    columns = vectors.shape[0]
    source = words[places[bucket]]
    position = 0
    count = 0
    row = np.empty(columns + 2, np.int64)
    first = edge(bucket, total, places.shape[0])
    for rank in range(first, edge(bucket + 1, total, places.shape[0])):
        position = read_row(source, position, bases, steps, widths, relative, row)
        if is_gone(gone, rank):
            continue
        for column in range(columns):
            vectors[column, count] = row[column]
        labels[count] = row[columns]
        rows[count] = row[columns + 1]
        count += 1
    return count


@kernel()
def unpack_all(words, places, total, bases, steps, widths, relative, vectors, labels, rows):
    """Read all rows, in tree order: vectors int64[total, columns], labels and rows int64[total]."""
    columns = vectors.shape[1]
    row = np.empty(columns + 2, np.int64)
    for bucket in range(places.shape[0]):
        source = words[places[bucket]]
        position = 0
        first = edge(bucket, total, places.shape[0])
        for rank in range(first, edge(bucket + 1, total, places.shape[0])):
            position = read_row(source, position, bases, steps, widths, relative, row)
            for column in range(columns):
                vectors[rank, column] = row[column]
            labels[rank] = row[columns]
            rows[rank] = row[columns + 1]


@kernel()
def _measure(vectors, first, count, query, distances):
    """Distances, int64[:], of so many rows of int64[columns, :] from query, int64[columns]."""
    for row in range(count):
        distances[row] = 0
    for column in range(query.shape[0]):
        at = query[column]
        values = vectors[column]
        for row in range(count):
            distances[row] += abs(values[first + row] - at)


@kernel()
def search_rows(vectors, labels, rows, queries, distances, found, numbers):
    """Put rows, int64[columns, :] with labels and numbers, among the nearest of every query.

    distances, found, numbers int64[queries, k] as in `search_all`, which they may come from.
    """
    own = np.empty(_BLOCK, np.int64)
    last = distances.shape[1] - 1
    for first in range(0, labels.shape[0], _BLOCK):
        count = min(_BLOCK, labels.shape[0] - first)
        for index in range(queries.shape[0]):
            _measure(vectors, first, count, queries[index], own)
            for row in range(count):
                if own[row] <= distances[index, last]:
                    insert(
                        own[row], labels[first + row], rows[first + row], distances[index],
                        found[index], numbers[index],
                    )  # fmt: skip


@kernel()
def search_all(
    words, places, gone, total, bases, steps, widths, relative, queries, picked, counts,
    distances, labels, rows,
):  # fmt: skip
    """Find the nearest rows of every query in its buckets picked[query, :counts[query]].

    The three results, int64[queries, k], are sorted by (distance, row) and start with distances of
    2**63 - 1. Bucket by bucket, so that each is read once for all queries that want it.
    """
    buckets = places.shape[0]
    starts = np.zeros(buckets + 1, np.int64)
    for index in range(queries.shape[0]):
        for place in range(counts[index]):
            starts[picked[index, place] + 1] += 1
    for bucket in range(buckets):
        starts[bucket + 1] += starts[bucket]
    wanting = np.empty(starts[buckets], np.int32)
    filled = starts[:buckets].copy()
    for index in range(queries.shape[0]):
        for place in range(counts[index]):
            bucket = picked[index, place]
            wanting[filled[bucket]] = index
            filled[bucket] += 1
    largest = -(-total // buckets)
    vectors = np.empty((queries.shape[1], largest), np.int64)
    own_labels = np.empty(largest, np.int64)
    own_rows = np.empty(largest, np.int64)
    own = np.empty(largest, np.int64)
    for bucket in range(buckets):
        if starts[bucket] == starts[bucket + 1]:
            continue
        count = unpack(
            words, places, gone, total, bases, steps, widths, relative, bucket, vectors,
            own_labels, own_rows,
        )  # fmt: skip
        for spot in range(starts[bucket], starts[bucket + 1]):
            index = wanting[spot]
            _measure(vectors, 0, count, queries[index], own)
            for row in range(count):
                if own[row] <= distances[index, distances.shape[1] - 1]:
                    insert(
                        own[row], own_labels[row], own_rows[row], distances[index], labels[index],
                        rows[index],
                    )  # fmt: skip

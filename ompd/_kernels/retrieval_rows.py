"""Rows as bit strings: fields of fixed width, one after the other, least significant bits first.

A field is a coordinate, or its difference from the coordinate before it, less a base and divided
by a step; behind the coordinates come the label and the row number.
"""

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.retrieval_boxes import edge, is_gone


@kernel()
def _gcd(one, other):
    while other != 0:
        one, other = other, one % other
    return one


@kernel()
def column_ranges(vectors, lows, highs, steps):
    """Lowest, highest and common divisor of gaps, of every coordinate (0) and difference (1).

    vectors int64[:, columns] from 0 below 2**62; lows, highs, steps int64[2, columns] are
    overwritten. A constant column has step 0.
    """
    columns = vectors.shape[1]
    for kind in range(2):
        for column in range(columns):
            origin = vectors[0, column]
            if kind == 1 and column > 0:
                origin -= vectors[0, column - 1]
            lows[kind, column] = origin
            highs[kind, column] = origin
            steps[kind, column] = 0
    for row in range(vectors.shape[0]):
        for kind in range(2):
            before = np.int64(0)
            for column in range(columns):
                value = vectors[row, column]
                if kind == 1:
                    value -= before
                    before = vectors[row, column]
                # Differences of differences stay below 2**63.
                gap = abs(value - lows[kind, column])
                lows[kind, column] = min(lows[kind, column], value)
                highs[kind, column] = max(highs[kind, column], value)
                step = steps[kind, column]
                if step == 0 or gap % step != 0:
                    steps[kind, column] = _gcd(gap, step)


@kernel()
def _put(words, position, value, width):
    """Write the low `width` bits of value, uint64, at a bit position of words."""
    if width == 0:
        return
    word = position >> 6
    shift = position & 63
    words[word] |= value << np.uint64(shift)
    if shift + width > 64:
        words[word + 1] |= value >> np.uint64(64 - shift)


@kernel()
def _get(words, position, width):
    """Read `width` bits, 1 to 63, at a bit position of words, as int64."""
    word = position >> 6
    shift = position & 63
    value = words[word] >> np.uint64(shift)
    if shift + width > 64:
        value |= words[word + 1] << np.uint64(64 - shift)
    return np.int64(value & ((np.uint64(1) << np.uint64(width)) - np.uint64(1)))


@kernel()
def pack(vectors, labels, order, places, bases, steps, widths, relative, words, first, last):
    """Write the rows of buckets first:last, in tree order, to words[places[bucket]].

    words uint64[buckets, :] must be 0; widths int64[columns + 2], relative bool[columns].
    """
    columns = vectors.shape[1]
    for bucket in range(first, last):
        into = words[places[bucket]]
        position = 0
        start = edge(bucket, order.shape[0], places.shape[0])
        for rank in range(start, edge(bucket + 1, order.shape[0], places.shape[0])):
            row = order[rank]
            before = np.int64(0)
            for column in range(columns):
                value = vectors[row, column] - bases[column]
                if relative[column]:
                    value -= before
                before = vectors[row, column]
                _put(into, position, np.uint64(value // steps[column]), widths[column])
                position += widths[column]
            _put(into, position, np.uint64(labels[row]), widths[columns])
            position += widths[columns]
            _put(into, position, np.uint64(row), widths[columns + 1])
            position += widths[columns + 1]


@kernel()
def read_row(source, position, bases, steps, widths, relative, row):
    """Read the row at a bit position of source uint64[:]; returns the position behind it.

    Overwrites row int64[columns + 2]: the coordinates, the label and the row number.
    """
    columns = bases.shape[0]
    before = np.int64(0)
    for column in range(columns):
        value = bases[column]
        if widths[column] > 0:
            value += _get(source, position, widths[column]) * steps[column]
            position += widths[column]
        if relative[column]:
            value += before
        before = value
        row[column] = value
    for field in range(columns, columns + 2):
        row[field] = 0
        if widths[field] > 0:
            row[field] = _get(source, position, widths[field])
            position += widths[field]
    return position


@kernel()
def insert(distance, label, row, distances, labels, rows):
    """Put a row among the nearest, int64[k] each, sorted by (distance, row), if it is one."""
    spot = distances.shape[0] - 1
    if distance > distances[spot] or (distance == distances[spot] and row > rows[spot]):
        return
    while spot > 0 and (
        distances[spot - 1] > distance or (distances[spot - 1] == distance and rows[spot - 1] > row)
    ):
        distances[spot] = distances[spot - 1]
        labels[spot] = labels[spot - 1]
        rows[spot] = rows[spot - 1]
        spot -= 1
    distances[spot] = distance
    labels[spot] = label
    rows[spot] = row


@kernel()
def keep_nearest(
    words, chosen, firsts, counts, gone, bases, steps, widths, relative, query, distances, labels,
    rows,
):  # fmt: skip
    """Put the nearest rows of the buckets words[chosen] into distances, labels and rows.

    firsts and counts int64[chosen] are the buckets' first rows, in tree order, and how many they
    have; gone, bits of those that count for nothing, or empty; query int64[columns]; the three
    results, int64[k], are sorted by (distance, row) and start with distances of 2**63 - 1.
    """
    columns = query.shape[0]
    row = np.empty(columns + 2, np.int64)
    for index in range(chosen.shape[0]):
        source = words[chosen[index]]
        position = 0
        for rank in range(counts[index]):
            position = read_row(source, position, bases, steps, widths, relative, row)
            if is_gone(gone, firsts[index] + rank):
                continue
            distance = np.int64(0)
            for column in range(columns):
                distance += abs(row[column] - query[column])
            insert(distance, row[columns], row[columns + 1], distances, labels, rows)

"""Median splits: order rows so that 32 neighbours in the order share a small box.

Groups of 1024 rows and leaves of 32 rows are both contiguous and full except for the last one,
so that the tree needs no nodes: only boxes of leaves and boxes of groups.
"""

import numpy as np

from ompd._kernels.jit import kernel

LEAF = 32
GROUP = 1024


@kernel()
def _spread_column(heads, order, first, last, low, high):
    """Column with the widest range among rows order[first:last]; low and high are overwritten."""
    columns = heads.shape[1]
    for column in range(columns):
        low[column] = 65535
        high[column] = 0
    for place in range(first, last):
        row = order[place]
        for column in range(columns):
            value = np.int64(heads[row, column])
            low[column] = min(low[column], value)
            high[column] = max(high[column], value)
    best = 0
    for column in range(1, columns):
        if high[column] - low[column] > high[best] - low[best]:
            best = column
    return best


@kernel()
def _value_at_rank(keys, count, rank, tally):
    """(value, number of smaller keys) of the key at `rank` of keys[:count]; tally int64[256]."""
    tally[:] = 0
    for place in range(count):
        tally[keys[place] >> 8] += 1
    below = 0
    upper = 0
    while below + tally[upper] <= rank:
        below += tally[upper]
        upper += 1
    tally[:] = 0
    for place in range(count):
        if keys[place] >> 8 == upper:
            tally[keys[place] & 255] += 1
    lower = 0
    while below + tally[lower] <= rank:
        below += tally[lower]
        lower += 1
    return upper * 256 + lower, below


@kernel()
def split_once(heads, order, first, last, middle, spare, keys):
    """Reorder order[first:last] around position `middle` by the widest column, stably.

    heads uint16[:, columns], order int64; spare int64 and keys int64 of last - first are scratch.
    """
    columns = heads.shape[1]
    low = np.empty(columns, np.int64)
    high = np.empty(columns, np.int64)
    column = _spread_column(heads, order, first, last, low, high)
    count = last - first
    for place in range(count):
        keys[place] = np.int64(heads[order[first + place], column])
    pivot, below = _value_at_rank(keys, count, middle - first, np.empty(256, np.int64))
    equal_left = (middle - first) - below
    left = first
    right = 0
    for place in range(count):
        key = keys[place]
        go_left = key < pivot
        if key == pivot and equal_left > 0:
            equal_left -= 1
            go_left = True
        if go_left:
            order[left] = order[first + place]
            left += 1
        else:
            spare[right] = order[first + place]
            right += 1
    for place in range(right):
        order[left + place] = spare[place]


@kernel()
def middle_of(first, last):
    """Where to split [first, last): after half of its groups, below one group of its leaves."""
    count = last - first
    unit = GROUP if count > GROUP else LEAF
    return first + unit * ((count + unit - 1) // unit // 2)


@kernel()
def split_rows(heads, order, first, last):
    """Split order[first:last] down to leaves of 32 rows; order is permuted in place."""
    if heads.shape[1] == 0:
        return
    spare = np.empty(last - first, np.int64)
    keys = np.empty(last - first, np.int64)
    pending = np.empty((128, 2), np.int64)
    pending[0, 0] = first
    pending[0, 1] = last
    depth = 1
    while depth > 0:
        depth -= 1
        start = pending[depth, 0]
        stop = pending[depth, 1]
        if stop - start <= LEAF:
            continue
        middle = middle_of(start, stop)
        split_once(heads, order, start, stop, middle, spare, keys)
        pending[depth, 0] = start
        pending[depth, 1] = middle
        pending[depth + 1, 0] = middle
        pending[depth + 1, 1] = stop
        depth += 2


@kernel()
def lay_out(heads, order, first, last, leaves):
    """Copy rows order[32 * leaf:] into leaves uint16[:, columns, 32], leaf by leaf.

    Lanes behind the last row repeat it; the search ignores their positions.
    """
    for leaf in range(first, last):
        for lane in range(LEAF):
            row = order[min(leaf * LEAF + lane, order.shape[0] - 1)]
            for column in range(heads.shape[1]):
                leaves[leaf, column, lane] = heads[row, column]


@kernel()
def box_leaves(leaves, boxes):
    """Boxes of leaves uint16[:, columns, 32] into boxes uint16[leaf / 32, columns, 2, 32].

    Lanes without a leaf keep what they have: low 65535, high 0, so that they look far away.
    """
    for leaf in range(leaves.shape[0]):
        group = leaf // LEAF
        place = leaf % LEAF
        for column in range(leaves.shape[1]):
            low = leaves[leaf, column, 0]
            high = low
            for lane in range(1, LEAF):
                low = min(low, leaves[leaf, column, lane])
                high = max(high, leaves[leaf, column, lane])
            boxes[group, column, 0, place] = low
            boxes[group, column, 1, place] = high


@kernel()
def box_boxes(boxes, above):
    """Boxes around each 32 boxes of boxes uint16[:, columns, 2, 32]; above as in `box_leaves`."""
    for group in range(boxes.shape[0]):
        for column in range(boxes.shape[1]):
            low = boxes[group, column, 0, 0]
            high = boxes[group, column, 1, 0]
            for lane in range(1, LEAF):
                low = min(low, boxes[group, column, 0, lane])
                high = max(high, boxes[group, column, 1, lane])
            above[group // LEAF, column, 0, group % LEAF] = low
            above[group // LEAF, column, 1, group % LEAF] = high


@kernel()
def sampled_distance(heads, probes, rank):
    """For each of the first `probes` rows its rank-th smallest head distance, as int64[probes]."""
    count = heads.shape[0]
    gaps = np.empty(count, np.int64)
    result = np.empty(probes, np.int64)
    for probe in range(probes):
        for row in range(count):
            total = np.int64(0)
            for column in range(heads.shape[1]):
                total += abs(np.int64(heads[row, column]) - np.int64(heads[probe, column]))
            gaps[row] = total
        result[probe] = np.sort(gaps)[min(rank, count - 1)]
    return result

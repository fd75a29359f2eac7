"""The search: groups, leaves, rows, exact limbs.

A query's 16-bit heads are compared with the boxes of all groups (1024 rows), then with the leaf
boxes (32 rows) of the groups that may matter, then with the rows of the leaves that may matter.
Rows whose head distance exceeds the K-th smallest one by more than `slack` cannot be among the K
nearest (proof in ompd/search/index.py). The rest, a few more than K rows unless there are ties,
are the candidates: ompd/_kernels/nearest.py measures them, ompd/_kernels/classify.py seldom has to.
"""

from collections import namedtuple

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.lanes import (
    LANES,
    SATURATED,
    box_sums,
    box_sums_shifted,
    lanes_within,
    least_lane,
    lowest_bit,
    merge_sums,
    prefetch,
    row_sums,
    row_sums_shifted,
)
from ompd._kernels.limbs import clamped_head
from ompd._kernels.measure import measure

# Helpers are compiled with _nrt=False: they allocate nothing, and without Numba's reference counts
# (two atomic operations for each mention of an array) a query takes half as long.

#: Groups are visited in this many rounds of rising lower bound instead of being sorted.
ROUNDS = 4
GROUP_ROWS = LANES * LANES
#: Where boxes rule out at most one leaf of a group, the leaf boxes of so many further groups are
#: left unread: on independent uniform 30-d data they cost a sixth of the scan and prune nothing.
SKIPS = 15
_ALL = np.int64((1 << LANES) - 1)
#: Largest limit: a sum of 65535 may have saturated and is never accepted.
OPEN = SATURATED - 1

#: What is searched: flat uint64[N * stride], stride = m * L limbs a row, total = N; heads,
#: leaf_boxes, group_boxes, tail_heads uint16[:]; rows uint32 or int64; hidden uint8 bitmap, empty
#: if no row is hidden; labels int64[N] below `classes` where only a vote is wanted, else empty.
Table = namedtuple(
    "Table",
    "flat coordinates stride total heads leaf_boxes group_boxes rows tail_heads hidden columns "
    "labels classes",
)

#: One query's state. splat uint16[columns * 32] heads; sums, leaf_sums uint16[32], group_sums
#: uint16 per group: scratch. near uint16: the smallest head sums, 32 in ascending order if
#: k <= 32, else a max-heap of k. pool and pool_sums int64: positions that may be among the best.
#: class_sums int64[k] is scratch where only a vote is wanted.
State = namedtuple(
    "State",
    "splat sums leaf_sums group_sums near k pool pool_sums class_sums own shift slack",
)


@kernel(_nrt=False)
def _replace_farthest(near, value):
    """Replace the root of the max-heap near[k] by a smaller value."""
    count = near.shape[0]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and near[child + 1] > near[child]:
            child += 1
        if near[child] <= value:
            break
        near[place] = near[child]
        place = child
    near[place] = value


@kernel(_nrt=False, forceinline=True)
def row_at(place, rows):
    """Row id of a position: tree positions through `rows`, tail rows stand for themselves."""
    return np.int64(rows[place]) if place < rows.shape[0] else np.int64(place)


@kernel(_nrt=False)
def keep_within(state, held, limit):
    """Compact the pool to the entries whose head sum is <= limit; returns how many."""
    pool = state.pool
    sums = state.pool_sums
    kept = 0
    for entry in range(held):
        if sums[entry] <= limit:
            pool[kept] = pool[entry]
            sums[kept] = sums[entry]
            kept += 1
    return kept


@kernel(_nrt=False)
def _thin(table, state, held):
    """Keep of each class no more than the k entries with the smallest head sums.

    A vote counts no more of them (see ompd/_kernels/classify.py).
    """
    pool = state.pool
    sums = state.pool_sums
    heap = state.class_sums
    kept = 0
    for code in range(table.classes):
        # Entries of this class move to the front, behind those of the classes before.
        last = kept
        heap[:] = SATURATED
        for entry in range(kept, held):
            place = pool[entry]
            value = sums[entry]
            if table.labels[row_at(place, table.rows)] == code:
                pool[entry] = pool[last]
                sums[entry] = sums[last]
                pool[last] = place
                sums[last] = value
                last += 1
                if value < heap[0]:
                    _replace_farthest(heap, value)
        farthest = heap[0]
        room = state.k
        for entry in range(kept, last):
            room -= np.int64(sums[entry] < farthest)
        first = kept
        for entry in range(first, last):
            if sums[entry] < farthest or (sums[entry] == farthest and room > 0):
                room -= np.int64(sums[entry] == farthest)
                place = pool[entry]
                value = sums[entry]
                pool[entry] = pool[kept]
                sums[entry] = sums[kept]
                pool[kept] = place
                sums[kept] = value
                kept += 1
        # What was not kept makes way for the entries of later classes.
        gap = last - kept
        for entry in range(last, held):
            pool[entry - gap] = pool[entry]
            sums[entry - gap] = sums[entry]
        held -= gap
    return held


@kernel(_nrt=False)
def _relieve(table, queries, query, state, best, held, filled, limit):
    """Make room in the pool: drop what fell behind; if most is left, thin it out or measure it."""
    held = keep_within(state, held, limit)
    if 2 * held > state.pool.shape[0]:
        if table.labels.shape[0] > 0:
            return _thin(table, state, held), filled
        for entry in range(held):
            row = row_at(state.pool[entry], table.rows)
            filled = measure(table, row, queries, query, best, filled)
        held = 0
    return held, filled


@kernel(_nrt=False)
def _visible(mask, place, table, own):
    """Lanes of `mask` whose rows are neither `own` nor marked in the bitmap of hidden rows."""
    hidden = table.hidden
    rest = mask
    while rest != 0:
        lane = lowest_bit(rest)
        rest &= rest - 1
        row = row_at(place + lane, table.rows)
        if row == own or (
            hidden.shape[0] > 0 and (np.int64(hidden[row >> 3]) >> (row & 7)) & 1 != 0
        ):
            mask &= ~(np.int64(1) << lane)
    return mask


@kernel(_nrt=False, forceinline=True)
def _scan_leaf(table, heads, leaf, place, total, state, limit, held):
    """Add the rows of one leaf that are within `limit` to the pool; returns (limit, held).

    place is the position of its first row, total the end of positions. The pool must have 32
    free entries. near, pool, pool_sums and sums of the state are updated.
    """
    first = leaf * table.columns * LANES
    sums = state.sums
    if state.shift == 0:
        mask = row_sums(heads, first, state.splat, table.columns, sums, limit)
    else:
        mask = row_sums_shifted(heads, first, state.splat, table.columns, sums, limit, state.shift)
    if mask == 0:
        return limit, held
    if place + LANES > total:
        mask &= (np.int64(1) << (total - place)) - 1
    if state.own >= 0 or table.hidden.shape[0] > 0:
        mask = _visible(mask, place, table, state.own)
    near = state.near
    if state.k <= LANES:
        merge_sums(near, sums, mask)
        limit = min(limit, np.int64(near[state.k - 1]) + state.slack)
    else:
        rest = mask
        while rest != 0:
            value = sums[lowest_bit(rest)]
            rest &= rest - 1
            if value < near[0]:
                _replace_farthest(near, value)
        limit = min(limit, np.int64(near[0]) + state.slack)
    mask &= lanes_within(sums, 0, limit)
    while mask != 0:
        lane = lowest_bit(mask)
        mask &= mask - 1
        state.pool[held] = place + lane
        state.pool_sums[held] = sums[lane]
        held += 1
    return limit, held


@kernel(_nrt=False, forceinline=True)
def _boxes(boxes, block, columns, splat, shift, sums, limit):
    """Lower bounds of 32 boxes into sums uint16[32]; mask of those <= limit."""
    first = block * columns * LANES
    if shift == 0:
        return box_sums(boxes, first, splat, columns, sums, limit)
    return box_sums_shifted(boxes, first, splat, columns, sums, limit, shift)


@kernel(_nrt=False, forceinline=True)
def _scan_group(table, group, queries, query, state, best, limit, held, filled, skips):
    """Scan the leaves of one group, the nearest first; returns (limit, held, filled, skips).

    skips counts groups whose leaf boxes are not looked at, since those of the last one that was
    looked at ruled out next to nothing.
    """
    count = table.rows.shape[0]
    sums = state.leaf_sums
    if skips > 0:
        skips -= 1
        mask = _ALL
        for lane in range(LANES):
            sums[lane] = 0
    else:
        mask = _boxes(table.leaf_boxes, group, table.columns, state.splat, state.shift, sums, limit)
        if (mask ^ _ALL) & ((mask ^ _ALL) - 1) == 0:
            skips = SKIPS
    full = state.pool.shape[0] - LANES
    lane = least_lane(sums) if mask != 0 else 0
    # Scattered leaves are asked for at once: a big table lives in slow memory. A dense scan (every
    # other leaf or more) is left to the processor's own prefetcher, 30% faster on uniform 30-d.
    rest = mask if mask & (mask >> 1) & (mask >> 2) & (mask >> 3) == 0 else np.int64(0)
    while rest != 0:
        first = (group * LANES + lowest_bit(rest)) * table.columns
        rest &= rest - 1
        for column in range(first, first + table.columns):
            prefetch(table.heads, column * LANES)
    while mask != 0:
        mask &= ~(np.int64(1) << lane)
        leaf = group * LANES + lane
        if leaf * LANES < count and np.int64(sums[lane]) <= limit:
            limit, held = _scan_leaf(
                table, table.heads, leaf, leaf * LANES, count, state, limit, held
            )
            if held > full:
                held, filled = _relieve(table, queries, query, state, best, held, filled, limit)
        lane = lowest_bit(mask)
    return limit, held, filled, skips


@kernel(_nrt=False)
def _nearest_group(group_boxes, groups, columns, splat, shift, sums, group_sums):
    """Group with the smallest lower bound; all lower bounds into group_sums, sums is scratch."""
    nearest = SATURATED + 1
    result = 0
    for block in range((groups + LANES - 1) // LANES):
        _boxes(group_boxes, block, columns, splat, shift, sums, SATURATED)
        for lane in range(LANES):
            group_sums[block * LANES + lane] = sums[lane]
        lane = least_lane(sums)
        if np.int64(sums[lane]) < nearest:
            nearest = np.int64(sums[lane])
            result = block * LANES + lane
    return result


@kernel(_nrt=False)
def spread_heads(queries, query, kept, bits, base, splat):
    """Heads of one query, each repeated in 32 lanes of splat uint16[32 * columns]."""
    for column in range(kept.shape[0]):
        head = np.uint16(clamped_head(queries, query, kept[column], bits, base, column))
        for lane in range(column * LANES, (column + 1) * LANES):
            splat[lane] = head


@kernel(_nrt=False)
def state_of(scratch, own, shift, slack):
    """The scratch arrays with one query's excluded row, shift of the heads and slack."""
    return State(
        scratch.splat, scratch.sums, scratch.leaf_sums, scratch.group_sums, scratch.near,
        scratch.k, scratch.pool, scratch.pool_sums, scratch.class_sums, own, shift,
        slack,
    )  # fmt: skip


@kernel(_nrt=False)
def collect(table, queries, query, state, best, filled, limit):
    """Scan all that may matter; returns (limit, held, filled) with the candidates in the pool.

    Rows whose head sum is above the given limit, at most `OPEN`, are no candidates.
    """
    held = 0
    state.near[:] = SATURATED
    count = table.rows.shape[0]
    groups = (count + GROUP_ROWS - 1) // GROUP_ROWS
    start = 0
    if groups > 1:
        start = _nearest_group(
            table.group_boxes, groups, table.columns, state.splat, state.shift, state.sums,
            state.group_sums,
        )  # fmt: skip
    limit, held, filled, skips = _scan_group(
        table, start, queries, query, state, best, limit, held, filled, 0
    )
    skips = 0
    if groups > 1:
        state.group_sums[start] = SATURATED
        for step in range(1, ROUNDS + 1):
            for block in range((groups + LANES - 1) // LANES):
                mask = lanes_within(state.group_sums, block * LANES, limit * step // ROUNDS)
                while mask != 0:
                    group = block * LANES + lowest_bit(mask)
                    mask &= mask - 1
                    if group < groups and np.int64(state.group_sums[group]) <= limit:
                        state.group_sums[group] = SATURATED
                        limit, held, filled, skips = _scan_group(
                            table, group, queries, query, state, best, limit, held, filled, skips
                        )
    full = state.pool.shape[0] - LANES
    total = table.total
    for leaf in range((total - count + LANES - 1) // LANES):
        place = count + leaf * LANES
        limit, held = _scan_leaf(table, table.tail_heads, leaf, place, total, state, limit, held)
        if held > full:
            held, filled = _relieve(table, queries, query, state, best, held, filled, limit)
    return limit, held, filled

"""The K nearest rows: candidates of the scan, measured in exact limbs."""

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.lanes import LANES, SATURATED, prefetch
from ompd._kernels.measure import Best, exceeds, measure, measure_strays, most_heads
from ompd._kernels.scan import (
    GROUP_ROWS,
    OPEN,
    State,
    Table,
    collect,
    keep_within,
    row_at,
    spread_heads,
    state_of,
)

#: What stands in places that no row fills.
NOBODY = np.int64(-1)
FARTHEST = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel(_nrt=False)
def _answer(
    table, cube, queries, base, kept, bits, strays, exclude, within, first_query, last_query, best,
    scratch, out_distances, out_rows,
):  # fmt: skip
    """The loop of `search_rows`; queries is `cube` flattened, scratch is a `State` of no query."""
    bounded = within.shape[0] > 0
    columns = table.columns
    coordinates = table.coordinates
    width = table.stride // coordinates
    k = scratch.k
    splat = scratch.splat
    pool = scratch.pool
    # Smallest shift at which no sum of heads, slack included, can saturate.
    safe_shift = 0
    most_slack = columns + coordinates - 1
    while columns * (SATURATED >> safe_shift) + most_slack >= SATURATED:
        safe_shift += 1
    slack = most_slack if bits > 0 else 0
    for query in range(first_query, last_query):
        own = exclude[query] if exclude.shape[0] > 0 else np.int64(-1)
        spread_heads(cube, query, kept, bits, base, splat)
        filled = measure_strays(table, strays, queries, query, own, best)
        state = state_of(scratch, own, 0, slack)
        limit = OPEN
        if bounded:
            limit = most_heads(within, query, bits, columns if bits > 0 else 0, OPEN)
        limit, held, filled = collect(table, queries, query, state, best, filled, limit)
        if limit >= OPEN and safe_shift > 0:
            # Sums may have saturated (a query far outside): again with coarser heads.
            for lane in range(columns * LANES):
                splat[lane] = splat[lane] >> safe_shift
            filled = measure_strays(table, strays, queries, query, own, best)
            state = state_of(scratch, own, safe_shift, most_slack)
            limit = OPEN
            if bounded:
                limit = most_heads(within, query, bits + safe_shift, columns, OPEN)
            limit, held, filled = collect(table, queries, query, state, best, filled, limit)
        held = keep_within(state, held, limit)
        for entry in range(held):
            pool[entry] = row_at(pool[entry], table.rows)
            for line in range(0, table.stride, 8):
                prefetch(table.flat, pool[entry] * table.stride + line)
        for entry in range(held):
            filled = measure(table, pool[entry], queries, query, best, filled)
        for place in range(k):
            slot = best.rank[place]
            if bounded and (place >= filled or exceeds(best.distances, slot, within, query)):
                # Those behind are as far or farther.
                out_rows[query, place:] = NOBODY
                out_distances[query, place:] = FARTHEST
                break
            out_rows[query, place] = best.rows[slot]
            for limb in range(width + 1):
                out_distances[query, place, limb] = best.distances[slot, limb]


@kernel()
def search_rows(
    limbs, queries, heads, leaf_boxes, group_boxes, rows, base, kept, bits, tail_heads, strays,
    hidden, exclude, within, first_query, last_query, out_distances, out_rows,
):  # fmt: skip
    """Answer queries [first_query, last_query) into out_distances[q, k, L + 1], out_rows[q, k].

    Arrays as in `Table`; queries uint64[q, m, L], base uint64[columns, L], kept int64[columns],
    strays int64, exclude int64[q] or empty. At least k live rows must exist. Rows that are farther
    than within uint64[q, L + 1], if that is not empty, are not found: `NOBODY` and `FARTHEST` stand
    in their places.
    """
    coordinates = limbs.shape[1]
    width = limbs.shape[2]
    k = out_rows.shape[1]
    columns = kept.shape[0]
    groups = (rows.shape[0] + GROUP_ROWS - 1) // GROUP_ROWS
    stride = coordinates * width
    flat = limbs.reshape(limbs.size)
    table = Table(
        flat, coordinates, stride, limbs.shape[0], heads, leaf_boxes, group_boxes, rows,
        tail_heads, hidden, columns, np.empty(0, np.int64), 0,
    )  # fmt: skip
    best = Best(
        np.empty((k + 1, width + 1), np.uint64), np.empty(k + 1, np.int64),
        np.empty(k + 1, np.int64), np.empty(2 * width, np.int64),
    )  # fmt: skip
    splat = np.empty(columns * LANES, np.uint16)
    sums = np.empty(LANES, np.uint16)
    leaf_sums = np.empty(LANES, np.uint16)
    group_sums = np.empty(groups + LANES, np.uint16)
    near = np.empty(max(k, LANES), np.uint16)
    pool = np.empty(max(8 * LANES, 2 * k) + LANES, np.int64)
    pool_sums = np.empty(pool.shape[0], np.int64)
    scratch = State(
        splat,
        sums,
        leaf_sums,
        group_sums,
        near,
        k,
        pool,
        pool_sums,
        np.empty(0, np.int64),
        np.int64(-1),
        0,
        0,
    )
    _answer(
        table, queries, queries.reshape(queries.size), base, kept, bits, strays, exclude, within,
        first_query, last_query, best, scratch, out_distances, out_rows,
    )  # fmt: skip

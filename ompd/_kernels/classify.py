"""The vote of the K nearest rows, decided by head sums alone wherever they suffice.

With S the head sums, ascending as S_1, S_2, ..., and `slack` as in ompd/search/index.py: a row is
surely farther than row i if its sum exceeds S_i + slack. So row i is surely among the K nearest if
S_i + slack < S_(K+1), and surely not if S_i > S_K + slack. Between these lie A open rows, of which
the places that the sure ones left are filled somehow. A class gets at most min(places, its open
rows) of them and at least places - (open rows of all others). One class that beats every other
even so has won, and where both bounds meet for every class the count of votes is known; no limb of
the table is read. For these bounds it makes no difference if a class
with more than K open rows is counted as K.
"""

from collections import namedtuple

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.lanes import LANES, prefetch
from ompd._kernels.measure import Best
from ompd._kernels.montgomery import products
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

#: Queries converted at a time: their coordinates stay in the first-level cache.
BLOCK = 16
#: Class code of a query that the head sums do not decide.
UNDECIDED = -1


@kernel(_nrt=False)
def _decide(table, state, held, sure, unsure, votes, query):
    """Class of the query whose candidates are in the pool, or UNDECIDED.

    sure and unsure int64[classes] are overwritten. If votes int64[q, classes] has rows, row
    `query` gets the counts, and counts that the bounds leave open make the query undecided.
    """
    sure[:] = 0
    unsure[:] = 0
    places = state.k
    doubtful = 0
    beyond = np.int64(state.near[state.k])
    for entry in range(held):
        state.pool[entry] = row_at(state.pool[entry], table.rows)
        prefetch(table.labels, state.pool[entry])
    for entry in range(held):
        code = table.labels[state.pool[entry]]
        if np.int64(state.pool_sums[entry]) + state.slack < beyond:
            sure[code] += 1
            places -= 1
        else:
            unsure[code] += 1
            doubtful += 1
    best = 0
    for code in range(table.classes):
        if sure[code] + unsure[code] > sure[best] + unsure[best]:
            best = code
    least = sure[best] + max(0, places - (doubtful - unsure[best]))
    for code in range(table.classes):
        if code != best and sure[code] + min(places, unsure[code]) >= least:
            return UNDECIDED
    if votes.shape[0] > 0:
        for code in range(table.classes):
            fewest = max(0, places - (doubtful - unsure[code]))
            if fewest != min(places, unsure[code]):
                return UNDECIDED
            votes[query, code] = sure[code] + fewest
    return best


#: Scratch for the conversion of a block of queries. factors uint64[BLOCK * L], values
#: uint64[BLOCK * columns * L] and `cube`, the same in three dimensions; picks int64, at least
#: BLOCK * columns; spare, places as in `products`; every int64[columns] counts up.
Block = namedtuple("Block", "factors values cube picks spare places every")


@kernel(_nrt=False)
def _convert(table, points, tokens, square, modulus, inverse, kept, start, count, block):
    """Fill block.values with the `kept` coordinates of `count` queries at the table's scale.

    Without tokens the queries are at that scale already.
    """
    columns = table.columns
    picks = block.picks
    if tokens.shape[0] == 0:
        width = block.cube.shape[2]
        for i in range(count):
            for column in range(columns):
                first = ((start + i) * table.coordinates + kept[column]) * width
                for limb in range(width):
                    block.cube[i, column, limb] = points[first + limb]
        return
    for i in range(count):
        picks[i] = start + i
    products(
        square, BLOCK, tokens, picks, modulus, inverse, block.factors, 0, count, block.spare,
        block.places,
    )  # fmt: skip
    for i in range(count):
        for column in range(columns):
            picks[i * columns + column] = (start + i) * table.coordinates + kept[column]
    products(
        block.factors, max(1, columns), points, picks, modulus, inverse, block.values, 0,
        count * columns, block.spare, block.places,
    )  # fmt: skip


@kernel(_nrt=False)
def _classify(
    table, points, tokens, square, modulus, inverse, base, kept, bits, first_query, last_query,
    scratch, best, block, sure, unsure, codes, votes,
):  # fmt: skip
    """The loop of `classify_rows`; points and tokens are flat."""
    slack = table.columns + table.coordinates - 1 if bits > 0 else 0
    state = state_of(scratch, np.int64(-1), 0, slack)
    for start in range(first_query, last_query, BLOCK):
        count = min(BLOCK, last_query - start)
        _convert(table, points, tokens, square, modulus, inverse, kept, start, count, block)
        for i in range(count):
            spread_heads(block.cube, i, block.every, bits, base, state.splat)
            limit, held, _ = collect(table, points, 0, state, best, 0, OPEN)
            codes[start + i] = UNDECIDED
            if limit < OPEN:
                held = keep_within(state, held, limit)
                codes[start + i] = _decide(table, state, held, sure, unsure, votes, start + i)


@kernel()
def classify_rows(
    limbs, points, tokens, square, modulus, inverse, heads, leaf_boxes, group_boxes, rows, base,
    kept, bits, tail_heads, hidden, labels, classes, k, first_query, last_query, codes,
    votes,
):  # fmt: skip
    """Fill codes[first_query:last_query] with class codes or UNDECIDED.

    votes int64[q, classes] gets the counts of what is decided; without rows none are counted.
    points uint64[q, m, L] and tokens uint64[q, L] as in `convert` (no tokens: nothing to convert),
    square, modulus uint64[L] and inverse as in `Modulus`, the other arrays as in `Table` and
    `search_rows`; there are no strays, k < 32, and at least k live rows.
    """
    coordinates = limbs.shape[1]
    width = limbs.shape[2]
    columns = kept.shape[0]
    groups = (rows.shape[0] + GROUP_ROWS - 1) // GROUP_ROWS
    table = Table(
        limbs.reshape(limbs.size), coordinates, coordinates * width, limbs.shape[0], heads,
        leaf_boxes, group_boxes, rows, tail_heads, hidden, columns, labels, classes,
    )  # fmt: skip
    # Never used: with labels at hand the scan does not measure.
    best = Best(
        np.empty((1, 1), np.uint64), np.empty(1, np.int64), np.empty(1, np.int64),
        np.empty(2, np.int64),
    )  # fmt: skip
    pool = np.empty(max(8 * LANES, 2 * k * classes) + LANES, np.int64)
    scratch = State(
        np.empty(columns * LANES, np.uint16), np.empty(LANES, np.uint16),
        np.empty(LANES, np.uint16), np.empty(groups + LANES, np.uint16),
        np.empty(LANES, np.uint16), k, pool, np.empty(pool.shape[0], np.int64),
        np.empty(k, np.int64), np.int64(-1), 0, 0,
    )  # fmt: skip
    values = np.empty(BLOCK * columns * width, np.uint64)
    block = Block(
        np.empty(BLOCK * width, np.uint64), values, values.reshape(BLOCK, columns, width),
        np.empty(BLOCK * max(1, columns), np.int64), np.empty(width + 2, np.uint64),
        np.empty(24, np.int64), np.arange(columns),
    )  # fmt: skip
    _classify(
        table, points.reshape(points.size), tokens.reshape(tokens.size), square, modulus, inverse,
        base, kept, bits, first_query, last_query, scratch, best, block,
        np.empty(classes, np.int64), np.empty(classes, np.int64), codes, votes,
    )  # fmt: skip

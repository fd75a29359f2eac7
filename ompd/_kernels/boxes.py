"""Parts of a table by the boxes of their heads: which may hold a neighbour, and what they found.

The bounds are those of the index: see ompd/search/index.py for heads, `bits`, `base` and `kept`.
"""

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.limbs import clamped_head
from ompd._kernels.measure import most_heads

#: No bound: above any sum of heads.
UNBOUNDED = np.int64(1) << np.int64(62)
#: Row of a place that nothing fills yet.
EMPTY = np.int64(0x7FFFFFFFFFFFFFFF)


@kernel()
def box_bounds(queries, kept, bits, base, low, high, bounds, first, last):
    """Least sums of head distances of queries first:last and boxes, into bounds int64[q, S].

    queries uint64[q, m, L], base uint64[columns, L], kept int64[columns]; low and high
    int64[S, columns].
    """
    for query in range(first, last):
        bounds[query] = 0
        for column in range(kept.shape[0]):
            head = np.int64(clamped_head(queries, query, kept[column], bits, base, column))
            for box in range(low.shape[0]):
                bounds[query, box] += max(
                    np.int64(0), low[box, column] - head, head - high[box, column]
                )


@kernel()
def head_limits(within, bits, columns, limits):
    """Largest sums of head distances of rows so near, into limits int64[q].

    within uint64[q, L + 1]; columns counts what floors of heads may lose, 0 where they are exact.
    """
    for query in range(limits.shape[0]):
        limits[query] = most_heads(within, query, bits, columns, UNBOUNDED)


@kernel()
def merge_rows(numbers, distances, rows, best_distances, best_rows):
    """Insert what one part found into the best so far, in the order of (distance, row).

    numbers int64[n] says which query each line is about; distances uint64[n, c, L + 1] and rows
    int64[n, c] rise within a line, and end where a row is -1. best_distances uint64[q, k, L + 1]
    and best_rows int64[q, k] are updated; where nothing is yet, limbs are all ones and the row is
    the largest integer.
    """
    most = best_rows.shape[1]
    width = best_distances.shape[2]
    for line in range(numbers.shape[0]):
        query = numbers[line]
        kept_distances = best_distances[query]
        kept_rows = best_rows[query]
        for entry in range(rows.shape[1]):
            row = rows[line, entry]
            if row < 0 or not _comes_before(
                distances[line], entry, row, kept_distances, most - 1, kept_rows[most - 1]
            ):
                break
            place = most - 1
            while place > 0 and kept_rows[place - 1] == EMPTY:
                # Nothing is there that would have to move.
                place -= 1
            while place > 0 and _comes_before(
                distances[line], entry, row, kept_distances, place - 1, kept_rows[place - 1]
            ):
                kept_rows[place] = kept_rows[place - 1]
                for limb in range(width):
                    kept_distances[place, limb] = kept_distances[place - 1, limb]
                place -= 1
            kept_rows[place] = row
            for limb in range(width):
                kept_distances[place, limb] = distances[line, entry, limb]


@kernel(_nrt=False)
def _comes_before(distances, entry, row, others, place, other):
    """Whether (distances[entry], row) is before (others[place], other)."""
    for limb in range(distances.shape[1] - 1, -1, -1):
        if distances[entry, limb] != others[place, limb]:
            return distances[entry, limb] < others[place, limb]
    return row < other

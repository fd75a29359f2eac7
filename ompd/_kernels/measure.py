"""Exact distances of single rows, and the K best of them in order."""

from collections import namedtuple

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.limbs import distance_into, precedes

#: The K best rows so far in exact limbs. distances uint64[k + 1, L + 1] and rows int64[k + 1] are
#: slots, rank int64[k + 1] lists them in order; digits int64[2 * L] is scratch.
Best = namedtuple("Best", "distances rows rank digits")


@kernel(_nrt=False, forceinline=True)
def measure(table, row, queries, query, best, filled):
    """Exact distance of one row, inserted into the K best; returns how many are held.

    rank[filled] is the free slot that receives the new distance; the farthest of k + 1 is the
    next free one.
    """
    rank = best.rank
    slot = rank[filled]
    distance_into(
        table.flat, row * table.stride, queries, query * table.stride, table.coordinates,
        best.digits, best.distances, slot,
    )  # fmt: skip
    best.rows[slot] = row
    place = filled
    while place > 0:
        before = rank[place - 1]
        if precedes(best.distances, before, best.rows[before], slot, row):
            break
        rank[place] = before
        place -= 1
    rank[place] = slot
    return min(filled + 1, rank.shape[0] - 1)


@kernel(_nrt=False)
def measure_strays(table, strays, queries, query, own, best):
    """Start the K best anew with the strays; returns how many are held."""
    for slot in range(best.rank.shape[0]):
        best.rank[slot] = slot
    filled = 0
    for stray in range(strays.shape[0]):
        if strays[stray] != own:
            filled = measure(table, strays[stray], queries, query, best, filled)
    return filled


@kernel(_nrt=False)
def exceeds(distances, slot, within, query):
    """Whether distances[slot] > within[query], both little-endian limbs."""
    for limb in range(within.shape[1] - 1, -1, -1):
        if distances[slot, limb] != within[query, limb]:
            return distances[slot, limb] > within[query, limb]
    return False


@kernel(_nrt=False)
def most_heads(within, query, bits, columns, most):
    """Largest sum of head distances of a row within[query] away, or `most` if that is less.

    (within >> bits) + columns: see S - c <= D / 2**h in ompd/search/index.py.
    """
    word = bits // 64
    shift = np.uint64(bits % 64)
    width = within.shape[1]
    if word >= width:
        return min(most, np.int64(columns))
    for limb in range(word + 1, width):
        # All but what goes down into the lowest word.
        if within[query, limb] >> (shift if limb == word + 1 else np.uint64(0)) != np.uint64(0):
            return most
    low = within[query, word] >> shift
    if word + 1 < width and shift > np.uint64(0):
        low |= within[query, word + 1] << (np.uint64(64) - shift)
    if low > np.uint64(most):
        return most
    return min(most, np.int64(low) + columns)

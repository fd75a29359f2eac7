"""Products of masked descriptors, ranks of masked scores, and the two best of each group."""

import numpy as np

from ompd._kernels.jit import kernel

_LANES = 64


@kernel()
def add_products(left, right, out):
    """`out` += left @ right.T modulo 2^32; all uint32, the first two (n, k) and (m, k)."""
    for i in range(left.shape[0]):
        for j in range(right.shape[0]):
            value = np.uint32(0)
            for k in range(left.shape[1]):
                value += left[i, k] * right[j, k]
            out[i, j] += value


@kernel()
def add_ranks(mine, other, shares, first, second, leader, modulus, ranks):
    """Count for each entry of a row how many others of its group are better, as shares.

    mine, other uint64 (groups, 8): masked results [first < second] of both clouds; shares uint8 (64
    * 8 * groups,): of the masks, modulo `modulus`; first, second as compared; leader 1 or 0; ranks
    int64 (rows, entries) is added to, and ends within 0 to modulus - 1.
    """
    words = mine.reshape(-1)
    others = other.reshape(-1)
    pairs = first.size
    for row in range(ranks.shape[0]):
        for pair in range(pairs):
            lane = row * pairs + pair
            word = words[lane // _LANES] ^ others[lane // _LANES]
            value = np.int64(shares[lane])
            if (word >> np.uint64(lane % _LANES)) & np.uint64(1):
                value = leader - value
            ranks[row, first[pair]] += value
            ranks[row, second[pair]] += leader - value
        for j in range(ranks.shape[1]):
            ranks[row, j] %= modulus


@kernel()
def deal_choices(places, masks, given):
    """`given` uint32 (rows, entries, modulus, 2): whether a rank is 0, and that times the mask.

    places int64 (rows, entries): the masks of the ranks, in 0 to modulus - 1; masks uint32 (rows,
    entries): those of the scores. given holds the leader's share and is overwritten with value
    - share.
    """
    for row in range(given.shape[0]):
        for j in range(given.shape[1]):
            for place in range(given.shape[2]):
                one = np.uint32(places[row, j] == place)
                given[row, j, place, 0] = one - given[row, j, place, 0]
                given[row, j, place, 1] = one * masks[row, j] - given[row, j, place, 1]


@kernel()
def choose(ranks, scores, given, groups, out):
    """`out` uint32 (rows, 2 * groups): shares of the best and the second best of each group.

    ranks int64 (rows, entries): masked, opened; scores uint32 (rows, entries): masked; given as
    dealt; groups int64 (entries,): each entry's.
    """
    modulus = given.shape[2]
    out[:] = np.uint32(0)
    for row in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            for wanted in range(2):
                # A rank's mask is the place of the only 1 of its table.
                place = (ranks[row, j] - wanted) % modulus
                share = scores[row, j] * given[row, j, place, 0] - given[row, j, place, 1]
                out[row, 2 * groups[j] + wanted] += share

"""From masked bits of comparisons to keypoint bits: shares modulo 32, counts, tables."""

import numpy as np

from ompd._kernels.image_lanes import byte_planes, bytes_of_planes
from ompd._kernels.jit import kernel

_GROUP = 8
_LANES = 64


@kernel()
def deal_shares(mine, other, given):
    """given: bit planes of the other cloud's share modulo 32 of the mask bit.

    mine, other uint64 (groups, 8): both clouds' masks of the second round; given uint64
    (groups, 5, 8) holds the leader's share and is overwritten with mask - share.
    """
    for group in range(given.shape[0]):
        for b in range(_GROUP):
            bit = mine[group, b] ^ other[group, b]
            borrow = np.uint64(0)
            for j in range(5):
                share = given[group, j, b]
                given[group, j, b] = bit ^ share ^ borrow
                borrow = (~bit & (share | borrow)) | (share & borrow)
                bit = np.uint64(0)


@kernel()
def add_counts(mine, other, given, starts_low, starts_high, leader, low, high, counts):
    """Add one plane of comparisons to the counts of 28 bits per pixel, as shares modulo 32.

    mine, other uint64 (groups, 8): masked bits [X < Y] of both; given uint64 (groups, 5, 8);
    counts uint8 (3, places), to which layer `low` gets 1 - bit at the lane and layer `high` the
    bit at the neighbour; a layer outside 1 to 3 gets nothing. leader: 1 or 0.
    """
    lanes = np.empty(_LANES, np.uint8)
    words = given.reshape(-1)
    one = np.uint8(leader)
    for group in range(mine.shape[0]):
        for b in range(_GROUP):
            block = group * _GROUP + b
            flip = mine[group, b] ^ other[group, b]
            bytes_of_planes(words, 5 * _GROUP * group + b, _GROUP, flip, leader, lanes, 0)
            if 1 <= low <= 3:
                place = starts_low[block]
                these = counts[low - 1, place : place + _LANES]
                for i in range(_LANES):
                    these[i] += one - lanes[i]
            if 1 <= high <= 3:
                place = starts_high[block]
                those = counts[high - 1, place : place + _LANES]
                for i in range(_LANES):
                    those[i] += lanes[i]


@kernel()
def mask_counts(counts, starts, masks, opened):
    """`opened` uint64 (3, groups, 5, 8): bit planes of counts + masks modulo 32.

    counts uint8 (3, places); masks uint8 (3, 512 * groups).
    """
    lanes = np.empty(_LANES, np.uint8)
    out = opened.reshape(-1)
    groups = opened.shape[1]
    for layer in range(3):
        for group in range(groups):
            for b in range(_GROUP):
                block = group * _GROUP + b
                these = counts[layer, starts[block] : starts[block] + _LANES]
                some = masks[layer, _LANES * block : _LANES * (block + 1)]
                for i in range(_LANES):
                    lanes[i] = these[i] + some[i]
                at = ((layer * groups + group) * 5) * _GROUP + b
                byte_planes(lanes, 0, out, at, _GROUP)


@kernel()
def deal_tables(mine, other, given):
    """`given` ^= a table of 32 bits that is set where counts are 0 or 28; all by lane.

    mine, other uint8: both clouds' masks of the counts; given uint32.
    """
    for i in range(given.size):
        none = np.uint32((mine[i] + other[i]) & 31)
        given[i] ^= (np.uint32(1) << none) | (
            np.uint32(1) << ((none + np.uint32(28)) & np.uint32(31))
        )


@kernel()
def look_up(mine, other, tables, bits):
    """`bits` uint64 (3, groups, 8): this cloud's share of the keypoint bits.

    mine, other uint64 (3, groups, 5, 8): masked counts; tables uint32 (3 * 512 * groups).
    """
    left = np.empty(_LANES, np.uint8)
    right = np.empty(_LANES, np.uint8)
    first = mine.reshape(-1)
    second = other.reshape(-1)
    out = bits.reshape(-1)
    for group in range(out.size // _GROUP):
        for b in range(_GROUP):
            at = 5 * _GROUP * group + b
            bytes_of_planes(first, at, _GROUP, np.uint64(0), 0, left, 0)
            bytes_of_planes(second, at, _GROUP, np.uint64(0), 0, right, 0)
            block = group * _GROUP + b
            table = tables[_LANES * block : _LANES * (block + 1)]
            word = np.uint64(0)
            for i in range(_LANES):
                place = np.uint32((left[i] + right[i]) & 31)
                bit = (table[i] >> place) & np.uint32(1)
                word |= np.uint64(bit) << np.uint64(i)
            out[block] = word

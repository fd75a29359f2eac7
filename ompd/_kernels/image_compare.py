"""Comparisons of public masked numbers with the dealer's secret masks, 512 at a time.

[c - r < 0] for windows c (public) and r (the mask) of m bits is c's top bit xor r's top bit xor
[rest of c < rest of r]. The rest is cut into chunks. The dealer shares all products of the bits of
r within a chunk, so that "less" and "equal" of a chunk are local folds. The first round opens these
masked, the second one the result, masked. Words stand as (group, word, 8 blocks of 64).
"""

import numpy as np

from ompd._kernels.image_lanes import (
    WINDOW_BITS,
    difference_planes,
    fold_4,
    fold_5,
    multiply_4,
    multiply_5,
)
from ompd._kernels.jit import kernel

_GROUP = 8
_PLANES = WINDOW_BITS


@kernel()
def deal_products(low, high, starts_low, starts_high, chunks, given):
    """`given` ^= the products of the bits of r within each chunk, then its top bit.

    low, high uint16 windows of the mask; starts int64 per block; chunks int64, highest first;
    given uint64 (groups, products, 8).
    """
    bits = 1 + chunks.sum()
    planes = np.empty(_PLANES * _GROUP, np.uint64)
    words = given.reshape(-1)
    at = 0
    for group in range(given.shape[0]):
        for b in range(_GROUP):
            block = group * _GROUP + b
            difference_planes(low, starts_low[block], high, starts_high[block], planes, b, _GROUP)
        base = bits - 1
        for chunk in chunks:
            base -= chunk
            if chunk == 5:
                multiply_5(planes, base * _GROUP, words, at)
            else:
                multiply_4(planes, base * _GROUP, words, at)
            at += _GROUP * ((1 << chunk) - 1)
        for b in range(_GROUP):
            words[at + b] ^= planes[(bits - 1) * _GROUP + b]
        at += _GROUP


@kernel()
def open_chunks(low, high, starts_low, starts_high, chunks, leader, given, masks, hold, opened):
    """Masked "equal" and "less" of the chunks, and what of the result is local already.

    low, high windows of the masked image; given uint64 (groups, products, 8) and masks uint64
    (groups, opened, 8) are this cloud's; hold uint64 (groups, 8) and opened (groups, opened, 8) are
    overwritten. leader: whether this cloud adds what is public.
    """
    bits = 1 + chunks.sum()
    last = chunks.size - 1
    ones = np.uint64(0xFFFFFFFFFFFFFFFF) if leader else np.uint64(0)
    planes = np.empty(_PLANES * _GROUP, np.uint64)
    folded = np.empty(2 * _GROUP, np.uint64)
    words = given.reshape(-1)
    at = 0
    for group in range(given.shape[0]):
        for b in range(_GROUP):
            block = group * _GROUP + b
            difference_planes(low, starts_low[block], high, starts_high[block], planes, b, _GROUP)
        out = 0
        base = bits - 1
        for number in range(chunks.size):
            chunk = chunks[number]
            base -= chunk
            if chunk == 5:
                fold_5(words, at, planes, base * _GROUP, ones, folded)
            else:
                fold_4(words, at, planes, base * _GROUP, ones, folded)
            at += _GROUP * ((1 << chunk) - 1)
            if number == 0:
                for b in range(_GROUP):
                    hold[group, b] = folded[_GROUP + b]
            else:
                for b in range(_GROUP):
                    opened[group, out, b] = folded[_GROUP + b] ^ masks[group, out, b]
                out += 1
            if number < last:
                for b in range(_GROUP):
                    opened[group, out, b] = folded[b] ^ masks[group, out, b]
                out += 1
        for b in range(_GROUP):
            hold[group, b] ^= words[at + b] ^ (ones & planes[(bits - 1) * _GROUP + b])
        at += _GROUP


@kernel()
def deal_crossed(mine, other, given):
    """`given` ^= the products of the masks of the first round that the second one needs.

    mine, other uint64 (groups, 4 or 2, 8): both clouds' masks; given (groups, 5 or 1, 8).
    """
    for group in range(given.shape[0]):
        if given.shape[1] == 1:
            for b in range(_GROUP):
                equal = mine[group, 0, b] ^ other[group, 0, b]
                given[group, 0, b] ^= equal & (mine[group, 1, b] ^ other[group, 1, b])
        else:
            for b in range(_GROUP):
                alpha = mine[group, 0, b] ^ other[group, 0, b]
                beta = mine[group, 1, b] ^ other[group, 1, b]
                gamma = mine[group, 2, b] ^ other[group, 2, b]
                delta = mine[group, 3, b] ^ other[group, 3, b]
                given[group, 0, b] ^= alpha & beta
                given[group, 1, b] ^= gamma & delta
                given[group, 2, b] ^= alpha & delta
                given[group, 3, b] ^= alpha & gamma
                given[group, 4, b] ^= alpha & gamma & delta


@kernel()
def open_results(mine, other, leader, masks, given, hold, result_masks, opened):
    """Masked results: top chunk less, or equal and the next less, and so on.

    mine, other: what both clouds opened in the first round; hold is what `open_chunks` left;
    result_masks and opened uint64 (groups, 8), the latter overwritten.
    """
    for group in range(opened.shape[0]):
        if given.shape[1] == 1:
            for b in range(_GROUP):
                equal = mine[group, 0, b] ^ other[group, 0, b]
                less = mine[group, 1, b] ^ other[group, 1, b]
                bit = hold[group, b] ^ given[group, 0, b]
                bit ^= (equal & masks[group, 1, b]) ^ (less & masks[group, 0, b])
                if leader:
                    bit ^= equal & less
                opened[group, b] = bit ^ result_masks[group, b]
        else:
            for b in range(_GROUP):
                high = mine[group, 0, b] ^ other[group, 0, b]
                middle_less = mine[group, 1, b] ^ other[group, 1, b]
                middle = mine[group, 2, b] ^ other[group, 2, b]
                low_less = mine[group, 3, b] ^ other[group, 3, b]
                alpha, beta = masks[group, 0, b], masks[group, 1, b]
                gamma, delta = masks[group, 2, b], masks[group, 3, b]
                bit = hold[group, b] ^ given[group, 0, b] ^ given[group, 4, b]
                bit ^= (high & beta) ^ (middle_less & alpha)
                bit ^= (high & middle & delta) ^ (high & low_less & gamma)
                bit ^= middle & low_less & alpha
                bit ^= (high & given[group, 1, b]) ^ (middle & given[group, 2, b])
                bit ^= low_less & given[group, 3, b]
                if leader:
                    bit ^= (high & middle_less) ^ (high & middle & low_less)
                opened[group, b] = bit ^ result_masks[group, b]

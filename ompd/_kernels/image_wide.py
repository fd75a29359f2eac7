"""Comparisons of wide integers under masks, 512 at a time: as `image_compare`, of any chunks.

A comparison is one of two entries of a row: lane l stands for pair l % pairs of row l // pairs.
[c - r < 0] for the difference c of public numbers and the difference r of their masks, both modulo
2^bits, is c's top bit xor r's top bit xor [rest of c < rest of r].
"""

import numpy as np

from ompd._kernels.jit import kernel

_GROUP = 8
_LANES = 64
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@kernel()
def _transpose(lanes):
    """Bit j of word i becomes bit i of word j, of 64 words."""
    step = np.uint64(32)
    mask = np.uint64(0x00000000FFFFFFFF)
    while step:
        for k in range(_LANES):
            if k & np.int64(step):
                continue
            other = k + np.int64(step)
            moved = ((lanes[k] >> step) ^ lanes[other]) & mask
            lanes[other] ^= moved
            lanes[k] ^= moved << step
        step >>= np.uint64(1)
        mask ^= mask << step


@kernel()
def _difference_planes(values, first, second, group, bits, lanes, planes):
    """Overwrite planes uint64 (bits, 8) with bits of differences; lanes uint64 (64,) is room."""
    pairs = first.size
    count = values.shape[0] * pairs
    for b in range(_GROUP):
        start = (group * _GROUP + b) * _LANES
        row, pair = start // pairs, start % pairs
        for i in range(_LANES):
            if start + i < count:
                left = np.uint64(values[row, first[pair]])
                lanes[i] = left - np.uint64(values[row, second[pair]])
            else:
                lanes[i] = np.uint64(0)
            pair += 1
            if pair == pairs:
                pair = 0
                row += 1
        _transpose(lanes)
        for j in range(bits):
            planes[j, b] = lanes[j]


@kernel()
def deal_wide_products(masks, first, second, chunks, given):
    """`given` ^= the products of the bits of r within each chunk, then its top bit.

    masks (rows, entries) of an unsigned type; first, second int64 (pairs,): which entries are
    compared; chunks int64, highest first, whose sum is below the type's bits; given uint64 (groups,
    products, 8).
    """
    bits = 1 + chunks.sum()
    lanes = np.empty(_LANES, np.uint64)
    planes = np.empty((bits, _GROUP), np.uint64)
    products = np.empty((1 << chunks.max(), _GROUP), np.uint64)
    for group in range(given.shape[0]):
        _difference_planes(masks, first, second, group, bits, lanes, planes)
        base = bits - 1
        at = 0
        for chunk in chunks:
            base -= chunk
            products[0] = _ONES
            for bit in range(chunk):
                top = 1 << bit
                for i in range(top):
                    for b in range(_GROUP):
                        product = products[i, b] & planes[base + bit, b]
                        products[top + i, b] = product
                        given[group, at + top + i - 1, b] ^= product
            at += (1 << chunk) - 1
        for b in range(_GROUP):
            given[group, at, b] ^= planes[bits - 1, b]


@kernel()
def open_wide_chunks(values, first, second, chunks, leader, given, masks, hold, opened):
    """Masked "equal" and "less" of the chunks, and what of the result is local already.

    values (rows, entries): masked numbers; first, second, chunks as dealt; given uint64 (groups,
    products, 8) and masks uint64 (groups, 2 * chunks - 2, 8) are this cloud's; hold uint64
    (groups, 8) and opened, as masks, are overwritten. leader: whether this cloud adds what is
    public. Opened are "equal" of the highest chunk, then "less" and "equal" of the next, and
    so on; of the lowest only "less".
    """
    bits = 1 + chunks.sum()
    last = chunks.size - 1
    ones = _ONES if leader else np.uint64(0)
    lanes = np.empty(_LANES, np.uint64)
    planes = np.empty((bits, _GROUP), np.uint64)
    words = np.empty((1 << chunks.max(), _GROUP), np.uint64)
    less = np.empty(_GROUP, np.uint64)
    for group in range(given.shape[0]):
        _difference_planes(values, first, second, group, bits, lanes, planes)
        base = bits - 1
        at = 0
        out = 0
        for number in range(chunks.size):
            chunk = chunks[number]
            base -= chunk
            words[0] = ones
            for i in range(1, 1 << chunk):
                words[i] = given[group, at + i - 1]
            at += (1 << chunk) - 1
            less[:] = np.uint64(0)
            for bit in range(chunk - 1, -1, -1):
                top = 1 << bit
                for b in range(_GROUP):
                    less[b] ^= ~planes[base + bit, b] & words[top, b]
                for i in range(top):
                    for b in range(_GROUP):
                        words[i, b] = words[top + i, b] ^ (~planes[base + bit, b] & words[i, b])
            if number:
                for b in range(_GROUP):
                    opened[group, out, b] = less[b] ^ masks[group, out, b]
                out += 1
            else:
                hold[group] = less
            if number < last:
                for b in range(_GROUP):
                    opened[group, out, b] = words[0, b] ^ masks[group, out, b]
                out += 1
        for b in range(_GROUP):
            hold[group, b] ^= given[group, at, b] ^ (ones & planes[bits - 1, b])


@kernel()
def deal_wide_crossed(mine, other, given):
    """`given` ^= the products of the masks of the first round that the second one needs.

    mine, other uint64 (groups, 2 * chunks - 2, 8): both clouds' masks; given (groups, words, 8):
    for each "less" but the highest chunk's, its mask times the products of those of the "equal"
    above it; then the products of two or more of "equal".
    """
    equals = mine.shape[1] // 2
    products = np.empty((1 << equals, _GROUP), np.uint64)
    for group in range(given.shape[0]):
        products[0] = _ONES
        for i in range(equals):
            # "Equal" of chunk i stands behind its "less", which the highest chunk does not open.
            place = 2 * i
            for s in range(1 << i):
                for b in range(_GROUP):
                    mask = mine[group, place, b] ^ other[group, place, b]
                    products[(1 << i) + s, b] = products[s, b] & mask
        at = 0
        for i in range(1, equals + 1):
            place = 2 * i - 1
            for s in range(1, 1 << i):
                for b in range(_GROUP):
                    mask = mine[group, place, b] ^ other[group, place, b]
                    given[group, at, b] ^= products[s, b] & mask
                at += 1
        for s in range(3, 1 << equals):
            if s & (s - 1):
                for b in range(_GROUP):
                    given[group, at, b] ^= products[s, b]
                at += 1


@kernel()
def open_wide_results(mine, other, leader, masks, given, hold, result_masks, opened):
    """Masked results: highest chunk less, or equal and the next less, and so on.

    mine, other: what both clouds opened in the first round; masks of that round and given are this
    cloud's; hold is what `open_wide_chunks` left; result_masks and opened uint64 (groups, 8), the
    latter overwritten.
    """
    equals = mine.shape[1] // 2
    ones = _ONES if leader else np.uint64(0)
    products = np.empty((1 << equals, _GROUP), np.uint64)
    words = np.empty((1 << equals, _GROUP), np.uint64)
    for group in range(opened.shape[0]):
        at = (1 << (equals + 1)) - 2 - equals
        products[0] = ones
        for s in range(1, 1 << equals):
            if s & (s - 1):
                products[s] = given[group, at]
                at += 1
        for i in range(equals):
            products[1 << i] = masks[group, 2 * i]
        for b in range(_GROUP):
            opened[group, b] = hold[group, b] ^ result_masks[group, b]
        at = 0
        for i in range(1, equals + 1):
            place = 2 * i - 1
            for s in range(1 << i):
                for b in range(_GROUP):
                    less = mine[group, place, b] ^ other[group, place, b]
                    own = given[group, at + s - 1, b] if s else masks[group, place, b]
                    words[s, b] = (less & products[s, b]) ^ own
            at += (1 << i) - 1
            for j in range(i - 1, -1, -1):
                for s in range(1 << j):
                    for b in range(_GROUP):
                        equal = mine[group, 2 * j, b] ^ other[group, 2 * j, b]
                        words[s, b] = words[(1 << j) + s, b] ^ (equal & words[s, b])
            for b in range(_GROUP):
                opened[group, b] ^= words[0, b]

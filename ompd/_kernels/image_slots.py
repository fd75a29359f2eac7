"""One slot per cell of an image: what of its lanes is an extremum, described, as shares.

Bits of extrema, times descriptors around them, summed over a cell: a product of shares, of which
factors are opened masked and the dealer gives the products of masks. All words are modulo 2^32.
"""

import numpy as np

from ompd._kernels.image_tiles import add_products
from ompd._kernels.jit import kernel

_LANES = 64
_TURNS = 8


@kernel()
def cut_forms(levels, layer, trim, forms, fraction_shift, shifts, at, out):
    """out[k, at + i] = low 16 bits of form k of the second differences of a layer >> shifts[k].

    levels uint64 (6, h, w), of which level layer + 1 minus level layer is the layer; forms uint32
    (n, 3): factors of the differences across, down and of the corners; out uint16 (n, :). i counts
    what is left without `trim` pixels at each border, by rows; its first and last row stay.
    """
    height, width = levels.shape[1], levels.shape[2] - 2 * trim
    # With `fraction_shift` bits dropped, 32 bits hold every form: what is lost is far below a step.
    rows = np.empty((3, levels.shape[2]), np.uint32)
    across = np.empty(width, np.uint32)
    down = np.empty(width, np.uint32)
    corners = np.empty(width, np.uint32)
    for y in range(trim + 1, height - trim - 1):
        for i in range(3):
            upper, lower = levels[layer + 1, y + i - 1], levels[layer, y + i - 1]
            row = rows[i]
            for x in range(levels.shape[2]):
                step = (upper[x] - lower[x]) >> fraction_shift
                row[x] = np.uint32(step & np.uint64(0xFFFFFFFF))
        above, this, below = rows[0], rows[1], rows[2]
        for x in range(width):
            c = x + trim
            twice = np.uint32(this[c] + this[c])
            across[x] = this[c + 1] + this[c - 1] - twice
            down[x] = above[c] + below[c] - twice
            corners[x] = below[c + 1] + above[c - 1] - below[c - 1] - above[c + 1]
        place = at + (y - trim) * width
        for k in range(forms.shape[0]):
            a, b, c = forms[k, 0], forms[k, 1], forms[k, 2]
            shift = shifts[k]
            row = out[k, place : place + width]
            for x in range(row.size):
                form = np.uint32(a * across[x] + b * down[x] + c * corners[x])
                row[x] = np.uint16((form >> shift) & np.uint32(0xFFFF))


@kernel()
def deal_bits(mine, other, given):
    """Given = mask bit - given, lane by lane; mine, other uint64 words; given uint32 (64 * n,)."""
    for word in range(mine.size):
        bits = mine[word] ^ other[word]
        for i in range(_LANES):
            bit = np.uint32((bits >> np.uint64(i)) & np.uint64(1))
            given[_LANES * word + i] = bit - given[_LANES * word + i]


@kernel()
def sum_bits(opened, given, leader, sites_of, slots_of, sites, codes):
    """Add shares of bits to their sites, and of bits times the lane's number to their slots.

    opened uint64 words: masked bits; given uint32 (64 * n,): shares of the masks; leader 1 or 0;
    sites_of int32 (64 * n,): site of each lane, or -1; slots_of int32: slot of each site; sites and
    codes uint32.
    """
    lead = np.uint32(leader)
    one = np.uint32(1)
    for word in range(opened.size):
        bits = opened[word]
        for i in range(_LANES):
            lane = _LANES * word + i
            site = sites_of[lane]
            if site < 0:
                continue
            bit = np.uint32((bits >> np.uint64(i)) & np.uint64(1))
            share = np.uint32(lead * bit + (one - bit - bit) * given[lane])
            sites[site] += share
            codes[slots_of[site]] += share * np.uint32(lane)


@kernel()
def _add_row(weight, row, out, shift):
    """out[x] += weight * row[x + shift], where there is one; uint32."""
    for x in range(max(0, -shift), min(row.size, row.size - shift)):
        out[x] += weight * row[x + shift]


@kernel()
def pool_field(field, first, rows, columns, weights, maps):
    """Sum 16 bins to 8, and those over a window that falls off linearly, to maps uint32 (:, 8).

    field uint32 (:, 16); sites from `first` on, by rows; weights uint32: of the middle and what is
    beside it.
    """
    width = _TURNS * columns
    half = np.zeros((rows, width), np.uint32)
    folded = np.empty(width, np.uint32)
    sums = maps.reshape(-1)[_TURNS * first : _TURNS * (first + rows * columns)].reshape(rows, width)
    sums[:] = np.uint32(0)
    for i in range(rows):
        for j in range(columns):
            bins = field[first + i * columns + j]
            before = bins[15]
            for k in range(_TURNS):
                after = bins[2 * k + 1]
                folded[_TURNS * j + k] = bins[2 * k] + bins[2 * k] + before + after
                before = after
        for step in range(1 - weights.size, weights.size):
            _add_row(weights[abs(step)], folded, half[i], _TURNS * step)
    for i in range(rows):
        for step in range(max(1 - weights.size, -i), min(weights.size, rows - i)):
            _add_row(weights[abs(step)], half[i + step], sums[i], 0)


@kernel()
def deal_slots(sites, maps, first, rows, columns, cell, moves, slot, given):
    """given[slot + c] = sum over cell c of site times what lies around - given.

    sites uint32, maps uint32 (:, 8): masks; `cell` sites a side; moves int64 (4,): down and right
    to what is read; given uint32 (:, 128).
    """
    across = -(-columns // cell)
    total = np.empty(128, np.uint32)
    words = maps.reshape(-1)
    for number in range(-(-rows // cell) * across):
        total[:] = np.uint32(0)
        top, left = number // across * cell, number % across * cell
        for i in range(top, min(top + cell, rows)):
            for j in range(left, min(left + cell, columns)):
                factor = sites[first + i * columns + j]
                for a in range(4):
                    y = i + moves[a]
                    if not 0 <= y < rows:
                        continue
                    for b in range(4):
                        x = j + moves[b]
                        if not 0 <= x < columns:
                            continue
                        place = _TURNS * (first + y * columns + x)
                        at = _TURNS * (4 * a + b)
                        add_products(words, words, place, factor, np.uint32(0), total, at)
        for k in range(128):
            given[slot + number, k] = total[k] - given[slot + number, k]


@kernel()
def sum_slots(
    sites, maps, site_masks, map_masks, leader, first, rows, columns, cell, moves, slot, out
):
    """Add this cloud's share of the products of `deal_slots` to out uint32 (:, >= 128).

    sites, maps: opened, masked; site_masks, map_masks: this cloud's part of their masks; leader 1
    or 0; out holds the share of the products of masks.
    """
    lead = np.uint32(leader)
    across = -(-columns // cell)
    words, masks, totals = maps.reshape(-1), map_masks.reshape(-1), out.reshape(-1)
    for number in range(-(-rows // cell) * across):
        row = (slot + number) * out.shape[1]
        top, left = number // across * cell, number % across * cell
        for i in range(top, min(top + cell, rows)):
            for j in range(left, min(left + cell, columns)):
                site = sites[first + i * columns + j]
                factor = np.uint32(lead * site - site_masks[first + i * columns + j])
                for a in range(4):
                    y = i + moves[a]
                    if not 0 <= y < rows:
                        continue
                    for b in range(4):
                        x = j + moves[b]
                        if not 0 <= x < columns:
                            continue
                        place = _TURNS * (first + y * columns + x)
                        at = row + _TURNS * (4 * a + b)
                        add_products(words, masks, place, factor, site, totals, at)

"""Gradients by orientation: shares of 36 bins per site, and sums of them over patches."""

import math

import numpy as np

from ompd._kernels.jit import kernel

_LANES = 64
_BINS = 36


@kernel()
def deal_field(masks, gradients, directions, given):
    """`given` uint32 (blocks, half, 5, 64): a mask bit, its product with the next, both times r.

    masks uint64 (half, blocks): mask bits of the signs; gradients uint32 (2, 64 * blocks): r, the
    mask of the gradients; directions uint32 (2, half). given holds the leader's share and is
    overwritten with value - share.
    """
    half = given.shape[1]
    for block in range(given.shape[0]):
        for k in range(half):
            this = masks[k, block]
            after = masks[(k + 1) % half, block]
            for i in range(_LANES):
                a = np.uint32((this >> np.uint64(i)) & np.uint64(1))
                m = np.uint32((after >> np.uint64(i)) & np.uint64(1))
                place = _LANES * block + i
                r = np.uint32(
                    directions[0, k] * gradients[0, place] + directions[1, k] * gradients[1, place]
                )
                given[block, k, 0, i] = a - given[block, k, 0, i]
                given[block, k, 1, i] = a * m - given[block, k, 1, i]
                given[block, k, 2, i] = a * r - given[block, k, 2, i]
                given[block, k, 3, i] = m * r - given[block, k, 3, i]
                given[block, k, 4, i] = a * m * r - given[block, k, 4, i]


@kernel()
def make_field(wanted, signs, gradients, masks, given, directions, leader, field):
    """`field` uint32 (64 * blocks, 2 * half): shares of the gradient along its bin, 0 in others.

    wanted int64: blocks to make, the others stay; signs uint64 (half, blocks): masked signs;
    gradients uint32 (2, 64 * blocks): masked; masks: this cloud's share of r; given as in
    `deal_field`; leader 1 or 0.

    With public s and P, secret mask bits a, m and r, [sign] = s xor a and the gradient is P - r:
    all products become sums of the dealer's words times what is public.
    """
    lead = np.uint32(leader)
    one = np.uint32(1)
    half = given.shape[1]
    lanes = np.empty((2 * half, _LANES), np.uint32)
    for block in wanted:
        right = gradients[0, _LANES * block : _LANES * (block + 1)]
        above = gradients[1, _LANES * block : _LANES * (block + 1)]
        right_mask = masks[0, _LANES * block : _LANES * (block + 1)]
        above_mask = masks[1, _LANES * block : _LANES * (block + 1)]
        for k in range(half):
            this = signs[k, block]
            after = signs[(k + 1) % half, block]
            if k == half - 1:
                # The half plane after the last is the complement of the first.
                after = ~after
            across, up = directions[0, k], directions[1, k]
            words = given[block, k]
            following = given[block, (k + 1) % half, 0]
            inner, opposite = lanes[k + 1], lanes[(k + 1 + half) % (2 * half)]
            for i in range(_LANES):
                p = np.uint32((this >> np.uint64(i)) & np.uint64(1))
                q = np.uint32((after >> np.uint64(i)) & np.uint64(1))
                public = np.uint32(across * right[i] + up * above[i])
                r = np.uint32(across * right_mask[i] + up * above_mask[i])
                x = np.uint32(one - np.uint32(p + p))
                y = np.uint32(one - np.uint32(q + q))
                a, am, ar, mr, amr = words[0, i], words[1, i], words[2, i], words[3, i], words[4, i]
                m = following[i]
                py, qx, xy = np.uint32(p * y), np.uint32(q * x), np.uint32(x * y)
                pq = np.uint32(p * q)
                bits = np.uint32(lead * pq + py * m + qx * a + xy * am)
                masked = np.uint32(pq * r + py * mr + qx * ar + xy * amr)
                both = np.uint32(public * bits - masked)
                first = np.uint32(public * np.uint32(lead * p + x * a) - np.uint32(p * r + x * ar))
                second = np.uint32(public * np.uint32(lead * q + y * m) - np.uint32(q * r + y * mr))
                inner[i] = second - both
                opposite[i] = both - first
        for i in range(_LANES):
            for k in range(2 * half):
                field[_LANES * block + i, k] = lanes[k, i]


@kernel()
def falling(x):
    """exp(-x) for 0 <= x < 64 by products alone.

    Two clouds whose mathematical libraries differ in a last bit must still get equal weights: a
    weight that differs by one leaves the mask of a share in the result.
    """
    value = 1.0 - x / 1048576.0
    for _ in range(20):
        value *= value
    return value


@kernel()
def mark_sites(points, radii, sites, marks):
    """Set marks uint8 (blocks,) where a square patch needs a site.

    points int64 (n, 3): layer from 0, y, x; radii int64 (n,); sites int64 (3, 4): first block,
    rows, columns and step per layer.
    """
    for number in range(points.shape[0]):
        layer, y, x = points[number, 0], points[number, 1], points[number, 2]
        first, rows, columns, step = (
            sites[layer, 0], sites[layer, 1], sites[layer, 2], sites[layer, 3],
        )  # fmt: skip
        radius = radii[number]
        left = max(0, (x - radius - 1) // step - 1)
        right = min(columns - 1, (x + radius) // step)
        for i in range(max(0, (y - radius - 1) // step - 1), min(rows, (y + radius) // step + 1)):
            if left <= right:
                low = first + (i * columns + left) // _LANES
                for block in range(low, first + (i * columns + right) // _LANES + 1):
                    marks[block] = np.uint8(1)


@kernel()
def sum_orientations(field, points, scales, sites, weight, out):
    """Add weighted bins around each point to out uint32 (n, 36).

    points, sites as in `mark_sites`; scales float64 (n,): blur in pixels of the octave; weight: of
    the centre.
    """
    for number in range(points.shape[0]):
        layer, y, x = points[number, 0], points[number, 1], points[number, 2]
        first, rows, columns, step = (
            sites[layer, 0], sites[layer, 1], sites[layer, 2], sites[layer, 3],
        )  # fmt: skip
        scale = scales[number]
        radius = int(np.rint(4.5 * scale))
        width = 4.5 * scale * scale
        for i in range(rows):
            down = step * (i + 1) - y
            if abs(down) > radius:
                continue
            for j in range(columns):
                right = step * (j + 1) - x
                if abs(right) > radius:
                    continue
                factor = np.uint32(np.rint(weight * falling((down * down + right * right) / width)))
                site = _LANES * first + i * columns + j
                for k in range(_BINS):
                    out[number, k] += factor * field[site, k]


@kernel()
def sum_descriptors(field, points, poses, gains, sites, weight, turn, out):
    """Add the 4 x 4 x 8 histogram around each point to out uint32 (n, 128).

    As `sum_orientations`; poses float64 (n, 4): blur, degrees, their cosine and sine; gains
    float64 (36,): by how much a bin is
    too long; turn: sum of the weights by which a bin is split between two of the eight.
    """
    cells = np.empty((36, _BINS), np.uint32)
    for number in range(points.shape[0]):
        layer, y, x = points[number, 0], points[number, 1], points[number, 2]
        first, rows, columns, step = (
            sites[layer, 0], sites[layer, 1], sites[layer, 2], sites[layer, 3],
        )  # fmt: skip
        wide = 3 * poses[number, 0]
        radius = int(np.rint(wide * 1.4142135623730951 * 2.5))
        angle = poses[number, 1]
        cosine = poses[number, 2] / wide
        sine = poses[number, 3] / wide
        cells[:] = np.uint32(0)
        for i in range(rows):
            down = step * (i + 1) - y
            if abs(down) > radius:
                continue
            for j in range(columns):
                right = step * (j + 1) - x
                if abs(right) > radius:
                    continue
                along = right * sine + down * cosine
                across = right * cosine - down * sine
                row, column = along + 1.5, across + 1.5
                if not (-1 < row < 4 and -1 < column < 4):
                    continue
                factor = weight * falling((along * along + across * across) / 8)
                top, left = math.floor(row), math.floor(column)
                row -= top
                column -= left
                site = _LANES * first + i * columns + j
                for a in range(2):
                    for b in range(2):
                        if not (0 <= top + a <= 3 and 0 <= left + b <= 3):
                            continue
                        part = (row if a else 1 - row) * (column if b else 1 - column)
                        times = np.uint32(np.rint(factor * part))
                        cell = (top + a) * 4 + left + b
                        for k in range(_BINS):
                            cells[cell, k] += times * field[site, k]
        for k in range(_BINS):
            place = ((k * 10.0 - angle) / 45.0) % 8.0
            bin0 = math.floor(place)
            after = np.uint32(np.rint(turn * (place - bin0) / gains[k]))
            before = np.uint32(np.rint(turn / gains[k])) - after
            for cell in range(16):
                value = cells[cell, k]
                out[number, 8 * cell + bin0 % 8] += before * value
                out[number, 8 * cell + (bin0 + 1) % 8] += after * value

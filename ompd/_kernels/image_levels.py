"""Levels, their windows and gradients: linear forms modulo 2^64 of an image or of its mask."""

import numpy as np

from ompd._kernels.image_tiles import narrow_tile, square_tile, wide_tile
from ompd._kernels.jit import kernel


@kernel()
def apply_rows(values, first, last, image, out):
    """out[y] = sum of values[y, k] * image[k], k from first[y] to last[y]; all uint64, modulo 2^64.

    values (m, n), image (n, w) with w >= 16, out (m, w) overwritten; first, last int64 (m,).
    """
    width = image.shape[1]
    factors, pixels, results = values.reshape(-1), image.reshape(-1), out.reshape(-1)
    for y in range(values.shape[0]):
        at = y * values.shape[1] + first[y]
        count = last[y] - first[y]
        base = first[y] * width
        x = 0
        # The last tile overlaps the one before.
        while x < width:
            if width >= 64:
                x = min(x, width - 64)
                wide_tile(factors, at, count, pixels, base + x, width, results, y * width + x)
                x += 64
            else:
                x = min(x, width - 16)
                narrow_tile(factors, at, count, pixels, base + x, width, results, y * width + x)
                x += 16


@kernel()
def apply_columns(values, first, last, image, out):
    """out[y, x] = sum of image[y, k] * values[k, x]; as `apply_rows`, of the transposed operator.

    image (h, n), values (n, m), out (h, m) overwritten, h and m >= 8; values[k, x] is 0 for k
    outside first[x] to last[x], which never fall.
    """
    height, size = image.shape
    width = values.shape[1]
    factors, pixels, results = values.reshape(-1), image.reshape(-1), out.reshape(-1)
    x = 0
    while x < width:
        x = min(x, width - 8)
        start = first[x]
        count = last[x + 7] - start
        y = 0
        while y < height:
            y = min(y, height - 8)
            square_tile(
                pixels, y * size + start, size, count, factors, start * width + x, width,
                results, y * width + x, width,
            )  # fmt: skip
            y += 8
        x += 8


@kernel()
def cut_windows(levels, trim, factors, shifts, wanted, at, out):
    """out[f, l, at + i] = low 16 bits of factors[f] * (levels[l + 1] - levels[l]) >> shifts[f].

    wanted bool (shifts, 5): which of these are cut.

    levels uint64 (6, h, w); i counts what is left without `trim` pixels at each border, by rows;
    out uint16 (shifts, 5, :), the rest of it unchanged.
    """
    height, width = levels.shape[1] - 2 * trim, levels.shape[2] - 2 * trim
    steps = np.empty(width, np.uint64)
    for layer in range(levels.shape[0] - 1):
        for y in range(height):
            upper = levels[layer + 1, y + trim, trim : trim + width]
            lower = levels[layer, y + trim, trim : trim + width]
            for x in range(steps.size):
                steps[x] = upper[x] - lower[x]
            place = at + y * width
            for f in range(shifts.size):
                if not wanted[f, layer]:
                    continue
                factor, shift = factors[f], shifts[f]
                row = out[f, layer, place : place + width]
                for x in range(steps.size):
                    row[x] = np.uint16(((factor * steps[x]) >> shift) & np.uint64(0xFFFF))


@kernel()
def cut_gradients(level, step, rows, columns, sign_shift, field_shift, at, signs, field):
    """Gradients at every step-th pixel: across, and up, cut from level uint64 (h, w).

    signs, field uint32 (2, :), overwritten from `at` on, by rows.
    """
    place = at
    for i in range(rows):
        y = step * (i + 1)
        this, above, below = level[y], level[y - 1], level[y + 1]
        for j in range(columns):
            x = step * (j + 1)
            across = this[x + 1] - this[x - 1]
            up = above[x] - below[x]
            signs[0, place] = np.uint32((across >> sign_shift) & np.uint64(0xFFFFFFFF))
            signs[1, place] = np.uint32((up >> sign_shift) & np.uint64(0xFFFFFFFF))
            field[0, place] = np.uint32((across >> field_shift) & np.uint64(0xFFFFFFFF))
            field[1, place] = np.uint32((up >> field_shift) & np.uint64(0xFFFFFFFF))
            place += 1


@kernel()
def project(gradients, across, up, shift, out):
    """`out` = low 16 bits of (across * gradients[0] + up * gradients[1] modulo 2^32) >> shift.

    gradients uint32 (2, n), across and up uint32 modulo 2^32, out uint16 (n,) overwritten.
    """
    for i in range(out.size):
        form = np.uint32(across * gradients[0, i] + up * gradients[1, i])
        out[i] = np.uint16((form >> shift) & np.uint32(0xFFFF))


@kernel()
def cut_cubes(levels, y, x, out, sign):
    """Add the 5 x 5 x 5 differences around a pixel of levels uint64 (6, h, w), or subtract them.

    out uint64 (5, 5, 5); sign is 1 or 2^64 - 1.
    """
    for layer in range(5):
        for i in range(5):
            for j in range(5):
                step = levels[layer + 1, y + i - 2, x + j - 2] - levels[layer, y + i - 2, x + j - 2]
                out[layer, i, j] += sign * step

"""Sub-pixel refinement of candidates, as OpenCV does it."""

import numpy as np

from ompd._kernels.jit import kernel


@kernel()
def refine(candidates, cubes, heights, widths, border, contrast, edge, out):
    """Newton's method within each cube; contrast and edge tests. Returns the number accepted.

    candidates int64 (n, 4): octave, layer, y, x; cubes float64 (n, 5, 5, 5): differences in grey
    levels; heights, widths int64 per octave. out float64 (n, 8), its first rows overwritten:
    octave, layer, y, x, and the offsets in x, y and layer, and the contrast.
    """
    accepted = 0
    limit = 0.502
    for i in range(candidates.shape[0]):
        octave, layer = candidates[i, 0], candidates[i, 1]
        row = 2
        column = 2
        found = beside = False
        value = 0.0
        gx = gy = gs = dxx = dyy = dss = dxy = dxs = dys = x = y = s = 0.0
        for _ in range(5):
            a = cubes[i, layer - 1]
            b = cubes[i, layer]
            c = cubes[i, layer + 1]
            value = b[row, column]
            gx = (b[row, column + 1] - b[row, column - 1]) / 2
            gy = (b[row + 1, column] - b[row - 1, column]) / 2
            gs = (c[row, column] - a[row, column]) / 2
            dxx = b[row, column + 1] + b[row, column - 1] - 2 * value
            dyy = b[row + 1, column] + b[row - 1, column] - 2 * value
            dss = c[row, column] + a[row, column] - 2 * value
            dxy = (
                b[row + 1, column + 1] - b[row + 1, column - 1]
                - b[row - 1, column + 1] + b[row - 1, column - 1]
            ) / 4  # fmt: skip
            dxs = (
                c[row, column + 1] - c[row, column - 1] - a[row, column + 1] + a[row, column - 1]
            ) / 4
            dys = (
                c[row + 1, column] - c[row - 1, column] - a[row + 1, column] + a[row - 1, column]
            ) / 4
            p = dyy * dss - dys * dys
            q = dxy * dss - dys * dxs
            r = dxy * dys - dyy * dxs
            det = dxx * p - dxy * q + dxs * r
            if det == 0:
                break
            x = -(gx * p - dxy * (gy * dss - dys * gs) + dxs * (gy * dys - dyy * gs)) / det
            y = -(dxx * (gy * dss - dys * gs) - gx * q + dxs * (dxy * gs - gy * dxs)) / det
            s = -(dxx * (dyy * gs - gy * dys) - dxy * (dxy * gs - gy * dxs) + gx * r) / det
            # In exact numbers some swing for ever at a half, where single precision lets them pass.
            if abs(x) < limit and abs(y) < limit and abs(s) < limit:
                found = True
                break
            if max(abs(x), abs(y), abs(s)) > 100:
                break
            column += int(np.rint(x))
            row += int(np.rint(y))
            layer += int(np.rint(s))
            # What lies outside is not known: once, as near to it as can be.
            if not (beside or (1 <= row <= 3 and 1 <= column <= 3)):
                beside = True
                column = min(max(column, 1), 3)
                row = min(max(row, 1), 3)
            down = candidates[i, 2] + row - 2
            right = candidates[i, 3] + column - 2
            if not (1 <= layer <= 3 and 1 <= row <= 3 and 1 <= column <= 3):
                break
            if not (
                border <= down < heights[octave] - border
                and border <= right < widths[octave] - border
            ):
                break
        if not found:
            continue
        strength = value + 0.5 * (gx * x + gy * y + gs * s)
        trace = dxx + dyy
        flat = dxx * dyy - dxy * dxy
        if (
            abs(strength) * 3 < contrast
            or flat <= 0
            or trace * trace * edge >= (edge + 1) ** 2 * flat
        ):
            continue
        out[accepted, 0] = octave
        out[accepted, 1] = layer
        out[accepted, 2] = candidates[i, 2] + row - 2
        out[accepted, 3] = candidates[i, 3] + column - 2
        out[accepted, 4] = x
        out[accepted, 5] = y
        out[accepted, 6] = s
        out[accepted, 7] = abs(strength)
        accepted += 1
    return accepted

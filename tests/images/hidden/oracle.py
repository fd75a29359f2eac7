"""Hidden mode in the clear, slowly. Knows nothing of the package under test."""

from __future__ import annotations

import math

from tests.images import clear

STRIDES = (2, 3, 3)
#: Windows of a layer, in sites: what weight how far from the middle; where the four lie.
WEIGHTS = ({0: 3, 1: 2, 2: 1}, {0: 5, 1: 3, 2: 1}, {0: 3, 1: 2, 2: 1})
PLACES = ((-5, -2, 2, 5), (-4, -1, 1, 4), (-5, -2, 2, 5))
CELLS = (4, 3, 3)
#: Compared neighbours: in the next layers no corners.
NEAR = [place for place in clear.neighbours() if not (place[0] and place[1] and place[2])]


def edge_forms(layer, y, x):
    """Eight integers that all have one sign unless a pixel lies on an edge, or is no extremum."""

    def at(v, u):
        return int(layer[y + v, x + u])

    across = at(0, 1) + at(0, -1) - 2 * at(0, 0)
    down = at(1, 0) + at(-1, 0) - 2 * at(0, 0)
    corners = at(1, 1) + at(-1, -1) - at(1, -1) - at(-1, 1)
    found = []
    for eighth in range(8):
        # cos t (a - c) + sin t 2b - 4/5 (a + c), with 7/10 for the sine of 45 degrees; times 20.
        along = {0: 20, 1: 14, 2: 0}[min(eighth % 4, 4 - eighth % 4)]
        along *= 1 if eighth in (0, 1, 7, 2, 6) else -1
        beside = {0: 0, 1: 14, 2: 20}[min(eighth % 4, 4 - eighth % 4)] * (1 if eighth < 4 else -1)
        found.append(along * (across - down) + beside * corners // 2 - 16 * (across + down))
    return found


def extrema(differences, threshold, margin, edge_margin):
    """Places of extrema that no masks change, by margins; with negative ones, all that may be."""
    _, height, width = differences.shape
    border = clear.BORDER
    found = set()
    for layer in (1, 2, 3):
        for y in range(border, height - border):
            for x in range(border, width - border):
                value = int(differences[layer, y, x])
                for sign in (1, -1):
                    if sign * value <= threshold + margin(layer, None, 0, 0):
                        continue
                    if any(
                        sign * (value - int(differences[layer + s, y + v, x + u]))
                        <= margin(layer, layer + s, v, u)
                        for s, v, u in NEAR
                    ):
                        continue
                    # A maximum has negative second differences.
                    forms = edge_forms(differences[layer], y, x)
                    if all(sign * form > edge_margin(layer, k) for k, form in enumerate(forms)):
                        found.add((layer, y, x))
    return found


def site(place, step):
    """The nearest site of a pixel: sites lie at multiples of the step."""
    return (place + step // 2) // step - 1


def cell(layer, y, x):
    step, side = STRIDES[layer - 1], CELLS[layer - 1]
    return layer, site(y, step) // side, site(x, step) // side


def alone(places):
    """Of places (layer, y, x) those that share their cell with no other."""
    cells = {}
    for place in places:
        cells.setdefault(cell(*place), []).append(place)
    return {some[0] for some in cells.values() if len(some) == 1}


def bins(level, y, x):
    """The gradient by its nearest of sixteen directions."""
    gx, gy = clear.gradient(level, y, x)
    turn = math.atan2(gy, gx)
    nearest = round(turn * 16 / (2 * math.pi)) % 16
    angle = nearest * 2 * math.pi / 16
    return nearest, gx * math.cos(angle) + gy * math.sin(angle)


def descriptor(level, layer, y, x):
    """The 4 x 4 x 8 sums around a pixel's site, in the level's units."""
    step = STRIDES[layer - 1]
    height, width = level.shape
    rows, columns = (height - 2) // step, (width - 2) // step
    weights = WEIGHTS[layer - 1]
    found = []
    for down in PLACES[layer - 1]:
        for right in PLACES[layer - 1]:
            total = [0.0] * 8
            middle_row, middle_column = site(y, step) + down, site(x, step) + right
            if 0 <= middle_row < rows and 0 <= middle_column < columns:
                for i in range(middle_row - 2, middle_row + 3):
                    for j in range(middle_column - 2, middle_column + 3):
                        if not (0 <= i < rows and 0 <= j < columns):
                            continue
                        nearest, size = bins(level, step * (i + 1), step * (j + 1))
                        size *= weights[abs(i - middle_row)] * weights[abs(j - middle_column)]
                        if nearest % 2:
                            total[nearest // 2] += size
                            total[(nearest // 2 + 1) % 8] += size
                        else:
                            total[nearest // 2] += 2 * size
            found += total
    return found

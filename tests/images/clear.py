"""SIFT in the clear as the protocol computes it, slowly. Knows nothing of the package under test.

Levels are exact integers; what depends on random masks is told apart by margins.
"""

from __future__ import annotations

import math

import numpy as np

LAYERS = 3
SIGMA = 1.6
BITS = 18
BORDER = 5


def reflected(place, size):
    if size == 1:
        return 0
    while not 0 <= place < size:
        place = -place if place < 0 else 2 * (size - 1) - place
    return place


def blur(size, sigma):
    width = round(8 * sigma + 1) | 1
    kernel = [math.exp(-((i - width // 2) ** 2) / (2 * sigma**2)) for i in range(width)]
    matrix = np.zeros((size, size))
    for y in range(size):
        for i, value in enumerate(kernel):
            matrix[y, reflected(y + i - width // 2, size)] += value / sum(kernel)
    return matrix


def enlarge(size):
    matrix = np.zeros((2 * size, size))
    for y in range(2 * size):
        place = y / 2 - 0.25
        left = math.floor(place)
        matrix[y, max(left, 0)] += left + 1 - place
        matrix[y, min(left + 1, size - 1)] += place - left
    return matrix


def operators(size, octaves):
    level = blur(2 * size, math.sqrt(SIGMA**2 - 1)) @ enlarge(size)
    factor = 2 ** (1 / LAYERS)
    found = []
    for _ in range(octaves):
        levels = [level]
        for i in range(LAYERS + 2):
            step = SIGMA * factor**i * math.sqrt(factor**2 - 1)
            levels.append(blur(len(level), step) @ levels[-1])
        found.append(levels)
        level = levels[LAYERS][: len(level) // 2 * 2 : 2]
    return found


def rounded(matrix):
    """Integers whose rows sum to 2^18; the largest entry takes what is missing."""
    values = np.rint(matrix * 2**BITS).astype(np.int64)
    for row, exact in zip(values, matrix, strict=True):
        row[np.abs(exact).argmax()] += 2**BITS - row.sum()
    return values


def levels(image, octaves):
    """Levels of each octave in units of 2^-36 of a pixel's, int64 (6, height, width)."""
    rows, columns = operators(image.shape[0], octaves), operators(image.shape[1], octaves)
    image = image.astype(np.int64)
    return [
        np.stack([rounded(a) @ image @ rounded(b).T for a, b in zip(left, right, strict=True)])
        for left, right in zip(rows, columns, strict=True)
    ]


def neighbours():
    return [(s, y, x) for s in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if s or y or x]


def candidates(differences, threshold, margin):
    """Extrema above a threshold by more than a margin, in units of the differences.

    differences (5, h, w); margin(layer, other, down, right) of a comparison; a negative one gives
    all places that masks might make an extremum.
    """
    _, height, width = differences.shape
    found = set()
    for layer in range(1, LAYERS + 1):
        inner = differences[layer, BORDER : height - BORDER, BORDER : width - BORDER]
        if not inner.size:
            continue
        least = threshold + margin(layer, None, 0, 0)
        high, low = inner > least, inner < -least
        for s, y, x in neighbours():
            other = differences[
                layer + s, BORDER + y : height - BORDER + y, BORDER + x : width - BORDER + x
            ]
            high &= inner - other > margin(layer, layer + s, y, x)
            low &= other - inner > margin(layer, layer + s, y, x)
        found |= {(layer, y + BORDER, x + BORDER) for y, x in np.argwhere(high | low).tolist()}
    return found


def gradient(level, y, x):
    return level[y, x + 1] - level[y, x - 1], level[y - 1, x] - level[y + 1, x]


def orientations(level, y, x, scale, step):
    """The 36 sums around a point, of gradients `step` pixels apart, in the level's units."""
    bins = np.zeros(36)
    height, width = level.shape
    radius = round(4.5 * scale)
    for v in range(step, height - 1, step):
        for u in range(step, width - 1, step):
            if abs(v - y) <= radius and abs(u - x) <= radius:
                gx, gy = gradient(level, v, u)
                weight = math.exp(-((v - y) ** 2 + (u - x) ** 2) / (4.5 * scale**2))
                place = round(math.degrees(math.atan2(gy, gx)) / 10) % 36
                turn = math.radians(10 * place)
                bins[place] += weight * (gx * math.cos(turn) + gy * math.sin(turn))
    return bins


def descriptor(level, y, x, scale, angle, step):
    """The 4 x 4 x 8 histogram, trilinear, of gradients `step` pixels apart."""
    found = np.zeros((6, 6, 8))
    height, width = level.shape
    wide = 3 * scale
    radius = round(wide * math.sqrt(2) * 2.5)
    cosine, sine = math.cos(math.radians(angle)) / wide, math.sin(math.radians(angle)) / wide
    for v in range(step, height - 1, step):
        for u in range(step, width - 1, step):
            down, right = v - y, u - x
            if abs(down) > radius or abs(right) > radius:
                continue
            along, across = right * sine + down * cosine, right * cosine - down * sine
            row, column = along + 1.5, across + 1.5
            if not (-1 < row < 4 and -1 < column < 4):
                continue
            gx, gy = gradient(level, v, u)
            place = round(math.degrees(math.atan2(gy, gx)) / 10) % 36
            turn = math.radians(10 * place)
            size = (gx * math.cos(turn) + gy * math.sin(turn)) * math.exp(
                -(along**2 + across**2) / 8
            )
            around = ((10 * place - angle) / 45) % 8
            top, left, first = math.floor(row), math.floor(column), math.floor(around)
            for i in range(2):
                for j in range(2):
                    for k in range(2):
                        part = size
                        part *= row - top if i else 1 - row + top
                        part *= column - left if j else 1 - column + left
                        part *= around - first if k else 1 - around + first
                        found[top + i + 1, left + j + 1, (first + k) % 8] += part
    return found[1:5, 1:5].reshape(128)

"""The oracle: the whole mathematics in plain Python integers, slow and obvious.

Imports nothing from the package under test.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction


def stand_in(column, kind, missing, high):
    """What stands for the missing values of a feature; None stands for a missing value."""
    present = sorted(value for value in column if value is not None)
    if missing == "level" and len(present) < len(column):
        return high + 1
    if kind == "nominal":
        return max(sorted(set(present)), key=present.count)
    return present[(len(present) - 1) // 2]


def scale(row, low, high, bits):
    """Scaled integers of one feature vector."""
    return [
        0 if b == a else round((x - a) / (b - a) * float(2**bits))
        for x, a, b in zip(row, low, high, strict=True)
    ]


def from_limbs(limbs):
    """The integers behind an array of little-endian 64-bit limbs, (..., L), in C order."""
    return [
        sum(int(limb) << 64 * place for place, limb in enumerate(row))
        for row in limbs.reshape(-1, limbs.shape[-1])
    ]


def difference(a, b, is_nominal, unit):
    """Relief's difference of two scaled values."""
    if is_nominal:
        return 0 if a == b else unit
    return abs(a - b)


def relief_weights(scaled, labels, classes, nominal, feature_bits, weight_bits, visited=None):
    """Integer Relief weights (ReliefF with one neighbour for many classes)."""
    unit = 2**feature_bits
    visited = range(len(scaled)) if visited is None else visited
    counts = Counter(labels)
    weights = [Fraction(0)] * len(nominal)

    def diffs(a, b):
        pairs = zip(scaled[a], scaled[b], nominal, strict=True)
        return [difference(x, y, kind, unit) for x, y, kind in pairs]

    for row in visited:
        for code in range(classes):
            others = [r for r in range(len(scaled)) if labels[r] == code and r != row]
            nearest = min(others, key=lambda r: (sum(diffs(row, r)), r))
            if code == labels[row]:
                factor = Fraction(-1)
            else:
                factor = Fraction(counts[code], len(labels) - counts[labels[row]])
            for j, diff in enumerate(diffs(row, nearest)):
                weights[j] += factor * diff
    return [round(w / len(visited) / unit * 2**weight_bits) for w in weights]


def prefix_sums(weights, scaled):
    """Running sums of weight times scaled feature."""
    sums = []
    total = 0
    for w, x in zip(weights, scaled, strict=True):
        total += w * x
        sums.append(total)
    return sums


def wasserstein(weights, x, y):
    """Relief-Wasserstein distance by the earth-mover recursion."""
    earth = 0
    distance = 0
    for w, a, b in zip(weights, x, y, strict=True):
        earth = w * a + earth - w * b
        distance += abs(earth)
    return distance


def l1(a, b):
    """Manhattan distance."""
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


def nearest(table, query, k, exclude=None):
    """The k smallest (distance, row)."""
    pairs = [(l1(row, query), i) for i, row in enumerate(table) if i != exclude]
    return sorted(pairs)[:k]


def vote(neighbours, labels):
    """Most frequent label; ties to the smaller summed distance, then the smaller code."""
    counts = Counter()
    sums = Counter()
    for distance, row in neighbours:
        counts[labels[row]] += 1
        sums[labels[row]] += distance
    return min(counts, key=lambda code: (-counts[code], sums[code], code))


def straddles(table, query, k):
    """Whether a tie makes the k nearest instances ambiguous."""
    distances = sorted(l1(row, query) for row in table)
    return k < len(distances) and distances[k - 1] == distances[k]


def choose_k(table, labels, candidates):
    """Smallest K of the best leave-one-out accuracy."""
    usable = [k for k in candidates if k < len(table)]
    right = Counter()
    for i, row in enumerate(table):
        for k in usable:
            right[k] += vote(nearest(table, row, k, exclude=i), labels) == labels[i]
    return min(usable, key=lambda k: (-right[k], k))


def blind(value, noise, multiplier, scalar, modulus):
    """One blinded value."""
    return scalar * (multiplier * value + noise) % modulus

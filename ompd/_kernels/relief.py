"""Nearest hits and misses for Relief on scaled integer features."""

import numpy as np
from numba import njit, prange


@njit(cache=True, nogil=True)
def _difference(a, b, nominal, unit):
    if nominal:
        return np.int64(0) if a == b else unit
    return a - b if a > b else b - a


@njit(cache=True, nogil=True, parallel=True)
def nearest_per_class(scaled, labels, nominal, unit, sampled, classes):
    """Return int64[m, classes]: for every sampled row the nearest other row of every class.

    scaled int64[N, n] below 2**62 / n, labels int64[N], nominal bool[n]; ties go to the smaller
    row; -1 where a class has no other row.
    """
    rows, features = scaled.shape
    nearest = np.full((sampled.shape[0], classes), np.int64(-1), dtype=np.int64)
    for m in prange(sampled.shape[0]):
        row = sampled[m]
        best = np.full(classes, np.iinfo(np.int64).max, dtype=np.int64)
        for other in range(rows):
            if other == row:
                continue
            code = labels[other]
            distance = np.int64(0)
            for j in range(features):
                distance += _difference(scaled[row, j], scaled[other, j], nominal[j], unit)
                if distance >= best[code]:
                    break
            if distance < best[code]:
                best[code] = distance
                nearest[m, code] = other
    return nearest


@njit(cache=True, nogil=True)
def sum_differences(scaled, labels, nominal, unit, sampled, nearest):
    """Return int64[classes, classes, n]: differences summed by (own class, neighbour's class).

    Inputs as in `nearest_per_class`, whose result is `nearest`.
    """
    features = scaled.shape[1]
    classes = nearest.shape[1]
    sums = np.zeros((classes, classes, features), dtype=np.int64)
    for m in range(sampled.shape[0]):
        row = sampled[m]
        for code in range(classes):
            other = nearest[m, code]
            for j in range(features):
                sums[labels[row], code, j] += _difference(
                    scaled[row, j], scaled[other, j], nominal[j], unit
                )
    return sums

"""Sums of feature differences for Relief."""

import numpy as np

from ompd._kernels.jit import kernel


@kernel()
def _difference(a, b, nominal, unit):
    if nominal:
        return np.int64(0) if a == b else unit
    return a - b if a > b else b - a


@kernel()
def sum_differences(scaled, labels, nominal, unit, sampled, nearest):
    """Return int64[classes, classes, n]: differences summed by (own class, neighbour's class).

    scaled int64[N, n], labels int64[N], nominal bool[n], sampled int64[m] rows, nearest
    int64[m, classes] their neighbours; m * unit stays below 2**62.
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

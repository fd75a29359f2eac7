"""The vote of the K nearest rows."""

import numpy as np

from ompd._kernels.jit import kernel

_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@kernel(_nrt=False)
def _add(totals, code, distances, query, place):
    """totals[code] += distances[query, place]; the top limb of totals only collects carries."""
    carry = _ZERO
    width = distances.shape[2]
    for limb in range(width):
        value = distances[query, place, limb]
        total = totals[code, limb] + value
        over = _ONE if total < value else _ZERO
        total += carry
        if total < carry:
            over = _ONE
        totals[code, limb] = total
        carry = over
    totals[code, width] += carry


@kernel(_nrt=False)
def _smaller(totals, left, right):
    """Whether totals[left] < totals[right], little-endian limbs."""
    for limb in range(totals.shape[1] - 1, -1, -1):
        if totals[left, limb] != totals[right, limb]:
            return totals[left, limb] < totals[right, limb]
    return False


@kernel()
def most_frequent(distances, rows, k, labels, classes, codes):
    """Fill codes int64[q]: most frequent label of rows[q, :k]; ties by summed distance, then code.

    distances uint64[q, k, L + 1], rows int64[q, k], labels int64[N] in [0, classes).
    """
    counts = np.empty(classes, np.int64)
    totals = np.empty((classes, distances.shape[2] + 1), np.uint64)
    for query in range(rows.shape[0]):
        counts[:] = 0
        for place in range(k):
            counts[labels[rows[query, place]]] += 1
        best = 0
        tied = False
        for code in range(1, classes):
            if counts[code] > counts[best]:
                best = code
                tied = False
            elif counts[code] == counts[best]:
                tied = True
        if tied:
            totals[:] = _ZERO
            for place in range(k):
                _add(totals, labels[rows[query, place]], distances, query, place)
            for code in range(best + 1, classes):
                if counts[code] == counts[best] and _smaller(totals, code, best):
                    best = code
        codes[query] = best

"""Exact distances and top-k over limb vectors by a full scan."""

import numpy as np
from numba import njit, prange

from ompd._kernels.wide import mul_add


@njit(cache=True, nogil=True)
def limb_distance(a, b, out):
    """Overwrite `out` uint64[L + 1] with the L1 distance of a and b, both uint64[m, L]."""
    zero = np.uint64(0)
    one = np.uint64(1)
    coordinates, limbs = a.shape
    out[:] = zero
    for j in range(coordinates):
        larger, smaller = a[j], b[j]
        for i in range(limbs - 1, -1, -1):
            if a[j, i] != b[j, i]:
                if a[j, i] < b[j, i]:
                    larger, smaller = b[j], a[j]
                break
        borrow = zero
        carry = zero
        for i in range(limbs):
            # larger - smaller - borrow, as larger + ~smaller + (1 - borrow) with the carry out.
            digit, kept = mul_add(one, larger[i], ~smaller[i], one - borrow)
            borrow = one - kept
            out[i], carry = mul_add(one, out[i], digit, carry)
        out[limbs] += carry


@njit(cache=True, nogil=True)
def _less(a, b):
    for i in range(a.shape[0] - 1, -1, -1):
        if a[i] != b[i]:
            return a[i] < b[i]
    return False


@njit(cache=True, nogil=True, parallel=True)
def scan(table, queries, exclude, distances, rows):
    """Overwrite distances uint64[q, k, L + 1] and rows int64[q, k] with the k nearest rows.

    table uint64[N, m, L], queries uint64[q, m, L], exclude int64[q] (-1: none); at least k rows
    remain per query. Ordered by (distance, row).
    """
    k = rows.shape[1]
    for q in prange(queries.shape[0]):
        found = 0
        current = np.empty(distances.shape[2], dtype=np.uint64)
        for row in range(table.shape[0]):
            if row == exclude[q]:
                continue
            limb_distance(table[row], queries[q], current)
            if found == k and not _less(current, distances[q, k - 1]):
                continue
            # Insert behind equal distances: rows come in rising order, so ties stay in order.
            place = found if found < k else k - 1
            while place > 0 and _less(current, distances[q, place - 1]):
                distances[q, place] = distances[q, place - 1]
                rows[q, place] = rows[q, place - 1]
                place -= 1
            distances[q, place] = current
            rows[q, place] = row
            if found < k:
                found += 1


@njit(cache=True, nogil=True)
def majority(distances, rows, labels, k, counts, sums, winners):
    """Overwrite winners int64[q] with the most frequent label among the first k neighbours.

    Ties go to the smaller summed distance, then to the smaller code. counts int64[classes] and
    sums uint64[classes, L + 2] are scratch.
    """
    one = np.uint64(1)
    zero = np.uint64(0)
    for q in range(rows.shape[0]):
        counts[:] = 0
        sums[:] = zero
        for i in range(k):
            code = labels[rows[q, i]]
            counts[code] += 1
            carry = zero
            for limb in range(distances.shape[2]):
                sums[code, limb], carry = mul_add(
                    one, distances[q, i, limb], sums[code, limb], carry
                )
            sums[code, -1] += carry
        best = 0
        for code in range(1, counts.shape[0]):
            if counts[code] > counts[best] or (
                counts[code] == counts[best] and _less(sums[code], sums[best])
            ):
                best = code
        winners[q] = best

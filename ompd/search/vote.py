"""Majority vote among neighbours."""

from __future__ import annotations

import numpy as np

from ompd._kernels.scan import majority
from ompd.search.table import Labels, Limbs


def vote(distances: Limbs, rows: Labels, labels: Labels, classes: int, k: int) -> Labels:
    """Return the most frequent class code among the first k neighbours of every query.

    Parameters
    ----------
    distances : uint64 array of shape (q, K, L + 1)
    rows : int64 array of shape (q, K)
        As returned by `compute`, K >= k.
    labels : int64 array of shape (N,)
    classes : int
    k : int

    Returns
    -------
    int64 array of shape (q,)
        Ties go to the class with the smaller summed distance, then to the smaller code.
    """
    winners = np.empty(len(rows), dtype=np.int64)
    counts = np.empty(classes, dtype=np.int64)
    sums = np.empty((classes, distances.shape[2] + 1), dtype=np.uint64)
    majority(distances, rows, labels, k, counts, sums, winners)
    return winners

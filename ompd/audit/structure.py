"""Undoing the order and signs of the columns of a `hardened` table."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ompd.arrays import F64, I64

#: Most columns for which the best path is searched exhaustively; beyond, greedily.
_EXACT = 12
#: Rows looked at to count levels, and the share of them that makes levels mean nothing.
_SAMPLE = 2000
_SATURATED = 0.6


def steps_between(table: I64) -> tuple[F64, I64]:
    """Rate how simply each column follows from each other one.

    Returns
    -------
    costs : float64 array of shape (m, m)
        Levels of column a minus or plus column b, the fewer; on the diagonal those of a itself.
        Where nearly every row has its own level, all count alike. A fraction for the range, the
        widest of all being 1, decides between equal numbers: prefix sums rise step by step.
    signs : int64 array of shape (m, m)
        1 if the difference is simpler, -1 if the sum is.
    """
    part = table[np.unique(np.linspace(0, len(table) - 1, _SAMPLE).astype(np.int64))]
    size = part.shape[1]
    widest = 2.0 * max(float(np.ptp(part, axis=0).max()), 1.0)

    def cost(column: I64) -> float:
        levels = len(np.unique(column))
        if levels > _SATURATED * len(part):
            levels = len(part)
        return levels + float(np.ptp(column)) / widest

    costs = np.zeros((size, size))
    signs = np.ones((size, size), dtype=np.int64)
    for a in range(size):
        costs[a, a] = cost(part[:, a])
        for b in range(a):
            differing, adding = cost(part[:, a] - part[:, b]), cost(part[:, a] + part[:, b])
            costs[a, b] = costs[b, a] = min(differing, adding)
            signs[a, b] = signs[b, a] = 1 if differing <= adding else -1
    return costs, signs


def shortest_path(first: F64, steps: F64) -> list[int]:
    """Return the order of all columns with the least sum of `first` and consecutive `steps`.

    Parameters
    ----------
    first : float64 array of shape (m,)
        Cost of beginning with a column.
    steps : float64 array of shape (m, m)
        Cost of one column after another.
    """
    size = len(first)
    if size > _EXACT:
        path = [int(np.argmin(first))]
        while len(path) < size:
            left = [b for b in range(size) if b not in path]
            path.append(min(left, key=lambda b: steps[path[-1], b]))
        return path
    # Held and Karp: cost[set][last] over all sets of columns in ascending order.
    cost = np.full((1 << size, size), np.inf)
    back = np.full((1 << size, size), -1, dtype=np.int64)
    for b in range(size):
        cost[1 << b, b] = first[b]
    for chosen in range(1, 1 << size):
        for b in range(size):
            if chosen >> b & 1:
                continue
            reached = cost[chosen] + steps[:, b]
            last = int(np.argmin(reached))
            bigger = chosen | 1 << b
            if reached[last] < cost[bigger, b]:
                cost[bigger, b], back[bigger, b] = reached[last], last
    chosen = (1 << size) - 1
    path = [int(np.argmin(cost[chosen]))]
    while (last := int(back[chosen, path[-1]])) >= 0:
        chosen ^= 1 << path[-1]
        path.append(last)
    return path[::-1]


def in_order(table: I64, queries: I64) -> tuple[I64, I64]:
    """Arrange the columns so that neighbours differ by the fewest levels, signs aligned.

    The first prefix sum takes as few levels as one feature and starts the path. What remains
    open is one mirror of everything.
    """
    costs, signs = steps_between(table)
    path = shortest_path(np.diag(costs), costs)
    sign, aligned = 1, [1]
    for before, after in pairwise(path):
        sign *= int(signs[before, after])
        aligned.append(sign)
    turned = np.array(aligned)
    return table[:, path] * turned, queries[:, path] * turned


def match_columns(table: I64, labels: I64, means: F64) -> tuple[I64, I64, F64]:
    """Match columns to known class means of the true coordinates.

    Parameters
    ----------
    table : int64 array of shape (N, m)
    labels : int64 array of shape (N,)
    means : float64 array of shape (classes, m)
        What each true coordinate is on average within each class.

    Returns
    -------
    order, signs : int64 arrays of shape (m,)
    shifts : float64 array of shape (m,)
        table[:, order] * signs + shifts are the true coordinates.
    """
    present = np.unique(labels)
    shares = np.array([(labels == code).mean() for code in present])
    seen = np.stack([table[labels == code].mean(axis=0) for code in present])
    seen_middle, true_middle = shares @ seen, shares @ means[present]
    # Centred class means do not know the shift; their size does not know the sign.
    seen_arms, true_arms = seen - seen_middle, means[present] - true_middle
    order = np.empty(len(seen_middle), dtype=np.int64)
    order[np.argsort(np.abs(true_arms).sum(axis=0), kind="stable")] = np.argsort(
        np.abs(seen_arms).sum(axis=0), kind="stable"
    )
    signs = np.where((seen_arms[:, order] * true_arms).sum(axis=0) < 0, -1, 1)
    return order, signs, true_middle - signs * seen_middle[order]

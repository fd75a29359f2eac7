"""Which buckets may hold the nearest rows: median splits, boxes, and six bits per coordinate.

Heads are coordinates shifted right until they fit uint16. A leaf is a run of buckets; its box is
cut into at most 64 equal cells per column, and a row is remembered by its cell: from that come a
lower and an upper bound of its distance. Boxes stand in groups of 32, which have boxes of their
own.
"""

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.splits import split_once

LANES = 32
_FAR = 1 << 30
# Behind all estimates.
_BEHIND = 1 << 40
_CELLS = 64
# Shares of the way from the K-th lower to the K-th upper bound are counted in units of 1 / 256.
_UNITS = 256


@kernel()
def edge(bucket, rows, buckets):
    """First row, in tree order, of a bucket; rows spread evenly, rows times buckets below 2**63."""
    return bucket * rows // buckets


@kernel()
def middle_bucket(first, last, per):
    """Where to split the buckets first:last, of which `per` are a leaf."""
    # Leaves, and whole groups of 32 of them, share a subtree, which keeps their box small.
    unit = 1
    if last - first > per * LANES:
        unit = per * LANES
    elif last - first > per:
        unit = per
    return first + unit * (((last - first + unit - 1) // unit) // 2)


@kernel()
def split_buckets(heads, order, buckets, per, first, last):
    """Reorder rows so that each bucket has the rows from its edge to the next, for first:last.

    heads uint16[:, columns]; order int64 is permuted in place. A leaf is `per` buckets.
    """
    rows = order.shape[0]
    count = edge(last, rows, buckets) - edge(first, rows, buckets)
    spare = np.empty(count, np.int64)
    keys = np.empty(count, np.int64)
    pending = np.empty((128, 2), np.int64)
    pending[0, 0] = first
    pending[0, 1] = last
    depth = 1
    while depth > 0:
        depth -= 1
        start = pending[depth, 0]
        stop = pending[depth, 1]
        if stop - start <= 1:
            continue
        middle = middle_bucket(start, stop, per)
        split_once(
            heads, order, edge(start, rows, buckets), edge(stop, rows, buckets),
            edge(middle, rows, buckets), spare, keys,
        )  # fmt: skip
        pending[depth, 0] = start
        pending[depth, 1] = middle
        pending[depth + 1, 0] = middle
        pending[depth + 1, 1] = stop
        depth += 2


@kernel()
def _cell_width(low, high):
    return (np.int64(high) - np.int64(low)) // _CELLS + 1


@kernel()
def box_rows(heads, order, boxes, cells, buckets, per, first, last):
    """Boxes and cells of the leaves first:last.

    boxes uint16[groups, columns, 2, 32] (low, high); cells uint8[leaves, columns, 3 * quarter],
    which must be 0, has room for 4 * quarter rows: the upper four bits of a cell are half a byte of
    the first 2 * quarter, the lower two are a quarter of a byte of the others.
    """
    rows = order.shape[0]
    quarter = cells.shape[2] // 3
    for leaf in range(first, last):
        group = leaf // LANES
        lane = leaf % LANES
        start = edge(leaf * per, rows, buckets)
        stop = edge(min((leaf + 1) * per, buckets), rows, buckets)
        for column in range(heads.shape[1]):
            low = heads[order[start], column]
            high = low
            for rank in range(start + 1, stop):
                low = min(low, heads[order[rank], column])
                high = max(high, heads[order[rank], column])
            boxes[group, column, 0, lane] = low
            boxes[group, column, 1, lane] = high
            wide = _cell_width(low, high)
            into = cells[leaf, column]
            for rank in range(start, stop):
                cell = (np.int64(heads[order[rank], column]) - np.int64(low)) // wide
                part = (rank - start) // quarter
                spot = (rank - start) % quarter
                into[(part & 1) * quarter + spot] |= np.uint8((cell >> 2) << (4 * (part >> 1)))
                into[2 * quarter + spot] |= np.uint8((cell & 3) << (2 * part))


@kernel()
def _bounds_of_boxes(boxes, query, bounds):
    """Lower bounds, int32[32], of the distances from query, int32[columns], to 32 boxes."""
    for lane in range(LANES):
        bounds[lane] = 0
    for column in range(query.shape[0]):
        at = query[column]
        for lane in range(LANES):
            below = np.int32(np.int32(boxes[column, 0, lane]) - at)
            beyond = np.int32(at - np.int32(boxes[column, 1, lane]))
            bounds[lane] += max(np.int32(0), below, beyond)


@kernel()
def _bounds_of_rows(box, lane, cells, query, lower, upper):
    """Lower and upper bounds, int32[4 * quarter], of the distances from query to a leaf's rows.

    They are overwritten; what has no row gets any.
    """
    quarter = cells.shape[1] // 3
    for row in range(4 * quarter):
        lower[row] = 0
        upper[row] = 0
    for column in range(query.shape[0]):
        low = np.int32(box[column, 0, lane])
        high = np.int32(box[column, 1, lane])
        wide = np.int32(_cell_width(low, high))
        at = query[column]
        fine = cells[column, 2 * quarter :]
        for part in range(4):
            coarse = cells[column, (part & 1) * quarter :]
            near = lower[part * quarter :]
            far = upper[part * quarter :]
            half = np.uint8(4 * (part >> 1))
            pair = np.uint8(2 * part)
            for row in range(quarter):
                above = np.int32((coarse[row] >> half) & np.uint8(15)) * np.int32(4)
                left = np.int32(low + (above + np.int32((fine[row] >> pair) & np.uint8(3))) * wide)
                right = min(np.int32(left + wide - np.int32(1)), high)
                below = np.int32(left - at)
                beyond = np.int32(at - right)
                near[row] += max(np.int32(0), below, beyond)
                far[row] += max(np.int32(right - at), np.int32(at - left))


@kernel()
def is_gone(gone, rank):
    """Whether a row, by its place in tree order, is removed: a bit of gone uint8[:], or empty."""
    return gone.shape[0] > 0 and (gone[rank >> 3] >> np.uint8(rank & 7)) & np.uint8(1) > 0


@kernel()
def _keep_smallest(value, smallest):
    """Put a value among the smallest ones, int32[k], sorted."""
    spot = smallest.shape[0] - 1
    while spot > 0 and smallest[spot - 1] > value:
        smallest[spot] = smallest[spot - 1]
        spot -= 1
    smallest[spot] = value


@kernel()
def candidates(above, boxes, cells, gone, buckets, per, total, query, k, slack, reach):
    """(buckets, bounds, likely, floor, span): what may hold one of the k nearest rows.

    query int32[columns]; total is the number of rows, with those that are `gone`, which count for
    nothing: one bit each, uint8[(total + 7) // 8] or empty. A bucket is left out only if the lower
    bounds of all its rows exceed the k-th smallest upper bound by more than slack; its own bound is
    the smallest of them. `floor` is the k-th smallest lower bound and `span` how far from there to
    the former. The first `likely` buckets have bounds up to `reach` / 256 of that, but no more of
    just that than k rows need; among these those with the smallest sum of a row's lower and upper
    bound come first. All in units of heads.
    """
    groups = boxes.shape[0]
    leaves = cells.shape[0]
    reached = np.empty(above.shape[0] * LANES, np.int32)
    for block in range(above.shape[0]):
        _bounds_of_boxes(above[block], query, reached[block * LANES : (block + 1) * LANES])
    nearest = np.full(k, _FAR, np.int32)
    lowest = np.full(k, _FAR, np.int32)
    lower = np.empty(cells.shape[2] // 3 * 4, np.int32)
    upper = np.empty(cells.shape[2] // 3 * 4, np.int32)
    bounds = np.empty(LANES, np.int32)
    found = np.empty(buckets, np.int64)
    estimates = np.empty(buckets, np.int64)
    least = np.empty(buckets, np.int64)
    close = np.empty(buckets, np.int64)
    count = 0
    # A few of the closest groups make the limit small; the order of the others matters little.
    ahead = min(4, groups)
    for visit in range(ahead + groups):
        group = np.argmin(reached[:groups]) if visit < ahead else visit - ahead
        if reached[group] > nearest[k - 1] + slack:
            continue
        reached[group] = _FAR * 2 - 1
        _bounds_of_boxes(boxes[group], query, bounds)
        lanes = min(LANES, leaves - group * LANES)
        for _ in range(lanes):
            lane = np.argmin(bounds[:lanes])
            if bounds[lane] > nearest[k - 1] + slack:
                break
            bounds[lane] = _FAR * 2 - 1
            leaf = group * LANES + lane
            _bounds_of_rows(boxes[group], lane, cells[leaf], query, lower, upper)
            start = edge(leaf * per, total, buckets)
            for bucket in range(leaf * per, min((leaf + 1) * per, buckets)):
                estimate = np.int64(4 * _FAR)
                smallest = np.int64(4 * _FAR)
                equal = 0
                before = edge(bucket, total, buckets) - start
                for row in range(before, edge(bucket + 1, total, buckets) - start):
                    if is_gone(gone, start + row):
                        continue
                    estimate = min(estimate, np.int64(lower[row]) + np.int64(upper[row]))
                    if lower[row] < smallest:
                        smallest = np.int64(lower[row])
                        equal = 0
                    equal += lower[row] == smallest
                    if lower[row] < lowest[k - 1]:
                        _keep_smallest(lower[row], lowest)
                    if upper[row] < nearest[k - 1]:
                        _keep_smallest(upper[row], nearest)
                if smallest <= nearest[k - 1] + slack:
                    found[count] = bucket
                    estimates[count] = estimate
                    least[count] = smallest
                    close[count] = equal
                    count += 1
    floor = np.int64(lowest[k - 1])
    span = np.int64(nearest[k - 1]) + slack - floor
    cut = floor + -(-span * reach // _UNITS)
    kept = 0
    for index in range(count):
        if least[index] <= floor + span:
            found[kept] = found[index]
            least[kept] = least[index]
            close[kept] = close[index]
            # Those below the cut, those just there, the others.
            behind = (least[index] >= cut) + np.int64(least[index] > cut)
            estimates[kept] = estimates[index] + behind * _BEHIND
            kept += 1
    order = np.argsort(estimates[:kept], kind="mergesort")
    likely = 0
    rows = np.int64(0)
    while likely < kept and (
        least[order[likely]] < cut or (rows < k and least[order[likely]] == cut)
    ):
        rows += close[order[likely]]
        likely += 1
    return found[:kept][order], least[:kept][order], likely, floor, span


@kernel()
def fetches_needed(
    above, boxes, cells, gone, buckets, per, order, vectors, heads, shift, blur, samples, k, reach,
    shares, exact, proven, wanted, first, last,
):  # fmt: skip
    """For sampled rows as queries, how many of the best buckets suffice, at first:last.

    vectors int64[:, columns]; samples int64 row numbers; int64[samples] are overwritten: shares,
    the `reach` that a proof needs; with the given one exact, the buckets that give the exact k
    nearest distances, proven, those that prove it, wanted, all that are likely. What is not
    possible takes all buckets. A head is a value shifted right by `shift`; `blur` is what a
    distance may lose by that.
    """
    columns = vectors.shape[1]
    rows = order.shape[0]
    query = np.empty(columns, np.int32)
    nearest = np.empty(k, np.int64)
    for sample in range(first, last):
        own = samples[sample]
        for column in range(columns):
            query[column] = np.int32(heads[own, column])
        found, least, likely, floor, span = candidates(
            above, boxes, cells, gone, buckets, per, rows, query, k, 2 * blur, reach
        )
        nearest[:] = np.int64(0x7FFFFFFFFFFFFFFF)
        wanted[sample] = likely
        exact[sample] = 0
        proven[sample] = 0
        for index in range(found.shape[0]):
            for rank in range(
                edge(found[index], rows, buckets), edge(found[index] + 1, rows, buckets)
            ):
                distance = np.int64(0)
                for column in range(columns):
                    distance += abs(vectors[order[rank], column] - vectors[own, column])
                if distance < nearest[k - 1]:
                    exact[sample] = index + 1
                    spot = k - 1
                    while spot > 0 and nearest[spot - 1] > distance:
                        nearest[spot] = nearest[spot - 1]
                        spot -= 1
                    nearest[spot] = distance
        # No bucket whose bound is smaller may be missing.
        needed = -(-nearest[k - 1] >> shift) + blur if nearest[k - 1] > 0 else np.int64(0)
        shares[sample] = 0
        if needed > floor:
            shares[sample] = min(_UNITS, -(-(needed - floor) * _UNITS // max(span, np.int64(1))))
        for index in range(found.shape[0]):
            if least[index] < needed:
                proven[sample] = index + 1
        proven[sample] = max(proven[sample], exact[sample])
        if exact[sample] > likely:
            exact[sample] = buckets
        if proven[sample] > likely:
            proven[sample] = buckets

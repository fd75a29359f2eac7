"""Which buckets may hold the nearest rows: median splits, boxes, and four bits per coordinate.

Heads are coordinates shifted right until they fit uint16. The box of a bucket is cut into at most
16 equal cells per column, and a row is remembered by its cell: from that come a lower and an upper
bound of its distance. Boxes stand in groups of 32, which have boxes of their own.
"""

import numpy as np

from ompd._kernels.jit import kernel
from ompd._kernels.splits import split_once

LANES = 32
_FAR = 1 << 30


@kernel()
def edge(bucket, rows, buckets):
    """First row, in tree order, of a bucket; rows spread evenly, rows times buckets below 2**63."""
    return bucket * rows // buckets


@kernel()
def split_buckets(heads, order, buckets, first, last):
    """Reorder rows so that each bucket has the rows from its edge to the next, for first:last.

    heads uint16[:, columns]; order int64 is permuted in place.
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
        # Whole groups of 32 buckets share a subtree, which keeps their common box small.
        unit = LANES if stop - start > LANES else 1
        middle = start + unit * (((stop - start + unit - 1) // unit) // 2)
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
    return (np.int64(high) - np.int64(low)) // 16 + 1


@kernel()
def box_rows(heads, order, boxes, cells, first, last):
    """Boxes and cells of the buckets first:last.

    boxes uint16[groups, columns, 2, 32] (low, high); cells uint8[buckets, (columns + 1) // 2, rows]
    has an even column in the low half of a byte and the odd one behind it in the high half; cells
    must be 0.
    """
    columns = heads.shape[1]
    for bucket in range(first, last):
        group = bucket // LANES
        lane = bucket % LANES
        start = edge(bucket, order.shape[0], cells.shape[0])
        stop = edge(bucket + 1, order.shape[0], cells.shape[0])
        for column in range(columns):
            low = heads[order[start], column]
            high = low
            for rank in range(start + 1, stop):
                low = min(low, heads[order[rank], column])
                high = max(high, heads[order[rank], column])
            boxes[group, column, 0, lane] = low
            boxes[group, column, 1, lane] = high
            wide = _cell_width(low, high)
            for rank in range(start, stop):
                cell = (np.int64(heads[order[rank], column]) - np.int64(low)) // wide
                cells[bucket, column // 2, rank - start] |= np.uint8(cell << (4 * (column & 1)))


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
def _bounds_of_rows(box, lane, cells, rows, query, lower, upper):
    """Lower and upper bounds, int32[rows], of the distances from query to a bucket's rows."""
    for row in range(rows):
        lower[row] = 0
        upper[row] = 0
    for column in range(query.shape[0]):
        low = np.int32(box[column, 0, lane])
        high = np.int32(box[column, 1, lane])
        wide = np.int32(_cell_width(low, high))
        at = query[column]
        shift = np.uint8(4 * (column & 1))
        half = cells[column >> 1]
        for row in range(rows):
            left = np.int32(low + np.int32((half[row] >> shift) & np.uint8(15)) * wide)
            right = min(np.int32(left + wide - np.int32(1)), high)
            below = np.int32(left - at)
            beyond = np.int32(at - right)
            lower[row] += max(np.int32(0), below, beyond)
            upper[row] += max(np.int32(right - at), np.int32(at - left))


@kernel()
def is_gone(gone, bucket, row):
    """Whether a bucket's row is removed: a bit of gone uint8[buckets, :], which may be empty."""
    return gone.shape[0] > 0 and (gone[bucket, row >> 3] >> np.uint8(row & 7)) & np.uint8(1) > 0


@kernel()
def candidates(above, boxes, cells, gone, total, query, k, slack):
    """(buckets, estimates, bounds) that may hold one of the k nearest rows, best estimate first.

    query int32[columns]; total is the number of rows, with those that are `gone`, which count for
    nothing: uint8[buckets, (rows + 7) // 8] or empty. A bucket is left out only if the lower
    bounds of all its rows exceed the k-th smallest upper bound by more than slack. An estimate is
    the smallest sum of a row's lower and upper bound, a bound the smallest lower bound; all in
    units of heads.
    """
    buckets = cells.shape[0]
    groups = boxes.shape[0]
    reach = np.empty(above.shape[0] * LANES, np.int32)
    for block in range(above.shape[0]):
        _bounds_of_boxes(above[block], query, reach[block * LANES : (block + 1) * LANES])
    nearest = np.full(k, _FAR, np.int32)
    lower = np.empty(cells.shape[2], np.int32)
    upper = np.empty(cells.shape[2], np.int32)
    bounds = np.empty(LANES, np.int32)
    found = np.empty(buckets, np.int64)
    estimates = np.empty(buckets, np.int64)
    least = np.empty(buckets, np.int64)
    count = 0
    # A few of the closest groups make the limit small; the order of the others matters little.
    ahead = min(4, groups)
    for visit in range(ahead + groups):
        group = np.argmin(reach[:groups]) if visit < ahead else visit - ahead
        limit = nearest[k - 1] + slack
        if reach[group] > limit:
            continue
        reach[group] = _FAR * 2 - 1
        _bounds_of_boxes(boxes[group], query, bounds)
        lanes = min(LANES, buckets - group * LANES)
        for _ in range(lanes):
            lane = np.argmin(bounds[:lanes])
            limit = nearest[k - 1] + slack
            if bounds[lane] > limit:
                break
            bounds[lane] = _FAR * 2 - 1
            bucket = group * LANES + lane
            rows = edge(bucket + 1, total, buckets) - edge(bucket, total, buckets)
            _bounds_of_rows(boxes[group], lane, cells[bucket], rows, query, lower, upper)
            estimate = np.int64(4 * _FAR)
            smallest = np.int64(4 * _FAR)
            for row in range(rows):
                if is_gone(gone, bucket, row):
                    continue
                estimate = min(estimate, np.int64(lower[row]) + np.int64(upper[row]))
                smallest = min(smallest, np.int64(lower[row]))
                if upper[row] < nearest[k - 1]:
                    spot = k - 1
                    while spot > 0 and nearest[spot - 1] > upper[row]:
                        nearest[spot] = nearest[spot - 1]
                        spot -= 1
                    nearest[spot] = upper[row]
            if smallest <= nearest[k - 1] + slack:
                found[count] = bucket
                estimates[count] = estimate
                least[count] = smallest
                count += 1
    limit = nearest[k - 1] + slack
    kept = 0
    for index in range(count):
        if least[index] <= limit:
            found[kept] = found[index]
            estimates[kept] = estimates[index]
            least[kept] = least[index]
            kept += 1
    order = np.argsort(estimates[:kept])
    return found[:kept][order], estimates[:kept][order], least[:kept][order]


@kernel()
def fetches_needed(
    above, boxes, cells, gone, order, vectors, heads, shift, blur, samples, k, exact, proven,
    wanted, first, last,
):  # fmt: skip
    """For sampled rows as queries, how many of the best buckets suffice, at first:last.

    vectors int64[:, columns]; samples int64 row numbers; int64[samples] are overwritten: exact, the
    buckets that give the exact k nearest distances, proven, those that prove it, wanted, all
    candidates. A head is a value shifted right by `shift`; `blur` is what a distance may lose by
    that.
    """
    columns = vectors.shape[1]
    rows = order.shape[0]
    buckets = cells.shape[0]
    query = np.empty(columns, np.int32)
    nearest = np.empty(k, np.int64)
    for sample in range(first, last):
        own = samples[sample]
        for column in range(columns):
            query[column] = np.int32(heads[own, column])
        found, _, least = candidates(above, boxes, cells, gone, rows, query, k, 2 * blur)
        nearest[:] = np.int64(0x7FFFFFFFFFFFFFFF)
        wanted[sample] = found.shape[0]
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
        for index in range(found.shape[0]):
            if max(0, least[index] - blur) << shift < nearest[k - 1]:
                proven[sample] = index + 1
        proven[sample] = max(proven[sample], exact[sample])

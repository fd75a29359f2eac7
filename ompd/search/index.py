"""The index of a limb table: 16-bit heads in leaves of 32 rows, and their boxes.

Why the search is exact
-----------------------
Let x be a table value, q a query value, h = `bits`, b the table's minimum >> h of a coordinate,
and clamp(q) the nearest value to q in [b * 2**h, (b + 65536) * 2**h). All indexed rows lie in
that interval, so |x - q| = |x - clamp(q)| + |q - clamp(q)|, and the second term is the same for
every row: ranking by D = sum |x - clamp(q)| is ranking by distance. With head(x) = (x >> h) - b,
each of the `kept` coordinates obeys | |x - clamp(q)| / 2**h - |head(x) - head(q)| | < 1. A
coordinate whose head is 0 in every row (padding, which holds nothing but noise) is dropped; it
adds between 0 and 1. For c kept of m coordinates and S = sum of head distances:

    S - c <= D / 2**h < S + m        (the left side strict if c > 0)

K rows have S <= S_K, hence D < (S_K + m) * 2**h, so one of the K nearest has
S < S_K + m + c: at most S_K + `slack` with slack = m + c - 1. Without a shift heads are exact and
slack is 0. Sums saturate at 65535; when the limit gets there, the query is repeated with heads
shifted further, so far that no sum can saturate (floors of floors are floors: same bounds).

Rows appended later lie in a tail, scanned without boxes. A row outside the interval above would
break the argument: it is a *stray*, hidden from the scan and measured exactly for every query.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd._kernels.lanes import LANES, SATURATED
from ompd._kernels.limbs import fill_heads, widen_extremes
from ompd._kernels.splits import (
    GROUP,
    box_boxes,
    box_leaves,
    lay_out,
    middle_of,
    sampled_distance,
    split_once,
    split_rows,
)
from ompd.arrays import I64, LINE, U8, U16, U64, Bools, Progress, frozen, zeros_at
from ompd.threads import default_threads, run_halves, run_ranges

#: Rows read at a time, so that building needs bounded memory on a mapped table.
CHUNK = 1 << 16
#: Sampled K-th head distances should stay below this, well clear of saturation at 65535.
_COMFORTABLE = 24_000
_SAMPLE = 2048
_PROBES = 64
#: Shares of the time after which rows are read, and ordered.
_READ, _ORDERED = 0.25, 0.95
_NONE = frozen(np.empty(0, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """What stays resident of a table: plain arrays, ready to be stored as they are.

    Parameters
    ----------
    bits : int
        Heads are (value >> bits) - base.
    kept : ndarray of int64, shape (c,)
        Coordinates that have heads, widest first.
    base : ndarray of uint64, shape (c, L)
        Minimum >> bits of the kept coordinates, little-endian limbs.
    floor : ndarray of uint64, shape (m, L)
        Minimum >> bits of all coordinates.
    heads : ndarray of uint16, shape (leaves * c * 32,)
        Leaf after leaf, in a leaf coordinate after coordinate.
    leaf_boxes, group_boxes : ndarray of uint16
        Lower and upper bounds as [32 leaves or groups][c][low, high][32].
    rows : ndarray of uint32 or int64, shape (count,)
        Row of each position; rows from `count` on are in the tail.
    tail_heads : ndarray of uint16
        Heads of the tail, laid out as `heads`.
    strays : ndarray of int64
        Live tail rows outside the heads' range.
    hidden : ndarray of uint8
        Bitmap of rows that the scan skips (removed or stray); empty if there are none.
    removed : int
        Number of removed rows.
    """

    bits: int
    kept: I64
    base: U64
    floor: U64
    heads: U16
    leaf_boxes: U16
    group_boxes: U16
    rows: npt.NDArray[np.uint32 | np.int64]
    tail_heads: U16
    strays: I64
    hidden: U8
    removed: int = 0

    def __post_init__(self) -> None:
        # No vector of heads may straddle two cache lines.
        lines = {"heads", "leaf_boxes", "group_boxes", "tail_heads"}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                kept = frozen(value, LINE if field.name in lines else 1)
                object.__setattr__(self, field.name, kept)

    def __reduce__(self) -> tuple[Any, ...]:
        # Through the constructor: neither flags nor alignment survive otherwise.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def is_removed(self, rows: I64) -> Bools:
        """Which of the rows were removed."""
        if not len(self.hidden):
            return np.zeros(len(rows), dtype=np.bool_)
        inside = rows >> 3 < len(self.hidden)
        hidden = np.zeros(len(rows), dtype=np.bool_)
        hidden[inside] = (self.hidden[rows[inside] >> 3] >> (rows[inside] & 7) & 1).astype(bool)
        return hidden & ~np.isin(rows, self.strays)

    @property
    def nbytes(self) -> int:
        """Resident bytes."""
        fields = (self.heads, self.leaf_boxes, self.group_boxes, self.rows, self.tail_heads)
        return sum(array.nbytes for array in (*fields, self.strays, self.hidden))


def _integers(values: U64) -> list[int]:
    """Rows of little-endian limbs as Python integers."""
    return [int.from_bytes(row.astype("<u8").tobytes(), "little") for row in values]


def _to_limbs(values: list[int], width: int) -> U64:
    """Inverse of `_integers`."""
    data = b"".join(value.to_bytes(8 * width, "little") for value in values)
    return frozen(np.frombuffer(data, "<u8").astype(np.uint64).reshape(len(values), width))


class _Rows:
    """Rows of a table, in whose place one that is there stands for each that is gone."""

    def __init__(self, limbs: U64, gone: I64) -> None:
        self._limbs = limbs
        self._gone = gone
        present = np.ones(len(limbs), np.bool_)
        present[gone] = False
        self.present = np.flatnonzero(present)
        self.chunks = -(-len(limbs) // CHUNK)

    def some(self) -> U64:
        """A row that is there."""
        return self._limbs[self.present[:1]]

    def chunk(self, chunk: int) -> U64:
        """Rows from `chunk * CHUNK` on."""
        start = chunk * CHUNK
        part = self._limbs[start : start + CHUNK]
        first, last = np.searchsorted(self._gone, [start, start + CHUNK])
        if first == last:
            return part
        part = part.copy()
        part[self._gone[first:last] - start] = self.some()
        return frozen(part)


def _extremes(
    rows: _Rows, threads: int, report: Callable[[float], None]
) -> tuple[list[int], list[int]]:
    """Minimum and maximum of every coordinate, by chunks."""
    low = np.repeat(rows.some(), rows.chunks, axis=0)
    high = low.copy()

    def task(first: int, last: int) -> None:
        for chunk in range(first, last):
            part = rows.chunk(chunk)
            widen_extremes(part, 0, part.shape[0], low[chunk], high[chunk])
            report(part.shape[0])

    run_ranges(task, rows.chunks, threads)
    lows = [_integers(part) for part in low]
    highs = [_integers(part) for part in high]
    return [min(column) for column in zip(*lows, strict=True)], [
        max(column) for column in zip(*highs, strict=True)
    ]


def _scale(low: list[int], high: list[int], bits: int) -> tuple[I64, list[int]]:
    """Coordinates that have heads at this shift, widest first, and all bases."""
    base = [value >> bits for value in low]
    spread = [(value >> bits) - least for value, least in zip(high, base, strict=True)]
    kept = [column for column in range(len(low)) if spread[column]]
    kept.sort(key=lambda column: -spread[column])
    return frozen(np.array(kept, np.int64)), base


def _heads(
    rows: _Rows,
    count: int,
    bits: int,
    kept: I64,
    base: U64,
    threads: int,
    report: Callable[[float], None],
) -> U16:
    """Heads of all rows, row by row."""
    heads = np.empty((count, len(kept)), np.uint16)

    def task(first: int, last: int) -> None:
        for chunk in range(first, last):
            part = rows.chunk(chunk)
            fill_heads(part, 0, part.shape[0], kept, bits, base, heads, chunk * CHUNK)
            report(part.shape[0])

    run_ranges(task, rows.chunks, threads)
    return heads


def _choose_bits(limbs: U64, present: I64, low: list[int], high: list[int]) -> int:
    """Smallest shift at which ranges fit 16 bits and nearest distances stay comfortable."""
    ranges = list(zip(low, high, strict=True))
    bits = max(0, max((top - least).bit_length() for least, top in ranges) - 16)
    while any((top >> bits) - (least >> bits) > SATURATED for least, top in ranges):
        bits += 1
    picked = np.sort(np.random.default_rng(0).permutation(len(present))[:_SAMPLE])
    sample = frozen(limbs[present[picked]])
    kept, base = _scale(low, high, bits)
    if len(kept) == 0:
        return bits
    heads = np.empty((len(sample), len(kept)), np.uint16)
    fill_heads(
        sample, 0, len(sample), kept, bits, _to_limbs([base[j] for j in kept], limbs.shape[2]),
        heads, 0,
    )  # fmt: skip
    np.random.default_rng(1).shuffle(heads)
    typical = float(np.quantile(sampled_distance(heads, min(_PROBES, len(sample)), 16), 0.9))
    while typical > _COMFORTABLE:
        typical /= 2
        bits += 1
    return bits


def _order(heads: U16, threads: int, report: Progress) -> I64:
    """Row order of the median splits; the result does not depend on the number of threads."""
    count = heads.shape[0]
    order = np.arange(count, dtype=np.int64)

    def halve(first: int, last: int) -> int:
        middle: int = middle_of(first, last)
        spare, keys = np.empty((2, last - first), np.int64)
        split_once(heads, order, first, last, middle, spare, keys)
        return middle

    def finish(first: int, last: int) -> None:
        split_rows(heads, order, first, last)

    if heads.shape[1]:
        # Some parts for each thread, if they are groups.
        most = max(2 * GROUP, min(CHUNK, count // (4 * threads)))
        run_halves(halve, finish, count, most, threads, report)
    return order


def _blank_boxes(members: int, columns: int) -> U16:
    """Boxes that look far from everything: low 65535, high 0."""
    boxes = zeros_at((-(-members // LANES), columns, 2, LANES), np.uint16)
    boxes[:, :, 0] = SATURATED
    return boxes


def build_index(
    limbs: U64,
    *,
    gone: I64 = _NONE,
    threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Index:
    """Build the index of a limb table.

    Parameters
    ----------
    limbs : ndarray of uint64, shape (N, m, L)
        Little-endian limbs, N >= 1; may be a memory map, read twice in chunks of 65536 rows.
    gone : ndarray of int64
        Rows, rising and not all, of which nothing goes into the index. They are not hidden by it;
        see `remove_rows`.
    threads : int, optional
        Default: all processors. The result does not depend on it.
    progress : callable, optional
        Called with the finished share in (0, 1], which only grows.

    Returns
    -------
    Index
        Plain arrays; everything but `limbs` that a search needs.
    """
    threads = threads or default_threads()
    limbs = frozen(limbs)
    count, _, width = limbs.shape
    caller, lock = threading.get_ident(), threading.Lock()
    done = 0

    def tell(share: float) -> None:
        if progress is not None and threading.get_ident() == caller:
            progress(share)

    def report(rows: float) -> None:
        nonlocal done
        with lock:
            done += int(rows)
        tell(_READ * done / (2 * count))

    rows = _Rows(limbs, gone)
    low, high = _extremes(rows, threads, report)
    bits = _choose_bits(limbs, rows.present, low, high)
    kept, floor = _scale(low, high, bits)
    base = _to_limbs([floor[j] for j in kept], width)
    heads = _heads(rows, count, bits, kept, base, threads, report)
    order = _order(heads, threads, lambda share: tell(_READ + (_ORDERED - _READ) * share))
    leaf_count = -(-count // LANES)
    leaves = zeros_at((leaf_count, len(kept), LANES), np.uint16)
    run_ranges(lambda first, last: lay_out(heads, order, first, last, leaves), leaf_count, threads)
    leaf_boxes = _blank_boxes(leaf_count, len(kept))
    box_leaves(leaves, leaf_boxes)
    group_boxes = _blank_boxes(len(leaf_boxes), len(kept))
    box_boxes(leaf_boxes, group_boxes)
    if progress is not None:
        progress(1.0)
    return Index(
        bits=bits,
        kept=kept,
        base=base,
        floor=_to_limbs(floor, width),
        heads=leaves.reshape(-1),
        leaf_boxes=leaf_boxes.reshape(-1),
        group_boxes=group_boxes.reshape(-1),
        rows=order.astype(np.uint32) if count <= 0xFFFFFFFF else order,
        tail_heads=np.empty(0, np.uint16),
        strays=np.empty(0, np.int64),
        hidden=np.empty(0, np.uint8),
    )

"""What is computed on an image of a given size: octaves, operators, comparisons, gradients.

All of it is public and follows from height, width and depth alone.

Source: Lowe, "Distinctive image features from scale-invariant keypoints" (2004), sections 3 and 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ompd.errors import ParameterError
from ompd.images.operators import (
    LAYERS,
    OPERATOR_BITS,
    Ints,
    Operator,
    Reals,
    Words,
    octave_count,
    operators,
    rounded,
)

#: Smallest and largest height and width. Material for 512 by 512 pixels is about 1 GB.
MIN_SIDE = 16
MAX_SIDE = 512
#: Pixels at the border of an octave in which OpenCV looks for no keypoint.
BORDER = 5
#: Columns and rows at each border that no comparison reads.
TRIM = 3
#: Of a candidate's difference of Gaussians, in grey levels. OpenCV asks for 1; 3 keeps the same
#: keypoints and opens 30 % fewer candidates.
THRESHOLD = 3.0
#: Orientation bins, and half planes that bound them.
BINS = 36
HALF = 18
#: Pixels of the octave between gradients, per layer: as far apart as the blur allows.
STRIDES = (2, 2, 3)
#: Fraction bits of the gradients whose signs are asked, and of those that are summed.
SIGN_FRACTION = 8
FIELD_FRACTION = 2
#: Length of the integer directions: of normals of half planes, and of bins.
NORMAL = 64
DIRECTION = 8
#: Bits of a pixel of 8 bits behind the point, and of one of 16 bits, which keeps its upper twelve.
FRACTION = {8: 0, 16: 4}

#: The four directions to the neighbours in a layer; the other four are their opposites.
_WITHIN = ((0, 1), (1, -1), (1, 0), (1, 1))


class Comparator(NamedTuple):
    """How a comparison is split: a sign bit and chunks of bits, highest first."""

    chunks: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Bits of a window."""
        return 1 + sum(self.chunks)

    @property
    def products(self) -> int:
        """Words that the dealer gives for the first round, per 64 comparisons."""
        return 1 + sum((1 << bits) - 1 for bits in self.chunks)

    @property
    def opened(self) -> int:
        """Masked bits that the first round opens, per comparison."""
        return 2 * len(self.chunks) - 2

    @property
    def crossed(self) -> int:
        """Words of products of masks for the second round, per 64 comparisons."""
        return 1 if len(self.chunks) == 2 else 5


#: Neighbours; neighbours that share no row and no column, whose values differ more; thresholds;
#: half planes of gradients.
LONG = Comparator((5, 4, 4))
MIDDLE = Comparator((4, 4, 4))
SHORT = Comparator((4, 4))
SIGN = Comparator((5, 4))


class Plane(NamedTuple):
    """One comparison per lane: [X < Y].

    X is layer `low` of the differences of Gaussians at the lane, Y layer `high` at the lane moved
    by (`down`, `right`). A layer of -1 stands for the threshold: `low` for +t, `high` for -t.
    """

    low: int
    high: int
    down: int
    right: int
    comparator: Comparator
    #: Bits behind the point: an integer, or one plus the logarithm of 3/2.
    fraction: float
    #: Of a form of the differences around the lane that is compared with 0: its number.
    form: int = -1


@dataclass(frozen=True)
class Octave:
    """One octave: where it lies among lanes, windows and gradients."""

    height: int
    width: int
    rows: tuple[Operator, ...]
    columns: tuple[Operator, ...]
    #: Index of its first window, and its first block of 64 lanes.
    window: int
    block: int
    blocks: int
    #: First block of gradients of each layer, and how many rows and columns of them.
    sites: tuple[tuple[int, int, int], ...]

    @property
    def stride(self) -> int:
        """Windows in a row."""
        return self.width - 2 * TRIM


class Geometry:
    """Everything public about images of one size; see `geometry`.

    Attributes
    ----------
    height, width, depth : int
        Pixels, and 8 or 16 bits.
    octaves : tuple of Octave
    planes : tuple of Plane
        54 comparisons per lane.
    blocks, site_blocks : int
        Blocks of 64 lanes and of 64 gradients, in all octaves; multiples of 8.
    windows : int
        Places of a buffer of windows.
    """

    #: Pixels of the octave between gradients, per layer; half planes that bound half of the bins;
    #: length of the bins' directions.
    strides = STRIDES
    half = HALF
    direction = DIRECTION
    #: Forms of the second differences of a layer that are compared with 0.
    forms: tuple[tuple[int, int, int], ...] = ()

    def __init__(self, height: int, width: int, depth: int) -> None:
        self.height, self.width, self.depth = height, width, depth
        count = octave_count(height, width)
        rows = operators(height, count)
        columns = rows if height == width else operators(width, count)
        self.octaves = self._lay_out(rows, columns)
        self.planes = self._planes(rows[0], columns[0])
        moves = {(plane.down, plane.right) for plane in self.planes}
        self._starts = {move: self._first_windows(*move) for move in moves}
        self.normals, self.directions = _directions(self.half, self.direction)
        self.gains = _gains(self.directions)
        self.sign_fraction = _sign_fraction(rows[0], columns[0], self.normals)

    @property
    def fraction(self) -> int:
        """Bits of a pixel behind the point."""
        return FRACTION[self.depth]

    @property
    def shift(self) -> int:
        """Bits of a level behind the point."""
        return 2 * OPERATOR_BITS + self.fraction

    @property
    def field_bits(self) -> int:
        """Bits of the ring in which fields and sums of them are right."""
        return 64 - self.shift + FIELD_FRACTION

    @property
    def lanes(self) -> int:
        """Lanes of all octaves, those that only fill blocks included."""
        return 64 * self.blocks

    def _lay_out(self, rows: list[list[Reals]], columns: list[list[Reals]]) -> tuple[Octave, ...]:
        found = []
        window, block, site = 64, 0, 0
        for each_row, each_column in zip(rows, columns, strict=True):
            height, width = len(each_row[0]), len(each_column[0])
            if min(height, width) <= 2 * BORDER:
                break
            stride = width - 2 * TRIM
            blocks = -(-(height - 2 * TRIM - 2) * stride // 64)
            sites = []
            for step in self.strides:
                shape = ((height - 2) // step, (width - 2) // step)
                sites.append((site, *shape))
                site += -(-shape[0] * shape[1] // 64)
            found.append(
                Octave(
                    height,
                    width,
                    tuple(map(rounded, each_row)),
                    tuple(map(rounded, each_column)),
                    window,
                    block,
                    blocks,
                    tuple(sites),
                )
            )
            # Whole blocks from the second row on, and a neighbour of their last lane.
            window += max((height - 2 * TRIM) * stride, stride + 64 * blocks) + stride + 66
            block += blocks
        self.blocks = -(-block // 8) * 8
        self.site_blocks = -(-site // 8) * 8
        # Blocks that fill up the last group read the first windows.
        self.windows = window + 128
        return tuple(found)

    def _planes(self, rows: list[Reals], columns: list[Reals]) -> tuple[Plane, ...]:
        return neighbour_planes(rows, columns) + threshold_planes(rows, columns)

    def starts(self, plane: Plane) -> tuple[Ints, Ints]:
        """Return where the windows of X and of Y begin, per block."""
        return self._starts[plane.down, plane.right]

    def _first_windows(self, down: int, right: int) -> tuple[Ints, Ints]:
        low = np.zeros(self.blocks, np.int64)
        high = np.zeros(self.blocks, np.int64)
        for octave in self.octaves:
            part = slice(octave.block, octave.block + octave.blocks)
            low[part] = octave.window + octave.stride + 64 * np.arange(octave.blocks)
            high[part] = low[part] + down * octave.stride + right
        return low, high

    def valid(self) -> Words:
        """Return blocks of bits: whether a keypoint may lie at a lane."""
        bits = np.zeros(self.lanes, np.uint8)
        for octave in self.octaves:
            inner = np.zeros((octave.height - 2 * TRIM - 2, octave.stride), np.uint8)
            margin = BORDER - TRIM
            inner[margin - 1 : 1 - margin, margin:-margin] = 1
            bits[64 * octave.block :][: inner.size] = inner.ravel()
        return np.packbits(bits, bitorder="little").view(np.uint64)

    def places(self, bits: Words) -> Ints:
        """Return rows (octave, layer, y, x) of the lanes whose bit is set, per layer."""
        found = []
        for layer in range(LAYERS):
            # Few bits are set: the words without are left out first.
            words = np.flatnonzero(bits[layer])
            some = np.unpackbits(bits[layer][words].view(np.uint8), bitorder="little")
            lanes = (64 * words[:, None] + np.arange(64)).ravel()[some == 1]
            for number, octave in enumerate(self.octaves):
                own = lanes[(lanes >= 64 * octave.block)] - 64 * octave.block
                own = own[own < 64 * octave.blocks]
                y, x = np.divmod(own, octave.stride)
                found.append(
                    np.stack(
                        [np.full(len(own), number), np.full(len(own), layer + 1), y + TRIM + 1,
                         x + TRIM], axis=1,
                    )
                )  # fmt: skip
        return np.concatenate(found).astype(np.int64)


@lru_cache(maxsize=8, typed=True)
def geometry(height: int, width: int, depth: int = 8) -> Geometry:
    """Return what is public about images of this size.

    Parameters
    ----------
    height, width : int
        16 to 512.
    depth : {8, 16}
        Bits of a pixel.

    Raises
    ------
    ParameterError
    """
    check_size(height, width, depth)
    return Geometry(height, width, depth)


def check_size(height: int, width: int, depth: int) -> None:
    """Refuse what is no size or depth of an image; see `geometry`."""
    for name, value in (("height", height), ("width", width)):
        if type(value) is not int or not MIN_SIDE <= value <= MAX_SIDE:
            raise ParameterError(f"{name}: expected an integer from {MIN_SIDE} to {MAX_SIDE}")
    if type(depth) is not int or depth not in FRACTION:
        raise ParameterError("depth: expected 8 or 16")


def difference(
    rows: list[Reals], columns: list[Reals], layer: int, down: int = 0, right: int = 0
) -> Reals:
    """Return the form of a difference of Gaussians, `down` and `right` of the middle pixel."""
    y, x = len(rows[0]) // 2 + down, len(columns[0]) // 2 + right
    return np.outer(rows[layer + 1][y], columns[layer + 1][x]) - np.outer(
        rows[layer][y], columns[layer][x]
    )


def steps(comparator: Comparator, forms: list[Reals], beside: float = 0.0) -> int:
    """Return the finest step, in bits behind the point, at which no image makes a window wrap.

    Parameters
    ----------
    comparator : Comparator
    forms : list of ndarray
        What is compared, at the four pixels in the middle: even and odd pixels of the enlarged
        image have different operators.
    beside : float, default 0
        What comes to the forms, in grey levels.
    """
    # Pixels go to 256; the border and the other octaves are within two per cent.
    most = 128 * max(float(np.abs(form).sum()) for form in forms) * 1.02 + 0.1 + beside
    return comparator.bits - 1 - math.ceil(math.log2(most))


#: The middle and its neighbours whose operators differ.
MIDDLES = ((0, 0), (0, 1), (1, 0), (1, 1))


def neighbour_planes(
    rows: list[Reals], columns: list[Reals], *, corners: bool = True
) -> tuple[Plane, ...]:
    """Return the comparisons with neighbours; in the next layers those at `corners`, or not."""

    def plane(comparator: Comparator, low: int, high: int, down: int, right: int) -> Plane:
        forms = [
            difference(rows, columns, low, i, j)
            - difference(rows, columns, high, i + down, j + right)
            for i, j in MIDDLES
        ]
        step = steps(comparator, forms)
        # Two thirds of a step, where no window wraps then either.
        finer = steps(comparator, [1.5 * form for form in forms]) == step
        return Plane(low, high, down, right, comparator, step + finer * math.log2(1.5))

    within = [
        plane(LONG, layer, layer, down, right)
        for layer in range(1, LAYERS + 1)
        for down, right in _WITHIN
    ]
    between = [
        plane(MIDDLE if down and right else LONG, layer, layer + 1, down, right)
        for layer in range(LAYERS + 1)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if corners or not (down and right)
    ]
    return tuple(within + between)


def threshold_planes(rows: list[Reals], columns: list[Reals]) -> tuple[Plane, ...]:
    """Return the comparisons with the threshold, above and below."""
    found = []
    for layer in range(1, LAYERS + 1):
        forms = [difference(rows, columns, layer, i, j) for i, j in MIDDLES]
        step = steps(SHORT, forms, THRESHOLD)
        found.append(Plane(-1, layer, 0, 0, SHORT, step))
        found.append(Plane(layer, -1, 0, 0, SHORT, step))
    return tuple(found)


def _directions(half: int, length: int) -> tuple[Ints, Ints]:
    """Return integer normals of the half planes, and directions of the bins between them."""
    bound = (np.arange(half) + 0.5) * np.pi / half
    middle = (np.arange(half) + 1) * np.pi / half
    normals = np.rint(NORMAL * np.stack([-np.sin(bound), np.cos(bound)]))
    directions = np.rint(length * np.stack([np.cos(middle), np.sin(middle)]))
    return normals.astype(np.int64), directions.astype(np.int64)


def _sign_fraction(rows: list[Reals], columns: list[Reals], normals: Ints) -> int:
    """Return the finest step at which the window of no projected gradient wraps."""
    forms = []
    for i, j in MIDDLES:
        y, x = len(rows[0]) // 2 + i, len(columns[0]) // 2 + j
        across = np.outer(rows[1][y], columns[1][x + 1] - columns[1][x - 1])
        up = np.outer(rows[1][y - 1] - rows[1][y + 1], columns[1][x])
        forms += [a * across + b * up for a, b in normals.T / NORMAL]
    return steps(SIGN, forms)


def _gains(directions: Ints) -> Reals:
    """Return by how much each of the bins is too long, for a gradient in its middle."""
    half = directions.shape[1]
    middle = (np.arange(half) + 1) * np.pi / half
    along = directions[0] * np.cos(middle) + directions[1] * np.sin(middle)
    gains = np.empty(2 * half)
    bins = np.arange(half) + 1
    gains[bins] = gains[(bins + half) % len(gains)] = along / np.hypot(*directions[:, -1])
    return gains

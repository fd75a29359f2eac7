"""What hidden mode computes on an image of a given size: comparisons, sites, cells, slots.

All of it is public and follows from height, width and depth alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ompd.images.geometry import (
    MIDDLE,
    MIDDLES,
    TRIM,
    Geometry,
    Plane,
    check_size,
    difference,
    neighbour_planes,
    steps,
    threshold_planes,
)
from ompd.images.operators import LAYERS, Ints, Reals

Shaped = list[tuple[tuple[int, ...], Any]]

#: A point lies on no edge if, in all of eight directions t, cos t (a - c) + sin t 2b has the sign
#: of (a + c) and is below 4/5 of it: a, b, c are the second differences. Factors of a, of c and of
#: 4b; all eight forms are at least 0 at a maximum, and below 0 at a minimum. An octagon about
#: OpenCV's circle, whose radius is 9/11.
EDGES = (
    (1, -9, 0), (-9, 1, 0), (-8, -8, 5), (-8, -8, -5),
    (-2, -30, 7), (-2, -30, -7), (-30, -2, 7), (-30, -2, -7),
)  # fmt: skip
#: Per layer: weights of a window that falls off linearly, in sites from its middle on; sites to
#: the four by four windows of a descriptor; sites along a side of a cell.
WINDOWS = ((3, 2, 1), (5, 3, 1), (3, 2, 1))
MOVES = ((-5, -2, 2, 5), (-4, -1, 1, 4), (-5, -2, 2, 5))
CELLS = (4, 3, 3)
#: What sums are multiplied by in the end: no image's descriptor is longer than 2^28.5, or 2^26.5
#: with 16 bits, and usual ones have 20 bits or more.
SCALES = {8: np.uint32(32), 16: np.uint32(8)}
#: Entries of a slot: a descriptor, and where it is from.
DESCRIPTOR = 128
ENTRIES = DESCRIPTOR + 1
#: Rounds between the clouds; in the last three one of them sends.
HIDDEN_ROUNDS = 8


class Grid(NamedTuple):
    """Sites of one layer of an octave, and their cells."""

    layer: int
    first: int
    rows: int
    columns: int
    slot: int

    @property
    def cell(self) -> int:
        """Sites along a side of a cell."""
        return CELLS[self.layer]

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """First site, rows and columns, sites along a side of a cell."""
        return self.first, self.rows, self.columns, self.cell


class HiddenGeometry(Geometry):
    """Everything public about images of one size in hidden mode; see `hidden_geometry`.

    Attributes
    ----------
    grids : list of Grid
    slots : int
        Cells of all grids.
    sites_of : ndarray of int32, (3 * lanes,)
        Nearest site of each lane, layer by layer; -1 where no feature may lie.
    slots_of : ndarray of int32, (64 * site_blocks,)
        Slot of each site.
    """

    strides = (2, 3, 3)
    half = 8
    direction = 13
    forms = EDGES

    def __init__(self, height: int, width: int, depth: int) -> None:
        super().__init__(height, width, depth)
        self.grids: list[Grid] = []
        self.slots = 0
        self.slots_of = np.zeros(64 * self.site_blocks, np.int32)
        for octave in self.octaves:
            for layer, (block, rows, columns) in enumerate(octave.sites):
                grid = Grid(layer, 64 * block, rows, columns, self.slots)
                across = -(-columns // grid.cell)
                i, j = np.arange(rows)[:, None] // grid.cell, np.arange(columns) // grid.cell
                part = slice(grid.first, grid.first + rows * columns)
                self.slots_of[part] = (self.slots + i * across + j).ravel()
                self.grids.append(grid)
                self.slots += -(-rows // grid.cell) * across
        valid = np.unpackbits(self.valid().view(np.uint8), bitorder="little").astype(np.bool_)
        sites_of = np.full((LAYERS, self.lanes), -1, np.int32)
        lanes = np.flatnonzero(valid)
        for number, octave in enumerate(self.octaves):
            own = lanes[
                (lanes >= 64 * octave.block) & (lanes < 64 * (octave.block + octave.blocks))
            ]
            y, x = np.divmod(own - 64 * octave.block, octave.stride)
            for grid in self.grids[LAYERS * number : LAYERS * (number + 1)]:
                step = self.strides[grid.layer]
                i, j = ((each + step // 2) // step - 1 for each in (y + TRIM + 1, x + TRIM))
                sites_of[grid.layer, own] = grid.first + i * grid.columns + j
        self.sites_of = sites_of.reshape(-1)

    @property
    def words(self) -> int:
        """Words of 64 bits, one for each slot."""
        return -(-self.slots // 64)

    def _planes(self, rows: list[Reals], columns: list[Reals]) -> tuple[Plane, ...]:
        near = neighbour_planes(rows, columns, corners=False)
        return near + threshold_planes(rows, columns) + _edge_planes(rows, columns)

    def later(self, number: int) -> Shaped:
        """Return shapes and types of what is sent in round 5, 6, 7 or 8."""
        slots: Shaped = [((self.slots, ENTRIES), np.uint32)]
        bits: Shaped = [((self.words,), np.uint64)]
        sites = 64 * self.site_blocks
        if number == 5:
            return [((sites,), np.uint32), ((sites, 8), np.uint32), ((self.slots,), np.uint8)]
        return {6: slots + bits, 7: slots + bits + bits, 8: bits}[number]

    def places_of(self, numbers: Ints) -> Ints:
        """Return rows (octave, layer, y, x) of lanes, numbered layer by layer."""
        layers, lanes = np.divmod(numbers, self.lanes)
        found = np.zeros((len(numbers), 4), np.int64)
        found[:, 1] = layers + 1
        for number, octave in enumerate(self.octaves):
            own = lanes >= 64 * octave.block
            y, x = np.divmod(lanes[own] - 64 * octave.block, octave.stride)
            found[own, 0] = number
            found[own, 2:] = np.stack([y + TRIM + 1, x + TRIM], axis=1)
        return found


@lru_cache(maxsize=8, typed=True)
def hidden_geometry(height: int, width: int, depth: int = 8) -> HiddenGeometry:
    """Return what is public about images of this size in hidden mode.

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
    return HiddenGeometry(height, width, depth)


def _edge_planes(rows: list[Reals], columns: list[Reals]) -> tuple[Plane, ...]:
    found = []
    for layer in range(1, LAYERS + 1):
        for number, factors in enumerate(EDGES):
            forms: list[Reals] = []
            for i, j in MIDDLES:
                near = {
                    (v, u): difference(rows, columns, layer, i + v, j + u)
                    for v in (-1, 0, 1)
                    for u in (-1, 0, 1)
                }
                second = (
                    near[0, 1] + near[0, -1] - 2 * near[0, 0],
                    near[1, 0] + near[-1, 0] - 2 * near[0, 0],
                    near[1, 1] + near[-1, -1] - near[1, -1] - near[-1, 1],
                )
                across, down, corners = map(float, factors)
                forms.append(across * second[0] + down * second[1] + corners * second[2])
            found.append(Plane(layer, -1, 0, 0, MIDDLE, steps(MIDDLE, forms), number))
    return tuple(found)

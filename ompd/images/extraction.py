"""One cloud's part of the extraction of features from a masked image.

Four rounds between the clouds find the candidates; what a round opens is masked but for the last,
which opens the candidates' positions. Sums for the physician follow without further rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_compare import open_chunks, open_results
from ompd._kernels.image_count import add_counts, look_up, mask_counts
from ompd._kernels.image_field import make_field, mark_sites, sum_descriptors, sum_orientations
from ompd._kernels.image_levels import cut_cubes
from ompd.confidential import Confidential
from ompd.images.forms import Forms, pyramid
from ompd.images.geometry import HALF, SIGN, STRIDES, THRESHOLD, Geometry
from ompd.images.material import FIELD_PIECE, Material, Plan
from ompd.images.operators import LAYERS, Ints, Reals, Words
from ompd.images.streams import COUNTS, FIRST, SECOND, Draws, pixel_mask
from ompd.threads import default_threads, run_ranges

Sums = npt.NDArray[np.uint32]

#: Weights of the centre of a histogram of orientations, and of a descriptor and its bins.
ORIENTATION_WEIGHT = {8: 512, 16: 128}
DESCRIPTOR_WEIGHT = {8: (32, 32), 16: (16, 16)}


class Extraction(Confidential):
    """What one cloud computes on one masked image.

    Parameters
    ----------
    geometry : Geometry
    leader : bool
        Of the two clouds one adds what is public.
    draws : Draws
        From this cloud's key of the session.
    material : Material
        This cloud's part of what was dealt.
    """

    def __init__(self, geometry: Geometry, leader: bool, draws: Draws, material: Material) -> None:
        self.geometry = geometry
        self.plan = Plan(geometry)
        self._leader = leader
        self._draws = draws
        self._material = material
        counts = [(plane.comparator, geometry.blocks // 8) for plane in geometry.planes]
        self._kinds = counts + [(SIGN, geometry.site_blocks // 8)] * HALF
        self._own: list[Any] = []
        self._hold: list[Words] = []
        key = draws.pixel_key()
        # Before there is an image: what this cloud's mask is in all levels.
        self._masks = pyramid(geometry, pixel_mask(key, geometry.height, geometry.width))

    def open_chunks(self, image: Words) -> list[Words]:
        """Take the masked image; return what the first round opens, per plane and half plane."""
        self._levels = pyramid(self.geometry, image)
        self._forms = Forms(self.geometry, self._levels, THRESHOLD)
        self._hold = [np.empty((groups, 8), np.uint64) for _, groups in self._kinds]
        self._own = [np.empty((n, each.opened, 8), np.uint64) for each, n in self._kinds]

        def task(first: int, last: int) -> None:
            for number in range(first, last):
                open_chunks(
                    *self._forms.compared(number),
                    self._leader,
                    self._material.get(self.plan.products[number]),
                    self._draws.words(FIRST, number, self._own[number].shape),
                    self._hold[number],
                    self._own[number],
                )

        run_ranges(task, len(self._kinds), default_threads())
        return self._own

    def open_results(self, others: list[Words]) -> list[Words]:
        """Take the other cloud's first round; return what the second one opens."""
        opened = [np.empty_like(hold) for hold in self._hold]

        def task(first: int, last: int) -> None:
            for number in range(first, last):
                shape = self._own[number].shape
                open_results(
                    self._own[number],
                    others[number],
                    self._leader,
                    self._draws.words(FIRST, number, shape),
                    self._material.get(self.plan.crossed[number]),
                    self._hold[number],
                    self._draws.words(SECOND, number, opened[number].shape),
                    opened[number],
                )

        run_ranges(task, len(self._kinds), default_threads())
        self._own = opened
        self._hold = []
        return opened

    def open_counts(self, others: list[Words]) -> Words:
        """Take the other cloud's second round; return the masked counts that the third opens."""
        geometry = self.geometry
        counts = np.zeros((LAYERS, geometry.windows), np.uint8)
        for number, plane in enumerate(geometry.planes):
            starts = geometry.starts(plane)
            shares = self._material.get(self.plan.shares[number])
            add_counts(
                self._own[number], others[number], shares, *starts, int(self._leader),
                plane.low, plane.high, counts,
            )  # fmt: skip
        signs = zip(self._own[-HALF:], others[-HALF:], strict=True)
        self._signs = np.stack([(mine ^ other).reshape(-1) for mine, other in signs])
        masks = self._draws.words(COUNTS, 0, (LAYERS, geometry.lanes), np.uint8)
        opened = np.empty((LAYERS, geometry.blocks // 8, 5, 8), np.uint64)
        mask_counts(counts, geometry.starts(geometry.planes[0])[0], masks, opened)
        self._own = [opened]
        return opened

    def open_candidates(self, others: Words) -> Words:
        """Take the other cloud's third round; return this cloud's share of the candidates' bits."""
        geometry = self.geometry
        tables = self._material.get(self.plan.tables)
        bits = np.empty((LAYERS, geometry.blocks // 8, 8), np.uint64)
        look_up(self._own[0], others, tables, bits)
        bits &= geometry.valid().reshape(-1, 8)
        self._own = [bits]
        return bits

    def candidates(self, others: Words) -> Ints:
        """Take the other cloud's fourth round; return rows (octave, layer, y, x) of candidates."""
        bits = (self._own[0] ^ others).reshape(LAYERS, -1)
        self._own = []
        return self.geometry.places(bits)

    def cubes(self, candidates: Ints) -> Words:
        """Return this cloud's share of the 5 x 5 x 5 differences around each candidate."""
        cubes = np.zeros((len(candidates), 5, 5, 5), np.uint64)
        for cube, (octave, _, y, x) in zip(cubes, candidates, strict=True):
            if self._leader:
                cut_cubes(self._levels[octave], y, x, cube, np.uint64(1))
            cut_cubes(self._masks[octave], y, x, cube, np.uint64(2**64 - 1))
        self._levels = self._masks = []
        return cubes

    def _sites(self, octave: int) -> Ints:
        sites = self.geometry.octaves[octave].sites
        return np.array([(*each, step) for each, step in zip(sites, STRIDES, strict=True)])

    def _prepare(self, points: Ints, scales: Reals) -> None:
        """Make the field where patches of the points lie."""
        geometry = self.geometry
        marks = np.zeros(geometry.site_blocks, np.uint8)
        radii = np.rint(7.5 * 2**0.5 * scales).astype(np.int64)
        for octave in range(len(geometry.octaves)):
            own = points[:, 0] == octave
            mark_sites(_inside(points[own]), radii[own], self._sites(octave), marks)
        self._field = np.empty((64 * geometry.site_blocks, 2 * HALF), np.uint32)
        masks = self._material.get(self.plan.gradients).copy()
        directions = geometry.directions.astype(np.uint32)

        def task(first: int, last: int) -> None:
            for number in range(first, last):
                part = slice(number * FIELD_PIECE, (number + 1) * FIELD_PIECE)
                wanted = np.flatnonzero(marks[part])
                if not len(wanted):
                    continue
                sites = slice(64 * part.start, 64 * part.stop)
                make_field(
                    wanted,
                    np.ascontiguousarray(self._signs[:, part]),
                    np.ascontiguousarray(self._forms.field[:, sites]),
                    np.ascontiguousarray(masks[:, sites]),
                    self._material.get(self.plan.field[number]),
                    directions,
                    int(self._leader),
                    self._field[sites],
                )

        run_ranges(task, len(self.plan.field), default_threads())

    def orientations(self, points: Ints, scales: Reals) -> Sums:
        """Return shares of the 36 sums of gradients around each point, uint32 (n, 36).

        Parameters
        ----------
        points : ndarray of int64, (n, 4)
            Octave, layer, y, x.
        scales : ndarray of float64, (n,)
            Blur in pixels of the octave.
        """
        self._prepare(points, scales)
        out = np.zeros((len(points), 2 * HALF), np.uint32)
        weight = ORIENTATION_WEIGHT[self.geometry.depth]
        for octave in range(len(self.geometry.octaves)):
            own = np.flatnonzero(points[:, 0] == octave)
            sums = np.zeros((len(own), 2 * HALF), np.uint32)
            sum_orientations(
                self._field, _inside(points[own]), scales[own], self._sites(octave), weight, sums
            )
            out[own] = sums
        return out

    def descriptors(self, points: Ints, poses: Reals) -> Sums:
        """Return shares of the descriptors' 128 sums, uint32 (n, 128).

        Parameters
        ----------
        points : ndarray of int64, (n, 4)
            Octave, layer, y, x.
        poses : ndarray of float64, (n, 4)
            Blur in pixels of the octave, orientation in degrees, its cosine and sine.
        """
        out = np.zeros((len(points), 128), np.uint32)
        weight, turn = DESCRIPTOR_WEIGHT[self.geometry.depth]
        for octave in range(len(self.geometry.octaves)):
            own = np.flatnonzero(points[:, 0] == octave)
            sums = np.zeros((len(own), 128), np.uint32)
            sum_descriptors(
                self._field, _inside(points[own]), poses[own], self.geometry.gains,
                self._sites(octave), weight, turn, sums,
            )  # fmt: skip
            out[own] = sums
        return out


def _inside(points: Ints) -> Ints:
    """Rows (layer from 0, y, x) of points of one octave."""
    return np.ascontiguousarray(points[:, 1:] - np.array([1, 0, 0]))

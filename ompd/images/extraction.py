"""One cloud's part of the extraction of features from a masked image.

Four rounds between the clouds find the candidates; what a round opens is masked but for the last,
which opens the candidates' positions. Sums for the physician follow without further rounds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_field import mark_sites, sum_descriptors, sum_orientations
from ompd._kernels.image_levels import cut_cubes
from ompd.images.comparing import Comparing
from ompd.images.forms import pyramid
from ompd.images.geometry import Geometry
from ompd.images.material import Material, Plan
from ompd.images.operators import LAYERS, Ints, Reals, Words
from ompd.images.streams import Draws, pixel_mask

Sums = npt.NDArray[np.uint32]

#: Weights of the centre of a histogram of orientations, and of a descriptor and its bins.
ORIENTATION_WEIGHT = {8: 512, 16: 128}
DESCRIPTOR_WEIGHT = {8: (32, 32), 16: (16, 16)}


class Extraction(Comparing):
    """What one cloud computes on one masked image; see `Comparing` for how it begins.

    Parameters
    ----------
    geometry : Geometry
    leader : bool
    draws : Draws
    material : Material
    """

    def __init__(self, geometry: Geometry, leader: bool, draws: Draws, material: Material) -> None:
        super().__init__(geometry, Plan(geometry), leader, draws, material)
        mask = pixel_mask(draws.pixel_key(), geometry.height, geometry.width)
        # Before there is an image: what this cloud's mask is in all levels.
        self._masks = pyramid(geometry, mask)

    def open_candidates(self, others: Words) -> Words:
        """Take the other cloud's third round; return this cloud's share of the candidates' bits."""
        self._own = [self._extrema(others)]
        found: Words = self._own[0]
        return found

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
        return np.array(
            [(*each, step) for each, step in zip(sites, self.geometry.strides, strict=True)]
        )

    def _prepare(self, points: Ints, scales: Reals) -> None:
        """Make the field where patches of the points lie."""
        geometry = self.geometry
        marks = np.zeros(geometry.site_blocks, np.uint8)
        radii = np.rint(7.5 * 2**0.5 * scales).astype(np.int64)
        for octave in range(len(geometry.octaves)):
            own = points[:, 0] == octave
            mark_sites(_inside(points[own]), radii[own], self._sites(octave), marks)
        # What is not made is 0: sums must hold nothing that memory had of another image.
        self._field = np.zeros((64 * geometry.site_blocks, 2 * geometry.half), np.uint32)
        self._make_field(marks, self._field)

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
        out = np.zeros((len(points), 2 * self.geometry.half), np.uint32)
        weight = ORIENTATION_WEIGHT[self.geometry.depth]
        for octave in range(len(self.geometry.octaves)):
            own = np.flatnonzero(points[:, 0] == octave)
            sums = np.zeros((len(own), 2 * self.geometry.half), np.uint32)
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

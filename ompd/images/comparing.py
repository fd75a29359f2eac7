"""What both modes have in common in a cloud: comparisons of a masked image, and counts of them.

Three rounds between the clouds end with each cloud's share of one bit per lane and layer: whether
the lane is an extremum. All that they open is masked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_compare import open_chunks, open_results
from ompd._kernels.image_count import add_counts, look_up, mask_counts
from ompd._kernels.image_field import make_field
from ompd.confidential import Confidential
from ompd.images.forms import Forms, pyramid
from ompd.images.geometry import SIGN, THRESHOLD, Geometry
from ompd.images.material import FIELD_PIECE, Material, Plan
from ompd.images.operators import LAYERS, Words
from ompd.images.streams import COUNTS, FIRST, SECOND, Draws
from ompd.threads import default_threads, run_ranges


class Comparing(Confidential):
    """What one cloud computes on one masked image until extrema are found.

    Parameters
    ----------
    geometry : Geometry
    plan : Plan
        Of what is dealt.
    leader : bool
        Of the two clouds one adds what is public.
    draws : Draws
        From this cloud's key of the session.
    material : Material
        This cloud's part of what was dealt.
    """

    def __init__(
        self, geometry: Geometry, plan: Plan, leader: bool, draws: Draws, material: Material
    ) -> None:
        self.geometry = geometry
        self.plan = plan
        self._leader = leader
        self._draws = draws
        self._material = material
        counts = [(plane.comparator, geometry.blocks // 8) for plane in geometry.planes]
        self._kinds = counts + [(SIGN, geometry.site_blocks // 8)] * geometry.half
        self._own: list[Any] = []
        self._hold: list[Words] = []

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
        signs = zip(self._own[-geometry.half :], others[-geometry.half :], strict=True)
        self._signs = np.stack([(mine ^ other).reshape(-1) for mine, other in signs])
        masks = self._draws.words(COUNTS, 0, (LAYERS, geometry.lanes), np.uint8)
        opened = np.empty((LAYERS, geometry.blocks // 8, 5, 8), np.uint64)
        mask_counts(counts, geometry.starts(geometry.planes[0])[0], masks, opened)
        self._own = [opened]
        return opened

    def _extrema(self, others: Words) -> Words:
        """Take the other cloud's third round; return this cloud's share of the extrema's bits."""
        geometry = self.geometry
        tables = self._material.get(self.plan.tables)
        bits = np.empty((LAYERS, geometry.blocks // 8, 8), np.uint64)
        look_up(self._own[0], others, tables, bits)
        bits &= geometry.valid().reshape(-1, 8)
        return bits

    def _make_field(self, marks: npt.NDArray[np.uint8], field: npt.NDArray[np.uint32]) -> None:
        """Write shares of gradients by bin to `field` in the blocks that are marked."""
        geometry = self.geometry
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
                    field[sites],
                )

        run_ranges(task, len(self.plan.field), default_threads())

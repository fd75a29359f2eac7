"""Linear forms of a masked image, or of its mask, cut to the windows that are compared."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_lanes import SPARE_BITS
from ompd._kernels.image_levels import (
    apply_columns,
    apply_rows,
    cut_gradients,
    cut_windows,
    project,
)
from ompd._kernels.image_slots import cut_forms
from ompd.images.geometry import (
    FIELD_FRACTION,
    NORMAL,
    SIGN,
    SIGN_FRACTION,
    TRIM,
    Geometry,
)
from ompd.images.operators import LAYERS, Ints, Words
from ompd.threads import default_threads, run_ranges

Windows = npt.NDArray[np.uint16]
#: Bits of the length of a normal.
_NORMAL_BITS = NORMAL.bit_length() - 1
#: Bits behind the point from which forms of second differences are made.
_FORM_FRACTION = 12


def pyramid(geometry: Geometry, image: Words) -> list[Words]:
    """Return the levels of each octave modulo 2^64, uint64 (6, height, width)."""
    image = np.ascontiguousarray(image, np.uint64)
    levels = [np.empty((6, each.height, each.width), np.uint64) for each in geometry.octaves]

    def task(first: int, last: int) -> None:
        for number in range(first, last):
            octave, level = divmod(number, 6)
            if octave and not level:
                continue
            rows = geometry.octaves[octave].rows[level]
            columns = geometry.octaves[octave].columns[level]
            half = np.empty((len(rows.values), image.shape[1]), np.uint64)
            apply_rows(rows.values, rows.first, rows.last, image, half)
            apply_columns(
                columns.transposed, columns.first, columns.last, half, levels[octave][level]
            )

    run_ranges(task, 6 * len(levels), default_threads())
    for above, below in pairwise(levels):
        # An octave begins with every other pixel of the one above, by the same operator.
        below[0] = above[LAYERS][::2, ::2][: below.shape[1], : below.shape[2]]
    return levels


class Forms:
    """Windows of a pyramid.

    Parameters
    ----------
    geometry : Geometry
    levels : list of ndarray
        As `pyramid` returns.
    threshold : float or None
        In grey levels; None for a mask, which has none.

    Attributes
    ----------
    field : ndarray
        Gradients modulo 2^32, uint32 (2, sites): across, then up.
    """

    def __init__(self, geometry: Geometry, levels: list[Words], threshold: float | None) -> None:
        self._geometry = geometry
        self._fractions = sorted({plane.fraction for plane in geometry.planes if plane.form < 0})
        # A place of a third of a power of two is one of three times the form.
        factors = np.array([1 if each == int(each) else 3 for each in self._fractions], np.uint64)
        shifts = np.array(
            [geometry.shift - SPARE_BITS - int(each) for each in self._fractions], np.uint64
        ) + (factors >> np.uint64(1))
        wanted = np.zeros((len(shifts), 5), np.bool_)
        for plane in geometry.planes:
            if plane.form < 0:
                own = self._fractions.index(plane.fraction)
                # A layer of -1 is the threshold.
                wanted[own, [each for each in (plane.low, plane.high) if each >= 0]] = True
        self._windows = np.zeros((len(shifts), 5, geometry.windows), np.uint16)
        self._signs = np.zeros((2, 64 * geometry.site_blocks), np.uint32)
        self.field = np.zeros_like(self._signs)
        sign_shift = np.uint64(geometry.shift - SIGN_FRACTION)
        field_shift = np.uint64(geometry.shift - FIELD_FRACTION)
        for octave, each in zip(geometry.octaves, levels, strict=True):
            cut_windows(each, TRIM, factors, shifts, wanted, octave.window, self._windows)
            for layer, (first, rows, columns) in enumerate(octave.sites):
                cut_gradients(
                    each[layer + 1], geometry.strides[layer], rows, columns, sign_shift,
                    field_shift, 64 * first, self._signs, self.field,
                )  # fmt: skip
        self._edges = self._cut_forms(levels)
        self._none = np.zeros(geometry.windows, np.uint16)
        self._threshold = threshold
        self._zeros = np.zeros(64, np.uint16)
        self._site_starts = 64 * np.arange(geometry.site_blocks)

    def _cut_forms(self, levels: list[Words]) -> dict[int, Windows]:
        """Return, by the plane's number, windows of forms of second differences."""
        geometry = self._geometry
        own = [i for i, plane in enumerate(geometry.planes) if plane.form >= 0]
        windows = np.zeros((len(own), geometry.windows), np.uint16)
        for layer in range(1, LAYERS + 1):
            some = [i for i, number in enumerate(own) if geometry.planes[number].low == layer]
            planes = [geometry.planes[own[i]] for i in some]
            if not planes:
                continue
            part = windows[some[0] : some[-1] + 1]
            factors = np.array([geometry.forms[plane.form] for plane in planes]).astype(np.uint32)
            shifts = np.array(
                [_FORM_FRACTION - SPARE_BITS - plane.fraction for plane in planes], np.uint32
            )
            dropped = np.uint64(geometry.shift - _FORM_FRACTION)
            for octave, each in zip(geometry.octaves, levels, strict=True):
                cut_forms(each, layer, TRIM, factors, dropped, shifts, octave.window, part)
        return dict(zip(own, windows, strict=True))

    def compared(self, number: int) -> tuple[Windows, Windows, Ints, Ints, Ints]:
        """Return X, Y, where their blocks start, and the chunks, of a plane or half plane.

        Those of half plane k have number 54 + k; Y is 0 there.
        """
        planes = self._geometry.planes
        if number >= len(planes):
            return self._half_plane(number - len(planes))
        plane = planes[number]
        chunks = np.array(plane.comparator.chunks)
        if plane.form >= 0:
            return self._edges[number], self._none, *self._geometry.starts(plane), chunks
        windows = self._windows[self._fractions.index(plane.fraction)]
        sides = []
        for layer, sign in ((plane.low, 1), (plane.high, -1)):
            if layer >= 0:
                sides.append(windows[layer])
            elif self._threshold is None:
                sides.append(self._none)
            else:
                step = sign * round(self._threshold * 2 ** (plane.fraction + SPARE_BITS))
                sides.append(np.full(self._geometry.windows, step & 0xFFFF, np.uint16))
        return (*sides, *self._geometry.starts(plane), chunks)

    def _half_plane(self, k: int) -> tuple[Windows, Windows, Ints, Ints, Ints]:
        geometry = self._geometry
        across, up = geometry.normals[:, k].astype(np.uint32)
        shift = SIGN_FRACTION + _NORMAL_BITS - SPARE_BITS - geometry.sign_fraction
        out = np.empty(64 * geometry.site_blocks, np.uint16)
        project(self._signs, across, up, np.uint32(shift), out)
        zeros = np.zeros(geometry.site_blocks, np.int64)
        return out, self._zeros, self._site_starts, zeros, np.array(SIGN.chunks)

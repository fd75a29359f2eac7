"""What the physician makes of the clouds' shares: keypoints, orientations, descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_points import refine
from ompd.images.geometry import BINS, BORDER, Geometry
from ompd.images.operators import LAYERS, SIGMA, Ints, Reals, Words

#: OpenCV's defaults: contrast and edge thresholds, and what share of the highest peak another
#: orientation needs.
CONTRAST = 0.04
EDGE = 10.0
_PEAK = 0.8
#: OpenCV clips a normalised descriptor here.
_CLIP = 0.2
#: Scales and angles travel in these steps, so that both clouds work with equal numbers.
_SCALE_STEP = 2.0**-16
_ANGLE_STEP = 2.0**-12


@dataclass(frozen=True, slots=True, repr=False)
class Features:
    """Keypoints and descriptors, as OpenCV gives them.

    Attributes
    ----------
    points : ndarray of float64, (n, 5)
        x and y in pixels, diameter in pixels, angle in degrees from 0 to 360, response; both are 0
        in hidden mode.
    descriptors : ndarray of float64, (n, 128)
        Of length 1, each entry in 0 to 1.
    """

    points: Reals
    descriptors: Reals

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return f"<Features: {len(self)}>"


class Points:
    """Accepted candidates.

    Attributes
    ----------
    places : ndarray of int64, (n, 4)
        Octave, layer, y, x; pixels of the octave.
    scales : ndarray of float64, (n,)
        Blur in pixels of the octave.
    """

    def __init__(self, geometry: Geometry, candidates: Ints, cubes: Words) -> None:
        differences = cubes.view(np.int64) / 2.0**geometry.shift
        heights = np.array([each.height for each in geometry.octaves])
        widths = np.array([each.width for each in geometry.octaves])
        found = np.empty((len(candidates), 8))
        count = refine(
            candidates, differences, heights, widths, BORDER, CONTRAST * 255, EDGE, found
        )
        # Two candidates may move to the same place.
        found = found[:count][np.unique(found[:count, :4], axis=0, return_index=True)[1]]
        self.places = found[:, :4].astype(np.int64)
        scales = SIGMA * 2 ** ((found[:, 1] + found[:, 6]) / LAYERS)
        self.scales = np.rint(scales / _SCALE_STEP) * _SCALE_STEP
        self._centres = found[:, 2:4] + found[:, 5:3:-1]
        self._responses = found[:, 7] / 255

    def posed(self, geometry: Geometry, sums: npt.NDArray[np.uint32]) -> Poses:
        """Return each point once for each of its orientations.

        Parameters
        ----------
        geometry : Geometry
        sums : ndarray of uint32, (n, 36)
            Opened sums of gradients.
        """
        bins = signed(sums, geometry.field_bits) / geometry.gains
        own, angles = _peaks(bins)
        return Poses(self.places[own], self.scales[own], angles, self._centres[own],
                     self._responses[own])  # fmt: skip


class Poses:
    """Points with an orientation; see `Points.posed`.

    Attributes
    ----------
    places : ndarray of int64, (n, 4)
    poses : ndarray of float64, (n, 4)
        Blur, angle in degrees, its cosine and sine.
    """

    def __init__(
        self, places: Ints, scales: Reals, angles: Reals, centres: Reals, responses: Reals
    ) -> None:
        self.places = places
        angles = np.rint(angles / _ANGLE_STEP) * _ANGLE_STEP % 360
        turns = np.radians(angles)
        self.poses = np.stack([scales, angles, np.cos(turns), np.sin(turns)], axis=1)
        pixel = 0.5 * 2.0 ** places[:, 0]
        self._points = np.stack(
            [
                centres[:, 1] * pixel,
                centres[:, 0] * pixel,
                2 * scales * pixel,
                (360 - angles) % 360,
                responses,
            ],
            axis=1,
        )

    def described(self, geometry: Geometry, sums: npt.NDArray[np.uint32]) -> Features:
        """Return the features, from the opened sums of the descriptors, uint32 (n, 128)."""
        return Features(self._points, normalised(sums, geometry.field_bits))


def normalised(sums: npt.NDArray[np.uint32], bits: int) -> Reals:
    """Return descriptors of length 1 from opened sums, clipped in between."""
    values = np.maximum(signed(sums, bits), 0).astype(np.float64)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    values = np.minimum(values, _CLIP * length)
    unit: Reals = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return unit


def signed(sums: npt.NDArray[np.uint32], bits: int) -> npt.NDArray[np.int32]:
    """Return what is right modulo 2^bits as signed numbers."""
    free = np.uint32(32 - min(bits, 32))
    return (sums << free).view(np.int32) >> free.astype(np.int32)


def _peaks(bins: Reals) -> tuple[npt.NDArray[Any], Reals]:
    """Return rows and angles, in degrees, of the peaks of smoothed histograms."""
    near = np.roll(bins, 1, axis=1) + np.roll(bins, -1, axis=1)
    far = np.roll(bins, 2, axis=1) + np.roll(bins, -2, axis=1)
    smooth = (far + 4 * near + 6 * bins) / 16
    left, right = np.roll(smooth, 1, axis=1), np.roll(smooth, -1, axis=1)
    highest = smooth.max(axis=1, keepdims=True, initial=0)
    peaks = (smooth > left) & (smooth > right) & (smooth >= _PEAK * highest)
    rows, columns = np.nonzero(peaks)
    before, at, after = left[peaks], smooth[peaks], right[peaks]
    place = columns + 0.5 * (before - after) / (before - 2 * at + after)
    return rows, place * (360 / BINS) % 360

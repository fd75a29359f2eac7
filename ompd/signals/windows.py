"""Windows of a minute that lie where they lie, whenever somebody begins to listen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Seconds of a window, and of what is read before and after it.
PERIOD = 60.0
MARGIN = 10.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stream:
    """What a sensor measures.

    Parameters
    ----------
    name : str
    rate : float
        Values per second of the grid that its samples are put on.
    longest : float
        Seconds between two samples above which there is a gap.
    flat : float
        Seconds of one and the same value after which the sensor counts as off.
    """

    name: str
    rate: float
    longest: float
    flat: float

    @property
    def margin(self) -> int:
        """Places of the grid before the window."""
        return round(MARGIN * self.rate)

    @property
    def places(self) -> int:
        """Places of the grid, margins included."""
        return round((PERIOD + 2 * MARGIN) * self.rate)


#: Light through a finger or wrist, or voltage of a chest strap, in any unit.
PULSE = Stream("pulse", 100.0, 0.5, 3.0)
#: Length of the acceleration, in m/s².
MOTION = Stream("motion", 25.0, 2.0, 600.0)
STREAMS = {stream.name: stream for stream in (PULSE, MOTION)}


@dataclass(frozen=True, slots=True, repr=False)
class Samples:
    """What came of a stream in a window and its margins.

    Attributes
    ----------
    times : (n,) array
        Seconds after the beginning of the margin, sorted.
    values : (n,) array
        Sorted within equal times.
    """

    times: Floats
    values: Floats


@dataclass(frozen=True, slots=True, repr=False)
class Grid:
    """A window and its margins on a regular grid.

    Attributes
    ----------
    values : (stream.places,) array
    seen : (stream.places,) uint8 array
        Where the sensor measured.
    """

    values: Floats
    seen: NDArray[np.uint8]

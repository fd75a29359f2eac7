"""The two modes: what a size means in each, and what is dealt for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ompd.errors import ParameterError
from ompd.images.geometry import Geometry, geometry
from ompd.images.hidden.layout import hidden_geometry
from ompd.images.hidden.material import HiddenPlan, deal_hidden
from ompd.images.material import Array, Plan, deal
from ompd.images.streams import Draws


class Mode(NamedTuple):
    """One mode.

    Attributes
    ----------
    geometry : callable
        Height, width and depth to what is computed on such an image.
    plan : callable
        That to what is dealt for it.
    deal : callable
        As `deal`.
    rounds : int
        Between the clouds.
    """

    geometry: Callable[[int, int, int], Geometry]
    plan: Callable[[Any], Plan]
    deal: Callable[[Any, Draws, Draws], Iterator[Array]]
    rounds: int


MODES = {
    "hidden": Mode(hidden_geometry, HiddenPlan, deal_hidden, 8),
    "extract": Mode(geometry, Plan, deal, 4),
}


def mode(name: str) -> Mode:
    """Return a mode.

    Raises
    ------
    ParameterError
        If there is none of that name.
    """
    found = MODES.get(name) if isinstance(name, str) else None
    if found is None:
        raise ParameterError(f"mode: expected one of {', '.join(MODES)}")
    return found

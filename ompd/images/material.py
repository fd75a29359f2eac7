"""Correlated randomness: what the dealer gives so that two clouds can work on a masked image.

The leading cloud draws its part from its key. The other one gets pieces, each the difference
between what must hold and what the leader draws. They are made one by one, so that the dealer needs
memory for a few only.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_compare import deal_crossed, deal_products
from ompd._kernels.image_count import deal_shares, deal_tables
from ompd._kernels.image_field import deal_field
from ompd.confidential import Confidential
from ompd.images.forms import Forms, pyramid
from ompd.images.geometry import SIGN, Geometry
from ompd.images.operators import LAYERS
from ompd.images.streams import COUNTS, FIRST, GIVEN, SECOND, Draws, pixel_mask

Array = npt.NDArray[Any]

#: Blocks of gradients in a piece of words of the field.
FIELD_PIECE = 64


class Piece(NamedTuple):
    """One array of material."""

    number: int
    shape: tuple[int, ...]
    kind: type
    offset: int

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * np.dtype(self.kind).itemsize


class Plan:
    """Which pieces there are for a geometry, in the order in which they are made and needed.

    Attributes
    ----------
    products, crossed : list of Piece
        Per plane, then per half plane.
    shares, field : list of Piece
        Per plane; parts of the words of the field.
    tables, gradients : Piece
        Of the keypoint bits; shares of the mask of the gradients.
    size : int
        Bytes of all.
    """

    def __init__(self, geometry: Geometry) -> None:
        self._number = self.size = 0
        groups, site_groups = geometry.blocks // 8, geometry.site_blocks // 8
        kinds = [(plane.comparator, groups) for plane in geometry.planes]
        kinds += [(SIGN, site_groups)] * geometry.half
        self.products = [self._piece((n, each.products, 8)) for each, n in kinds]
        self.crossed = [self._piece((n, each.crossed, 8)) for each, n in kinds]
        self.shares = [self._piece((groups, 5, 8)) for _ in geometry.planes]
        self.tables = self._piece((LAYERS * geometry.lanes,), np.uint32)
        self.gradients = self._piece((2, 64 * geometry.site_blocks), np.uint32)
        self.field = [
            self._piece(
                (min(FIELD_PIECE, geometry.site_blocks - first), geometry.half, 5, 64),
                np.uint32,
            )
            for first in range(0, geometry.site_blocks, FIELD_PIECE)
        ]

    def _piece(self, shape: tuple[int, ...], kind: type = np.uint64) -> Piece:
        piece = Piece(self._number, shape, kind, self.size)
        self._number += 1
        self.size += piece.size
        return piece


class Material(Protocol):
    """Where a cloud finds its part of the pieces."""

    def get(self, piece: Piece) -> Array:
        """Return the array of a piece, until this thread asks for the next one."""


class DrawnMaterial(Confidential):
    """The leader's part, drawn from its key."""

    __slots__ = ("_draws", "_local")

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._local = threading.local()

    def get(self, piece: Piece) -> Array:
        """Return the array of a piece, until this thread asks for the next one."""
        room = getattr(self._local, "room", None)
        if room is None or room.nbytes < piece.size:
            # Memory that was written to before is there at once.
            room = self._local.room = np.empty(piece.size, np.uint8)
        part = room[: piece.size]
        self._draws.fill(GIVEN, piece.number, part)
        return part.view(piece.kind).reshape(piece.shape)


class StoredMaterial(Confidential):
    """The other cloud's part, as the dealer sent it, in memory or in a mapped file."""

    __slots__ = ("_data",)

    def __init__(self, data: Array) -> None:
        self._data = data

    def get(self, piece: Piece) -> Array:
        """Return the array of a piece."""
        part = self._data[piece.offset : piece.offset + piece.size]
        return part.view(piece.kind).reshape(piece.shape)


def deal(geometry: Geometry, leader: Draws, other: Draws) -> Iterator[Array]:
    """Make the other cloud's material, piece by piece.

    Parameters
    ----------
    geometry : Geometry
    leader, other : Draws
        Of both clouds in one session.

    Yields
    ------
    ndarray
        As `Plan` says, in the order of their numbers; each until the next is asked for.
    """
    plan = Plan(geometry)
    drawn = DrawnMaterial(leader)
    mask = pixel_mask(leader.pixel_key(), geometry.height, geometry.width)
    mask += pixel_mask(other.pixel_key(), geometry.height, geometry.width)
    forms = Forms(geometry, pyramid(geometry, mask), None)

    def both(label: int, number: int, shape: tuple[int, ...], kind: Any = np.uint64) -> Any:
        return [each.words(label, number, shape, kind) for each in (leader, other)]

    for number, piece in enumerate(plan.products):
        given = drawn.get(piece)
        deal_products(*forms.compared(number), given)
        yield given
    for number, piece in enumerate(plan.crossed):
        given = drawn.get(piece)
        comparator = geometry.planes[number].comparator if number < len(geometry.planes) else SIGN
        shape = (piece.shape[0], comparator.opened, 8)
        deal_crossed(*both(FIRST, number, shape), given)
        yield given
    for number, piece in enumerate(plan.shares):
        given = drawn.get(piece)
        deal_shares(*both(SECOND, number, (piece.shape[0], 8)), given)
        yield given
    given = drawn.get(plan.tables)
    deal_tables(*both(COUNTS, 0, plan.tables.shape, np.uint8), given)
    yield given
    given = drawn.get(plan.gradients)
    np.subtract(forms.field, given, out=given)
    yield given
    signs = np.empty((geometry.half, geometry.site_blocks), np.uint64)
    for k in range(geometry.half):
        left, right = both(SECOND, len(geometry.planes) + k, (geometry.site_blocks,))
        np.bitwise_xor(left, right, out=signs[k])
    directions = geometry.directions.astype(np.uint32)
    first = 0
    for piece in plan.field:
        given = drawn.get(piece)
        last = first + piece.shape[0]
        deal_field(
            np.ascontiguousarray(signs[:, first:last]),
            np.ascontiguousarray(forms.field[:, 64 * first : 64 * last]),
            directions,
            given,
        )
        yield given
        first = last

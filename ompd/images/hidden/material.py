"""Correlated randomness of hidden mode: what comes to that of comparisons."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_slots import deal_bits, deal_slots
from ompd.images.hidden.layout import DESCRIPTOR, ENTRIES, MOVES, HiddenGeometry
from ompd.images.material import Array, DrawnMaterial, Plan, deal
from ompd.images.operators import LAYERS, Ints, Words
from ompd.images.streams import BITS, MAPS, MOVED, MOVED_BITS, ORDER, SITES, SLOTS, Draws


class HiddenPlan(Plan):
    """Which pieces there are in hidden mode, in the order in which they are made and needed.

    Attributes
    ----------
    bits : Piece
        Shares of the masks of extrema, per lane and layer.
    moved_bits, moved : Piece
        What of masks is left in bits and entries of slots when both clouds have shuffled them.
    sums : Piece
        Of products of the masks of sites and of what lies around, per slot.
    taken : Piece
        Tables of the bits of slots.
    """

    def __init__(self, geometry: HiddenGeometry) -> None:
        super().__init__(geometry)
        self.bits = self._piece((LAYERS * geometry.lanes,), np.uint32)
        # Before what may end within a word of 64 bits.
        self.moved_bits = self._piece((geometry.words,), np.uint64)
        self.sums = self._piece((geometry.slots, DESCRIPTOR), np.uint32)
        self.taken = self._piece((geometry.slots,), np.uint32)
        self.moved = self._piece((geometry.slots, ENTRIES), np.uint32)


def deal_hidden(geometry: HiddenGeometry, leader: Draws, other: Draws) -> Iterator[Array]:
    """Make the other cloud's material for hidden mode, piece by piece; as `deal`."""
    yield from deal(geometry, leader, other)
    plan = HiddenPlan(geometry)
    drawn = DrawnMaterial(leader)
    sites, slots = 64 * geometry.site_blocks, geometry.slots
    both = (leader, other)

    given = drawn.get(plan.bits)
    deal_bits(*(each.words(BITS, 0, (LAYERS * geometry.blocks,)) for each in both), given)
    yield given
    orders = [shuffle(each, slots) for each in both]
    given = drawn.get(plan.moved_bits)
    left, right = (each.words(MOVED_BITS, 0, (geometry.words,)) for each in both)
    given ^= moved(moved(left, orders[1]), orders[0]) ^ moved(right, orders[0])
    yield given
    given = drawn.get(plan.sums)
    left, right = (each.words(SITES, 0, (sites,), np.uint32) for each in both)
    maps, others = (each.words(MAPS, 0, (sites, 8), np.uint32) for each in both)
    left += right
    maps += others
    for grid in geometry.grids:
        deal_slots(left, maps, *grid.sides, np.array(MOVES[grid.layer]), grid.slot, given)
    yield given
    given = drawn.get(plan.taken)
    left, right = (each.words(SLOTS, 0, (slots,), np.uint8) for each in both)
    given ^= np.uint32(1) << ((left + right + np.uint8(1)) & np.uint8(31)).astype(np.uint32)
    yield given
    left, right = (each.words(MOVED, 0, (slots, ENTRIES), np.uint32) for each in both)
    given = drawn.get(plan.moved)
    given += left[orders[1]][orders[0]]
    given += right[orders[0]]
    np.negative(given, out=given)
    yield given


def shuffle(draws: Draws, count: int) -> Ints:
    """Return the order in which a cloud puts slots: uniform, but for equal words of 64 bits."""
    return np.argsort(draws.words(ORDER, 0, (count,)), kind="stable")


def moved(bits: Words, order: Ints) -> Words:
    """Return bits in another order, in words; those behind the last are 0."""
    return words_of(bits_of(bits, len(order))[order])


def bits_of(words: Words, count: int) -> npt.NDArray[np.uint8]:
    """Return the first bits of words, one a byte."""
    return np.unpackbits(words.astype("<u8").view(np.uint8), count=count, bitorder="little")


def words_of(bits: npt.NDArray[np.uint8]) -> Words:
    """Return bits in words; those behind the last are 0."""
    packed = np.zeros(-(-len(bits) // 64) * 8, np.uint8)
    packed[: -(-len(bits) // 8)] = np.packbits(bits, bitorder="little")
    return packed.view("<u8").astype(np.uint64)

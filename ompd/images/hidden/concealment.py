"""One cloud's part of hidden mode: from a masked image to shares of its features, in any order.

Eight rounds between the clouds. All but the last open what is masked; the last opens, in an order
that neither cloud knows, which slots are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_slots import pool_field, sum_bits, sum_slots
from ompd.confidential import Confidential
from ompd.images.comparing import Comparing
from ompd.images.hidden.layout import DESCRIPTOR, ENTRIES, MOVES, SCALES, WINDOWS, HiddenGeometry
from ompd.images.hidden.material import HiddenPlan, bits_of, moved, shuffle, words_of
from ompd.images.material import Material
from ompd.images.operators import Words
from ompd.images.streams import BITS, MAPS, MOVED, MOVED_BITS, SITES, SLOTS, Draws
from ompd.threads import default_threads, run_ranges

Sums = npt.NDArray[np.uint32]


class Concealed(Confidential):
    """One cloud's shares of the features of an image.

    Attributes
    ----------
    sums : ndarray of uint32, (n, 128)
        Of descriptors, modulo 2^30, or 2^26 with 16 bits.
    numbers : ndarray of uint32, (n,)
        Of their lanes, layer by layer; modulo 2^32.
    """

    __slots__ = ("numbers", "sums")

    def __init__(self, sums: Sums, numbers: Sums) -> None:
        self.sums = sums
        self.numbers = numbers


class Concealment(Comparing):
    """What one cloud computes on one masked image; see `Comparing` for how it begins.

    Parameters
    ----------
    geometry : HiddenGeometry
    leader : bool
        Of the two clouds one leads.
    draws : Draws
        From this cloud's key of the session.
    material : Material
        This cloud's part of what was dealt.

    Attributes
    ----------
    wanted : int
        Which of the other cloud's rounds comes next.
    found : Concealed or None
        What there is when nothing is wanted any more.
    """

    geometry: HiddenGeometry
    plan: HiddenPlan

    def __init__(
        self, geometry: HiddenGeometry, leader: bool, draws: Draws, material: Material
    ) -> None:
        super().__init__(geometry, HiddenPlan(geometry), leader, draws, material)
        self.wanted = 1
        self.found: Concealed | None = None

    def advance(self, others: list[Any]) -> tuple[int, list[Any]] | None:
        """Take the other cloud's round that is wanted; return number and words of what to send.

        None where it is the other cloud that sends.
        """
        number = self.wanted
        if number < 5:
            self.wanted += 1
            following: tuple[Callable[[list[Any]], list[Any]], ...] = (
                self.open_results, self._open_counts, self._open_bits, self._open_sums
            )  # fmt: skip
            return number + 1, following[number - 1](others)
        if number == 5:
            self._sum_slots(others)
            self.wanted = 7 if self._leader else 6
            return (6, self._masked()) if self._leader else None
        if number == 6:
            self.wanted = 8
            return 7, self._move(others)
        self.wanted = 0
        if number == 7:
            return 8, self._order(others)
        self._take(self._bits ^ others[0])
        return None

    def _open_counts(self, others: list[Words]) -> list[Words]:
        return [self.open_counts(others)]

    def _open_bits(self, others: list[Words]) -> list[Words]:
        """Return shares of the bits of extrema, masked."""
        bits = self._extrema(others[0])
        bits ^= self._draws.words(BITS, 0, bits.shape)
        self._own = [bits]
        return self._own

    def _open_sums(self, others: list[Words]) -> list[Any]:
        """Return bits summed over sites, what lies around sites, and counts of slots; masked."""
        geometry = self.geometry
        opened = (self._own[0] ^ others[0]).reshape(-1)
        sites = np.zeros(64 * geometry.site_blocks, np.uint32)
        self._slots = np.zeros((geometry.slots, ENTRIES), np.uint32)
        numbers = np.zeros(geometry.slots, np.uint32)
        shares = self._material.get(self.plan.bits)
        tables = (geometry.sites_of, geometry.slots_of)
        sum_bits(opened, shares, int(self._leader), *tables, sites, numbers)
        self._slots[:, DESCRIPTOR] = numbers
        counts = np.zeros(geometry.slots, np.uint32)
        np.add.at(counts, geometry.slots_of, sites)
        counts += self._draws.words(SLOTS, 0, counts.shape, np.uint8)
        self._own = [
            sites + self._draws.words(SITES, 0, sites.shape, np.uint32),
            self._pooled(),
            (counts & np.uint32(31)).astype(np.uint8),
        ]
        return self._own

    def _pooled(self) -> Sums:
        """Return masked sums of gradients by eight bins in a window about each site."""
        geometry = self.geometry
        marks = np.ones(geometry.site_blocks, np.uint8)
        field = np.empty((64 * geometry.site_blocks, 2 * geometry.half), np.uint32)
        self._make_field(marks, field)
        maps = np.zeros((len(field), 8), np.uint32)

        def task(first: int, last: int) -> None:
            for grid in geometry.grids[first:last]:
                weights = np.array(WINDOWS[grid.layer], np.uint32)
                pool_field(field, *grid.sides[:3], weights, maps)

        run_ranges(task, len(geometry.grids), default_threads())
        maps += self._draws.words(MAPS, 0, maps.shape, np.uint32)
        return maps

    def _sum_slots(self, others: list[Any]) -> None:
        """Multiply, and look up which slots are taken."""
        geometry = self.geometry
        sites, maps = (mine + other for mine, other in zip(self._own[:2], others[:2], strict=True))
        masks = (
            self._draws.words(SITES, 0, sites.shape, np.uint32),
            self._draws.words(MAPS, 0, maps.shape, np.uint32),
        )
        self._slots[:, :DESCRIPTOR] = self._material.get(self.plan.sums)

        def task(first: int, last: int) -> None:
            for grid in geometry.grids[first:last]:
                sum_slots(
                    sites, maps, *masks, int(self._leader), *grid.sides,
                    np.array(MOVES[grid.layer]), grid.slot, self._slots,
                )  # fmt: skip

        run_ranges(task, len(geometry.grids), default_threads())
        counts = (self._own[2] + others[2]) & np.uint8(31)
        tables = self._material.get(self.plan.taken)
        self._bits = words_of(((tables >> counts) & np.uint32(1)).astype(np.uint8))
        self._own = []

    def _given(self) -> list[Any]:
        """What this cloud masks slots with, and their bits."""
        return [
            self._draws.words(MOVED, 0, self._slots.shape, np.uint32),
            self._draws.words(MOVED_BITS, 0, self._bits.shape),
        ]

    def _masked(self) -> list[Any]:
        """Return the leader's shares of slots, masked."""
        words, bits = self._given()
        words += self._slots
        bits ^= self._bits
        return [words, bits]

    def _move(self, others: list[Any]) -> list[Any]:
        """Return all slots in this cloud's order, masked, and its shares of the bits as dealt."""
        order = shuffle(self._draws, self.geometry.slots)
        words, bits = self._given()
        words += (others[0] + self._slots)[order]
        bits ^= moved(others[1] ^ self._bits, order)
        # From here on its shares are what was dealt.
        self._slots = self._material.get(self.plan.moved)
        self._bits = self._material.get(self.plan.moved_bits)
        return [words, bits, self._bits]

    def _order(self, others: list[Any]) -> list[Any]:
        """Take slots in the other's order, put them in this cloud's; return shares of the bits."""
        order = shuffle(self._draws, self.geometry.slots)
        self._slots = others[0][order]
        self._slots += self._material.get(self.plan.moved)
        self._bits = self._material.get(self.plan.moved_bits) ^ moved(others[1], order)
        self._take(self._bits ^ others[2])
        return [self._bits]

    def _take(self, opened: Words) -> None:
        taken = bits_of(opened, self.geometry.slots) == 1
        slots = self._slots[taken]
        sums = slots[:, :DESCRIPTOR] * SCALES[self.geometry.depth]
        self.found = Concealed(sums, slots[:, DESCRIPTOR].copy())

"""One cloud's part of a match: how many features have a template much nearer than all others.

Features and templates stay shared. Every round opens numbers that are masked by numbers which the
dealer knows; what is to be computed from them, products, comparisons and choices, becomes sums of
the dealer's words times what is public.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_match import add_products, add_ranks, choose
from ompd._kernels.image_wide import open_wide_chunks, open_wide_results
from ompd.confidential import Confidential
from ompd.errors import ParameterError
from ompd.images.features import ENTRIES, LENGTH, SharedFeatures, SharedTemplates
from ompd.images.match_material import Masks, bits_of, compared_values
from ompd.images.match_plan import (
    BEST,
    BEST_LIFT,
    BLOCK,
    DROPPED,
    LAST,
    LENGTHS,
    LIFT,
    RING,
    SCORES,
    SECOND,
    Compared,
    MatchPlan,
)
from ompd.images.material import Material
from ompd.images.operators import Ints, Words
from ompd.images.streams import Draws
from ompd.threads import default_threads, run_ranges

Array = npt.NDArray[Any]
Shares = npt.NDArray[np.uint32]
#: Arrays that a round opens, and the other cloud's of the same shapes.
Opened = list[Array]


class Matching(Confidential):
    """What one cloud computes to match.

    Parameters
    ----------
    plan : MatchPlan
        For at least as many features, and exactly as many templates.
    leader : bool
        Of the two clouds one adds what is public.
    draws : Draws
        From this cloud's key of the session.
    material : Material
        This cloud's part of what was dealt.
    features : SharedFeatures
    templates : SharedTemplates

    Raises
    ------
    ParameterError
        If the plan is for others.
    """

    def __init__(
        self,
        plan: MatchPlan,
        leader: bool,
        draws: Draws,
        material: Material,
        features: SharedFeatures,
        templates: SharedTemplates,
    ) -> None:
        if len(features) > plan.features or len(templates) != plan.templates:
            raise ParameterError("plan: expected one for so many features and templates")
        if features.depth != plan.depth:
            raise ParameterError("plan: expected one for this depth")
        self.plan = plan
        self._leader = leader
        self._material = material
        self._masks = Masks(plan, draws)
        self._features = features
        self._templates = templates
        count = -(-len(features) // BLOCK) if plan.blocks else 0
        self._blocks = plan.blocks[:count]

    def rounds(self) -> Generator[Opened, Opened, int]:
        """Yield what each round opens, be sent what the other cloud opens, return a share.

        The sum of both clouds' shares modulo 2^32 is the number of features that match.
        """
        # An image without features takes as many rounds: a count's share must not tell.
        if not self.plan.blocks:
            return 0
        settled, length = [], []
        features = yield from self._settled()
        opened = self._each(lambda number: features[number] + self._masks.features(number))
        masked = self._templates.shares + self._masks.templates()
        others = yield [*opened, masked]
        masked = masked + others.pop()
        for number, (mine, other) in enumerate(zip(opened, others, strict=True)):
            settled.append(self._scores(number, mine + other, masked))
            length.append(self._length(number, mine + other))
        scores = settled
        for place in range(len(self.plan.stages)):
            scores = yield from self._best(place, scores)
        tests = yield from self._tests(scores, length)
        return (yield from self._count(tests))

    def _each(self, work: Callable[[int], Any]) -> list[Any]:
        """Do some work for each block, on threads."""
        found: list[Any] = [None] * len(self._blocks)

        def task(first: int, last: int) -> None:
            for number in range(first, last):
                found[number] = work(number)

        run_ranges(task, len(found), default_threads())
        return found

    def _public(self, values: Array) -> Array:
        """A public number as a share."""
        return values if self._leader else np.zeros_like(values)

    def _settled(self) -> Generator[Opened, Opened, list[Shares]]:
        """Take sums to 32 bits, without their lowest bits: off by less than one unit."""
        depth = self.plan.depth
        ring, dropped = RING[depth], DROPPED[depth]
        lift = np.uint32(LIFT[depth])
        within = np.uint32((1 << ring) - 1)

        def masked(number: int) -> Shares:
            block = self._blocks[number]
            values = np.zeros((block.rows, ENTRIES), np.uint32)
            some = self._features.sums[BLOCK * number : BLOCK * number + block.rows]
            values[: len(some)] = some
            if self._leader:
                values += lift
            return (values + self._masks.settled(number)) & within

        opened = self._each(masked)
        others = yield opened

        def settle(number: int) -> Shares:
            public = (opened[number] + others[number]) & within
            cut, top = self._material.get(self._blocks[number].settled)
            # A mask in the upper half and a sum in the lower one: it went round.
            below = (public >> (ring - 1)) ^ np.uint32(1)
            value = self._public((public >> dropped) - (lift >> dropped)) - cut
            return np.asarray(value + (below << (ring - dropped)) * top, np.uint32)

        return self._each(settle)

    def _scores(self, number: int, features: Shares, templates: Shares) -> Shares:
        """Return shares of the products of all features of a block with all templates."""
        given = self._material.get(self._blocks[number].scores)
        scores = given[:, : self.plan.templates].copy()
        add_products(features, self._public(templates) - self._masks.templates(), scores)
        add_products(np.uint32(0) - self._masks.features(number), templates, scores)
        return scores

    def _length(self, number: int, features: Shares) -> Shares:
        """Return shares of the squares of the lengths."""
        own = self._public(features) - np.uint32(2) * self._masks.features(number)
        squares = self._material.get(self._blocks[number].lifted)[0].astype(np.uint32)
        return np.asarray((features * own).sum(axis=1, dtype=np.uint32) + squares)

    def _compare(
        self,
        place: int,
        compared: list[Compared],
        values: list[tuple[Array, Ints, Ints]],
        chunks: tuple[int, ...],
    ) -> Generator[Opened, Opened, list[tuple[Words, Words]]]:
        """Compare masked numbers; return both clouds' masked results, by block."""
        sizes = np.array(chunks)
        holds = [np.empty((each.groups, 8), np.uint64) for each in compared]
        masks = [
            self._masks.chunks(place, number, each.groups, chunks)
            for number, each in enumerate(compared)
        ]
        opened = [np.empty_like(each) for each in masks]

        def first(start: int, stop: int) -> None:
            for i in range(start, stop):
                given = self._material.get(compared[i].products)
                open_wide_chunks(
                    *values[i], sizes, self._leader, given, masks[i], holds[i], opened[i]
                )

        run_ranges(first, len(compared), default_threads())
        others = yield opened
        results = [np.empty_like(each) for each in holds]

        def second(start: int, stop: int) -> None:
            for i in range(start, stop):
                given = self._material.get(compared[i].crossed)
                result_masks = self._masks.results(place, i, compared[i].groups)
                open_wide_results(
                    opened[i], others[i], self._leader, masks[i], given, holds[i], result_masks,
                    results[i],
                )  # fmt: skip

        run_ranges(second, len(compared), default_threads())
        others = yield results
        return list(zip(results, others, strict=True))

    def _best(self, place: int, scores: list[Shares]) -> Generator[Opened, Opened, list[Shares]]:
        """Return shares of the best two of each group of scores."""
        stage = self.plan.stages[place]
        opened = self._each(lambda number: scores[number] + self._masks.scores(place, number))
        others = yield opened
        masked = [mine + other for mine, other in zip(opened, others, strict=True)]
        results = yield from self._compare(
            place,
            [block.stages[place].compared for block in self._blocks],
            [(each, stage.first, stage.second) for each in masked],
            SCORES,
        )

        def ranked(number: int) -> npt.NDArray[np.uint8]:
            ranks = self._masks.ranks(place, number)
            if self._leader:
                shares = self._masks.shares(place, number)
            else:
                shares = self._material.get(self._blocks[number].stages[place].shares)
            add_ranks(
                *results[number], shares, stage.first, stage.second, int(self._leader),
                stage.modulus, ranks,
            )  # fmt: skip
            return ranks.astype(np.uint8)

        ranks = self._each(ranked)
        others = yield ranks

        def chosen(number: int) -> Shares:
            given = self._material.get(self._blocks[number].stages[place].tables)
            places = (ranks[number].astype(np.int64) + others[number]) % stage.modulus
            found = np.empty((len(places), stage.chosen), np.uint32)
            choose(places, masked[number], given, stage.groups, found)
            return found

        return self._each(chosen)

    def _tests(
        self, scores: list[Shares], length: list[Shares]
    ) -> Generator[Opened, Opened, Words]:
        """Return shares of (25 a - 16 b)^2 - 81 |x|^2 1024^2 - 1 modulo 2^64, for all features."""

        def masked(number: int) -> Shares:
            best, second = scores[number].T
            value = np.uint32(BEST) * best - np.uint32(SECOND) * second
            if self._leader:
                value += np.uint32(BEST_LIFT)
            return np.stack([value, length[number]]) + self._masks.best(number)

        opened = self._each(masked)
        others = yield opened
        found = np.zeros(self.plan.features, np.uint64)
        for number, block in enumerate(self._blocks):
            best, squares = opened[number] + others[number]
            _, mask, top, square, crossed, length_mask, length_top = self._material.get(
                block.lifted
            )
            # c - r + w b, where b is the mask's top bit and w 2^32 or, if it did not go round, 0.
            public = best.astype(np.uint64) - np.uint64(BEST_LIFT)
            wide = (np.uint64(1) - (best >> np.uint32(31))) << np.uint64(32)
            two = np.uint64(2)
            test = self._public(public * public) - two * public * mask + square
            test += two * public * wide * top - two * wide * crossed
            public = squares.astype(np.uint64)
            wide = (np.uint64(1) - (squares >> np.uint32(31))) << np.uint64(32)
            lengths = self._public(public) - length_mask + wide * length_top
            test -= np.uint64(LENGTHS * LENGTH**2) * lengths
            found[BLOCK * number : BLOCK * number + block.rows] = test
        if self._leader:
            found -= np.uint64(1)
        return found

    def _count(self, tests: Words) -> Generator[Opened, Opened, int]:
        """Return a share of how many tests are above 0."""
        opened = tests + self._masks.last()
        others = yield [opened]
        values = [compared_values(opened + others[0])]
        stage = len(self.plan.stages)
        (results,) = yield from self._compare(stage, [self.plan.last], values, LAST)
        # All that was dealt for: shares of what is 0 mask the count of no features, too.
        count = self.plan.features
        negative = bits_of(results[0] ^ results[1], count) == 1
        shares = self._material.get(self.plan.bits).astype(np.uint32)
        # A masked 0 is the mask, a masked 1 what is missing to 1.
        matched = np.where(negative, shares, np.uint32(self._leader) - shares)
        return int(matched.sum(dtype=np.uint32))

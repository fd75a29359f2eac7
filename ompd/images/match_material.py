"""Correlated randomness of a match: what the dealer gives for it, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ompd._kernels.image_match import add_products, deal_choices
from ompd._kernels.image_wide import deal_wide_crossed, deal_wide_products
from ompd.confidential import Confidential
from ompd.images.features import ENTRIES
from ompd.images.match_plan import DROPPED, LAST, RING, SCORES, Block, Compared, MatchPlan
from ompd.images.material import DrawnMaterial
from ompd.images.operators import Ints, Words
from ompd.images.streams import (
    BEST,
    CHUNKS,
    FEATURES,
    RANKS,
    RESULTS,
    SETTLED,
    SHARES,
    TEMPLATES,
    Draws,
)
from ompd.images.streams import LAST as LAST_MASK
from ompd.images.streams import SCORES as SCORE_MASKS

Array = npt.NDArray[Any]


class Masks(Confidential):
    """One cloud's masks of what a match opens, by stage and block of features."""

    __slots__ = ("_draws", "_plan")

    def __init__(self, plan: MatchPlan, draws: Draws) -> None:
        self._plan = plan
        self._draws = draws

    def settled(self, block: int) -> npt.NDArray[np.uint32]:
        """Return those of the sums, (rows, 128)."""
        rows = self._plan.blocks[block].rows
        return self._draws.words(SETTLED, block, (rows, ENTRIES), np.uint32)

    def features(self, block: int) -> npt.NDArray[np.uint32]:
        """Return those of the features, (rows, 128)."""
        rows = self._plan.blocks[block].rows
        return self._draws.words(FEATURES, block, (rows, ENTRIES), np.uint32)

    def templates(self) -> npt.NDArray[np.uint32]:
        """Return those of the templates, (m, 128)."""
        return self._draws.words(TEMPLATES, 0, (self._plan.templates, ENTRIES), np.uint32)

    def scores(self, stage: int, block: int) -> npt.NDArray[np.uint32]:
        """Return those of the scores, (rows, entries)."""
        shape = (self._plan.blocks[block].rows, self._plan.stages[stage].entries)
        return self._draws.words(SCORE_MASKS, stage << 16 | block, shape, np.uint32)

    def chunks(self, stage: int, block: int, groups: int, chunks: tuple[int, ...]) -> Words:
        """Return those of the first round of comparisons, (groups, 2 * chunks - 2, 8)."""
        shape = (groups, 2 * len(chunks) - 2, 8)
        return self._draws.words(CHUNKS, stage << 16 | block, shape)

    def results(self, stage: int, block: int, groups: int) -> Words:
        """Return those of the second round of comparisons, (groups, 8)."""
        return self._draws.words(RESULTS, stage << 16 | block, (groups, 8))

    def ranks(self, stage: int, block: int) -> Ints:
        """Return those of the ranks, (rows, entries)."""
        chosen = self._plan.stages[stage]
        shape = (self._plan.blocks[block].rows, chosen.entries)
        return self._residues(RANKS, stage << 16 | block, shape, chosen.modulus)

    def shares(self, stage: int, block: int) -> npt.NDArray[np.uint8]:
        """Return the leader's shares of the masks of results, modulo what ranks are counted by."""
        piece = self._plan.blocks[block].stages[stage].shares
        modulus = self._plan.stages[stage].modulus
        found = self._residues(SHARES, stage << 16 | block, piece.shape, modulus)
        return found.astype(np.uint8)

    def best(self, block: int) -> npt.NDArray[np.uint32]:
        """Return those of the best scores and of the lengths, (2, rows)."""
        return self._draws.words(BEST, block, (2, self._plan.blocks[block].rows), np.uint32)

    def last(self) -> Words:
        """Return those of the ratio tests, (n,)."""
        return self._draws.words(LAST_MASK, 0, (self._plan.features,))

    def _residues(self, label: int, number: int, shape: tuple[int, ...], modulus: int) -> Ints:
        # Of 64 bits, so that none is likelier than another one by more than 2^-57.
        words = self._draws.words(label, number, shape)
        return (words % np.uint64(modulus)).astype(np.int64)


def compared_values(values: Words) -> tuple[Words, Ints, Ints]:
    """Return rows (value, 0), and that the two are compared."""
    pairs = np.stack([values, np.zeros_like(values)], axis=1)
    return np.ascontiguousarray(pairs), np.array([0]), np.array([1])


def bits_of(words: Words, count: int) -> npt.NDArray[np.uint8]:
    """Return the first bits of words, each as a number."""
    found = np.unpackbits(words.reshape(-1).view(np.uint8), count=count, bitorder="little")
    return np.asarray(found, np.uint8)


def deal_match(plan: MatchPlan, leader: Draws, other: Draws) -> Iterator[Array]:
    """Make the other cloud's material of a match, piece by piece.

    Parameters
    ----------
    plan : MatchPlan
    leader, other : Draws
        Of both clouds in one session.

    Yields
    ------
    ndarray
        As the plan says, in the order of their numbers; each until the next is asked for.
    """
    masks = Masks(plan, leader), Masks(plan, other)
    drawn = DrawnMaterial(leader)
    if not plan.blocks:
        return
    templates = masks[0].templates() + masks[1].templates()
    for number, block in enumerate(plan.blocks):
        yield from _settled(plan, number, block, masks, drawn)
        features = masks[0].features(number) + masks[1].features(number)
        given = drawn.get(block.scores)
        np.negative(given, out=given)
        products = np.zeros((block.rows, plan.templates), np.uint32)
        add_products(features, templates, products)
        given[:, : plan.templates] += products
        yield given
        yield from _stages(plan, number, block, masks, drawn)
        yield _lifted(number, block, features, masks, drawn)
    values = compared_values(masks[0].last() + masks[1].last())
    stage = len(plan.stages)
    yield from _compared(plan.last, values, LAST, (stage, 0), masks, drawn)
    given = drawn.get(plan.bits)
    np.subtract(bits_of(_results(plan.last, (stage, 0), masks), plan.features), given, out=given)
    yield given


def _settled(
    plan: MatchPlan, number: int, block: Block, masks: tuple[Masks, Masks], drawn: DrawnMaterial
) -> Iterator[Array]:
    ring = RING[plan.depth]
    mask = masks[0].settled(number) + masks[1].settled(number)
    mask &= np.uint32((1 << ring) - 1)
    given = drawn.get(block.settled)
    for share, value in zip(given, (mask >> DROPPED[plan.depth], mask >> (ring - 1)), strict=True):
        np.subtract(value, share, out=share)
    yield given


def _stages(
    plan: MatchPlan, number: int, block: Block, masks: tuple[Masks, Masks], drawn: DrawnMaterial
) -> Iterator[Array]:
    for place, (stage, chosen) in enumerate(zip(plan.stages, block.stages, strict=True)):
        at = (place, number)
        scores = masks[0].scores(*at) + masks[1].scores(*at)
        values = (scores, stage.first, stage.second)
        yield from _compared(chosen.compared, values, SCORES, at, masks, drawn)
        bits = bits_of(_results(chosen.compared, at, masks), chosen.shares.size)
        shares = bits + np.uint8(stage.modulus) - masks[0].shares(*at)
        yield shares % np.uint8(stage.modulus)
        given = drawn.get(chosen.tables)
        ranks = (masks[0].ranks(*at) + masks[1].ranks(*at)) % stage.modulus
        deal_choices(ranks, scores, given)
        yield given


def _lifted(
    number: int,
    block: Block,
    features: npt.NDArray[np.uint32],
    masks: tuple[Masks, Masks],
    drawn: DrawnMaterial,
) -> Array:
    best, length = (masks[0].best(number) + masks[1].best(number)).astype(np.uint64)
    top = np.uint64(31)
    given = drawn.get(block.lifted)
    given[0] = (features**2).sum(axis=1, dtype=np.uint32) - given[0]
    given[1] = best - given[1]
    given[2] = (best >> top) - given[2]
    given[3] = best * best - given[3]
    given[4] = (best >> top) * best - given[4]
    given[5] = length - given[5]
    given[6] = (length >> top) - given[6]
    return given


def _compared(
    compared: Compared,
    values: tuple[Array, Ints, Ints],
    chunks: tuple[int, ...],
    at: tuple[int, int],
    masks: tuple[Masks, Masks],
    drawn: DrawnMaterial,
) -> Iterator[Array]:
    given = drawn.get(compared.products)
    deal_wide_products(*values, np.array(chunks), given)
    yield given
    given = drawn.get(compared.crossed)
    first, second = (each.chunks(*at, compared.groups, chunks) for each in masks)
    deal_wide_crossed(first, second, given)
    yield given


def _results(compared: Compared, at: tuple[int, int], masks: tuple[Masks, Masks]) -> Words:
    return masks[0].results(*at, compared.groups) ^ masks[1].results(*at, compared.groups)

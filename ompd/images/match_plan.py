"""What is computed to match features with templates: stages, bounds, pieces of material.

All of it is public and follows from how many features and templates there are, and from the depth.

A feature x matches templates t when (25 a - 16 b)^2 > 81 |x|^2 1024^2, a and b being the largest
two of x t: for templates of length 1024 and a >= b that is the ratio test at .8 of distances
between vectors of length 1.

Source: Lowe, "Distinctive image features from scale-invariant keypoints" (2004), section 7.1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ompd.errors import ParameterError
from ompd.images.features import ENTRIES, MOST_ROWS
from ompd.images.material import Piece
from ompd.images.operators import Ints

#: Bits of the ring in which sums of gradients are right.
RING = {8: 30, 16: 26}
#: Bits of a sum that are dropped: what is left of the longest descriptor that a test can bound is
#: shorter than 2^14.9, and of real ones in a thousand is longer than a hundred.
DROPPED = {8: 13, 16: 11}
#: The ratio test (5/4)^2: weights of the best and the second best, and of both lengths.
BEST, SECOND, LENGTHS = 25, 16, 81
#: What is added so that no sum, and no 25 a - 16 b, is negative.
LIFT = {8: 1 << 25, 16: 1 << 21}
BEST_LIFT = 1 << 28
#: Chunks of a comparison of two scores, whose difference is below 2^25, and of the last one.
SCORES = (5,) * 5
LAST = (7,) * 9
#: Features that are computed on at a time.
BLOCK = 64
#: Bytes of material per feature that a further stage, of four rounds, must save.
_STAGE_COST = 32 << 10
_PER_PAIR = 25.0
#: Tables of a group grow with the square of its size.
_MOST_GROUP = 64


class Opening(NamedTuple):
    """An array that a round opens: shape and type, as it travels."""

    shape: tuple[int, ...]
    kind: str

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape)) * np.dtype(self.kind).itemsize


class Stage(NamedTuple):
    """Entries of a row in groups, whose best two go on.

    Attributes
    ----------
    entries, modulus : int
        Of the largest group; ranks are counted modulo its size.
    groups : ndarray of int64, (entries,)
    first, second : ndarray of int64, (pairs,)
    """

    entries: int
    modulus: int
    groups: Ints
    first: Ints
    second: Ints

    @property
    def chosen(self) -> int:
        """Entries that are left."""
        return 2 * (int(self.groups[-1]) + 1)


class Compared(NamedTuple):
    """Material of the comparisons of a stage, and of a block of rows.

    Attributes
    ----------
    groups : int
        Of 512 comparisons.
    products, crossed : Piece
    """

    groups: int
    products: Piece
    crossed: Piece


class Chosen(NamedTuple):
    """Material of a stage, and of a block of rows."""

    compared: Compared
    shares: Piece
    tables: Piece


class Block(NamedTuple):
    """Material of a block of rows.

    Attributes
    ----------
    rows : int
    settled : Piece
        Of the first opening.
    scores : Piece
        Products of masks, of an even number of templates.
    stages : tuple of Chosen
    lifted : Piece
        The square of the mask of each feature, and what takes its length and its best scores to 64
        bits.
    """

    rows: int
    settled: Piece
    scores: Piece
    stages: tuple[Chosen, ...]
    lifted: Piece


class MatchPlan:
    """What there is to do and to deal for so many features and templates; see `match_plan`.

    Attributes
    ----------
    features, templates, depth : int
    stages : tuple of Stage
    blocks : tuple of Block
        None where fewer than two templates or no features make the result 0.
    last : Compared
        Of all features.
    bits : Piece
        Shares of the masks of the results.
    size : int
        Bytes of all material.
    """

    def __init__(self, features: int, templates: int, depth: int) -> None:
        self.features, self.templates, self.depth = features, templates, depth
        self._number = self.size = 0
        self.stages: tuple[Stage, ...] = ()
        self.blocks: tuple[Block, ...] = ()
        if features and templates >= 2:
            self.stages = stages(templates)
            edges = range(0, features, BLOCK)
            self.blocks = tuple(self._block(min(BLOCK, features - first)) for first in edges)
            self.last = self._compared(features, LAST)
            self.bits = self._piece((features,))

    @property
    def rounds(self) -> int:
        """Rounds between the clouds."""
        return 6 + 4 * len(self.stages) if self.blocks else 0

    def openings(self, features: int) -> list[list[Opening]]:
        """Return what each round opens, for so many features."""
        blocks = self.blocks[: -(-features // BLOCK)]
        if not self.blocks:
            return []
        sums = [_opening("<u4", block.rows, ENTRIES) for block in blocks]
        found = [sums, [*sums, _opening("<u4", self.templates, ENTRIES)]]
        for place, stage in enumerate(self.stages):
            found.append([_opening("<u4", block.rows, stage.entries) for block in blocks])
            found += _compared_openings([block.stages[place].compared for block in blocks], SCORES)
            found.append([_opening("u1", block.rows, stage.entries) for block in blocks])
        found.append([_opening("<u4", 2, block.rows) for block in blocks])
        found.append([_opening("<u8", self.features)])
        return found + _compared_openings([self.last], LAST)

    def _piece(self, shape: tuple[int, ...], kind: type = np.uint64) -> Piece:
        # Sizes are multiples of eight bytes: every array is aligned.
        piece = Piece(self._number, shape, kind, self.size)
        self._number += 1
        self.size += piece.size
        return piece

    def _compared(self, lanes: int, chunks: tuple[int, ...]) -> Compared:
        groups = -(-lanes // 512)
        products = 1 + sum((1 << bits) - 1 for bits in chunks)
        equals = len(chunks) - 1
        crossed = (1 << equals + 1) - 2 - equals + (1 << equals) - 1 - equals
        return Compared(
            groups, self._piece((groups, products, 8)), self._piece((groups, crossed, 8))
        )

    def _block(self, rows: int) -> Block:
        settled = self._piece((2, rows, ENTRIES), np.uint32)
        scores = self._piece((rows, self.templates + self.templates % 2), np.uint32)
        chosen = []
        for stage in self.stages:
            compared = self._compared(rows * len(stage.first), SCORES)
            shares = self._piece((512 * compared.groups,), np.uint8)
            tables = self._piece((rows, stage.entries, stage.modulus, 2), np.uint32)
            chosen.append(Chosen(compared, shares, tables))
        return Block(rows, settled, scores, tuple(chosen), self._piece((7, rows)))


def _opening(kind: str, *shape: int) -> Opening:
    return Opening(shape, kind)


def _compared_openings(compared: list[Compared], chunks: tuple[int, ...]) -> list[list[Opening]]:
    first = [_opening("<u8", each.groups, 2 * len(chunks) - 2, 8) for each in compared]
    return [first, [_opening("<u8", each.groups, 8) for each in compared]]


# Typed: 1.0 and True are no integers here, though they are equal to some.
@lru_cache(maxsize=8, typed=True)
def match_plan(features: int, templates: int, depth: int = 8) -> MatchPlan:
    """Return what is public about a match.

    Parameters
    ----------
    features, templates : int
        0 to 4096.
    depth : {8, 16}
        Bits of a pixel of the image that the features are of.

    Raises
    ------
    ParameterError
    """
    for name, value in (("features", features), ("templates", templates)):
        if type(value) is not int or not 0 <= value <= MOST_ROWS:
            raise ParameterError(f"{name}: expected an integer from 0 to {MOST_ROWS}")
    if type(depth) is not int or depth not in RING:
        raise ParameterError("depth: expected 8 or 16")
    return MatchPlan(features, templates, depth)


def stages(entries: int) -> tuple[Stage, ...]:
    """Return the stages that leave two of at least two entries, for the least material.

    A stage more, which is four rounds, must save 32 KiB a feature.
    """
    return tuple(_stage(sizes) for sizes in _cheapest(entries)[1])


@lru_cache(maxsize=MOST_ROWS + 1)
def _cheapest(entries: int) -> tuple[float, tuple[tuple[int, ...], ...]]:
    best: tuple[float, tuple[tuple[int, ...], ...]] = (np.inf, ())
    for count in range(1, entries // 2 + 1):
        size, larger = divmod(entries, count)
        modulus = size + (larger > 0)
        if modulus > _MOST_GROUP:
            continue
        if count > 1 and 2 * count >= entries:
            break
        pairs = larger * (size + 1) * size // 2 + (count - larger) * size * (size - 1) // 2
        cost = _STAGE_COST + _PER_PAIR * pairs + 8.0 * entries * modulus
        if count > 1 and cost < best[0]:
            rest, following = _cheapest(2 * count)
        else:
            rest, following = 0.0, ()
        if cost + rest < best[0] and (count == 1 or following):
            sizes = (size + 1,) * larger + (size,) * (count - larger)
            best = (cost + rest, (sizes, *following))
    return best


def _stage(sizes: tuple[int, ...]) -> Stage:
    starts = np.cumsum((0, *sizes))[:-1]
    pairs = [
        np.stack(np.triu_indices(n, 1)) + start for n, start in zip(sizes, starts, strict=True)
    ]
    first, second = np.ascontiguousarray(np.concatenate(pairs, axis=1))
    return Stage(sum(sizes), max(sizes), np.repeat(np.arange(len(sizes)), sizes), first, second)

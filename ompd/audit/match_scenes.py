"""Matches: what one cloud gets and opens, of features that match and of features of nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from ompd.audit.views import MatchView
from ompd.images.features import ENTRIES, SharedFeatures, share, template_integers
from ompd.images.match_material import deal_match
from ompd.images.match_plan import match_plan
from ompd.images.matching import Matching
from ompd.images.material import DrawnMaterial, StoredMaterial
from ompd.images.streams import Draws

FEATURES, TEMPLATES = 24, 30
#: Of a sum of gradients, what matching drops: features are given in such units.
_UNIT = 1 << 13

Array = npt.NDArray[np.int64]


def collection(rng: np.random.Generator) -> Array:
    """Draw templates, as integers."""
    return template_integers(rng.gamma(0.4, size=(TEMPLATES, ENTRIES)))


def resembling(rng: np.random.Generator, templates: Array) -> Array:
    """Draw features near templates, with some noise, and of any length."""
    chosen = templates[rng.integers(0, len(templates), FEATURES)]
    noisy = chosen + rng.normal(0, 8, chosen.shape)
    return np.rint(noisy * rng.uniform(0.3, 20, (FEATURES, 1))).astype(np.int64)


@dataclass(frozen=True)
class MatchScene:
    """One match, and what the cloud does not know of it.

    Attributes
    ----------
    sums : int64 array of shape (n, 128)
    count : int
        What the physician gets.
    view : MatchView
    """

    sums: Array
    count: int
    view: MatchView

    @classmethod
    def of(
        cls, features: Array, templates: Array, draws: tuple[Draws, Draws] | None = None
    ) -> Self:
        """Run a match; with `draws` of another one, against the rules."""
        plan = match_plan(len(features), len(templates))
        draws = (Draws.generate(), Draws.generate()) if draws is None else draws
        data = b"".join(piece.tobytes() for piece in deal_match(plan, *draws))
        sums = features * _UNIT
        halves = share(sums)
        parts = share(templates)
        leader = Matching(
            plan, True, draws[0], DrawnMaterial(draws[0]), SharedFeatures(8, halves[0].shares),
            parts[0],
        )  # fmt: skip
        other = Matching(
            plan, False, draws[1], StoredMaterial(np.frombuffer(data, np.uint8)),
            SharedFeatures(8, halves[1].shares), parts[1],
        )  # fmt: skip
        works = leader.rounds(), other.rounds()
        sent = [[each.copy() for each in next(work)] for work in works]
        settled = (sent[0][0] + sent[1][0]) & np.uint32((1 << 30) - 1)
        received = [_low_bytes(sent[1][0]), _low_bytes(settled)]
        shares: list[int] = []
        while not shares:
            opened = []
            for work, others in zip(works, reversed(sent), strict=True):
                try:
                    opened.append([each.copy() for each in work.send(others)])
                except StopIteration as done:
                    shares.append(done.value)
            sent = opened
            for mine, theirs in zip(*opened, strict=True) if opened else ():
                if mine.dtype == np.uint8:
                    continue
                both = mine ^ theirs if mine.ndim == 3 or _results(mine) else mine + theirs
                received += [theirs.reshape(-1).view(np.uint8), both.reshape(-1).view(np.uint8)]
        count = sum(shares) % (1 << 32)
        return cls(sums, count, MatchView(settled, np.concatenate(received)))


def _low_bytes(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    bytes_of = words.astype("<u4").reshape(-1).view(np.uint8).reshape(-1, 4)
    return bytes_of[:, :3].ravel()


def _results(words: npt.NDArray[np.generic]) -> bool:
    """Whether these are masked bits, which open by xor: 64 lanes a word, eight words a group."""
    return words.dtype == np.uint64 and words.ndim == 2

"""Both clouds and the dealer of a match, without frames; and its oracle, in plain integers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ompd.images.features import ENTRIES, SharedFeatures, share
from ompd.images.match_material import deal_match
from ompd.images.match_plan import MatchPlan, match_plan
from ompd.images.matching import Matching
from ompd.images.material import DrawnMaterial, StoredMaterial
from ompd.images.streams import Draws

#: What a feature's sums are divided by, by depth.
UNIT = {8: 1 << 13, 16: 1 << 11}


class Match(NamedTuple):
    plan: MatchPlan
    count: int
    #: Of each round, what each cloud opens.
    rounds: list


def clear(features, templates):
    """How many features match, by the definition; rows of integers."""
    found = 0
    for x in features.tolist():
        scores = sorted(sum(a * b for a, b in zip(x, t, strict=True)) for t in templates.tolist())
        if len(scores) >= 2:
            test = 25 * scores[-1] - 16 * scores[-2]
            found += test**2 > 81 * 1024**2 * sum(a * a for a in x)
    return found


def sides(plan, sums, templates, draws=None):
    """Both clouds before the first round."""
    draws = (Draws.generate(), Draws.generate()) if draws is None else draws
    data = b"".join(piece.tobytes() for piece in deal_match(plan, *draws))
    assert len(data) == plan.size
    mine = np.random.default_rng().integers(0, 2**32, sums.shape, np.uint32)
    halves = mine, sums.astype(np.uint32) - mine
    materials = DrawnMaterial(draws[0]), StoredMaterial(np.frombuffer(data, np.uint8))
    return [
        Matching(plan, leader, own, material, SharedFeatures(plan.depth, half), part)
        for leader, own, material, half, part in zip(
            (True, False), draws, materials, halves, share(templates), strict=True
        )
    ]  # fmt: skip


def exchange(left, right):
    """Run two generators against one another; returns what they return, and what they yield."""
    rounds = []
    sent = [None, None]
    while True:
        opened, ended = [], []
        for work, other in zip((left, right), sent, strict=True):
            try:
                opened.append([each.copy() for each in work.send(other)])
            except StopIteration as done:
                ended.append(done.value)
        assert not (opened and ended)
        if ended:
            return ended, rounds
        rounds.append(opened)
        sent = [[each.copy() for each in some] for some in reversed(opened)]


def match(sums, templates, depth=8, *, most=None, draws=None):
    """The whole protocol."""
    plan = match_plan(len(sums) if most is None else most, len(templates), depth)
    left, right = sides(plan, sums, templates, draws)
    shares, rounds = exchange(left.rounds(), right.rounds())
    return Match(plan, sum(shares) % (1 << 32), rounds)


def spread(rng, count):
    """Something like descriptors: a few large entries, of length 1."""
    found = rng.gamma(0.4, size=(count, ENTRIES))
    return found / np.linalg.norm(found, axis=1, keepdims=True)

"""What a cloud knows of what was opened, once its own masks are taken off: nothing.

Sums of what both clouds send look even as long as one of the two masked; whoever knows that mask
must see nothing either. Images are black and features zero, so that a mask that is missing shows.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from ompd.images.features import template_integers
from ompd.images.geometry import geometry
from ompd.images.hidden.layout import ENTRIES, hidden_geometry
from ompd.images.hidden.material import deal_hidden, moved, shuffle
from ompd.images.match_material import Masks, deal_match
from ompd.images.match_plan import LAST, SCORES, match_plan
from ompd.images.material import deal
from ompd.images.streams import (
    BITS,
    COUNTS,
    FIRST,
    MAPS,
    MOVED,
    MOVED_BITS,
    SECOND,
    SITES,
    SLOTS,
    Draws,
    pixel_mask,
)
from tests.images.hidden import runs as hidden
from tests.images.matches import match, spread
from tests.images.runs import dealt, run

BLACK = np.zeros((24, 26), np.uint8)
DRAWS = Draws(b"a" * 16), Draws(b"b" * 16)


def uneven(values, width):
    """The largest deviation from even of any of the lowest bits, or of all, in deviations."""
    values = np.ascontiguousarray(values).reshape(-1)
    shares = [
        float((values >> values.dtype.type(bit) & values.dtype.type(1)).mean())
        for bit in range(width)
    ]
    whole = abs(2 * np.mean(shares) - 1) * math.sqrt(width * len(values))
    if len(values) < 64:
        return whole
    return max(whole, *(abs(2 * share - 1) * math.sqrt(len(values)) for share in shares))


def counts_of(planes):
    """Numbers modulo 32 of bit planes (layers, groups, 5, 8)."""
    bits = np.unpackbits(planes.view(np.uint8), bitorder="little")
    bits = bits.reshape(*planes.shape, 64).astype(np.uint8)
    found = sum(bits[:, :, j] << j for j in range(5))
    return found.reshape(len(planes), -1)


def comparisons(rounds, own, name):
    """The first three rounds of both modes."""
    for label, number in ((FIRST, 0), (SECOND, 1)):
        for plane, (mine, other) in enumerate(zip(*rounds[number], strict=True)):
            yield f"{name} {number} {plane}", mine ^ other ^ own.words(label, plane, mine.shape), 64
    mine, other = (counts_of(np.asarray(each).reshape(3, -1, 5, 8)) for each in rounds[2])
    masks = own.words(COUNTS, 0, mine.shape, np.uint8)
    yield f"{name} counts", mine + other - masks, 5


def extracting(own):
    _, masked, _ = dealt(BLACK, DRAWS)
    yield "pixels", masked - pixel_mask(own.pixel_key(), *BLACK.shape), 64
    yield from comparisons(run(BLACK, DRAWS).rounds, own, "extract")


def hiding(own):
    rounds = hidden.run(BLACK, DRAWS).rounds
    yield from comparisons(rounds, own, "hidden")
    ((mine,), (other,)) = rounds[3]
    # Lanes where no feature may lie are 0 and masked all the same.
    yield "bits", mine ^ other ^ own.words(BITS, 0, mine.shape), 64
    labels = ((SITES, np.uint32, 32), (MAPS, np.uint32, 32), (SLOTS, np.uint8, 5))
    for (label, kind, width), mine, other in zip(labels, *rounds[4], strict=True):
        yield f"opened {label}", mine + other - own.words(label, 0, mine.shape, kind), width


def test_each_cloud_masks_slots_on_their_way():
    """What one cloud gets, its own part taken off, is not what is dealt nor nothing."""
    size = hidden_geometry(*BLACK.shape)
    rounds = hidden.run(BLACK, DRAWS).rounds
    (words, bits), (back, bits_back, _) = rounds[5][0], rounds[6][1]
    given = [
        (each.words(MOVED, 0, (size.slots, ENTRIES), np.uint32),
         each.words(MOVED_BITS, 0, (size.words,)))
        for each in DRAWS
    ]  # fmt: skip
    order = shuffle(DRAWS[1], size.slots)
    # Slots of a black image are 0: with one mask taken off, the other is left and nothing else.
    masks = given[0][0][order], given[1][0]
    bit_masks = moved(given[0][1], order), given[1][1]
    for i in range(2):
        assert np.array_equal(back - masks[i], masks[1 - i])
        assert np.array_equal(bits_back ^ bit_masks[i], bit_masks[1 - i])
        assert uneven(masks[i], 32) < 5
        assert uneven(given[i][1][:-1], 64) < 5
    assert uneven(words, 32) < 5
    assert bits.any()


def matching(own):
    rows, templates, depth = (
        70,
        template_integers(np.repeat(spread(np.random.default_rng(1), 1), 20, axis=0)),
        8,
    )
    plan = match_plan(rows, len(templates), depth)
    rounds = match(np.zeros((rows, 128), np.int64), templates, depth, draws=DRAWS).rounds
    masks = Masks(plan, own)
    both = iter([list(zip(*each, strict=True)) for each in rounds])

    def opened(name, masked, width, *, bits=False):
        for number, ((mine, other), mask) in enumerate(zip(next(both), masked, strict=True)):
            left = mine ^ other ^ mask if bits else mine + other - mask
            yield f"{name} {number}", left, width

    blocks = range(len(plan.blocks))
    yield from opened("settled", map(masks.settled, blocks), 30)
    yield from opened("factors", [*map(masks.features, blocks), masks.templates()], 32)

    def compared(stage, some, chunks):
        groups = [each.groups for each in some]
        first = [masks.chunks(stage, i, n, chunks) for i, n in enumerate(groups)]
        for name, left, width in opened("chunks", first, 64, bits=True):
            # Where numbers are equal, every other word is full and the rest empty.
            yield from ((f"{name} {i}", left[:, i], width) for i in range(left.shape[1]))
        results = [masks.results(stage, i, n) for i, n in enumerate(groups)]
        yield from opened("results", results, 64, bits=True)

    for place, stage in enumerate(plan.stages):
        yield from opened("scores", [masks.scores(place, i) for i in blocks], 32)
        yield from compared(place, [each.stages[place].compared for each in plan.blocks], SCORES)
        for number, (mine, other) in enumerate(next(both)):
            mask = masks.ranks(place, number)
            ranks = (mine.astype(np.int64) + other - mask) % stage.modulus
            # Those of equal scores are their places: even as a whole, never one by one.
            for column in ranks.T:
                counts = np.bincount(column, minlength=stage.modulus)
                even = len(column) / stage.modulus
                assert ((counts - even) ** 2 / even).sum() < stage.modulus + 40
    yield from opened("best", map(masks.best, blocks), 32)
    yield from opened("last", [masks.last()], 64)
    yield from compared(len(plan.stages), [plan.last], LAST)
    assert next(both, None) is None


@pytest.mark.parametrize("steps", [extracting, hiding, matching])
@pytest.mark.parametrize("side", [0, 1])
def test_own_masks_taken_off_leave_noise(steps, side):
    worst = {}
    before = {}
    for name, left, width in steps(DRAWS[side]):
        worst[name] = max(worst.get(name, 0.0), uneven(left, width))
        # Nor is a mask used for two things: differences are noise, too.
        kind = left.shape, left.dtype
        if kind in before:
            worst[f"{name}, once more"] = uneven(left - before[kind], width)
        before[kind] = left
    assert len(worst) > 9
    assert max(worst.values()) < 5, worst


@pytest.mark.parametrize("name", ["extract", "hidden", "match"])
def test_what_is_dealt_alone_is_noise(name):
    """Shares of products of masks: without the leader's, they tell of no mask."""
    plan = match_plan(70, 20)
    pieces = {
        "extract": lambda: deal(geometry(24, 26), *DRAWS),
        "hidden": lambda: deal_hidden(hidden_geometry(24, 26), *DRAWS),
        "match": lambda: deal_match(plan, *DRAWS),
    }[name]()
    count = 0
    for number, piece in enumerate(pieces):
        if piece.dtype == np.uint8:
            # The residues of ranks.
            counts = np.bincount(piece, minlength=plan.stages[0].modulus)
            even = piece.size / len(counts)
            assert ((counts - even) ** 2 / even).sum() < len(counts) + 40
        else:
            assert uneven(piece, 8 * piece.itemsize) < 5, number
        count += 1
    assert count > 15

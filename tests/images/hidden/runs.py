"""Both clouds and the dealer of hidden mode, without frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ompd.images.hidden.concealment import Concealment
from ompd.images.hidden.layout import SCALES, HiddenGeometry, hidden_geometry
from ompd.images.hidden.material import deal_hidden
from ompd.images.material import DrawnMaterial, StoredMaterial
from ompd.images.reading import signed
from ompd.images.streams import Draws, pixel_mask
from tests.images.runs import pixels


class Run(NamedTuple):
    size: HiddenGeometry
    #: Per round, what the leader and the other one sent; None for who sent nothing.
    rounds: list
    #: Rows (octave, layer, y, x) and descriptors, as integers, of the features found.
    places: np.ndarray
    sums: np.ndarray
    #: Both clouds' shares of the descriptors.
    shares: list
    draws: tuple


def clouds_of(image, draws=None, given=None):
    """A geometry, the masked image, both clouds before the first round, and the draws."""
    size = hidden_geometry(*image.shape, 8 * image.itemsize)
    draws = (Draws.generate(), Draws.generate()) if draws is None else draws
    if given is None:
        given = np.frombuffer(
            b"".join(each.tobytes() for each in deal_hidden(size, *draws)), np.uint8
        )
    masked = pixels(image)
    for each in draws:
        masked += pixel_mask(each.pixel_key(), *image.shape)
    leader = Concealment(size, True, draws[0], DrawnMaterial(draws[0]))
    return size, masked, (leader, Concealment(size, False, draws[1], StoredMaterial(given))), draws


def run(image, draws=None):
    """The whole protocol; every round's numbers of both clouds are kept."""
    size, masked, clouds, draws = clouds_of(image, draws)
    sent = {}

    def keep(sender, opened):
        if opened is not None:
            sent[opened[0], sender] = [each.copy() for each in opened[1]]

    for i, cloud in enumerate(clouds):
        keep(i, (1, cloud.open_chunks(masked)))
    while any(cloud.wanted for cloud in clouds):
        ready = [i for i, each in enumerate(clouds) if (each.wanted, 1 - i) in sent]
        assert ready
        for i in ready:
            keep(i, clouds[i].advance(sent[clouds[i].wanted, 1 - i]))
    rounds = [[sent.get((number, i)) for i in range(2)] for number in range(1, 9)]
    found = [cloud.found for cloud in clouds]
    numbers = found[0].numbers + found[1].numbers
    sums = signed(found[0].sums + found[1].sums, size.field_bits)
    factor = int(SCALES[size.depth])
    assert (sums % factor == 0).all()
    places = size.places_of(numbers.astype(np.int64))
    return Run(size, rounds, places, sums // factor, [each.sums for each in found], draws)

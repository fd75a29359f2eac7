"""What is public about images of a size in hidden mode."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ompd.errors import ParameterError
from ompd.images.hidden.layout import CELLS, EDGES, HIDDEN_ROUNDS, hidden_geometry
from ompd.images.hidden.material import HiddenPlan
from ompd.images.modes import MODES, mode
from ompd.images.rounds import round_bytes
from tests.images import clear
from tests.images.hidden import oracle
from tests.marks import long


@pytest.mark.parametrize("depth", [8, *long(16)])
def test_no_image_makes_a_form_of_second_differences_wrap(depth):
    """The bound of every form, by the worst image for it at every place."""
    height, width = 18, 19
    shape = hidden_geometry(height, width, depth)
    rows, columns = (clear.operators(side, len(shape.octaves)) for side in (height, width))
    planes = [plane for plane in shape.planes if plane.form >= 0]
    assert len(planes) == 3 * len(EDGES)
    for octave, up, across in zip(shape.octaves, rows, columns, strict=True):
        sides = range(5, min(octave.height, octave.width) - 5, 3)
        for layer, y, x in itertools.product((1, 2, 3), sides, sides):

            def difference(down, right, layer=layer, y=y, x=x, up=up, across=across):
                above, below = (
                    np.outer(up[level][y + down], across[level][x + right])
                    for level in (layer + 1, layer)
                )
                return above - below

            middle = difference(0, 0)
            second = (
                difference(0, 1) + difference(0, -1) - 2 * middle,
                difference(1, 0) + difference(-1, 0) - 2 * middle,
                difference(1, 1) + difference(-1, -1) - difference(-1, 1) - difference(1, -1),
            )
            for plane in planes:
                if plane.low != layer:
                    continue
                form = sum(a * b for a, b in zip(EDGES[plane.form], second, strict=True))
                most = 128 * np.abs(form).sum()
                assert most * 2.0**plane.fraction + 2 < 2 ** (plane.comparator.bits - 1)


@pytest.mark.parametrize("size", [(16, 16), (40, 26), (37, 53)])
def test_every_lane_has_its_site_and_every_site_its_slot(size):
    shape = hidden_geometry(*size)
    expected = {}
    for number, octave in enumerate(shape.octaves):
        for layer, y, x in itertools.product(
            (1, 2, 3), range(5, octave.height - 5), range(5, octave.width - 5)
        ):
            step = oracle.STRIDES[layer - 1]
            rows, columns = (octave.height - 2) // step, (octave.width - 2) // step
            i, j = oracle.site(y, step), oracle.site(x, step)
            assert 0 <= i < rows
            assert 0 <= j < columns
            expected[number, layer, y, x] = (number, *oracle.cell(layer, y, x))
    lanes = np.flatnonzero(shape.sites_of >= 0)
    found = list(map(tuple, shape.places_of(lanes).tolist()))
    assert set(found) == set(expected)
    assert len(found) == len(expected)
    slots = shape.slots_of[shape.sites_of[lanes]]
    assert slots.max() < shape.slots
    # Two lanes have one slot if they have one cell, and only then.
    cells = {}
    for place, slot in zip(found, slots.tolist(), strict=True):
        assert cells.setdefault(expected[place], slot) == slot
    assert len(set(cells.values())) == len(cells)
    assert CELLS == oracle.CELLS


@pytest.mark.parametrize("side", [128, *long(256)])
def test_costs_per_pixel(side):
    """Online at most 420 bytes a pixel each way in eight rounds, dealt at most 3.5 kB."""
    shape = hidden_geometry(side, side)
    for sent in ((1, 2, 3, 4, 5, 6, 8), (1, 2, 3, 4, 5, 7)):
        assert sum(round_bytes(shape, number) for number in sent) <= 420 * side**2
    assert HiddenPlan(shape).size <= 3500 * side**2


def test_modes():
    assert list(MODES) == ["hidden", "extract"]
    assert mode("hidden").rounds == HIDDEN_ROUNDS == 8
    assert mode("extract").rounds == 4
    for name in ("open", "", None, ["hidden"]):
        with pytest.raises(ParameterError, match="mode: expected one of hidden, extract"):
            mode(name)
    with pytest.raises(ParameterError, match="width"):
        hidden_geometry(16, 600)

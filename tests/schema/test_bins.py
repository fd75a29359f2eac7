"""Cells of features: every value has one, and their borders say little of the rows."""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import SchemaError
from ompd.schema import Bins, Feature, Schema

MIXED = Schema(
    (
        Feature("score", "ordinal", 1, 10),
        Feature("age", "numeric", 0.0, 100.0, missing="median"),
        Feature("shape", "nominal", 1, 4, missing="level"),
        Feature("constant", "numeric", 5.0, 5.0),
    ),
    ("a", "b"),
)


def rows(rng, count):
    return np.column_stack(
        [
            rng.integers(1, 11, count),
            np.where(rng.random(count) < 0.2, np.nan, rng.uniform(0, 100, count)),
            np.where(rng.random(count) < 0.2, np.nan, rng.integers(1, 5, count)),
            np.full(count, 5.0),
        ]
    ).astype(float)


def test_cells_of_a_mixed_schema(rng):
    bins = Bins.learn(MIXED, rows(rng, 200))
    assert bins.cells == (10, 9, 5, 1)
    assert bins.starts.tolist() == [0, 10, 19, 24]
    assert bins.width == 25
    assert bins.cuts[0] == tuple(level + 0.5 for level in range(1, 10))
    # Of the rows, borders say no more than multiples of 1/256 of the domain.
    assert all((cut / 100 * 256).is_integer() for cut in bins.cuts[1])


def test_places_equal_the_oracle(rng):
    values = rows(rng, 300)
    bins = Bins.learn(MIXED, values)
    expected = []
    for row in values.tolist():
        start, places = 0, []
        for value, cuts, cells in zip(row, bins.cuts, bins.cells, strict=True):
            places.append(start + (cells - 1 if math.isnan(value) else bisect_right(cuts, value)))
            start += cells
        expected.append(places)
    assert bins.places(values).tolist() == expected


def test_levels_come_from_the_schema_alone(rng):
    schema = Schema(MIXED.features[:1], MIXED.classes)
    assert Bins.learn(schema, np.ones((5, 1))) == Bins.learn(schema, rng.integers(1, 11, (9, 1)))


@given(st.lists(st.floats(-3, 7), min_size=1, max_size=30), st.floats(-3, 7))
def test_every_value_of_the_domain_has_a_cell(learned, value):
    schema = Schema((Feature("x", "numeric", -3.0, 7.0),), ("a", "b"))
    bins = Bins.learn(schema, np.array(learned)[:, None])
    assert Bins(schema, bins.cuts) == bins
    assert 0 <= bins.places(np.array([[value]]))[0, 0] < bins.width <= 8


@pytest.mark.parametrize(
    "cuts",
    [
        ((), (), ()),
        [(), (), (), ()],
        ((1.5, 1.5), (), (), ()),
        ((2.5, 1.5), (), (), ()),
        ((0.5,), (), (), ()),
        ((11.0,), (), (), ()),
        ((float("nan"),), (), (), ()),
        ((1,), (), (), ()),
        ([1.5], (), (), ()),
    ],
)
def test_cuts_of_another_form_are_refused(cuts):
    with pytest.raises(SchemaError, match="cuts"):
        Bins(MIXED, cuts)


def test_too_many_levels_are_refused():
    schema = Schema((Feature("code", "nominal", 0, 5000),), ("a", "b"))
    with pytest.raises(SchemaError, match="4096"):
        Bins.learn(schema, np.zeros((3, 1)))

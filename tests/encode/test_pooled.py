"""Models of counts: exact sums, the same model whoever added them up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd import datasets
from ompd.encode import count_cells, model_of_counts
from ompd.errors import DomainError, LabelError, SchemaError, TooLargeError, TrainingError
from ompd.schema import Bins, Feature, Schema
from tests.marks import long
from tests.roles.gathering import World

MOST = 32_768
SCHEMA = Schema(
    (
        Feature("score", "ordinal", 0, 4),
        Feature("age", "numeric", 0.0, 100.0, missing="median"),
        Feature("shape", "nominal", 1, 3),
    ),
    ("a", "b", "c"),
)
BINS = Bins.even(SCHEMA)


def naive_counts(rows):
    """One tally per class and cell, in plain Python."""
    widths = (5, 9, 3)
    found = [[0] * sum(widths) for _ in range(3)]
    for (score, age, shape), label in rows:
        cells = [int(score), 8 if math.isnan(age) else min(7, int(age // 12.5)), int(shape) - 1]
        for start, cell in zip((0, 5, 14), cells, strict=True):
            found[label][start + cell] += 1
    return found


def naive_weights(counts, bits):
    """Logarithms of shares, less those of the first class."""
    widths = (5, 9, 3)

    def share(label, start, width, cell):
        block = counts[label][start : start + width]
        return math.log((block[cell] + 1) / (sum(block) + width))

    return [
        [
            round((share(label, start, width, cell) - share(0, start, width, cell)) * 2**bits)
            for start, width in zip((0, 5, 14), widths, strict=True)
            for cell in range(width)
        ]
        for label in (1, 2)
    ]


record = st.tuples(
    st.tuples(
        st.integers(0, 4).map(float),
        st.one_of(st.just(math.nan), st.floats(0, 100), st.sampled_from([12.5, 25.0, 99.9, 100.0])),
        st.integers(1, 3).map(float),
    ),
    st.integers(0, 2),
)
one_of_each = [((0.0, 1.0, 1.0), label) for label in range(3)]


def split(rows):
    return [list(values) for values, _ in rows], [label for _, label in rows]


@given(st.lists(record, max_size=40))
def test_counts_and_weights_are_those_of_the_oracle(rows):
    rows = one_of_each + rows
    counts = count_cells(BINS, *split(rows))
    assert counts.tolist() == naive_counts(rows)
    model = model_of_counts(BINS, counts, most=MOST)
    assert model.bits == 8
    found, expected = model.weights, np.array(naive_weights(naive_counts(rows), model.bits))
    # A logarithm's last bit may differ, and so a rounding at a half.
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.05


@given(st.lists(st.lists(record, max_size=12), min_size=1, max_size=6), st.permutations(range(6)))
def test_the_sum_of_parts_gives_the_pooled_model(parts, order):
    parts = [*parts, one_of_each]
    total = sum(count_cells(BINS, *split(part)) for part in parts if part)
    shuffled = [parts[place] for place in order if place < len(parts)]
    pooled = [row for part in parts for row in part]
    assert {id(part) for part in shuffled} <= {id(part) for part in parts}
    mine = model_of_counts(BINS, total, most=MOST)
    theirs = model_of_counts(BINS, count_cells(BINS, *split(pooled)), most=MOST)
    assert mine.weights.tobytes() == theirs.weights.tobytes()
    assert (mine.bins, mine.bits) == (theirs.bins, theirs.bits)


@pytest.mark.parametrize("name", ["wbc", *long("mm")])
def test_five_hospitals_get_the_pooled_model_bit_for_bit(name):
    """Encrypted counts of five parts, added by a cloud and opened by one physician."""
    data = datasets.load(name)
    train, held_out = data.split(100, seed=1)
    bins = Bins.even(data.schema)
    classes = len(data.schema.classes)
    world = World()
    collection = world.begin(length=classes * bins.width, bound=len(train), most=5)
    parts = [train.take(np.arange(start, len(train), 5)) for start in range(5)]
    for hospital, records in zip(world.hospitals, parts, strict=True):
        counts = count_cells(bins, records.features, records.labels)
        world.hand_in(collection, hospital, counts.ravel())
    found = world.result(collection)
    assert found.contributors == 5
    counts = found.values[0].reshape(classes, bins.width)
    model = model_of_counts(bins, counts, most=MOST)
    pooled = count_cells(bins, train.features, train.labels)
    alone = model_of_counts(bins, pooled, most=MOST)
    assert counts.tobytes() == pooled.tobytes()
    assert model.weights.tobytes() == alone.weights.tobytes()
    assert model.bits == alone.bits
    for mine, theirs in zip(
        model.judge(held_out.features), alone.judge(held_out.features), strict=True
    ):
        assert mine.tobytes() == theirs.tobytes()
    accuracy = (model.judge(held_out.features)[0] == held_out.labels).mean()
    assert accuracy > {"wbc": 0.95, "mm": 0.75}[name]
    # One part alone gives another model: the sum is what made it.
    one = count_cells(bins, parts[0].features, parts[0].labels)
    assert (model_of_counts(bins, one, most=MOST).weights != alone.weights).any()


def test_priors_are_those_of_the_records():
    rows = one_of_each + [((1.0, 5.0, 2.0), 1)] * 6
    counts = count_cells(BINS, *split(rows))
    equal = model_of_counts(BINS, counts, most=MOST)
    own = model_of_counts(BINS, counts, most=MOST, priors="training")
    shift = (own.weights - equal.weights)[:, :5]
    assert np.abs(shift[0] - round(math.log(7) * 256)).max() <= 1
    assert (shift[1] == 0).all()
    assert (own.weights[:, 5:] == equal.weights[:, 5:]).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda counts: counts.tolist(),
        lambda counts: counts.astype(float),
        lambda counts: counts[:, :-1],
        lambda counts: counts[:2],
        lambda counts: -counts,
        lambda counts: counts * 0,
        lambda counts: counts * [[1], [1], [0]],
        lambda counts: counts + np.eye(3, 17, dtype=np.int64),
    ],
)
def test_what_is_no_count_of_records(change):
    counts = count_cells(BINS, *split(one_of_each))
    model_of_counts(BINS, counts, most=MOST)
    with pytest.raises(TrainingError, match="counts"):
        model_of_counts(BINS, change(counts), most=MOST)


def test_records_and_schemas_that_do_not_fit():
    with pytest.raises(DomainError):
        count_cells(BINS, [[9.0, 1.0, 1.0]], [0])
    with pytest.raises(LabelError):
        count_cells(BINS, [[1.0, 1.0, 1.0]], [3])
    apart = count_cells(BINS, *split([*one_of_each, *[((4.0, 1.0, 1.0), 1)] * 20]))
    with pytest.raises(TooLargeError):
        model_of_counts(BINS, apart, most=0)
    one = Schema((Feature("x", "ordinal", 0, 4),), ("a",))
    bins = Bins.even(one)
    with pytest.raises(TrainingError):
        model_of_counts(bins, count_cells(bins, [[1]], [0]), most=MOST)
    with pytest.raises(SchemaError):
        Bins.even(Schema((Feature("x", "nominal", 0, 5000),), ("a", "b")))


def test_even_cells_are_eighths_of_domains():
    assert BINS.cells == (5, 9, 3)
    assert BINS.cuts[1] == (12.5, 25.0, 37.5, 50.0, 62.5, 75.0, 87.5)
    few = Bins.even(Schema((Feature("x", "numeric", 3.0, 3.0),), ("a", "b")))
    assert few.cells == (1,)

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.encode import EvidenceEncoder, Filling, ReliefEncoder
from ompd.errors import DomainError, FeatureError, ParameterError, SchemaError, TrainingError
from ompd.schema import Feature, Schema
from tests import naive

RULES = [
    ("numeric", "refuse"), ("numeric", "median"), ("ordinal", "median"), ("nominal", "median"),
    ("nominal", "level"), ("nominal", "refuse"),
]  # fmt: skip


def schema_of(rules, low=-3.0, high=4.0, classes=2):
    return Schema(
        tuple(
            Feature(f"f{j}", kind, low, high, missing=missing)
            for j, (kind, missing) in enumerate(rules)
        ),
        tuple(f"class {c}" for c in range(classes)),
    )


def as_array(rows, columns):
    filled = [[np.nan if value is None else value for value in row] for row in rows]
    return np.array(filled, dtype=np.float64).reshape(len(rows), columns)


@st.composite
def gappy_tables(draw):
    """Rules of features, training rows in which each has a value, and queries; None is missing."""
    rules = draw(st.lists(st.sampled_from(RULES), min_size=1, max_size=5))

    def cell(kind, missing):
        whole = st.integers(-3, 4).map(float)
        values = st.sampled_from([-3.0, -0.5, 0.0, 1.25, 4.0]) if kind == "numeric" else whole
        return values if missing == "refuse" else st.none() | values

    row = st.tuples(*(cell(*rule) for rule in rules))
    rows = draw(st.lists(row, min_size=1, max_size=12))
    queries = draw(st.lists(row, min_size=1, max_size=5))
    rows = [list(each) for each in rows]
    for j, (_, missing) in enumerate(rules):
        if missing == "median" and all(each[j] is None for each in rows):
            rows[0][j] = 1.0
    return rules, rows, queries


@given(gappy_tables())
def test_what_stands_for_missing_values_equals_the_oracle(table):
    rules, rows, queries = table
    schema = schema_of(rules)
    filling = Filling.learn(schema, as_array(rows, len(rules)))
    expected = [
        None if missing == "refuse" else naive.stand_in([row[j] for row in rows], kind, missing, 4)
        for j, (kind, missing) in enumerate(rules)
    ]
    assert list(filling.values) == expected
    for asked in (rows, queries):
        given_rows = as_array(asked, len(rules))
        before = given_rows.copy()
        filled, counts = filling.fill(given_rows)
        assert filled.tolist() == [
            [expected[j] if value is None else value for j, value in enumerate(row)]
            for row in asked
        ]
        assert counts.tolist() == [row.count(None) for row in asked]
        assert np.array_equal(given_rows, before, equal_nan=True)
        # Encoders see values of their domain only.
        assert (filling.inner.check(filled) == filled).all()
    for outer, inner, value in zip(schema.features, filling.inner.features, expected, strict=True):
        assert inner.missing == "refuse"
        assert (inner.name, inner.kind, inner.low) == (outer.name, outer.kind, outer.low)
        assert inner.high == (5 if value == 5 else 4)
    assert filling.inner.classes == schema.classes
    again = Filling(schema, filling.values)
    assert again == filling
    assert again.inner == filling.inner


@given(gappy_tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_plays_no_part(table, random):
    rules, rows, _ = table
    turned = list(rows)
    random.shuffle(turned)
    learned = [
        Filling.learn(schema_of(rules), as_array(each, len(rules))) for each in (rows, turned)
    ]
    assert learned[0] == learned[1]


def test_where_nothing_may_be_missing_nothing_changes():
    schema = schema_of([("numeric", "refuse"), ("nominal", "refuse")])
    filling = Filling.learn(schema, [[1.5, 2], [0, 1]])
    assert filling.values == (None, None)
    assert filling.inner is schema
    rows = np.array([[4.0, 4.0]])
    filled, counts = filling.fill(rows)
    assert filled is rows
    assert counts.tolist() == [0]
    with pytest.raises(FeatureError, match="row 0, feature 'f1'"):
        filling.fill([[1.0, np.nan]])


def test_one_vector_becomes_a_row_of_which_all_may_be_missing():
    filling = Filling.learn(
        schema_of([("numeric", "median"), ("nominal", "level"), ("nominal", "median")]),
        [[1, 2, 3], [2, np.nan, 3], [3, 2, 1], [4, 1, 2]],
    )
    filled, counts = filling.fill([np.nan, np.nan, np.nan])
    assert filled.tolist() == [[2, 5, 3]]
    assert counts.tolist() == [3]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule[1] == "median"])
def test_a_feature_that_nobody_has_has_no_median(rule):
    schema = schema_of([("numeric", "refuse"), rule])
    for rows in ([[1, np.nan], [2, np.nan]], np.empty((0, 2))):
        with pytest.raises(TrainingError, match="'f1': expected a value in at least one instance"):
            Filling.learn(schema, rows)


def test_a_level_that_nobody_needed_is_not_in_the_domain():
    """Nothing could be learned of it, and the other levels would move together."""
    schema = schema_of([("nominal", "level")])
    filling = Filling.learn(schema, [[2], [1], [2]])
    assert filling.values == (2.0,)
    assert filling.inner.high.tolist() == [4.0]
    # One that all need is the only one that was learned of.
    assert Filling.learn(schema, [[np.nan], [np.nan]]).values == (5.0,)


def test_zeros_have_one_sign():
    filling = Filling.learn(schema_of([("numeric", "median"), ("nominal", "median")]), [[-0.0] * 2])
    filled, _ = filling.fill([np.nan, np.nan])
    assert not np.signbit(filled).any()


@pytest.mark.parametrize(
    "values",
    [
        (),
        (1.0,),
        [None, 1.0, 1.0, 1.0],
        (1.0, 1.0, 1.0, 1.0),
        (None, None, 1.0, 1.0),
        (None, 4.5, 1.0, 1.0),
        (None, float("nan"), 1.0, 1.0),
        (None, float("inf"), 1.0, 1.0),
        (None, 1, 1.0, 1.0),
        (None, 1.0, 0.5, 1.0),
        (None, 1.0, 5.0, 1.0),
        (None, 1.0, 1.0, 6.0),
        (None, 1.0, 1.0, 2.5),
        (None, 1.0, 1.0, -4.0),
    ],
)
def test_values_that_do_not_fit_the_schema_are_refused(values):
    schema = schema_of([RULES[j] for j in (0, 1, 2, 4)])
    assert Filling(schema, (None, 0.25, 1.0, 5.0)).inner.high.tolist() == [4, 4, 4, 5]
    with pytest.raises(ParameterError, match="values: expected"):
        Filling(schema, values)


def test_a_level_beyond_all_whole_numbers_is_refused():
    schema = schema_of([("nominal", "level")], high=2.0**53)
    for row in (1.0, np.nan):
        with pytest.raises(SchemaError, match="smaller high"):
            Filling.learn(schema, [[row]])


def test_what_does_not_fit_is_refused_as_without_gaps():
    filling = Filling.learn(schema_of([("ordinal", "median"), ("nominal", "level")]), [[1, 1]])
    for bad, error in (
        ([[np.inf, 1]], FeatureError),
        ([[5, np.nan]], DomainError),
        ([[np.nan, 0.5]], DomainError),
        # The number of the own level is not one that a caller can give.
        ([[1, 5]], DomainError),
        ([[1]], FeatureError),
    ):
        with pytest.raises(error):
            filling.fill(bad)
        with pytest.raises(error):
            Filling.learn(filling.schema, bad)


def test_its_text_tells_no_value_and_its_copies_are_equal():
    filling = Filling.learn(schema_of([("numeric", "median"), ("numeric", "refuse")]), [[1.25, 2]])
    assert repr(filling) == str(filling) == "<Filling of 1 of 2 features>"
    for copied in (pickle.loads(pickle.dumps(filling)), copy.deepcopy(filling)):
        assert copied == filling
        assert copied.fill([np.nan, 2])[0].tolist() == [[1.25, 2]]


@pytest.mark.parametrize("kind", [ReliefEncoder, EvidenceEncoder])
def test_encoders_learn_from_filled_rows_also_of_a_level_never_seen_before(kind, rng):
    schema = schema_of([("numeric", "median"), ("nominal", "level")])
    rows = np.column_stack([rng.uniform(-3, 4, 60), rng.integers(-3, 5, 60)]).astype(np.float64)
    labels = (rows[:, 0] > 0).astype(np.int64)
    rows[rng.random(60) < 0.2, 0] = np.nan
    filling = Filling.learn(schema, rows)
    encoder = kind.fit(filling.inner, filling.fill(rows)[0], labels)
    asked, counts = filling.fill([[np.nan, np.nan], [1, 2]])
    assert counts.tolist() == [2, 0]
    vectors = encoder.encode(asked)
    assert (vectors >= 0).all()
    assert (vectors <= encoder.largest).all()

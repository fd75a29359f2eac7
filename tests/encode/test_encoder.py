from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.encode import ReliefEncoder, relief_weights, scale_features
from ompd.errors import (
    DomainError,
    FeatureError,
    LabelError,
    OverflowParameterError,
    ParameterError,
    TrainingError,
    TrainingWarning,
)
from ompd.schema import Feature, Schema
from tests import naive


def schema_of(columns, classes=2):
    return Schema(
        tuple(Feature(f"f{j}", kind, low, high) for j, (kind, low, high) in enumerate(columns)),
        tuple(f"class {c}" for c in range(classes)),
    )


@st.composite
def labelled_tables(draw):
    classes = draw(st.integers(2, 4))
    n = draw(st.integers(1, 6))
    kinds = draw(st.lists(st.sampled_from(["numeric", "nominal"]), min_size=n, max_size=n))
    levels = draw(st.sampled_from([2, 3, 40]))
    labels = [c for c in range(classes) for _ in range(2)]
    labels += draw(st.lists(st.integers(0, classes - 1), max_size=12))
    row = st.lists(st.integers(0, levels), min_size=n, max_size=n)
    rows = draw(st.lists(row, min_size=len(labels), max_size=len(labels)))
    return rows, labels, classes, kinds, levels


@given(labelled_tables(), st.integers(1, 20), st.integers(1, 20))
def test_relief_weights_equal_the_oracle(table, feature_bits, weight_bits):
    rows, labels, classes, kinds, levels = table
    n = len(kinds)
    schema = schema_of([(kind, 0.0, float(levels)) for kind in kinds], classes)
    values = np.array(rows, dtype=np.float64)
    scaled = scale_features(values, schema, feature_bits)
    expected_scaled = [naive.scale(row, [0] * n, [levels] * n, feature_bits) for row in rows]
    assert scaled.tolist() == expected_scaled
    nominal = [kind == "nominal" for kind in kinds]
    weights = relief_weights(
        scaled,
        np.array(labels),
        classes=classes,
        nominal=np.array(nominal),
        feature_bits=feature_bits,
        weight_bits=weight_bits,
    )
    assert list(weights) == naive.relief_weights(
        expected_scaled, labels, classes, nominal, feature_bits, weight_bits
    )


def test_sampled_relief_visits_the_seeded_rows(rng):
    scaled = rng.integers(0, 1 << 16, (40, 5))
    labels = np.arange(40) % 2
    visited = np.random.default_rng(3).choice(40, size=7, replace=False)
    arguments = {
        "classes": 2,
        "nominal": np.zeros(5, dtype=bool),
        "feature_bits": 16,
        "weight_bits": 16,
        "seed": 3,
    }
    weights = relief_weights(scaled, labels, samples=7, **arguments)
    expected = naive.relief_weights(
        scaled.tolist(), labels.tolist(), 2, [False] * 5, 16, 16, visited.tolist()
    )
    assert list(weights) == expected
    for samples in (0, 41, 2.0, True):
        with pytest.raises(ParameterError, match="samples: expected an integer from 1 to 40"):
            relief_weights(scaled, labels, samples=samples, **arguments)


@given(
    st.lists(st.integers(-(2**16), 2**16), min_size=1, max_size=40),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_prefix_sums_give_the_earth_movers_distance(weights, feature_bits, random):
    n = len(weights)
    schema = schema_of([("numeric", -3.5, 12.25)] * n)
    encoder = ReliefEncoder(schema, tuple(weights), 16, feature_bits)
    x, y = ([random.uniform(-3.5, 12.25) for _ in range(n)] for _ in range(2))
    sums = encoder.encode([x, y]).tolist()
    scaled = [naive.scale(row, [-3.5] * n, [12.25] * n, feature_bits) for row in (x, y)]
    assert naive.l1(*sums) == naive.wasserstein(weights, *scaled)
    assert min(map(min, sums)) >= 0
    assert max(map(max, sums)) <= encoder.largest
    if min(weights) >= 0:
        assert sums[0] == naive.prefix_sums(weights, scaled[0])


def test_prefix_max_is_reached():
    encoder = ReliefEncoder(schema_of([("numeric", 0, 1)] * 3), (5, 7, 11), 16, 10)
    assert encoder.encode([1, 1, 1])[0, -1] == encoder.largest == 23 << 10


def test_large_prefix_sums_are_exact_up_to_the_bound():
    schema = schema_of([("numeric", 0, 1)])
    encoder = ReliefEncoder(schema, ((1 << 42) - 1,), 42, 20)
    assert encoder.encode([1.0]).tolist() == [[((1 << 42) - 1) << 20]]
    with pytest.raises(OverflowParameterError, match="expected at most 62"):
        ReliefEncoder(schema, (1 << 42,), 42, 20)


def fit(rows, labels, columns=None, classes=2):
    columns = columns or [("numeric", 0.0, 10.0)] * len(rows[0])
    return ReliefEncoder.fit(schema_of(columns, classes), rows, labels)


GOOD = [[0.0, 1.0], [1.0, 5.0], [9.0, 2.0], [10.0, 6.0]]


def test_fit_keeps_positive_weights_and_drops_negative_ones():
    encoder = fit(GOOD, [0, 0, 1, 1])
    assert encoder.weights[0] > 0
    assert encoder.weights[1] == 0
    kept = ReliefEncoder.fit(
        schema_of([("numeric", 0.0, 10.0)] * 2), GOOD, [0, 0, 1, 1], keep_negative=True
    )
    assert kept.weights[1] < 0


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 0, 0, 1], 2, "class 'class 1': expected at least two instances, got 1"),
        ([0, 0, 0, 0], 2, "class 'class 1': expected at least two instances, got 0"),
        ([0, 0, 0, 0], 1, "expected at least two classes"),
    ],
)
def test_untrainable_classes_are_refused(labels, classes, message):
    with pytest.raises(TrainingError, match=message):
        fit(GOOD, labels, classes=classes)


def test_no_instances_are_refused():
    with pytest.raises(TrainingError, match="got 0"):
        fit(np.empty((0, 2)), np.empty(0, dtype=int), columns=[("numeric", 0.0, 1.0)] * 2)


@pytest.mark.parametrize("labels", [[0, 0, 1, 2], [0, 0, -1, 1], [0, 0, 1], ["a", "b", "a", "b"]])
def test_wrong_labels_are_refused(labels):
    with pytest.raises(LabelError, match="labels: expected"):
        fit(GOOD, labels)


def test_constant_column_has_weight_zero_and_a_warning():
    rows = [[0.0, 4.0], [1.0, 4.0], [9.0, 4.0], [10.0, 4.0]]
    with pytest.warns(TrainingWarning, match="feature 'f1' is constant"):
        encoder = fit(rows, [0, 0, 1, 1])
    assert encoder.weights[1] == 0
    with pytest.warns(TrainingWarning, match="feature 'f1' is constant"):
        encoder = fit(rows, [0, 0, 1, 1], columns=[("numeric", 0.0, 10.0), ("numeric", 4.0, 4.0)])
    assert encoder.weights[1] == 0


def test_useless_features_all_weigh_the_same():
    with pytest.warns(TrainingWarning, match="no feature separates"):
        encoder = fit([[0.0], [1.0], [0.0], [1.0]], [0, 0, 1, 1])
    assert encoder.weights == (1 << 16,)


PATIENT = 271.5


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([PATIENT, 1.0], DomainError, "feature 'f0': expected a value from 0 to 10"),
        ([1.0, -PATIENT], DomainError, "feature 'f1': expected a value from 0 to 10"),
        ([2.5, 1.0], DomainError, "feature 'f0': expected a whole number"),
        ([float("nan"), 1.0], FeatureError, "row 0, feature 'f0': expected a finite number"),
        ([1.0, float("inf")], FeatureError, "feature 'f1': expected a finite number"),
        ([None, 1.0], FeatureError, "feature 'f0': expected a finite number"),
        ([True, 1.0], FeatureError, "got no number"),
        (["271.5", 1.0], DomainError, "feature 'f0': expected a value from 0 to 10"),
        (np.array(["271.5", "1"]), DomainError, "expected a value from 0 to 10"),
        (np.array([True, False]), FeatureError, "got no number"),
        (np.array([1j, 2.0]), FeatureError, "got no number"),
        (np.array([None, 1.0]), FeatureError, "expected a finite number"),
        ([1.0], FeatureError, "expected 2 per row, got 1"),
        ([1.0, 2.0, PATIENT], FeatureError, "expected 2 per row, got 3"),
        ([[1.0, 2.0], [PATIENT]], FeatureError, "row 1: expected 2 features"),
        (1.0, FeatureError, "expected rows of numbers"),
        ([[[1.0, 2.0]]], FeatureError, "one or two dimensions"),
        ([10**400, 1.0], FeatureError, "expected a finite number"),
    ],
)
def test_bad_features_are_refused_without_their_value(x, error, message):
    encoder = ReliefEncoder(
        schema_of([("ordinal", 0.0, 10.0), ("numeric", 0.0, 10.0)]), (1, 1), 16, 16
    )
    with pytest.raises(error, match=message) as caught:
        encoder.encode(x)
    assert "271" not in str(caught.value)
    assert caught.value.__cause__ is None

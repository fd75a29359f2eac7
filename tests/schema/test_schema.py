from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ompd.datasets import Dataset
from ompd.errors import FeatureError, LabelError, SchemaError
from ompd.schema import Feature, Schema, as_feature_matrix

SCHEMA = Schema(
    [Feature("age", "ordinal", 0, 120), Feature("dose", "numeric", 0, 2.5)], ["no", "yes"]
)


def test_lists_and_whole_numbers_are_welcome():
    assert SCHEMA.classes == ("no", "yes")
    assert isinstance(hash(SCHEMA), int)
    assert Schema.from_json(SCHEMA.to_json()) == SCHEMA


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "numeric", 0, 1), "name"),
        ((5, "numeric", 0, 1), "name"),
        (("a", "text", 0, 1), "kind"),
        (("a", "numeric", 1, 0), "low <= high"),
        (("a", "numeric", 0, float("inf")), "finite"),
        (("a", "numeric", float("nan"), 1), "finite"),
        (("a", "numeric", -1e308, 1e308), "must be finite"),
        (("a", "numeric", "0", "1"), "numbers as domain"),
        (("a", "numeric", None, 1), "numbers as domain"),
        (("a", "nominal", 0.5, 3), "whole numbers"),
    ],
)
def test_senseless_features_are_refused(arguments, message):
    with pytest.raises(SchemaError, match=message):
        Feature(*arguments)


def test_codes():
    made = [
        Feature("a", "numeric", 0, 1, code=code)
        for code in ("", "loinc|4548-4", "icd10|I20.0", "urn:oid:2.16|x")
    ]
    assert [feature.coding for feature in made] == [
        None,
        ("http://loinc.org", "4548-4"),
        ("http://hl7.org/fhir/sid/icd-10", "I20.0"),
        ("urn:oid:2.16", "x"),
    ]
    for wrong in (
        "4548-4",
        "lonic|4548-4",
        "loinc|",
        "|4548-4",
        "loinc|a b",
        "x:y|a|b",
        5,
        "é:a|b",
    ):
        with pytest.raises(SchemaError, match="code"):
            Feature("a", "numeric", 0, 1, code=wrong)


@pytest.mark.parametrize(
    ("features", "classes", "message"),
    [
        ((), ("a",), "at least one"),
        (SCHEMA.features * 2, ("a",), "unique"),
        (({"name": "age"},), ("a",), "only Feature"),
        ("age", ("a",), "expected a tuple"),
        (SCHEMA.features, (), "at least one name"),
        (SCHEMA.features, ("a", "a"), "unique"),
        (SCHEMA.features, "ab", "expected a tuple"),
        (SCHEMA.features, (0, 1), "at least one name"),
        (SCHEMA.features, ("x" * 256, "y"), "at least one name"),
        (SCHEMA.features, ("", "y"), "at least one name"),
    ],
)
def test_senseless_schemas_are_refused(features, classes, message):
    with pytest.raises(SchemaError, match=message):
        Schema(features, classes)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b'{"features": [], "classes": ["a"]}', b'{"x": 1}']
)
def test_json_that_is_no_schema_is_refused(text):
    with pytest.raises(SchemaError):
        Schema.from_json(text)


def test_masked_values_are_missing_values():
    assert SCHEMA.check(np.ma.masked_array([1.0, 2.0], mask=[False, False])).tolist() == [[1, 2]]
    with pytest.raises(FeatureError, match="missing"):
        SCHEMA.check(np.ma.masked_array([1.0, 2.0], mask=[False, True]))
    with pytest.raises(FeatureError, match="got no number"):
        SCHEMA.check([np.array([True, False]), np.array([2.0, 1.0])])


def test_own_data_from_memory():
    frame = pd.DataFrame({"age": [40, 50, 60], "dose": [0.5, 2.0, 1.0]})
    data = Dataset.from_arrays(SCHEMA, frame, ["no", "yes", "no"], name="trial")
    assert data.labels.tolist() == [0, 1, 0]
    assert data.class_rows == (2, 1)
    with pytest.raises(LabelError) as caught:
        Dataset.from_arrays(SCHEMA, frame, ["no", "maybe", "no"])
    assert "maybe" not in str(caught.value)
    assert caught.value.__context__ is None
    with pytest.raises(LabelError, match=r"Schema\.codes"):
        SCHEMA.check_codes(["no", "yes"], 2)
    with pytest.raises(LabelError, match="masked"):
        SCHEMA.names(np.ma.array([0, 1], mask=[True, False]))


@pytest.mark.parametrize(
    "cells",
    [
        [[1.0, "7391 mg"]],
        np.array([[1.0, "7391 mg"]], dtype=object),
        [[1.0, 2.0], [1.0]],
        np.array([[1.0, {"7391": 1}]], dtype=object),
        [[1.0, 10**400]],
    ],
)
def test_no_error_hangs_on_one_that_quotes_a_cell(cells):
    for call in (SCHEMA.check, as_feature_matrix):
        with pytest.raises(FeatureError) as caught:
            call(cells)
        assert caught.value.__context__ is None
        assert "7391" not in str(caught.value)

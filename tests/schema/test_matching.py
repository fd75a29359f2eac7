"""Labels and columns are found by name, wherever they stand."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ompd.datasets import Dataset
from ompd.errors import FeatureError, LabelError, LabelWarning
from ompd.schema import Feature, Schema

FEATURES = (Feature("age", "ordinal", 0, 120), Feature("dose", "numeric", 0, 2.5))
SCHEMA = Schema(FEATURES, ("no", "yes"))
ROWS = [[40, 0.5], [50, 2.0]]
FRAME = pd.DataFrame(ROWS, columns=["age", "dose"])


def codes(classes, labels):
    return Schema(FEATURES, classes).codes(labels).tolist()


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        [0, 0, 1],
        (0.0, 0.0, 1.0),
        ["0", "0", "1"],
        [0, "0", np.int64(1)],
        np.array([0, 0, 1]),
        np.array([0, 0, 1], dtype=np.uint8),
        np.array([0, 0, 1], dtype=np.float32),
        pd.Series([0, 0, 1], index=[7, 8, 9]),
        pd.Series(["0", "0", "1"], dtype="category"),
    ],
)
def test_a_number_is_the_class_of_that_name_and_never_a_place(labels):
    assert codes(("1", "0"), labels) == [1, 1, 0]
    assert codes(("0", "1"), labels) == [0, 0, 1]
    assert codes(("x", "1", "0"), labels) == [2, 2, 1]


def test_names_are_recognised_however_a_number_is_written():
    assert codes(("1", "2", "3"), [1, 1, 2, 2]) == [0, 0, 1, 1]
    assert codes(("2", "4"), [2.0, 4]) == [0, 1]
    assert codes(("0.5", "-3", "007"), [0.5, -3, 7]) == [0, 1, 2]
    assert codes(("0.1", "0.2"), [0.2, 0.1]) == [1, 0]
    assert codes(("True", "False"), [False, np.True_]) == [1, 0]
    assert codes(("1", "1.0"), ["1.0", "1"]) == [1, 0]
    assert codes((str(2**53 + 1), str(2**53)), [2**53, 2**53 + 1]) == [1, 0]


@pytest.mark.parametrize(
    ("classes", "label"),
    [
        (("1", "0"), True),
        (("0", "1"), False),
        (("0", "1"), np.True_),
        (("2", "4"), 0),
        (("2", "4"), 1),
        (("1", "2", "3"), 0),
        (("1", "1.0"), 1),
        (("1", "01"), 1.0),
        (("0", "1"), "1.0"),
        (("0", "1"), "1\n"),
        (("0", "1"), 0.5),
        (("0", "1"), 10**400),
        (("0", "1"), float("nan")),
        (("0", "1"), float("inf")),
        (("0", "1"), None),
        (("0", "1"), pd.NA),
        (("0", "1"), pd.NaT),
        (("0", "1"), b"1"),
        (("0", "1"), 1j),
        (("0", "1"), [1]),
        (("0", "1", "unknown"), 2),
        (("100000", "2"), "1e5"),
        (("1E5", "2"), 100_000),
        (("no", "yes"), 2),
        (("no", "yes"), -1),
        (("no", "yes"), 1.0),
        (("no", "yes"), True),
        (("no", "yes"), "maybe"),
    ],
)
def test_what_names_no_class_is_refused_with_the_names_that_do(classes, label):
    with pytest.raises(LabelError, match=f"expected only {classes[0]}, {classes[1]}") as caught:
        codes(classes, [classes[0], label])
    assert caught.value.__context__ is None
    assert "maybe" not in str(caught.value)


@pytest.mark.parametrize("labels", ["01", b"01", {"0": 1}, {"0", "1"}, 1, None, np.array(1)])
def test_labels_are_a_sequence(labels):
    with pytest.raises(LabelError, match="expected only 0, 1"):
        codes(("0", "1"), labels)


def test_numbers_are_places_only_with_a_warning_and_where_no_class_is_a_number():
    with pytest.warns(LabelWarning, match="0 as 'no', 1 as 'yes'; pass names"):
        assert codes(("no", "yes"), [1, 0]) == [1, 0]
    with pytest.warns(LabelWarning) as caught:
        Dataset.from_arrays(SCHEMA, ROWS, np.array([1, 0]))
    assert caught[0].filename == __file__


@pytest.mark.parametrize("classes", [("1", "0"), ("no", "yes"), ("1", "2", "3")])
def test_names_of_codes_say_that_they_are_codes(classes):
    schema = Schema(FEATURES, classes)
    names = schema.names(np.arange(len(classes))[::-1])
    assert names == list(classes[::-1])
    data = Dataset.from_arrays(schema, ROWS[:1] * len(classes), names)
    assert data.labels.tolist() == list(range(len(classes)))[::-1]
    with pytest.raises(LabelError, match=f"places of {', '.join(classes)}"):
        schema.names([len(classes)])


# --- features -----------------------------------------------------------------------------------

Record = namedtuple("Record", "age dose")


@pytest.mark.parametrize(
    "values",
    [
        FRAME,
        FRAME[["dose", "age"]],
        FRAME[["dose", "age"]].set_index(pd.Index(["p1", "p2"])),
        FRAME.astype({"age": "Int64"})[["dose", "age"]],
        {"dose": [0.5, 2.0], "age": [40, 50]},
        {"dose": np.array([0.5, 2.0]), "age": pd.Series([40, 50])},
        np.array([(0.5, 40), (2.0, 50)], dtype=[("dose", float), ("age", int)]),
        [{"dose": 0.5, "age": 40}, {"age": 50, "dose": 2.0}],
        [pd.Series({"dose": 0.5, "age": 40}), pd.Series({"age": 50, "dose": 2.0})],
        [{"dose": 0.5, "age": 40}, [50, 2.0]],
        pd.DataFrame(ROWS),
        [Record(40, 0.5), Record(50, 2.0)],
        ROWS,
    ],
)
def test_values_are_found_by_name_in_any_order(values):
    assert SCHEMA.check(values).tolist() == ROWS


@pytest.mark.parametrize(
    "row",
    [
        pd.Series({"dose": 0.5, "age": 40}),
        {"dose": 0.5, "age": 40},
        np.array([(0.5, 40)], dtype=[("dose", float), ("age", int)])[0],
        pd.Series([40, 0.5]),
        pd.DataFrame(ROWS).iloc[0],
        [40, 0.5],
    ],
)
def test_one_row_too(row):
    assert SCHEMA.check(row).tolist() == ROWS[:1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (FRAME[["age"]], "expected a value of 'dose'$"),
        (FRAME.rename(columns={"dose": "641"}), "expected a value of 'dose'$"),
        (FRAME.assign(extra=641), "expected only 'age', 'dose', got another name in place 2$"),
        (FRAME[["age", "dose", "age"]], "expected 'age' only once"),
        (pd.DataFrame(ROWS)[[1, 0]], "expected a value of 'age', 'dose'"),
        (pd.DataFrame(ROWS, columns=["age", 1]), "expected a value of 'dose'"),
        (pd.DataFrame(ROWS, columns=pd.MultiIndex.from_tuples([("age", ""), ("dose", "")])), "of"),
        (pd.Series({"641": 0.5, "age": 40}), "expected a value of 'dose'$"),
        (pd.Series([40, 0.5], index=[1, 0]), "expected a value of"),
        (pd.Series([40, 0.5], index=["p1", "p2"]), "expected a value of"),
        ({"age": 40}, "expected a value of 'dose'"),
        ({"age": 40, "dose": 0.5, "641": 1}, "got another name in place 2"),
        ({"age": [40, 50], "dose": [0.5]}, "equal length"),
        ({"age": [40, 50], "dose": 0.5}, "equal length"),
        ({"age": [[40]], "dose": [[0.5]]}, "got no number"),
        ({"age": True, "dose": 0.5}, "got no number"),
        ({"age": "641 mg", "dose": 0.5}, "got no number"),
        (FRAME.assign(age=[True, False]), "got no number"),
        ([{"age": 40}], "expected a value of 'dose'"),
        (np.zeros(1, dtype=[("age", int)]), "expected a value of 'dose'"),
    ],
)
def test_missing_unknown_and_double_names_are_refused(values, message):
    with pytest.raises(FeatureError, match=message) as caught:
        SCHEMA.check(values)
    assert "641" not in str(caught.value)


def test_long_lists_of_names_are_cut():
    wide = Schema(tuple(Feature(f"f{j}", "numeric", 0, 1) for j in range(40)), ("a", "b"))
    with pytest.raises(FeatureError, match=r"'f11' and 28 more$"):
        wide.check({"x": 1})


@pytest.mark.parametrize("make", [pl.DataFrame, pa.table, pd.DataFrame])
def test_other_libraries_frames_too(make):
    frame = make({"dose": [0.5, 2.0], "age": [40, 50]})
    assert SCHEMA.check(frame).tolist() == ROWS
    with pytest.raises(FeatureError, match="expected a value of 'dose'"):
        SCHEMA.check(make({"column_0": [0.5, 2.0], "age": [40, 50]}))
    data = Dataset.from_arrays(SCHEMA, frame, pd.Series(["no"] * 2))
    assert data.features.tolist() == ROWS


def test_labels_of_other_rows_are_refused():
    labels = pd.Series(["no", "yes"], index=["p1", "p2"])
    frame = FRAME.set_index(labels.index)
    assert Dataset.from_arrays(SCHEMA, frame, labels).labels.tolist() == [0, 1]
    assert Dataset.from_arrays(SCHEMA, frame.to_numpy(), labels).labels.tolist() == [0, 1]
    assert Dataset.from_arrays(SCHEMA, frame[::-1], list(labels)).labels.tolist() == [0, 1]
    for other in (frame[::-1], FRAME):
        with pytest.raises(LabelError, match="expected the index of the features"):
            Dataset.from_arrays(SCHEMA, other, labels)


def test_own_data_from_memory_is_matched_by_name():
    data = Dataset.from_arrays(SCHEMA, FRAME[["dose", "age"]], pd.Series(["no", "yes"]))
    assert data.features.tolist() == ROWS

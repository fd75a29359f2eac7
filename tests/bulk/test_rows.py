"""Tables of any library become the same rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import ompd
from ompd.bulk.rows import rows_of
from ompd.errors import FeatureError
from ompd.schema import TableForm

SCHEMA = ompd.Schema(
    (
        ompd.Feature("age", "ordinal", 0, 120),
        ompd.Feature("sex", "nominal", 0, 1, levels=("f", "m")),
        ompd.Feature("dose", "numeric", 0, 2.5, missing="median"),
    ),
    ("no", "yes"),
    TableForm(id="case", marks={"dose": ("0",)}),
)
TABLE = {
    "case": ["a", "b", "c", "d"],
    "dose": [0.5, 2.0, None, 9.0],
    "age": [40, 50, 60, 300],
    "sex": ["f", "m", "m", "x"],
    "doctor": ["A", "B", "A", "B"],
}
VALUES = np.array([[40, 0, 0.5], [50, 1, 2.0], [60, 1, np.nan]])


@pytest.mark.parametrize("kind", [dict, pd.DataFrame, pl.DataFrame, pa.table])
def test_frames_of_all_libraries(kind):
    rows = rows_of(kind(TABLE), SCHEMA, "collect")
    np.testing.assert_array_equal(rows.values, VALUES)
    assert rows.good.tolist() == [0, 1, 2]
    assert rows.ids.tolist() == TABLE["case"]
    assert rows.error.tolist() == [
        "", "", "",
        "age: expected a value from 0 to 120; sex: expected one of 'f', 'm', got another text; "
        "dose: expected a value from 0 to 2.5",
    ]  # fmt: skip
    rows = rows_of(kind(TABLE), SCHEMA, "skip")
    assert rows.ids.tolist() == ["a", "b", "c"]
    assert rows.good.tolist() == [0, 1, 2]
    with pytest.raises(FeatureError):
        rows_of(kind(TABLE), SCHEMA, "raise")


def test_rows_without_names_have_the_order_of_the_schema():
    rows = rows_of(VALUES[:, [0, 1, 2]], SCHEMA, "collect")
    np.testing.assert_array_equal(rows.values, VALUES)
    assert rows.ids is None
    rows = rows_of([[1, 2], [3, 4]], None, "collect")
    assert rows.values.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(FeatureError):
        rows_of(pd.DataFrame({"a": [1]}), None, "collect")


def test_ids_of_frames():
    frame = pd.DataFrame(TABLE).drop(columns="case")
    assert rows_of(frame, SCHEMA, "collect").ids is None
    assert rows_of(frame.iloc[1:], SCHEMA, "collect").ids.tolist() == [1, 2, 3]
    frame.index = [4.0, np.nan, 6.5, 7.0]
    assert rows_of(frame, SCHEMA, "collect").ids.tolist() == ["4.0", "", "6.5", "7.0"]
    # Whole numbers beside a gap were whole before the frame was made.
    frame.index = [4.0, np.nan, 6.0, 7.0]
    assert rows_of(frame, SCHEMA, "collect").ids.tolist() == ["4", "", "6", "7"]

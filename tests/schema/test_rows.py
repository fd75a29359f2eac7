"""Missing values, levels, booleans and dates; bad rows apart from good ones."""

from __future__ import annotations

import copy
import datetime
import math
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.datasets import Dataset
from ompd.errors import (
    DatasetError,
    DomainError,
    FeatureError,
    LabelError,
    OmpdError,
    ParameterError,
    SchemaError,
)
from ompd.schema import Feature, RowError, RowErrors, Schema, TableForm

GAPS = Schema(
    (
        Feature("age", "ordinal", 0, 120, missing="median", unit="years"),
        Feature("pain", "nominal", 0, 2, missing="level", levels=("none", "some", "much")),
        Feature("dose", "numeric", 0, 9.5),
        Feature("smoker", "nominal", 0, 1, levels=("False", "True")),
        Feature("seen", "numeric", 0, 1e5, since="2000-01-01", missing="median"),
    ),
    ("no", "yes"),
)
WORTH = [[40, 1, 2.5, 1, 31.5], [math.nan, math.nan, 0, 0, math.nan]]
DAY = datetime.datetime(2000, 2, 1, 12)
TABLE = {
    "age": [40, None],
    "pain": ["some", None],
    "dose": [2.5, 0.0],
    "smoker": [True, False],
    "seen": [DAY, None],
}
SECRET = 73.19


def same(found, expected):
    assert np.array_equal(found, np.array(expected, dtype=float), equal_nan=True)


def categories():
    frame = pd.DataFrame(TABLE)
    return frame.assign(pain=frame["pain"].astype("category"), age=frame["age"].astype("Int64"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: TABLE,
        lambda: pd.DataFrame(TABLE),
        categories,
        lambda: pl.DataFrame(TABLE),
        lambda: pl.DataFrame(TABLE).with_columns(pl.col("pain").cast(pl.Categorical)),
        lambda: pa.table(TABLE),
        lambda: pa.table(TABLE | {"pain": pa.array(TABLE["pain"]).dictionary_encode()}),
        lambda: list(zip(*TABLE.values(), strict=True)),
        lambda: pd.DataFrame(TABLE).to_numpy(dtype=object),
        lambda: np.array(WORTH),
    ],
)
def test_every_form_of_a_table_means_the_same(make):
    same(GAPS.check(make()), WORTH)
    values, good, told = GAPS.check_rows(make())
    same(values, WORTH)
    assert good.all()
    assert not told


def test_one_row():
    same(GAPS.check([40, "some", 2.5, True, DAY]), WORTH[:1])
    same(GAPS.check({name: column[0] for name, column in TABLE.items()}), WORTH[:1])
    same(GAPS.check([40, "some", 2.5, True, "2000-02-01T12:00"]), WORTH[:1])


@pytest.mark.parametrize(
    ("column", "cell", "kind"),
    [
        ("age", math.inf, FeatureError),
        ("age", SECRET, DomainError),
        ("age", 7319, DomainError),
        ("age", "7319", DomainError),
        ("age", "7319 a", FeatureError),
        ("age", "0x10", FeatureError),
        ("pain", "7319", DomainError),
        ("pain", 3, DomainError),
        ("pain", True, FeatureError),
        ("dose", None, FeatureError),
        ("dose", math.nan, FeatureError),
        ("dose", False, FeatureError),
        ("dose", DAY, FeatureError),
        ("dose", [7319], FeatureError),
        ("smoker", "7319", DomainError),
        ("seen", "31.12.7319", FeatureError),
        ("seen", "1999-12-31", DomainError),
    ],
)
def test_bad_cells_are_named_by_row_and_feature(column, cell, kind):
    table = {name: [cells[0], cells[0]] for name, cells in TABLE.items()}
    table[column] = [table[column][0], cell]
    for x in (table, list(zip(*table.values(), strict=True))):
        with pytest.raises(OmpdError, match=f"^row 1, feature '{column}': expected") as caught:
            GAPS.check(x)
        assert type(caught.value) is kind
        assert "7319" not in str(caught.value)
        assert caught.value.__context__ is None
        values, good, told = GAPS.check_rows(x, ids=["a", "b"])
        same(values, WORTH[:1])
        assert good.tolist() == [True, False]
        assert [(e.row, e.id, e.line, e.column) for e in told] == [(1, "b", None, column)]
        assert "7319" not in repr(list(told)) + repr(told)
        assert not GAPS.check_rows(x, "skip")[2]


def test_rows_of_another_length():
    values, good, told = GAPS.check_rows([[1], [40, 1, 2.5, 1, 31.5], "text", None])
    same(values, WORTH[:1])
    assert good.tolist() == [False, True, False, False]
    assert told[0] == RowError(0, None, None, "", "expected 5 features")
    for x in ("text", 5, None, [[1], [2]], {"a": 1}):
        with pytest.raises(FeatureError):
            GAPS.check_rows(x)
    with pytest.raises(ParameterError, match="errors: expected one of raise, skip, collect"):
        GAPS.check_rows([[1]], "ignore")


def test_row_errors_are_a_table_without_values():
    told = RowErrors([RowError(7, "p7", 9, "age", "why"), RowError(2, None, None, "", "what")])
    assert [entry.row for entry in told] == [2, 7]
    assert told[-1] == RowError(7, "p7", 9, "age", "why")
    assert told[0].id is told[0].line is None
    assert list(told[1:]) == [told[1]]
    assert repr(told) == "<RowErrors: 2 in 2 rows>"
    assert told.counts() == {("", "what"): 1, ("age", "why"): 1}
    assert told.to_frame()["row"].tolist() == [2, 7]
    assert pickle.loads(pickle.dumps(told)) == told != RowErrors()
    assert list(RowErrors().to_frame().columns) == ["row", "id", "line", "column", "reason"]


# --- data sets ---------------------------------------------------------------------------------

PLAIN = Schema((Feature("x", "numeric", 0, 9, missing="median"),), ("no", "yes"))


def test_ids_are_kept():
    data = Dataset.from_arrays(
        PLAIN, [[1], [2], [math.nan]], ["no", "yes", "no"], ids=["a", 2, "c "]
    )
    assert data.ids.tolist() == ["a", "2", "c"]
    assert not data.ids.flags.writeable
    assert data.take([2, 0]).ids.tolist() == ["c", "a"]
    for again in (pickle.loads(pickle.dumps(data)), copy.deepcopy(data)):
        assert again.ids.tolist() == data.ids.tolist()
    assert "a" not in repr(data.errors)
    with pytest.raises(DatasetError, match="one twice"):
        data.take([1, 1])
    assert Dataset.from_arrays(PLAIN, [[1]], ["no"]).ids is None


@pytest.mark.parametrize(
    "ids",
    [["a"], ["a", "a"], ["a", ""], ["a", None], ["a", 1.5], ["a", True], "ab", ["a", "x" * 65]],
)
def test_what_is_no_id_is_refused(ids):
    with pytest.raises(DatasetError, match=r"^ids: expected"):
        Dataset.from_arrays(PLAIN, [[1], [2]], ["no", "yes"], ids=ids)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1),
    st.sampled_from(["skip", "collect"]),
)
def test_good_rows_go_on(rows, errors):
    x = [[5.0 if good else SECRET * 10] for good, _ in rows]
    labels = ["yes" if known else "perhaps" for _, known in rows]
    ids = [f"p{place}" for place in range(len(rows))]
    data = Dataset.from_arrays(PLAIN, x, labels, ids=ids, errors=errors)
    kept = [name for name, (good, known) in zip(ids, rows, strict=True) if good and known]
    assert data.ids.tolist() == kept
    assert data.info.rows == len(data) == len(kept)
    faults = sum((not good) + (not known) for good, known in rows)
    assert len(data.errors) == (faults if errors == "collect" else 0)
    for entry in data.errors:
        assert entry.id == ids[entry.row]
        assert rows[entry.row][0 if entry.column == "x" else 1] is False
    assert not data.take([]).errors


def test_one_bad_row_refuses_all_by_default():
    with pytest.raises(DomainError):
        Dataset.from_arrays(PLAIN, [[1], [10]], ["no", "yes"])
    with pytest.raises(LabelError, match="expected 2, got 1"):
        Dataset.from_arrays(PLAIN, [[1], [2]], ["no"], errors="skip")


# --- schemas -----------------------------------------------------------------------------------


def test_old_schemas_are_read_and_written_as_before():
    old = b'{"features":[{"name":"a","kind":"numeric","low":0.0,"high":1.0}],"classes":["b"]}'
    assert Schema.from_json(old).to_json() == old
    assert Schema.from_json(GAPS.to_json()) == GAPS
    assert isinstance(hash(GAPS), int)


def test_a_data_set_holds_the_plain_schema():
    form = TableForm(
        label="y",
        id="id",
        columns=["id", "x", "y"],
        marks={"x": ["0"]},
        texts={"2": "no", "4": "yes"},
    )
    schema = Schema(PLAIN.features, PLAIN.classes, form)
    assert schema.plain == PLAIN
    assert PLAIN.plain is PLAIN
    assert Schema.from_json(schema.to_json()) == schema
    assert isinstance(hash(schema), int)
    assert Dataset.from_arrays(schema, [[1]], ["no"]).schema == PLAIN
    assert form.marks_of("x") == form.marks_of("y") | {"0"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"missing": "mean"}, "missing must be"),
        ({"missing": "level"}, "only a nominal"),
        ({"levels": ("a", "b")}, "only ordinal and nominal"),
        ({"kind": "nominal", "levels": ("a", "b", "c")}, "got 3"),
        ({"kind": "nominal", "levels": ("a", "a")}, "unique"),
        ({"kind": "nominal", "levels": "ab"}, "tuple of texts"),
        ({"kind": "nominal", "levels": ("1", "0")}, "writes the number of another"),
        ({"kind": "nominal", "levels": (1, 2)}, "expected texts"),
        ({"since": "01.01.2000"}, "YYYY-MM-DD"),
        ({"since": "2000-02-30"}, "YYYY-MM-DD"),
        ({"since": "2000-01-01", "kind": "nominal"}, "have an order"),
        ({"unit": 5}, "expected texts"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(SchemaError, match=message):
        Feature(**{"name": "a", "kind": "numeric", "low": 0, "high": 1} | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": "x"}, "'x' is a feature"),
        ({"id": "x"}, "'x' is a feature"),
        ({"id": "y", "label": "y"}, "different columns"),
        ({"columns": ("y",)}, "expected feature 'x'"),
        ({"columns": ("x", "x")}, "unique"),
        ({"columns": ("x",), "label": "y"}, "expected 'y' among them"),
        ({"separator": "a"}, "separator"),
        ({"separator": ",", "decimal": ","}, "decimal"),
        ({"marks": {"z": ["0"]}}, "only names of features"),
        ({"marks": "x"}, "expected pairs"),
        ({"marks": [("x", ["0"]), ("x", ["1"])]}, "each name once"),
        ({"texts": {"1": "maybe"}}, "only names of classes"),
        ({"dates": "%c"}, "dates"),
    ],
)
def test_contradictions_of_a_form_are_refused(fields, message):
    with pytest.raises(SchemaError, match=message):
        Schema(PLAIN.features, PLAIN.classes, TableForm(**fields))


@pytest.mark.parametrize("kind", [np.array, list, pd.Series, pl.Series, pa.array])
def test_numbers_are_the_levels_that_write_them(kind):
    """A column of grades is one of numbers wherever nobody has a "3+"."""
    grade = Feature("grade", "nominal", 4, 7, levels=("1", "2", "3.5", "3+"))
    schema = Schema((grade,), ("a", "b"))
    for cells in ([1, 2], [1.0, 3.5], [4, 5]):
        expected = [[{1: 4, 2: 5, 3.5: 6}.get(cell, cell)] for cell in cells]
        assert schema.check({"grade": kind(cells)}).tolist() == expected
        assert schema.check([[cell] for cell in cells]).tolist() == expected
        assert schema.check(np.array(cells)[:, None]).tolist() == expected
    assert schema.check([["1"], [2], ["3+"]]).tolist() == [[4], [5], [7]]
    # Where two levels write it, a number is neither.
    double = Schema((Feature("x", "nominal", 4, 6, levels=("1", "1.0", "2")),), ("a", "b"))
    assert double.check([["1"], ["1.0"], [2]]).tolist() == [[4], [5], [6]]
    for cells in ([[1]], {"x": [1]}, [[3]], [["3"]]):
        with pytest.raises(DomainError, match=r"expected one of '1', .* got another"):
            double.check(cells)


def test_moments_of_a_zone_are_what_its_clocks_showed():
    schema = Schema((Feature("seen", "numeric", 0, 9000, since="2000-01-01"),), ("a", "b"))
    moments = pd.to_datetime(["2001-01-01 00:30", "2001-07-01 12:00"]).tz_localize("Europe/Berlin")
    frame = pd.DataFrame({"seen": moments})
    table = pa.Table.from_pandas(frame)
    expected = [[366 + 0.5 / 24], [547.5]]
    for x in (frame, table, pl.from_pandas(frame), frame.convert_dtypes(dtype_backend="pyarrow")):
        np.testing.assert_allclose(schema.check(x), expected, rtol=1e-12)
    assert Schema.infer(table.append_column("class", pa.array(["a", "b"]))).features[0].since


@pytest.mark.parametrize(
    "call",
    [
        Schema.infer,
        lambda lazy: Dataset.from_frame(PLAIN, lazy),
        PLAIN.check,
    ],
)
def test_lazy_frames_were_not_read_yet(call):
    with pytest.raises(OmpdError, match="expected"):
        call(pl.DataFrame(TABLE).lazy())

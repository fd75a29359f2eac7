"""Files as hospitals have them: every form says the same table, and bad rows are told."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.bulk import rows as bulk
from ompd.datasets import Dataset, _blocks, load
from ompd.datasets._ids import surely_differ
from ompd.errors import (
    DatasetError,
    DomainError,
    FeatureError,
    LabelError,
    LabelWarning,
    OmpdError,
)
from ompd.roles import asking
from ompd.schema import Feature, RowError, Schema, TableForm

FEATURES = (
    Feature("age", "ordinal", 0, 120),
    Feature("krea", "numeric", 0, 20, missing="median"),
    Feature("sex", "nominal", 0, 1, levels=("female", "male")),
    Feature("seen", "numeric", 0, 1e5, since="2000-01-01", missing="median"),
    Feature("smoker", "nominal", 0, 1, levels=("False", "True"), missing="level"),
)
CLASSES = ("benign", "malignant")
WORTH = [[50, 1.5, 1, 31, 1], [60, math.nan, 0, math.nan, math.nan], [70, 0.25, 0, 366, 0]]
NAMES = ["p1", "p2", "p3"]
MARKER = "7391"  # planted wherever a patient's data could stand


def schema(**form):
    return Schema(FEATURES, CLASSES, TableForm(**{"label": "y", "id": "id"} | form))


@pytest.fixture(params=["by the kernel", "by cell"])
def how(request, monkeypatch):
    monkeypatch.setattr(_blocks, "FAST_BYTES", 0 if request.param == "by the kernel" else 1 << 40)


@pytest.fixture
def write(tmp_path):
    def write(content, name="own.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


HEADER = "id,age,krea,note,sex,seen,smoker,y\n"
ROWS = (
    "p1,50,1.5,x,male,2000-02-01,True,benign\n"
    "p2,60,?,,female,,NA,malignant\n"
    "p3,70,.25,x,female,2001-01-01,false,benign\n"
)
COLUMNS = HEADER.strip().split(",")
FORMS = {
    "plain": (HEADER + ROWS, {}),
    "bom and crlf": ("\ufeff" + (HEADER + ROWS).replace("\n", "\r\n"), {}),
    "carriage returns": ((HEADER + ROWS).replace("\n", "\r"), {}),
    "blanks": ((HEADER + ROWS).replace(",", " ,\t"), {}),
    "quotes": ("\n".join(f'"{line}"' for line in (HEADER + ROWS).split("\n")).replace(",", '","')
               .removesuffix('""'), {}),
    "tabs": ((HEADER + ROWS).replace(",", "\t"), {"separator": "\t"}),
    "bars": ((HEADER + ROWS).replace(",", "|"), {"separator": "|"}),
    "semicolons, decimal comma": ((HEADER + ROWS).replace(",", ";").replace("1.5", "1,5")
                                  .replace(".25", ",25"), {"separator": ";", "decimal": ","}),
    "no header": (ROWS, {"columns": COLUMNS}),
    "german dates": ((HEADER + ROWS).replace("2000-02-01", "1.2.2000")
                     .replace("2001-01-01", "01.01.2001"), {"dates": "%d.%m.%Y"}),
    "other marks": ((HEADER + ROWS).replace("?", "-9.0").replace("NA", "unknown"),
                    {"marks": {"krea": ["-9"], "smoker": ["unknown"]}}),
    "numbered classes": ((HEADER + ROWS).replace("benign", "2").replace("malignant", "4"),
                         {"texts": {"2": "benign", "4": "malignant"}}),
    "another order": ("\n".join(",".join(line.split(",")[::-1]) for line in (HEADER + ROWS)
                                .strip().split("\n")), {}),
}  # fmt: skip


def same(data):
    assert np.array_equal(data.features, WORTH, equal_nan=True)
    assert data.labels.tolist() == [0, 1, 0]
    assert data.ids.tolist() == NAMES
    assert data.schema == Schema(FEATURES, CLASSES)
    assert data.class_rows == data.info.class_rows == (2, 1)
    assert not data.errors


@pytest.mark.usefixtures("how")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("errors", ["raise", "skip", "collect"])
def test_every_form_says_the_same(write, form, errors):
    content, fields = FORMS[form]
    same(load(write(content), schema(**fields), errors=errors))


def test_blanks_as_separators(write):
    made = Schema(FEATURES[:1], CLASSES, TableForm(separator=" ", columns=("age", "y")))
    data = load(write("  50   benign\n60\tmalignant \n"), made)
    assert data.features.tolist() == [[50], [60]]
    assert data.ids is None


ARFF = """% a remark
@RELATION 'two words'

@attribute id string
@attribute 'age' numeric
@attribute krea real
@attribute "sex" {male, female}
@attribute seen date
@attribute smoker {True,'False'}
@attribute y {benign,malignant}

@DATA
"""


@pytest.mark.usefixtures("how")
@pytest.mark.parametrize("remark", ["", "\n% a remark\n\n"])
@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_arff(write, quote, remark):
    rows = [line.split(",") for line in ROWS.strip().split("\n")]
    kept = [[cell for place, cell in enumerate(row) if place != 3] for row in rows]
    lines = [",".join([f"{quote}{row[0]}{quote}", *row[1:]]) for row in kept]
    text = (ARFF + remark + f"\n{remark}".join(lines)).replace(",,", ",?,")
    same(load(write(text, "own.arff"), schema()))
    # What the schema says of a CSV file plays no part.
    same(load(write(text, "own.arff"), schema(columns=COLUMNS, separator=";")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@relation a\n@attribute x numeric\n", "expected @data"),
        ("@relation a\n@data\n1", "different names of attributes"),
        ("@relation a\n@attribute x numeric\n@attribute x real\n@data\n1,2", "different names"),
        ("@relation a\n@attribute x\n@data\n1", "line 2: expected @attribute, a name and a type"),
        ("@relation a\n@attribute 'x numeric\n@data\n1", "line 2: expected @attribute"),
        ("@relation a\n@attribute x {a,b\n@data\n1", "line 2: expected a closing brace"),
        ("@relation a\n7391\n@data\n1", "line 2: expected @attribute or @data"),
        ("@relation a\n@attribute x real\n@data\n{0 7391}", "line 4: expected dense rows"),
    ],
)
def test_arff_that_is_none(write, text, message):
    with pytest.raises(DatasetError, match=message) as caught:
        load(write(text), schema())
    assert MARKER not in str(caught.value)


def test_rows_of_another_width_in_arff(write):
    text = ARFF + "p1,50,1,male,?,True,benign\np2,50,1,male,?,True,benign,\n"
    data = load(write(text), schema(), errors="collect")
    assert list(data.errors) == [RowError(1, None, 14, "", "expected 7 cells, got 8")]


# --- bad rows ----------------------------------------------------------------------------------

BAD = (
    HEADER
    + "p1,50,1.5,x,male,,True,benign\n"
    + f"p2,{MARKER},1.5,x,{MARKER},,True,{MARKER}\n"
    + f"p3,{MARKER}\n"
    + f",60,{MARKER}x,x,male,{MARKER}-13-01,maybe,?\n"
    + "p1,60,1.5,x,male,,True,malignant\n"
    + "p6,60.5,21,x,male,,True,malignant\n"
)
TOLD = [
    (1, "p2", 3, "age", "expected a whole number from 0 to 120"),
    (1, "p2", 3, "sex", "expected one of 'female', 'male', got another text"),
    (1, "p2", 3, "y", "expected one of benign, malignant, got another text"),
    (2, None, 4, "", "expected 8 cells, got 2"),
    (3, None, 5, "krea", "expected a number, got other text"),
    (3, None, 5, "seen", "expected a date or a number of days, got other text"),
    (3, None, 5, "smoker", "expected one of 'False', 'True', got another text"),
    (3, None, 5, "y", "expected one of benign, malignant, got a missing value"),
    (3, None, 5, "id", "expected an id of 1 to 64 characters"),
    (4, "p1", 6, "id", "expected another id than those above"),
    (5, "p6", 7, "age", "expected a whole number from 0 to 120"),
    (5, "p6", 7, "krea", "expected a number from 0 to 20"),
]


@pytest.mark.usefixtures("how")
def test_bad_rows_are_told_and_good_ones_go_on(write):
    data = load(write(BAD), schema(), errors="collect")
    assert data.ids.tolist() == ["p1"]
    assert data.info.rows == 1
    assert [tuple(entry) for entry in data.errors] == TOLD
    skipped = load(write(BAD), schema(), errors="skip")
    assert skipped.ids.tolist() == ["p1"]
    assert not skipped.errors


@pytest.mark.usefixtures("how")
@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        (2, DomainError, "own.csv, line 3, column 'sex': expected one of 'female', 'male'"),
        (5, DatasetError, "own.csv, line 3, column 'id': expected another id"),
        (6, DomainError, "own.csv, line 3, column 'age': expected a whole number from 0 to 120"),
    ],
)
def test_the_first_fault_is_raised(write, rows, kind, message):
    lines = BAD.splitlines(keepends=True)
    with pytest.raises(OmpdError, match=message) as caught:
        load(write("".join([*lines[:2], lines[rows]])), schema())
    assert type(caught.value) is kind
    assert caught.value.__context__ is None
    assert MARKER not in str(caught.value)


def test_no_good_row(write):
    with pytest.raises(DatasetError, match="at least one good row, got 1 bad ones"):
        load(write(HEADER + BAD.splitlines()[2]), schema(), errors="skip")


def test_errors_of_a_frame_are_the_same(write):
    frame = pd.read_csv(write(BAD.replace(f"p3,{MARKER}\n", "")), dtype=str, keep_default_na=False)
    data = Dataset.from_frame(schema(), frame, errors="collect")
    assert data.ids.tolist() == ["p1"]
    places = {1: 1, 3: 2, 4: 3, 5: 4}
    told = {(places[row], column) for row, _, _, column, _ in TOLD if row in places}
    assert {(entry.row, entry.column) for entry in data.errors} == told
    assert MARKER not in repr(list(data.errors))
    with pytest.raises(DomainError, match="row 1, feature 'age'"):
        Dataset.from_frame(schema(), frame)
    with pytest.raises(DatasetError, match="at least one good row"):
        Dataset.from_frame(schema(), frame[1:2], errors="skip")


# --- frames, Parquet and Arrow -----------------------------------------------------------------


def table():
    return {
        "id": NAMES,
        "age": [50, 60, 70],
        "krea": [1.5, None, 0.25],
        "sex": ["male", "female", "female"],
        "seen": pd.to_datetime(["2000-02-01", None, "2001-01-01"]).to_list(),
        "smoker": [True, None, False],
        "note": ["x", None, "x"],
        "y": ["benign", "malignant", "benign"],
    }


FRAMES = {
    "mapping": lambda: table() | {"seen": ["2000-02-01", None, "2001-01-01"]},
    "pandas": lambda: pd.DataFrame(table()),
    "categories": lambda: pd.DataFrame(table()).astype(
        {"sex": "category", "y": "category", "id": "category", "smoker": "boolean"}
    ),
    "polars": lambda: pl.DataFrame(
        table() | {"seen": ["2000-02-01", None, "2001-01-01"]}
    ).with_columns(pl.col("seen").str.to_date(), pl.col("sex").cast(pl.Categorical)),
    "arrow": lambda: pa.Table.from_pandas(pd.DataFrame(table())),
    "dictionaries": lambda: pa.Table.from_pandas(
        pd.DataFrame(table()).astype({"sex": "category", "y": "category"})
    ),
}


@pytest.mark.parametrize("form", FRAMES)
def test_frames(form):
    same(Dataset.from_frame(schema(), FRAMES[form]()))


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("frame", ["arrow", "dictionaries"])
def test_parquet_and_arrow_files(tmp_path, form, frame):
    path = tmp_path / f"own.{form}"
    if form == "parquet":
        pq.write_table(FRAMES[frame](), path, row_group_size=2)
    else:
        with pa.ipc.new_file(path, FRAMES[frame]().schema) as file:
            file.write_table(FRAMES[frame](), max_chunksize=2)
    data = load(path, schema())
    same(data)
    assert data.info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_numbers_of_classes_need_texts():
    made = Schema(FEATURES[:1], CLASSES, TableForm(label="y", texts={"2": "benign"}))
    frame = pd.DataFrame({"age": [1, 2], "y": [2, 2]})
    assert Dataset.from_frame(made, frame).labels.tolist() == [0, 0]
    assert Dataset.from_frame(made, frame.astype({"y": float})).labels.tolist() == [0, 0]
    with pytest.raises(LabelError, match="column 'y': expected one of benign, malignant"):
        Dataset.from_frame(made, frame.assign(y=[2, 4]))
    with pytest.raises(LabelError, match=r"got whole numbers; schema\.table\.texts says"):
        Dataset.from_frame(Schema(FEATURES[:1], CLASSES), frame.assign(y=[0, 1]))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([[1, 2]], "expected columns with names"),
        ({"age": [1]}, "name of the label column"),
        (pd.DataFrame({"age": [1], "other": [1]}), "expected a column 'krea' among 2"),
        (pd.DataFrame(table()).drop(columns="id"), "expected a column 'id' among 7"),
        (pd.DataFrame(table()).drop(columns="y"), "expected a column 'y' among 7"),
    ],
)
def test_tables_without_their_columns(frame, message):
    made = schema() if "id" in message or "'y'" in message else Schema(FEATURES, CLASSES)
    with pytest.raises(DatasetError, match=message):
        Dataset.from_frame(made, frame)


def test_zeros_that_mean_missing(write):
    features = (Feature("glucose", "ordinal", 44, 199, missing="median"),)
    made = Schema(features, ("0", "1"), TableForm(marks={"glucose": ["0"]}))
    for content in ("glucose,outcome\n0,0\n50,1\n0.0,1\n",):
        data = load(write(content), made)
        assert np.isnan(data.features[:, 0]).tolist() == [True, False, True]
    frame = pd.DataFrame({"glucose": [0, 50], "outcome": [0, 1]})
    assert np.isnan(Dataset.from_frame(made, frame).features[:, 0]).tolist() == [True, False]
    with pytest.raises(DomainError):
        load(write("glucose,outcome\n0,0\n"), made.plain)


def test_missing_values_are_refused_unless_the_schema_says_otherwise(write):
    with pytest.raises(FeatureError, match=r"line 2, column 'age': .* got a missing value"):
        load(write(HEADER + ROWS.replace("50", "?")), schema())


READINGS = {
    "check_rows": lambda form, frame, path: form.check_rows(frame[NAMED])[:2],
    "check_rows of an array": lambda form, frame, path: form.check_rows(
        frame[NAMED].to_numpy(dtype=object)
    )[:2],
    "from_arrays": lambda form, frame, path: of_data(
        Dataset.from_arrays(form, frame[NAMED], frame["y"], ids=frame["id"], errors="collect")
    ),
    "from_frame": lambda form, frame, path: of_data(
        Dataset.from_frame(form, frame, errors="collect")
    ),
    "load": lambda form, frame, path: of_data(load(path, form, errors="collect")),
    "ask": lambda form, frame, path: of_asked(
        asking.rows_of(frame, form, errors="collect", ids="id")
    ),
    "bulk": lambda form, frame, path: of_bulk(bulk.rows_of(frame, form, "collect")),
}  # fmt: skip
NAMED = ["krea", "age"]
CELLS = [
    *("5", " 5.25\t", "+.5", "1e1", "-9", "-9.0", "?", "", "NA"),
    *("7391 mg", "1,5", "0x10", "1_0", "inf", "١", "1e999", "nan", "True"),
]  # fmt: skip


def of_data(data):
    good = np.ones(len(CELLS), dtype=bool)
    good[data.errors.rows] = False
    return data.features, good


def of_asked(rows):
    return rows.values, rows.asked.good


def of_bulk(rows):
    return rows.values, rows.error == ""


@pytest.mark.parametrize("reading", READINGS)
def test_numbers_in_text_are_read_in_one_way(reading, write):
    """Object columns as a frame has them where one cell of a file is no number."""
    features = (
        Feature("krea", "numeric", 0, 20, missing="median"),
        Feature("age", "ordinal", 0, 9),
    )
    form = Schema(features, CLASSES, TableForm(label="y", id="id", marks={"krea": ["-9"]}))
    ids = [f"p{row}" for row in range(len(CELLS))]
    ages = [str(row % 10) for row in range(len(CELLS))]
    frame = pd.DataFrame({"id": ids, "krea": CELLS, "age": ages, "y": "benign"}, dtype=object)
    frame.iloc[0, 1] = 5  # a number among them
    lines = "\n".join(f'{a},"{b}",{c},benign' for a, b, c in zip(ids, CELLS, ages, strict=True))
    values, good = READINGS[reading](form, frame, write(f"id,krea,age,y\n{lines}\n"))
    gap = math.nan
    worth = [5, 5.25, 0.5, 10, gap, gap, gap, gap, gap, *[None] * 7, gap, None]
    assert good.tolist() == [each is not None for each in worth]
    np.testing.assert_array_equal(values[:, 0], [each for each in worth if each is not None])
    assert values[:, 1].tolist() == [row % 10 for row in np.flatnonzero(good).tolist()]


def test_marks_of_numbers_hold_for_arrays_too():
    form = Schema(FEATURES[1:2], CLASSES, TableForm(label="y", marks={"krea": ["-9"]}))
    array = np.array([[1.0], [-9.0]])
    np.testing.assert_array_equal(form.check(array), [[1], [math.nan]])
    assert array.tolist() == [[1], [-9]]


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[::-1], ("0", "1"), ("1", "0")])
@pytest.mark.parametrize("kind", [int, float, str, object, "category", "Int8", np.uint8])
@pytest.mark.parametrize("renamed", [True, False])
def test_classes_that_a_file_numbers_are_never_exchanged(classes, kind, renamed, write):
    """0 is benign, whatever the order of the classes, whoever reads it and however it is kept."""
    if "0" in classes:
        texts, zero = {}, "0"
        if renamed:
            texts, zero = {"0": "1", "1": "0"}, "1"
    else:
        texts, zero = {"0": "benign", "1": "malignant"}, "benign"
        if not renamed:
            texts = {}
    form = Schema(FEATURES[:1], classes, TableForm(label="y", texts=texts))
    outcome = [0, 0, 1]
    path = write("age,y\n" + "".join(f"{50 + row},{code}\n" for row, code in enumerate(outcome)))
    frame = pd.DataFrame({"age": [50, 51, 52], "y": pd.Series(outcome).astype(kind)})
    readings = (
        lambda: load(path, form),
        lambda: Dataset.from_frame(form, frame),
        lambda: Dataset.from_arrays(form, frame[["age"]], frame["y"]),
        lambda: Dataset.from_arrays(form, frame[["age"]], frame["y"], errors="collect"),
    )
    for place, read in enumerate(readings):
        if texts or "0" in classes:
            names = [form.classes[code] for code in read().labels]
            assert names == [zero, zero, next(name for name in classes if name != zero)]
        elif place == 2 and kind not in {float, str}:
            # Nothing says what they mean: places, and never without a word.
            with pytest.warns(LabelWarning, match=f"0 as {classes[0]!r}"):
                assert read().labels.tolist() == outcome
        elif place < 3:
            with pytest.raises(LabelError):
                read()


def test_a_number_that_nothing_names_is_no_class():
    form = Schema(FEATURES[:1], CLASSES, TableForm(label="y", texts={"2": "malignant"}))
    for labels in ([0, 2], [1, 1], np.array([2, 0])):
        with pytest.raises(LabelError):
            Dataset.from_arrays(form, [[1], [2]], labels)
    form = Schema(FEATURES[:1], CLASSES, TableForm(label="y", texts={"m": "malignant"}))
    with pytest.raises(LabelError):
        form.codes([0, 1])
    assert form.codes(["m ", "benign", " malignant"]).tolist() == [1, 0, 1]


@given(st.lists(st.text(max_size=5), max_size=20), st.booleans())
def test_texts_that_surely_differ_do(texts, doubled):
    ids = np.array([*texts, *texts[: int(doubled)]], dtype=np.str_)
    # NumPy's texts cannot end in NUL.
    different = len(set(ids.tolist())) == len(ids)
    assert surely_differ(ids) == (different and len(ids) > 0)

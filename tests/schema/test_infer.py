"""Schemas proposed for tables as people find them, and what never gets into one."""

from __future__ import annotations

import io
import random
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ompd.datasets import Dataset, load
from ompd.errors import DatasetError, SchemaError
from ompd.schema import Schema, summary
from ompd.schema.features import NUMBER
from ompd.schema.inference import rounded
from tests.places import ROOT

RAW = ROOT.parent / "shared" / "data" / "raw"


@pytest.fixture
def write(tmp_path):
    def write(content, name="own.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows_of(seed, count, *columns):
    """Rows of cells drawn from lists, ranges or functions of a generator."""
    drawn = random.Random(seed)  # noqa: S311
    return "".join(
        ",".join(str(c(drawn) if callable(c) else drawn.choice(c)) for c in columns) + "\n"
        for _ in range(count)
    )


def feature_of(schema, name):
    return next(feature for feature in schema.features if feature.name == name)


def notes_of(schema, name=""):
    return " ".join(text for column, text in schema.table.notes if column == name)


def reads_itself(path, schema, rows, bad=0):
    """A proposal reads the table that it was made from, also after a person saved it as TOML."""
    again = Schema.from_toml(schema.to_toml())
    assert again == msgspec.structs.replace(
        schema, table=msgspec.structs.replace(schema.table, notes=())
    )
    data = load(path, again, errors="collect")
    assert (len(data), len(set(data.errors.rows.tolist()))) == (rows, bad)
    return data


# --- tables of the shape of known ones ---------------------------------------------------------

SCALE = range(1, 11)


def test_wbc_as_it_is(write):
    """Sample number with doubles, a question mark now and then, classes 2 and 4, no header."""
    path = write(rows_of(
        0, 699, lambda r: r.randrange(61_634, 900_000) if r.random() < 0.9 else 1_182_404,
        *[SCALE] * 5, [*SCALE, "?"], *[SCALE] * 3, [2, 4],
    ))  # fmt: skip
    schema = Schema.infer(path)
    assert [feature.name for feature in schema.features] == [f"column_{i}" for i in range(2, 11)]
    assert {(f.kind, f.low, f.high) for f in schema.features} == {("ordinal", 1, 10)}
    assert [f.name for f in schema.features if f.missing == "median"] == ["column_7"]
    assert schema.classes == ("2", "4")
    assert schema.table.label == "column_11"
    assert schema.table.id == ""
    assert "looks like numbers of rows or patients" in notes_of(schema)
    assert "no header" in notes_of(schema)
    reads_itself(path, schema, 699)
    names = ["code", *"abcdefghi", "class"]
    named = Schema.infer(path, columns=names)
    assert [feature.name for feature in named.features] == list("abcdefghi")
    reads_itself(path, named, 699)


def test_mm_as_it_is(write):
    path = write(rows_of(
        0, 961, [*[2, 3, 4, 5] * 240, 55], range(18, 97), [1, 2, 3, 4, "?"], [1, 2, 3, 4, 5, "?"],
        [1, 2, 3, 4, "?"], [0, 1],
    ))  # fmt: skip
    schema = Schema.infer(path)
    assert "far apart" in notes_of(schema, "column_1")
    assert [f.kind for f in schema.features] == ["ordinal"] * 5
    assert 'kind = "nominal"' in notes_of(schema, "column_3")
    reads_itself(path, schema, 961)


def test_cleveland(write):
    def of(low, high):
        return lambda r: f"{r.randrange(low, high)}.0"

    path = write(rows_of(
        0, 303, of(29, 78), of(0, 2), of(1, 5), of(94, 201), of(126, 565), of(0, 2), of(0, 3),
        of(71, 203), of(0, 2), lambda r: r.randrange(63) / 10, of(1, 4),
        ["0.0", "1.0", "2.0", "3.0", "?"], ["3.0", "6.0", "7.0", "?"], range(5),
    ))  # fmt: skip
    schema = Schema.infer(path)
    assert schema.classes == ("0", "1", "2", "3", "4")
    kinds = "ordinal nominal ordinal ordinal numeric nominal ordinal ordinal nominal numeric"
    assert [f.kind for f in schema.features] == [*kinds.split(), "ordinal", "ordinal", "ordinal"]
    reads_itself(path, schema, 303)


def test_pima(write):
    header = "Pregnancies,Glucose,BMI,Pedigree,Age,Outcome\n"
    path = write(header + rows_of(
        0, 768, range(18), [0, *range(44, 200)],
        lambda r: r.choice([0, r.randrange(180, 672) / 10]),
        lambda r: r.randrange(78, 2421) / 1000, range(21, 82), [0, 1],
    ))  # fmt: skip
    schema = Schema.infer(path)
    assert schema.table.label == "Outcome"
    for name in ("Glucose", "BMI"):
        assert feature_of(schema, name).low == 0
        assert f'[table.marks] with {name} = ["0"]' in notes_of(schema, name)
    assert "if 0 means missing" not in notes_of(schema, "Pregnancies")
    reads_itself(path, schema, 768)
    text = schema.to_toml().replace("[features.Glucose]", "[features.Glucose]\nmissing = 'median'")
    text = text.replace("[features.Preg", '[table.marks]\nGlucose = ["0"]\n\n[features.Preg')
    data = load(path, Schema.from_toml(text))
    assert 0 < np.isnan(data.features[:, 1]).sum() < 20


def test_ilpd(write):
    path = write(rows_of(
        0, 583, range(4, 91), ["Male", "Female"], lambda r: r.randrange(4, 751) / 10,
        range(63, 2111), ["", "0.9", "1.12", "0.74"], [1, 2],
    ))  # fmt: skip
    schema = Schema.infer(path)
    assert feature_of(schema, "column_2").levels == ("Female", "Male")
    assert feature_of(schema, "column_4").kind == "numeric"
    assert feature_of(schema, "column_5").missing == "median"
    reads_itself(path, schema, 583)


def test_kidney_disease_in_arff(write):
    head = "@relation ckd\n@attribute 'age' numeric\n@attribute 'sg' {1.005,1.010,1.025}\n"
    head += "@attribute 'al' {0,1,2,3,4,5}\n@attribute 'rbc' {normal,abnormal}\n"
    head += "@attribute wbcc numeric\n@attribute 'dm' {yes,no}\n@attribute 'class' {ckd,notckd}\n"
    path = write(head + "@data\n" + rows_of(
        0, 400, range(2, 91), ["1.005", "1.010", "?"], range(5), ["normal", "abnormal", "?"],
        ["7800", "\t6200", "\t?", "9600"], ["yes", "no", "\tno", " yes"],
        ["ckd", "ckd\t", "notckd"],
    ), "ckd.arff")  # fmt: skip
    schema = Schema.infer(path)
    assert schema.classes == ("ckd", "notckd")
    sg = feature_of(schema, "sg")
    assert (sg.kind, sg.low, sg.high) == ("numeric", 1.005, 1.025)
    assert (feature_of(schema, "al").kind, feature_of(schema, "al").high) == ("ordinal", 5)
    assert feature_of(schema, "rbc").levels == ("normal", "abnormal")
    data = reads_itself(path, schema, 400)
    assert set(data.features[:, 5].tolist()) == {0, 1}


@pytest.mark.skipif(not RAW.is_dir(), reason="the raw tables are not part of the project")
@pytest.mark.parametrize(
    ("name", "rows", "features"),
    [
        ("wbc_header.data", 699, 9),
        ("mm_headerless.data", 954, 5),
        ("mammographic_masses.data", 961, 5),
        ("ckd.arff", 400, 24),
    ],
)
def test_raw_tables(name, rows, features):
    schema = Schema.infer(RAW / name)
    assert len(schema.features) == features
    reads_itself(RAW / name, schema, rows)


# --- columns -----------------------------------------------------------------------------------


def infer(write, **columns):
    """Propose for columns of a file of 60 rows."""
    cells = {name: [cell(i) if callable(cell) else cell for i in range(60)]
             for name, cell in columns.items()}  # fmt: skip
    if "outcome" not in cells:
        cells["outcome"] = ["ill" if i % 3 else "well" for i in range(60)]
    lines = zip(*cells.values(), strict=True)
    text = "\n".join(";".join(map(str, line)) for line in [tuple(cells), *lines])
    path = write(text)
    schema = Schema.infer(path)
    return schema, load(path, schema, errors="collect")


def test_separators_decimal_comma_dates_and_ids(write):
    schema, data = infer(
        write,
        patient_id=lambda i: f"P-{i:05}",
        krea=lambda i: f"{i / 7:.2f}".replace(".", ","),
        seen=lambda i: f"{1 + i % 28:02}.{1 + i % 12:02}.20{10 + i % 9}",
        smoker=lambda i: ["true", "false"][i % 2],
    )
    assert schema.table.separator == ";"
    assert schema.table.decimal == ","
    assert schema.table.id == "patient_id"
    assert schema.table.dates == "%d.%m.%Y"
    assert feature_of(schema, "seen").since == "2010-01-01"
    assert len(data) == 60
    assert data.ids[0] == "P-00000"
    assert data.features[0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("mark", [-9, -99, 999, 9999])
def test_numbers_far_from_all_others_are_proposed_as_marks(write, mark):
    schema, data = infer(write, age=lambda i: mark if i % 20 == 7 else 20 + i)
    assert schema.table.marks == (("age", (str(mark),)),)
    assert "taken as missing" in notes_of(schema, "age")
    assert feature_of(schema, "age").missing == "median"
    assert np.isnan(data.features[:, 0]).sum() == 3


def test_numbers_among_others_are_no_marks(write):
    schema, _ = infer(
        write, base_excess=lambda i: i - 30, glucose=lambda i: 70 + i, x=lambda i: i * 20
    )
    assert schema.table.marks == ()
    assert feature_of(schema, "base_excess").low < -30


def test_words_among_numbers(write):
    schema, data = infer(
        write,
        a=lambda i: "unknown" if i % 20 == 3 else i,
        b=lambda i: "<7391" if i == 3 else i / 7,
        c=lambda i: ["n.d.", "12 mg"][i] if i < 2 else i,
        d=lambda i: ["1", "2", "3", "10+"][i % 4],
    )
    assert dict(schema.table.marks) == {"a": ("unknown",), "c": ("n.d.",)}
    assert "7391" not in schema.to_toml()
    assert "12 mg" not in schema.to_toml()
    assert "1 values are neither numbers nor known marks" in notes_of(schema, "b")
    assert feature_of(schema, "d").levels == ("1", "2", "3", "10+")
    assert feature_of(schema, "d").low == 4  # so that no number in a frame is another level's text
    assert len(data) == 58


def test_what_is_left_out_and_why(write):
    schema, _ = infer(
        write,
        x=lambda i: i % 7,
        last_name=lambda i: f"Erika{i % 2}",
        remark=lambda i: f"said {i}",
        empty="?",
        nr=lambda i: i // 2,
    )
    assert [feature.name for feature in schema.features] == ["x"]
    notes = notes_of(schema)
    for name, why in {
        "last_name": "personal data",
        "remark": "text of its own",
        "empty": "all its values are missing",
        "nr": "looks like an id, and is not one",
    }.items():
        assert f"column '{name}' is left out: it" in notes.replace("all its", "it all its") or why
        assert why in notes
    for cell in ("Erika", "said"):
        assert cell not in schema.to_toml()


def test_row_numbers_of_a_frame(tmp_path):
    frame = pd.DataFrame({"x": range(5, 35), "target": ["a", "b"] * 15})
    frame.to_csv(tmp_path / "own.csv")
    schema = Schema.infer(tmp_path / "own.csv")
    assert [feature.name for feature in schema.features] == ["x"]
    assert "without a name" in notes_of(schema)
    assert len(load(tmp_path / "own.csv", schema)) == 30


def test_labels(write):
    text = "a,b,c,d\n" + "".join(f"{i},{i % 2},{i / 3},{i % 3}\n" for i in range(60))
    path = write(text)
    assert Schema.infer(path).table.label == "d"
    assert Schema.infer(path, label="b").table.label == "b"
    assert (
        Schema.infer(write(text.replace("b", "Diagnosis"), "other.csv")).table.label == "Diagnosis"
    )
    assert Schema.infer(path, id="a").table.id == "a"
    assert Schema.infer(path, id="").table.id == ""
    for message, options in {
        "label: expected one of the table's 4 columns": {"label": "x"},
        "id: expected one of the table's 4 columns": {"id": "x"},
        "id: expected a column of different values": {"id": "b"},
        "expected at most 20 classes": {"label": "a"},
        "columns: expected 4 names, got 1": {"columns": ["a"]},
    }.items():
        with pytest.raises(SchemaError, match=message):
            Schema.infer(path, **options)
    with pytest.raises(SchemaError, match="say which by label="):
        Schema.infer(write("a,b\n" + "".join(f"{i},{i / 7}\n" for i in range(60))))


def test_unlabelled_rows_are_bad_rows(write):
    schema, data = infer(write, x=lambda i: 5 * i, outcome=lambda i: ["a", "b", "?"][i % 3])
    assert schema.classes == ("a", "b")
    assert "20 rows have no class" in notes_of(schema, "outcome")
    assert len(data) == 40


# --- frames ------------------------------------------------------------------------------------


def table():
    return {
        "pid": [f"p{i}" for i in range(40)],
        "age": [20 + i for i in range(40)],
        "krea": [None if i % 9 == 4 else i / 8 for i in range(40)],
        "sex": ["f" if i % 3 else "m" for i in range(40)],
        "smoker": [None if i == 5 else bool(i % 2) for i in range(40)],
        "outcome": [i % 2 for i in range(40)],
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: table(),
        lambda folder: pd.DataFrame(table()),
        lambda folder: pd.DataFrame(table()).astype({"sex": "category", "smoker": "boolean"}),
        lambda folder: pl.DataFrame(table()),
        lambda folder: pl.DataFrame(table()).with_columns(pl.col("sex").cast(pl.Enum(["f", "m"]))),
        lambda folder: pa.table(table()),
        lambda folder: pa.table(table() | {"sex": pa.array(table()["sex"]).dictionary_encode()}),
    ],
)
def test_every_form_of_a_frame_gets_the_same_schema(make, tmp_path):
    frame = make(tmp_path)
    schema = Schema.infer(frame)
    expected = Schema.infer(pa.table(table()))
    assert schema == expected
    assert schema.table.id == "pid"
    assert schema.classes == ("0", "1")
    assert [f.kind for f in schema.features] == ["ordinal", "numeric", "nominal", "nominal"]
    assert feature_of(schema, "smoker").levels == ("False", "True")
    data = Dataset.from_frame(schema, frame)
    assert data.labels.tolist() == table()["outcome"]
    assert np.isnan(data.features).sum() == 5
    pq.write_table(pa.table(table()), tmp_path / "own.parquet")
    assert Schema.infer(tmp_path / "own.parquet") == expected
    loaded = load(tmp_path / "own.parquet", schema)
    assert np.array_equal(loaded.features, data.features, equal_nan=True)


def test_categories_keep_their_order():
    kind = pd.CategoricalDtype(["low", "mid", "high", "top"], ordered=True)
    frame = pd.DataFrame({"a": pd.Series(["mid", "low"] * 9, dtype=kind), "y": ["n", "y"] * 9})
    feature = Schema.infer(frame).features[0]
    assert (feature.kind, feature.levels) == ("ordinal", ("low", "mid", "high", "top"))
    dates = pd.DataFrame({"d": pd.date_range("2011-05-01", periods=18), "y": ["n", "y"] * 9})
    schema = Schema.infer(dates)
    assert Dataset.from_frame(schema, dates).features[0] == [485]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (5, "expected a path, or a table"),
        (np.zeros((3, 2)), "expected a path, or a table"),
        (pd.DataFrame([[1, 2]]), "expected a path, or a table"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "expected 'a' only once"),
        ({"y": [0, 1] * 9}, "at least one column that can be a feature"),
        ({"a": [[1], [2]] * 9, "y": [0, 1] * 9}, "at least one column that can be a feature"),
    ],
)
def test_what_is_no_table(source, message):
    with pytest.raises(SchemaError, match=message):
        Schema.infer(source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("a\n1\n2\n", "expected rows of cells"),
        (b"a,b\n\xff,1\n", "line 2: expected UTF-8 text"),
        ("a,b\n1,\0\n", "line 2: expected text, got a NUL byte"),
        ("a,y\n", "at least one row"),
    ],
)
def test_files_that_are_no_table(write, content, message):
    with pytest.raises((SchemaError, DatasetError), match=message) as caught:
        Schema.infer(write(content))
    assert caught.value.__context__ is None
    with pytest.raises(DatasetError, match="no such file"):
        Schema.infer(Path("none.csv"))


CELLS = ["1", "2.5", " 7 ", "-9", "0", "999", "1e999", "?", "", "unknown", "<5", "true", "-0.0"]


@given(st.lists(st.lists(st.sampled_from(CELLS), max_size=9), min_size=1, max_size=5))
def test_columns_of_many_different_cells_are_summed_up_alike(chunks):
    def summed(most):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(summary, "MOST", most)
            column = summary.Summary("x")
            for chunk in chunks:
                column.feed_texts(chunk)
        names = "rows missing numbers texts special low high whole distinct rising"
        return [getattr(column, name) for name in names.split()]

    # Fractions end the search for ids, whenever they are met.
    few, many = summed(4096), summed(0)
    assert few[:8] == many[:8]
    numbers = [float(cell) for chunk in chunks for cell in chunk if NUMBER.fullmatch(cell)]
    for kind in (float, np.float32):
        column = summary.Summary("x")
        column.feed(np.array(numbers, dtype=kind))
        assert column.numbers == len(numbers)


# --- privacy -----------------------------------------------------------------------------------


@given(st.integers(0, 2**32), st.integers(20, 60))
def test_no_id_and_no_value_within_the_ends_is_in_a_proposal(seed, count):
    drawn = random.Random(seed)  # noqa: S311
    frame = {
        "id": drawn.sample(range(10_000, 99_999), count),
        "name": [f"Erika{drawn.randrange(10**6)}" for _ in range(count)],
        "age": [drawn.randrange(18, 99) for _ in range(count)],
        "krea": [round(drawn.uniform(0.40001, 19.99999), 5) for _ in range(count)],
        "remark": [f"remark {drawn.randrange(10**6)}" for _ in range(count)],
        "outcome": [place % 2 for place in range(count)],
    }
    schema = Schema.infer(frame)
    written = schema.to_toml() + schema.to_json().decode() + repr(schema.table.notes)
    assert [feature.name for feature in schema.features] == ["age", "krea"]
    for value in [*frame["id"], *frame["name"], *frame["remark"], *frame["krea"]]:
        assert str(value) not in written


@example(102666666676.0, 106666666659.0, False)  # both ends a whole step further
@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.booleans())
def test_rounded_ends_hold_what_was_found(low, span, whole):
    low, high = (np.floor(low), np.floor(low) + np.ceil(span)) if whole else (low, low + span)
    assume(high > low)
    found_low, found_high = rounded(low, high, whole=bool(whole))
    assert found_low <= low <= high <= found_high
    assert found_high - found_low <= 1.6 * (high - low) + (4 if whole else 0) + 1e-10 * abs(low)
    assert (found_low >= 0) == (low >= 0)
    if whole:
        assert found_low == int(found_low)
        assert found_high == int(found_high)


@pytest.mark.parametrize("kind", [object, str, "string[pyarrow]", "category"])
def test_frames_of_numbers_in_text_are_as_their_file(write, kind):
    """One mark among numbers makes a column of text of it."""
    text = "score,dose,class\n" + "".join(
        f"{'?' if i == 3 else i % 10 + 1},{i / 8},{i % 2}\n" for i in range(60)
    )
    expected = Schema.infer(write(text))
    assert expected.features[0].kind == "ordinal"
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    frame = frame.astype(kind)
    found = Schema.infer(frame)
    assert found.features == expected.features
    assert found.classes == expected.classes
    data = Dataset.from_frame(found, frame)
    np.testing.assert_array_equal(data.features, load(write(text), expected).features)


def test_a_category_of_its_own_is_advised_for_nominal_features_only(write):
    text = "age,sex,class\n" + "".join(
        f"{'' if i % 9 == 0 else 20 + i},{'' if i % 7 == 0 else 'fm'[i % 2]},{i % 2}\n"
        for i in range(60)
    )
    schema = Schema.infer(write(text))
    assert [feature.missing for feature in schema.features] == ["median", "median"]
    assert '9 of 60 are missing; "level" if the method is evidence' in notes_of(schema, "sex")
    assert "evidence" not in notes_of(schema, "age")

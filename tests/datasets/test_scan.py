"""People without labels, read piece by piece: whatever the size of a piece, the same rows."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ompd
from ompd.datasets import scan
from ompd.errors import DatasetError
from ompd.schema import TableForm

FEATURES = (
    ompd.Feature("age", "ordinal", 0, 120),
    ompd.Feature("sex", "nominal", 0, 1, levels=("f", "m")),
    ompd.Feature("dose", "numeric", 0, 2.5, missing="median"),
)


def schema(**form):
    return ompd.Schema(FEATURES, ("no", "yes"), TableForm(**form) if form else None)


def rows(path, form, id=None):
    """All pieces, one after the other, with the place of each fault among all rows."""
    values, good, told, ids = [], [], [], []
    for read in scan(path, form, id):
        people = read()
        assert len(people.values) == people.good.sum()
        told += [(len(good) + each.row, each.column) for each in people.told]
        good += people.good.tolist()
        values += people.values.tolist()
        ids += [] if people.ids is None else people.ids.tolist()
    return values, good, told, ids


CELLS = st.tuples(
    st.sampled_from(["40", "0", "7.5", "300", "", '4"']),
    st.sampled_from(["f", "m", "x"]),
    st.sampled_from(["0.5", "2", "?", "9", ""]),
    st.sampled_from(["a", "b,c", "d\ne", 'f"g', "h\r\ni"]),
)


def expected(table):
    """Oracle: rows as Python reads cells."""
    values, told = [], []
    for place, (age, sex, dose, _) in enumerate(table):
        faults = []
        if not age.isdigit() or int(age) > 120:
            faults.append((place, "age"))
        if sex not in {"f", "m"}:
            faults.append((place, "sex"))
        if dose not in {"?", ""} and float(dose) > 2.5:
            faults.append((place, "dose"))
        if not faults:
            number = float("nan") if dose in {"?", ""} else float(dose)
            values.append([float(age), float("fm".index(sex)), number])
        told += faults
    return values, told


@given(
    st.lists(CELLS, min_size=1, max_size=30), st.integers(1, 200), st.sampled_from(["\n", "\r\n"]),
    st.integers(0, 3),
)  # fmt: skip
def test_rows_do_not_depend_on_pieces(tmp_path_factory, table, size, ends, blanks):
    path = tmp_path_factory.mktemp("scan") / "in.csv"
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=ends)
    writer.writerow(["age", "sex", "dose", "note"])
    writer.writerows(table)
    path.write_bytes(text.getvalue().encode() + blanks * ends.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ompd.datasets._scan.PIECE", size)
        values, good, told, ids = rows(path, schema(), "note")
    wanted, faults = expected(table)
    np.testing.assert_array_equal(np.reshape(values, (-1, 3)), np.reshape(wanted, (-1, 3)))
    assert told == faults
    assert good == [place not in dict(faults) for place in range(len(table))]
    assert ids == [note.strip() for *_, note in table]


def test_a_large_file_is_read_by_the_kernel_alike(tmp_path, rng):
    frame = pd.DataFrame(
        {
            "case": np.arange(40_000), "age": rng.integers(0, 125, 40_000),
            "sex": np.array(["f", "m"])[rng.integers(0, 2, 40_000)],
            "dose": rng.uniform(0, 2.5, 40_000),
        }
    )  # fmt: skip
    frame.to_csv(tmp_path / "in.csv", index=False)
    frame.to_parquet(tmp_path / "in.parquet")
    form = schema(id="case")
    values, good, told, ids = rows(tmp_path / "in.csv", form)
    kept = frame["age"] <= 120
    assert good == kept.tolist()
    assert [row for row, _ in told] == np.flatnonzero(~kept).tolist()
    assert ids == frame["case"].astype(str).tolist()
    assert (np.array(values)[:, 2] == frame["dose"][kept]).all()
    assert rows(tmp_path / "in.parquet", form) == (values, good, told, ids)


def test_blank_and_ragged_rows_within_are_faults(tmp_path, monkeypatch):
    path = tmp_path / "in.csv"
    path.write_text("age,sex,dose\n40,f,1\n\n\n50,m\n60,f,1,2\n70,m,2\n\n")
    for size in (1, 9, 13, 1000):
        monkeypatch.setattr("ompd.datasets._scan.PIECE", size)
        values, good, told, _ = rows(path, schema())
        assert values == [[40, 0, 1], [70, 1, 2]]
        assert good == [True, False, False, False, False, True]
        assert told == [(1, ""), (2, ""), (3, ""), (4, "")]


def test_files_without_header_have_the_label_or_not(tmp_path):
    form = schema(columns=("case", "age", "sex", "dose", "class"), id="case", label="class")
    (tmp_path / "old.data").write_text("a,40,f,1,no\nb,50,m,2,yes\n")
    (tmp_path / "new.data").write_text("a,40,f,1\nb,50,m,2\n")
    found = rows(tmp_path / "old.data", form)
    assert found == rows(tmp_path / "new.data", form)
    assert found[0] == [[40, 0, 1], [50, 1, 2]]
    assert found[3] == ["a", "b"]


def test_a_file_without_header_that_lacks_the_ids_is_not_taken_for_one_without_labels(tmp_path):
    names = ("case", "age", "years", "class")
    form = ompd.Schema(
        (ompd.Feature("age", "ordinal", 0, 120), ompd.Feature("years", "ordinal", 0, 10)),
        ("2", "4"),
        TableForm(columns=names, id="case", label="class"),
    )
    (tmp_path / "none.data").write_text("40,1,2\n50,3,4\n60,2,2\n")
    with pytest.raises(DatasetError, match="the id or the label"):
        rows(tmp_path / "none.data", form)
    # An id that is no age, or a last cell that is no class, decides.
    (tmp_path / "ids.data").write_text("40,1,2\n1000,3,4\n41,2,2\n")
    assert rows(tmp_path / "ids.data", form)[3] == ["40", "1000", "41"]
    (tmp_path / "values.data").write_text("40,1,2\n50,3,3\n60,2,2\n")
    assert rows(tmp_path / "values.data", form)[0] == [[1, 2], [3, 3], [2, 2]]


def test_arff_in_pieces(tmp_path, monkeypatch):
    path = tmp_path / "in.arff"
    body = "".join(f"{20 + row},f,1.5\n% said later\n" for row in range(30))
    path.write_text(
        "@relation people\n@attribute age numeric\n@attribute sex {f,m}\n@attribute dose numeric\n"
        "@data\n" + body
    )
    whole = rows(path, schema())
    assert whole[0] == [[20 + row, 0, 1.5] for row in range(30)]
    monkeypatch.setattr("ompd.datasets._scan.PIECE", 200)
    assert rows(path, schema()) == whole


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"age,sex\n1,f\n", "expected a column 'dose'"),
        (b"age,sex,dose,age\n1,f,1,2\n", "single column 'age'"),
        (b"age,sex,dose\n1,\xff,1\n", "line 2: expected UTF-8"),
        (b"age,sex,dose\n1,f,1\n2,\0,1\n", "line 3: .*NUL"),
        (b'age,sex,dose\n1,f,"1\n', "misplaced quote"),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_what_is_no_such_file(tmp_path, monkeypatch, content, message, size):
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    monkeypatch.setattr("ompd.datasets._scan.PIECE", size)
    with pytest.raises(DatasetError, match=message):
        rows(path, schema())


def test_a_column_of_ids_that_is_asked_for_is_there(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("age,sex,dose\n40,f,1\n")
    # One that the schema names may be missing: new people may have none.
    assert rows(path, schema(id="case"))[3] == []
    with pytest.raises(DatasetError, match="'case'"):
        rows(path, schema(), "case")


def test_a_quote_that_nobody_closes_takes_no_memory(tmp_path, monkeypatch):
    path = tmp_path / "in.csv"
    path.write_bytes(b'age,sex,dose\n1,f,"' + b"1\n" * 10_000)
    monkeypatch.setattr("ompd.datasets._scan.PIECE", 100)
    monkeypatch.setattr("ompd.datasets._scan._MOST", 5000)
    with pytest.raises(DatasetError, match="a quote may be open"):
        rows(path, schema())


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_no_file(tmp_path, name):
    with pytest.raises(DatasetError):
        rows(tmp_path / name, schema())

"""Reading a hospital's own file: what is accepted, and what each refusal says and keeps back."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.datasets import _blocks, _columns, _table, load
from ompd.errors import (
    DatasetError,
    DomainError,
    FeatureError,
    LabelError,
    OmpdError,
    SchemaError,
)
from ompd.schema import Feature, Schema

SCHEMA = Schema(
    (Feature("age", "ordinal", 0.0, 120.0), Feature("dose, mg", "numeric", -1.5, 1e6)),
    ("benign", "malignant"),
)
HEADER = 'age,"dose, mg",finding\n'
GOOD = "50,1.5,benign\n"
COLUMNS = _columns.Columns(["age", "dose, mg", "finding"], SCHEMA, "x")
TEXT = "Erika7391"  # planted wherever a patient's data could stand
NUMBER = "7391"


@pytest.fixture(params=["by the kernel", "by cell"], autouse=True, scope="module")
def how(request):
    """Large files are read by the kernel, small ones cell by cell; both must say the same."""
    usual = _blocks.FAST_BYTES
    _blocks.FAST_BYTES = 0 if request.param == "by the kernel" else 1 << 40
    yield
    _blocks.FAST_BYTES = usual


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "own.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refused(kind, path, schema=SCHEMA):
    """Load, expect exactly `kind`, return its message after searching the whole chain for leaks."""
    with pytest.raises(OmpdError) as caught:
        load(path, schema)
    error = caught.value
    assert type(error) is kind
    link = error
    while link is not None:
        said = str(link) + repr(link.args) + repr(vars(link))
        for marker in (TEXT, NUMBER, "Erika", "7391"):
            assert marker not in said
        assert isinstance(link, OmpdError)
        assert link.__cause__ is None
        link = link.__context__
    return str(error)


@pytest.mark.parametrize("leak", ["message", "attribute", "cause", "context"])
def test_refused_finds_leaks(monkeypatch, leak):
    def leaky(*_):
        error = DatasetError(TEXT if leak == "message" else "harmless")
        if leak == "attribute":
            error.value = NUMBER
        if leak == "cause":
            error.__cause__ = ValueError(TEXT)
        if leak == "context":
            error.__context__ = ValueError(TEXT)
        raise error

    monkeypatch.setitem(globals(), "load", leaky)
    with pytest.raises(AssertionError):
        refused(DatasetError, "any")


def test_own_file(write):
    path = write(HEADER + GOOD + "51,-1.5,malignant\n")
    dataset = load(path, SCHEMA)
    assert dataset.features.tolist() == [[50, 1.5], [51, -1.5]]
    assert dataset.labels.tolist() == [0, 1]
    assert dataset.class_rows == dataset.info.class_rows == (1, 1)
    assert dataset.name == "own"
    assert dataset.info.rows == 2
    assert load(str(path), SCHEMA).info == dataset.info


def test_schema_from_file(write, tmp_path):
    path = write(HEADER + GOOD)
    file = tmp_path / "schema.json"
    for prefix in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(prefix + SCHEMA.to_json())
        assert load(path, file).schema == load(path, str(file)).schema == SCHEMA


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + (HEADER + GOOD).encode(),
        (HEADER + GOOD).replace("\n", "\r\n"),
        (HEADER + GOOD).replace("\n", "\r"),
        HEADER + GOOD.rstrip(),
        HEADER + GOOD + "\n\r\n\n",
        HEADER + '"50","1.5","benign"\n',
        HEADER + " 50 , 1.5,  benign \n",
        HEADER + "50\t,\t1.5,benign\t \n",
        'finding_of,extra,"dose, mg",age,finding\nx,y,1.5,50,benign\n',
        ' age ,"dose, mg", finding \n' + GOOD,
        HEADER + "5e1,+15.E-1,benign\n",
        HEADER + "0050.000,1.50,benign\n",
    ],
)
def test_accepted_forms(write, content):
    dataset = load(write(content), SCHEMA)
    assert dataset.features.tolist() == [[50, 1.5]]
    assert dataset.labels.tolist() == [0]


def test_class_names_may_look_like_anything(write):
    schema = Schema((Feature("x", "numeric", 0.0, 1.0),), ("ja, früh", " 1", "1", "NA"))
    path = write('x,y\n0,"ja, früh"\n0, 1\n0,1\n0,1 \n0,NA\n')
    assert load(path, schema).labels.tolist() == [0, 1, 2, 2, 3]


# --- refusals ----------------------------------------------------------------------------------


def test_missing_file(tmp_path):
    assert "no such file" in refused(DatasetError, tmp_path / "none.csv")
    assert "folder" in refused(DatasetError, tmp_path)
    assert "cannot be read" in refused(DatasetError, "a\0b")
    (tmp_path / "own.csv").write_text(HEADER + GOOD)
    refused(DatasetError, tmp_path / "own.csv", tmp_path / "none.json")


def test_schema_must_fit_the_call(write):
    path = write(HEADER + GOOD)
    assert refused(DatasetError, path, None).startswith("schema: needed")
    assert "wbc, mm" in refused(DatasetError, "wcb", None)
    assert refused(DatasetError, "wbc").startswith("schema: 'wbc' brings its own")
    assert "got int" in refused(DatasetError, path, 5)
    assert "got bytes" in refused(DatasetError, b"wbc", None)
    assert "got NoneType" in refused(DatasetError, None, None)
    with pytest.raises(SchemaError):
        load(path, path)
    assert "no such file" in refused(DatasetError, Path("wbc"))


@pytest.mark.parametrize("content", ["", "\n", "\r\n \n", b"\xef\xbb\xbf"])
def test_empty_file(write, content):
    assert refused(DatasetError, write(content)) == (
        "own.csv: expected a header and rows, the file is empty"
    )


def test_no_rows(write):
    assert "at least one row" in refused(DatasetError, write(HEADER))


@pytest.mark.parametrize(
    ("header", "place"),
    [
        (f"{TEXT},{NUMBER},x", "line 1: expected a column 'age' among 3; schema.table says"),
        (f'age,{TEXT},"{NUMBER}"', "line 1: expected a column 'dose, mg' among 3"),
        (f'Age,"dose, mg",{TEXT}', "line 1: expected a column 'age'"),
        (f"age;dose;{TEXT}", "line 1: expected a column 'age' among 1"),
        (f'age,"dose, mg"\n{TEXT},1', "line 1: expected a name of its own"),
        (f'age,age,"dose, mg",{TEXT}', "line 1: expected a single column 'age'"),
        (f'age,"dose, mg",{TEXT},{TEXT}', "line 1: expected a single column of labels"),
        (f"\nage,{TEXT}", "line 1: expected a name of its own"),
        ('age,"dose, mg",', "line 1: expected a name of its own"),
        ('age,"dose, mg", age', "line 1: expected a name of its own"),
    ],
)
def test_wrong_header(write, header, place):
    assert place in refused(DatasetError, write(header + "\n" + GOOD))


@pytest.mark.parametrize(
    ("row", "got"),
    [
        (f"{NUMBER},{NUMBER}", 2),
        (TEXT, 1),
        (f"50,1.5,benign,{TEXT}", 4),
        ("50,1.5,benign,", 4),
        ("\n" + GOOD, 0),
        ("   \n" + GOOD, 1),
    ],
)
def test_wrong_number_of_cells(write, row, got):
    message = refused(DatasetError, write(HEADER + GOOD + row + "\n" + GOOD))
    assert message == f"own.csv, line 3: expected 3 cells, got {got}"


@pytest.mark.parametrize("cell", ["", " ", "?", "NA", "N/A", "nan", "NaN", "null", "None", "-"])
def test_missing_value(write, cell):
    message = refused(FeatureError, write(f"{HEADER}{GOOD}50,{cell},benign\n"))
    assert message == ("own.csv, line 3, column 'dose, mg': expected a number, got a missing value")
    message = refused(LabelError, write(f"{HEADER}{GOOD}50,1.5,{cell}\n"))
    assert message == (
        "own.csv, line 3, column 'finding': expected one of benign, malignant, got a missing value"
    )


@pytest.mark.parametrize(
    "cell",
    [
        TEXT,
        NUMBER + "x",
        "x" + NUMBER,
        "7_391",
        "0x7391",
        "inf",
        "-inf",
        "Infinity",
        "+nan",
        "1e",
        ".",
        "e5",
        "--1",
        "1 2",
        '"7,391"',
        "7391mg",
        "٣",
        "１",
        "\xa01",
        "True",
        "1j",
        '"1\n"',
        "=7391",
    ],
)
def test_no_number(write, cell):
    message = refused(FeatureError, write(f"{HEADER}{GOOD}50,{cell},benign\n"))
    assert message == "own.csv, line 3, column 'dose, mg': expected a number, got other text"


@pytest.mark.parametrize("cell", [NUMBER, "-7391", "121", "-1", "1e999", "-1e999", "50.7391"])
def test_out_of_domain(write, cell):
    message = refused(DomainError, write(f"{HEADER}{GOOD}{cell},1.5,benign\n"))
    assert message == "own.csv, line 3, column 'age': expected a whole number from 0 to 120"


def test_out_of_numeric_domain(write):
    message = refused(DomainError, write(HEADER + GOOD + "50,-7391,benign\n"))
    assert message == "own.csv, line 3, column 'dose, mg': expected a number from -1.5 to 1e+06"


@pytest.mark.parametrize("cell", [TEXT, NUMBER, "Benign", "0", "benign.", "benign7391"])
def test_unknown_class(write, cell):
    message = refused(LabelError, write(f"{HEADER}{GOOD}50,1.5,{cell}\n"))
    assert message == (
        "own.csv, line 3, column 'finding': expected one of benign, malignant, got another text"
    )


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xed\xa0\x80", "ü".encode("latin-1")])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_not_utf8(write, bad, mark):
    content = mark + (HEADER + GOOD).encode() + TEXT.encode() + bad + b"," + TEXT.encode()
    message = refused(DatasetError, write(content))
    assert message == "own.csv, line 3: expected UTF-8 text"


def test_other_encodings(write):
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        refused(DatasetError, write((HEADER + f"{TEXT}," + GOOD).encode(encoding)))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_nul_byte(write, end):
    content = (HEADER + GOOD + f"50\0,{NUMBER},{TEXT}\n").replace("\n", end)
    assert refused(DatasetError, write(content)) == (
        "own.csv, line 3: expected text, got a NUL byte"
    )


@pytest.mark.parametrize(
    "row", [f'"{TEXT}"x,1,benign', f'"{TEXT},1,benign', f'"{TEXT}\n\n,"x', "9" * 200_000]
)
def test_broken_quotes_and_huge_cells(write, row):
    message = refused(DatasetError, write(HEADER + GOOD + row + "\n" + GOOD))
    assert message.startswith("own.csv, line 3: expected comma-separated cells")


def test_lines_count_through_quoted_breaks(write):
    schema = Schema((Feature("x", "numeric", 0.0, 1.0),), ("two\nlines", "one"))
    path = write(f'x,y\n0,"two\nlines"\n0,one\n{TEXT},one\n')
    assert "line 5, column 'x'" in refused(FeatureError, path, schema)


def test_first_fault_of_form_is_named(write):
    rows = [GOOD] * 20
    rows[4] = f"{NUMBER},1.5,benign\n"  # a domain: looked at once the form of all rows is right
    rows[6] = f"50,1.5,{TEXT}\n"
    rows[9] = f"{TEXT},1.5,benign\n"
    rows[12] = f"{TEXT}\n"
    assert "line 8, column 'finding'" in refused(LabelError, write(HEADER + "".join(rows)))
    del rows[6]
    assert "line 10, column 'age'" in refused(FeatureError, write(HEADER + "".join(rows)))
    del rows[8]
    assert "line 12: expected 3 cells" in refused(DatasetError, write(HEADER + "".join(rows)))
    del rows[10]
    assert "line 6, column 'age'" in refused(DomainError, write(HEADER + "".join(rows)))


@pytest.mark.parametrize("row", [0, 1, 6, 7, 8, 14, 20])
def test_lines_across_chunks(write, row, monkeypatch):
    monkeypatch.setattr(_blocks, "CHUNK_ROWS", 7)
    monkeypatch.setattr(_blocks, "CHUNK_CELLS", 21)
    rows = [GOOD] * 21
    assert len(load(write(HEADER + "".join(rows)), SCHEMA)) == 21
    for kind, bad in ((FeatureError, f"{TEXT},1,benign\n"), (DomainError, f"{NUMBER},1,benign\n")):
        rows[row] = bad
        assert f"line {row + 2}, column 'age'" in refused(kind, write(HEADER + "".join(rows)))


# --- properties --------------------------------------------------------------------------------

NUMBERS = st.floats(-1.5, 1e6)


@given(st.lists(st.tuples(st.integers(0, 120), NUMBERS, st.integers(0, 1)), min_size=1))
def test_round_trip(rows):
    lines = [f"{age},{dose!r},{SCHEMA.classes[code]}\n" for age, dose, code in rows]
    table = _table.read_table((HEADER + "".join(lines)).encode(), SCHEMA, "x")
    _table.check_domains(table, "x")
    assert table.values.tolist() == [[age, dose] for age, dose, _ in rows]
    assert table.codes.tolist() == [code for *_, code in rows]
    assert table.lines.tolist() == list(range(2, len(rows) + 2))


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=6))
def test_domains_agree_with_the_schema(rows):
    values = np.array(rows)[~np.isnan(rows).any(axis=1)]
    rows = np.arange(len(values))
    table = _table.Table(values, rows, rows, rows, None, [], COLUMNS)
    outcomes = []
    for check in (
        lambda: _table.check_domains(table, "x"),
        lambda: SCHEMA.check(np.clip(values, -1e308, 1e308)),
    ):
        try:
            check()
            outcomes.append(None)
        except DomainError as error:
            outcomes.append(type(error))
    assert outcomes[0] is outcomes[1]


@given(st.text(st.characters(exclude_characters=',"\r\n\0', exclude_categories=["Cs"])))
def test_a_cell_is_a_plain_decimal_or_refused(cell):
    schema = Schema((Feature("x", "numeric", -1e300, 1e300),), ("c",))
    raw = f"x,y\n{cell},c".encode()
    try:
        table = _table.read_table(raw, schema, "x")
    except FeatureError:
        return
    # Blanks and tabs around a number are no part of it.
    assert set(cell) <= set("0123456789+-.eE \t")
    assert table.values.item() == float(cell)


@given(st.binary(max_size=200))
def test_only_own_errors_escape(content):
    for raw in (content, HEADER.encode() + content, (HEADER + GOOD).encode() + content):
        caught = None
        try:
            _table.check_domains(_table.read_table(raw, SCHEMA, "x"), "x")
        except OmpdError as error:
            caught = error
        assert caught is None or caught.__context__ is None


def test_hostile_cell_takes_linear_time(write):
    path = write(HEADER + "1" * 130_000 + "x,1,benign\n")
    start = time.perf_counter()
    refused(FeatureError, path)
    assert time.perf_counter() - start < 1


def test_large_file(write):
    rows = 100_000
    start = time.perf_counter()
    dataset = load(write(HEADER + GOOD * rows), SCHEMA)
    assert len(dataset) == rows
    assert time.perf_counter() - start < 10  # 0.4 s when written

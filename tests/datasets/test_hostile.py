"""Files made to hurt: refused or bounded, in time and in memory, and never quoted."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ompd.datasets import _blocks, _table, load
from ompd.errors import DatasetError, OmpdError, SchemaError
from ompd.schema import Feature, Schema, TableForm, arrow, delimited
from tests.places import ROOT

SCHEMA = Schema((Feature("x", "numeric", 0, 9),), ("a", "b"))
MARKER = "Erika7391"


@pytest.fixture(params=["by the kernel", "by cell"])
def how(request, monkeypatch):
    monkeypatch.setattr(_blocks, "FAST_BYTES", 0 if request.param == "by the kernel" else 1 << 40)


def error_of(call):
    """Return the error of this package that a call raises, or None."""
    try:
        call()
    except OmpdError as error:
        return error
    return None


@pytest.fixture
def refused(tmp_path, how):
    """Load and propose for hostile content; expect a message that fits, and no leak."""

    def refused(content, message, schema=SCHEMA, name="own.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        start = time.perf_counter()
        with pytest.raises(OmpdError, match=message) as caught:
            load(path, schema)
        said = error_of(lambda: Schema.infer(path))
        if said is not None:
            assert MARKER not in str(said)
            assert said.__context__ is None
        assert time.perf_counter() - start < 20
        assert MARKER not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None

    return refused


@pytest.mark.parametrize("end", [b"", b"\n1,a\n", b"\r1,a"])
def test_a_line_without_end(refused, monkeypatch, end):
    monkeypatch.setattr(delimited, "MAX_LINE", 1 << 16)
    refused(b"x,y\n1,a\n" + b"7391" * (1 << 15) + end, "line 3: expected at most 65536 bytes")
    refused(b"7391" * (1 << 15) + end, "line 1: expected at most 65536 bytes")


def test_very_many_columns(refused):
    width = delimited.MAX_COLUMNS + 1
    names = ",".join(["x", *(f"n{place}" for place in range(width - 2)), "y"])
    row = ",".join(["1"] * (width - 1) + ["a"])
    refused(f"{names}\n{row}\n", "expected at most 16384 columns, got 16385")
    head = "@relation r\n" + "@attribute x real\n" * width
    refused(head + "@data\n1", "expected at most 16384 columns")


@pytest.mark.parametrize(
    "content",
    [
        'x,y\n"' * 2000,
        'x,y\n1,"a' + '"' * 99_999,
        'x,y\n"' + MARKER * 20_000,
        "x,y\n" + '"",' * 9000,
        'x,y\n1,a\n"' + MARKER + "\n" * 70_000,
    ],
)
def test_deep_quotes(refused, content):
    refused(content, "line [23]")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
def test_other_encodings(refused, encoding):
    refused(f"x,y\n1,{MARKER}ü\n".encode(encoding), "expected UTF-8 text|NUL byte|column 'x'")


@pytest.mark.parametrize("content", [b"\0" * 4096, b"x,y\n1,a\n" + b"\0" * 4096, b"x,y\n\0,a\n"])
def test_nuls(refused, content):
    refused(content, "got a NUL byte")


@pytest.mark.parametrize("content", [b"\n" * 300_000, b"\r\n" * 300_000, b" " * 300_000])
def test_nothing_but_blanks(refused, content):
    refused(content, "the file is empty|expected a name of its own")


def test_no_more_faults_than_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(_table, "MOST_FAULTS", 1000)
    path = tmp_path / "own.csv"
    path.write_text("x,y\n1,a\n" + "\n7391" * 2000)
    with pytest.raises(DatasetError, match="more than 1000 faults"):
        load(path, SCHEMA, errors="collect")


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    try:
        with pytest.raises(DatasetError, match="expected a regular file"):
            load(tmp_path / "pipe", SCHEMA)
    finally:
        os.close(writer)
    with pytest.raises(DatasetError, match="expected a regular file"):
        load("/dev/zero", SCHEMA)


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "own.csv"
    with path.open("wb") as file:
        file.truncate(delimited.MOST_BYTES + 1)
    with pytest.raises(DatasetError, match="expected at most 8589934592 bytes"):
        load(path, SCHEMA)


CODE = """
import resource, sys
from ompd.datasets import load
from ompd.errors import OmpdError
from ompd.schema import Feature, Schema
schema = Schema((Feature("x", "numeric", 0, 9),), ("a", "b"))
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), -1))
try:
    print(load(sys.argv[1], schema))
except OmpdError as error:
    print(type(error).__name__, error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most >> 10)
"""


def in_own_process(path, most=6 << 30):
    """Load with bounded address space; return what it says and how many MiB it grew."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(path), str(most)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said, grown = done.stdout.splitlines()
    return said, int(grown)


@pytest.mark.long
def test_a_gigabyte_in_a_line_costs_its_own_size(tmp_path):
    path = tmp_path / "own.csv"
    with path.open("wb") as file:
        file.write(b"x,y\n")
        for _ in range(1024):
            file.write(b"1" * (1 << 20))
    said, grown = in_own_process(path)
    assert said.startswith("DatasetError own.csv, line 2: expected at most 4194304 bytes")
    assert grown < 1500


# --- Parquet -----------------------------------------------------------------------------------


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=1 << 20)
    return path


def test_one_long_text_a_million_times(tmp_path):
    """2 MB of text in a dictionary: written out, they would be 2 TB."""
    indices = pa.array([0] * 1_000_000, pa.int32())
    texts = pa.DictionaryArray.from_arrays(indices, [MARKER * (1 << 18)])
    path = parquet(tmp_path / "own.parquet", x=texts, y=pa.array(["a"] * 1_000_000))
    assert path.stat().st_size < 1 << 22
    said, grown = in_own_process(path)
    assert said.startswith("FeatureError row 0, feature 'x': expected a number")
    assert MARKER not in said
    assert grown < 800


def test_rows_that_take_no_room(tmp_path, monkeypatch):
    rows = 1 << 22
    path = parquet(tmp_path / "own.parquet", x=pa.array([1] * rows), y=pa.array(["a"] * rows))
    assert path.stat().st_size < 1 << 16
    monkeypatch.setattr(arrow, "MOST_ROWS", rows - 1)
    with pytest.raises(DatasetError, match="expected at most 4194303 rows"):
        load(path, SCHEMA)
    monkeypatch.setattr(arrow, "MOST_ROWS", rows)
    monkeypatch.setattr(arrow, "MOST_BYTES", 100)
    with pytest.raises(DatasetError, match="unfolds to more than 100 bytes"):
        load(path, SCHEMA)


def test_nested_and_double_columns(tmp_path):
    path = parquet(tmp_path / "own.parquet", x=pa.array([[1]]), y=pa.array(["a"]))
    with pytest.raises(DatasetError, match="column 'x': expected plain values"):
        load(path, SCHEMA)
    columns = pa.table([pa.array([1])] * 2, names=["x", "x"])
    pq.write_table(columns, path)
    with pytest.raises(DatasetError, match="expected different names"):
        load(path, SCHEMA)
    with pytest.raises(DatasetError, match="expected different names"):
        Schema.infer(path)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_every_cut_and_flip_is_refused_or_harmless(tmp_path, form):
    path = tmp_path / f"own.{form}"
    table = pa.table({"x": [1.0, 2.0], "y": ["a", "b"], "note": [MARKER, MARKER]})
    if form == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    good = path.read_bytes()
    for place in range(4, len(good), 7):
        for bad in (good[:place], good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :]):
            path.write_bytes(bad)
            said = error_of(lambda: load(path, SCHEMA))
            if said is not None:
                assert MARKER not in str(said)
                assert said.__cause__ is None
                assert said.__context__ is None or isinstance(said.__context__, OmpdError)


def test_without_pyarrow(tmp_path, monkeypatch):
    path = parquet(tmp_path / "own.parquet", x=pa.array([1]), y=pa.array(["a"]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OmpdError, match=r"needs pyarrow; install ompd\[arrow\]"):
        load(path, SCHEMA)


# --- memory ------------------------------------------------------------------------------------


def test_a_file_is_not_held_as_python_strings(tmp_path):
    """Two copies of the file and four of the numbers are enough."""
    path = tmp_path / "own.csv"
    rows = 1_000_000
    path.write_text("x,y\n" + "1.25,a\n" * rows)
    _, grown = in_own_process(path)
    assert grown < 250  # 130 for loading the kernels, 60 for the rest


def test_a_schema_that_does_not_fit_is_told_at_once(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("1,a\n" * 1000)
    made = Schema(SCHEMA.features, SCHEMA.classes, TableForm(columns=("x", "z", "y")))
    with pytest.raises(DatasetError, match="line 1: expected 3 cells, got 2"):
        load(path, made)
    with pytest.raises(SchemaError):
        Schema(SCHEMA.features, SCHEMA.classes, TableForm(columns=("z", "y")))

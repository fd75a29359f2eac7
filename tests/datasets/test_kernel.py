"""The compiled reader: the same numbers as Python's float, bit for bit, and the same rows."""

from __future__ import annotations

import math
import random
import re
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ompd._kernels import cells, decimals
from ompd.datasets import _blocks, _columns, _table
from ompd.errors import OmpdError
from ompd.schema import Feature, Schema, TableForm

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def bits_of(value):
    return struct.pack("<d", value)


def parsed(text, decimal="."):
    data = np.frombuffer(b"x" + text.encode() + b"9", dtype=np.uint8)
    what, value, bits, end = decimals.parse(data, 1, len(data) - 1, np.uint8(ord(decimal)))
    if end != len(data) - 1:
        return None
    if what == decimals.BITS:
        return struct.unpack("<d", struct.pack("<Q", int(bits)))[0]
    return {decimals.VALUE: value, decimals.HARD: "hard"}.get(what)


def check(text):
    found = parsed(text)
    if NUMBER.fullmatch(text):
        assert found == "hard" or bits_of(found) == bits_of(float(text))
    else:
        assert found is None


PATTERNS = st.integers(0, 2**64 - 1).map(
    lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]
)
DIGITS = st.text("0123456789", max_size=24)


@given(PATTERNS.filter(math.isfinite), st.sampled_from([repr, "{:.17e}".format, "{:.16g}".format]))
@example(5e-324, repr)
@example(1.7976931348623157e308, repr)
@example(2.2250738585072014e-308, repr)
def test_every_float_comes_back(value, write):
    check(write(value))
    assert parsed(repr(value)) in (value, "hard")


@given(
    st.sampled_from(["", "+", "-"]), DIGITS, st.sampled_from(["", "."]), DIGITS,
    st.sampled_from(["", "e", "E"]), st.integers(-400, 400),
)  # fmt: skip
@example("", "9007199254740993", "", "", "", 0)  # halfway between two floats
@example("", "18446744073709551615", "", "", "e", 0)
@example("", "1", ".", "7976931348623159", "e", 308)
@example("", "", ".", "", "", 0)
@example("-", "0", ".", "0", "e", 9)
def test_decimals_are_rounded_as_by_float(sign, whole, point, fraction, mark, power):
    check(sign + whole + point + (fraction if point else "") + mark + (str(power) if mark else ""))


@given(st.integers(2**52, 2**53 - 1), st.integers(-20, 20), st.integers(-1, 1))
def test_halfway_and_beside_it(mantissa, power, beside):
    """The hardest: the decimal that is just between two floats, and its neighbours."""
    check(f"{(2 * mantissa + 1) * 2 ** max(power, 0) + beside}e{min(power, 0)}")


@given(st.text("0123456789+-.eE ,_xnaif", max_size=8))
def test_only_plain_decimals_are_numbers(text):
    check(text)


def test_most_numbers_are_done_by_the_kernel(rng):
    values = [repr(value) for value in rng.random(2000) * 10.0 ** rng.integers(-30, 30, 2000)]
    assert sum(parsed(text) == "hard" for text in values) < 20


def test_decimal_comma():
    assert parsed("1,5", ",") == 1.5
    assert parsed("1.5", ",") is None


def test_constants_are_those_of_the_kernel():
    assert (cells.SKIP, cells.LABEL, cells.ID) == (_columns.SKIP, _columns.LABEL, _columns.ID)


# --- rows --------------------------------------------------------------------------------------

SCHEMA = Schema(
    (
        Feature("a", "numeric", -1e300, 1e300, missing="median"),
        Feature("b", "nominal", 0, 2, levels=("no", "yes", "täglich"), missing="level"),
        Feature("c", "ordinal", 0, 9),
        Feature("d", "numeric", 0, 1e5, since="2000-01-01", missing="median"),
    ),
    ("benign", "2"),
    TableForm(
        label="y",
        id="id",
        columns=("id", "a", "x", "b", "c", "d", "y"),
        separator=";",
        decimal=",",
        marks={"a": ["-9", "unknown"]},
        texts={"4": "2"},
    ),
)
CELLS = {
    "id": ["p1", "p2", "77", "", "é", " q ", "x" * 65],
    "a": ["1", "1,5", "-9", "-9,0", "NA", "unknown", "Unknown", "1.5", "7391x", "1e999", "0,1e-3"],
    "x": ["", "7391", '"a;b"', "?"],
    "b": ["no", "yes", " yes\t", "täglich", "?", "maybe", "NaN", "1"],
    "c": ["1", "9", "10", "1,5", "", '"3"', " 4 "],
    "d": ["2000-01-02", "2000-02-30", "31", "", "?"],
    "y": ["benign", "2", "4", " 4", "malignant", "", "NA"],
}


@st.composite
def files(draw):
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        row = [draw(st.sampled_from(options)) for options in CELLS.values()]
        if draw(st.integers(0, 9)) == 0:
            row = row[: draw(st.integers(0, 6))] + draw(st.sampled_from([[], ["", "1", ""]]))
        rows.append(";".join(row))
    lines = [row + draw(st.sampled_from(["\n", "\r\n", "\r"])) for row in rows]
    if draw(st.integers(0, 5)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["\n", '"a\nb";1\n'])))
    return "".join(lines).encode()


def outcome(raw, size, *, lenient):
    """All that reading says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "FAST_BYTES", size)
        patch.setattr(_blocks, "CHUNK_CELLS", 21)
        try:
            table = _table.read_table(raw, SCHEMA, "x", lenient=lenient)
        except OmpdError as error:
            return type(error), str(error), error.__context__
        values = np.nan_to_num(table.values, nan=-77.0).tolist()
        lists = [array.tolist() for array in (table.codes, table.rows, table.lines)]
        ids = None if table.ids is None else table.ids.tolist()
        return values, *lists, ids, table.faults, _table.domain_faults(table)


@given(files(), st.booleans())
def test_the_kernel_says_what_reading_by_cell_says(raw, lenient):
    assert outcome(raw, 0, lenient=lenient) == outcome(raw, 1 << 40, lenient=lenient)


def test_a_known_file():
    raw = b"p1;1,5;;yes;3;2000-01-02;4\np2;-9;x;?;4;;benign\np3;1;;yes;5;1;maybe\n1;2\n"
    values, codes, rows, lines, ids, faults, outside = outcome(raw, 0, lenient=True)
    assert values == [[1.5, 1, 3, 1], [-77, -77, 4, -77], [1, 1, 5, 1]]
    assert codes == [1, 0, -1]
    assert rows == [0, 1, 2]
    assert lines == [1, 2, 3]
    assert ids == ["p1", "p2", "p3"]
    assert [(fault.row, fault.line, fault.cells) for fault in faults] == [(2, 3, 0), (3, 4, 2)]
    assert outside == []


def test_large_files_with_many_faults_stay_quick_and_told():
    random.seed(0)
    rows = [f"p{i};1;;no;{random.choice(['1', '1', '7391'])};1;4" for i in range(20_000)]  # noqa: S311
    raw = "\n".join(rows).encode()
    table = _table.read_table(raw, SCHEMA, "x", lenient=True)
    assert len(table.values) == 20_000
    assert len(_table.domain_faults(table)) == sum(";7391;" in row for row in rows)

"""Strict reading of a CSV table.

A file holds patients. Errors therefore say where (line from 1, column by name) and what was
expected, never what was found, and are raised outside ``except`` blocks: the text of Python's own
``ValueError`` or ``UnicodeDecodeError`` quotes the data and would hang on as ``__context__``.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from ompd.arrays import F64, I64
from ompd.errors import DatasetError, DomainError, FeatureError, LabelError, OmpdError
from ompd.schema import Feature, Schema

#: Rows turned into arrays at once: enough to amortise NumPy's calls, few enough that their text
#: stays in the processor's cache (8192 rows took a quarter longer) and a large file is never held
#: as Python strings as a whole.
CHUNK_ROWS = 256

# `float` alone would also take nan, inf, 1_000 and digits of other scripts. No two branches match
# the same text, so a long hostile cell costs linear time.
_NUMBER = re.compile(r" *[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *")

_MISSING = frozenset({"", "?", "-", "na", "n/a", "nan", "null", "none"})


class Table(NamedTuple):
    """What a file says, before domains are checked.

    Attributes
    ----------
    values : ndarray of shape (N, n), float64
    codes : ndarray of shape (N,), int64
    lines : ndarray of shape (N,), int64
        Line of the file, from 1, on which each row begins.
    """

    values: F64
    codes: I64
    lines: I64


def read_table(raw: bytes, schema: Schema, where: str) -> Table:
    """Parse CSV bytes: a header, then one instance per row, its class in the last column.

    Parameters
    ----------
    raw : bytes
        UTF-8, with or without byte order mark; comma-separated, quotes as in RFC 4180. Spaces
        around a cell and blank lines at the end do not count.
    schema : Schema
        The header must be its feature names in order, then any one name for the label column.
    where : str
        Name of the file, for messages.

    Raises
    ------
    DatasetError
        For text that is not UTF-8 or not CSV, a wrong header, a wrong number of cells, or no row.
    FeatureError
        For a feature that is missing or no plain decimal number.
    LabelError
        For a class that is missing or not one of the schema's.
    """
    records = _records(_text(raw, where), where)
    label = _check_header(next(records)[1], schema, where)
    known = {name: code for code, name in enumerate(schema.classes)}
    values, codes, starts = [], [], []
    while chunk := list(islice(records, CHUNK_ROWS)):
        lines, rows = zip(*chunk, strict=True)
        parsed = _parse(rows, schema, known)
        if parsed is None:
            raise next(
                fault
                for line, cells in chunk
                if (fault := _fault(cells, schema, known, f"{where}, line {line}", label))
            )
        values.append(parsed[0])
        codes.append(parsed[1])
        starts.append(np.array(lines, dtype=np.int64))
    if not values:
        raise DatasetError(f"{where}: expected at least one row below the header")
    return Table(np.concatenate(values), np.concatenate(codes), np.concatenate(starts))


def check_domains(table: Table, schema: Schema, where: str) -> None:
    """Refuse the first row with a value that its feature does not declare.

    `Schema.check` decides the same, but knows no lines.

    Raises
    ------
    DomainError
        For a value outside its domain, or a fraction where whole numbers are due.
    """
    first = []
    for column, feature in enumerate(schema.features):
        value = table.values[:, column]
        wrong = (value < feature.low) | (value > feature.high)
        if feature.kind != "numeric":
            wrong |= value != np.floor(value)
        rows = np.flatnonzero(wrong)
        if rows.size:
            first.append((int(rows[0]), column))
    if first:
        row, column = min(first)
        raise DomainError(
            f"{where}, line {table.lines[row]}, column {schema.features[column].name!r}: "
            f"expected {_domain(schema.features[column])}"
        )


def _text(raw: bytes, where: str) -> str:
    # Spreadsheets put a byte order mark in front when they export UTF-8.
    body = raw.removeprefix(codecs.BOM_UTF8)
    bad = -1
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        bad = error.start
    if bad >= 0:
        raise DatasetError(f"{where}, line {_line_of(body, bad)}: expected UTF-8 text")
    if (bad := body.find(b"\0")) >= 0:
        raise DatasetError(f"{where}, line {_line_of(body, bad)}: expected text, got a NUL byte")
    if not text.strip():
        raise DatasetError(f"{where}: expected a header and rows, the file is empty")
    return text.rstrip("\r\n")


def _line_of(body: bytes, position: int) -> int:
    before = body[:position].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return before.count(b"\n") + 1


def _records(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line on which it begins; a quoted cell may span several."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        cells: list[str] | None = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            pass
        if cells is None:
            raise DatasetError(
                f"{where}, line {line}: expected comma-separated cells, "
                "got a misplaced quote or an oversized cell"
            )
        yield line, cells


def _check_header(cells: Sequence[str], schema: Schema, where: str) -> str:
    """Return the name of the label column. The cells of a wrong header may be a patient's."""
    names = [feature.name for feature in schema.features]
    if len(cells) != len(names) + 1:
        raise DatasetError(
            f"{where}, line 1: expected {len(names)} comma-separated feature names and a label "
            f"column, got {len(cells)} cells"
        )
    for place, (cell, name) in enumerate(zip(cells, names, strict=False), start=1):
        if name not in (cell, cell.strip(" ")):
            raise DatasetError(f"{where}, line 1, cell {place}: expected the name {name!r}")
    label = cells[-1].strip(" ")
    if not label or label in names:
        raise DatasetError(f"{where}, line 1: expected a name of its own for the label column")
    return label


def _parse(
    rows: Sequence[Sequence[str]], schema: Schema, known: Mapping[str, int]
) -> tuple[F64, I64] | None:
    """Return values and codes, or None if any cell is at fault."""
    if set(map(len, rows)) != {len(schema.features) + 1}:
        return None
    *columns, labels = zip(*rows, strict=True)
    codes = [_code(label, known) for label in labels]
    if None in codes or not all(all(map(_NUMBER.fullmatch, column)) for column in columns):
        return None
    values = np.array([list(map(float, column)) for column in columns], dtype=np.float64)
    return values.T, np.array(codes, dtype=np.int64)


def _code(cell: str, known: Mapping[str, int]) -> int | None:
    code = known.get(cell)
    return known.get(cell.strip(" ")) if code is None else code


def _fault(
    cells: Sequence[str], schema: Schema, known: Mapping[str, int], where: str, label: str
) -> OmpdError | None:
    """Describe the first fault of one row; None if there is none."""
    width = len(schema.features) + 1
    if len(cells) != width:
        return DatasetError(f"{where}: expected {width} cells, got {len(cells)}")
    for cell, feature in zip(cells, schema.features, strict=False):
        if not _NUMBER.fullmatch(cell):
            got = "a missing value" if _is_missing(cell) else "other text"
            return FeatureError(f"{where}, column {feature.name!r}: expected a number, got {got}")
    if _code(cells[-1], known) is None:
        got = "a missing value" if _is_missing(cells[-1]) else "another text"
        return LabelError(
            f"{where}, column {label!r}: expected one of {', '.join(schema.classes)}, got {got}"
        )
    return None


def _is_missing(cell: str) -> bool:
    return cell.strip().casefold() in _MISSING


def _domain(feature: Feature) -> str:
    kind = "a number" if feature.kind == "numeric" else "a whole number"
    return f"{kind} from {feature.low:g} to {feature.high:g}"

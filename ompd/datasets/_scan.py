"""Reading of people without labels, piece by piece, so that a file may be of any size."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import numpy as np

from ompd.arrays import F64, Array, Bools
from ompd.datasets._blocks import Fault, blocks
from ompd.datasets._columns import Columns
from ompd.datasets._ids import text_of
from ompd.datasets._table import MOST_FAULTS, Table, domain_faults, entries
from ompd.errors import DatasetError
from ompd.schema import RowErrors, Schema, TableForm
from ompd.schema.arrow import MAGIC, batches
from ompd.schema.delimited import (
    MAX_COLUMNS,
    MAX_LINE,
    Text,
    check_text,
    header,
    read_file,
    records,
)
from ompd.schema.matching import columns_of
from ompd.schema.matrix import read_matrix, row_errors
from ompd.schema.values import WIDTH, as_array, faults_of

#: Bytes of text that are read at a time.
PIECE = 4 << 20
#: Most bytes without an end of a row: a quoted cell may span lines, one that is left open all.
_MOST = PIECE + 2 * MAX_LINE


class People(NamedTuple):
    """Consecutive rows of a file.

    Attributes
    ----------
    values : float64 array of shape (g, n)
        The good rows, in order and in the order of the schema.
    good : bool array of shape (m,)
        Which rows these are.
    told : RowErrors
        What is wrong with the others; rows count from the first of the piece.
    ids : array of text of shape (m,), or None
        Of all rows; empty where there is none.
    """

    values: F64
    good: Bools
    told: RowErrors
    ids: Array | None

    def __repr__(self) -> str:
        return f"<People: {len(self.good)} rows, {len(self.values)} of them good>"


def scan(
    path: str | os.PathLike[str], schema: Schema, id: str | None = None
) -> Iterator[Callable[[], People]]:
    """Read a file piece by piece: CSV, ARFF, Parquet or Arrow, as `load` does, but without labels.

    Parameters
    ----------
    path : str or path
    schema : Schema
        Its `table`, if it has one, says how the file is written. The columns of label and id may be
        there or not.
    id : str, optional
        Name of the column of ids, which is there then; by default that of ``schema.table``.

    Yields
    ------
    callable
        Reads the piece and returns `People`. Where one piece ends and the next begins depends on
        nothing but the file.

    Raises
    ------
    DatasetError
        If there is no such file, it is not of the form that the schema says, or a column is
        missing.
    BackendUnavailableError
        If Parquet or Arrow needs the extra ``arrow``.
    """
    path = Path(path)
    form = TableForm() if schema.table is None else schema.table
    if id is not None:
        form = msgspec.structs.replace(form, id=id)
    schema = Schema(schema.features, schema.classes, form)
    kind = MAGIC.get(read_file(path, 4, whole=False))
    if kind is not None:
        yield from _frames(path, kind, schema, must=id is not None)
    else:
        yield from _texts(path, schema, must=id is not None)


# --- frames --------------------------------------------------------------------------------------


def _frames(path: Path, kind: str, schema: Schema, must: bool) -> Iterator[Callable[[], People]]:
    ident: list[str] = []

    def wanted(names: list[str]) -> list[str]:
        ident[:] = _ident(names, schema, path.name, must)
        return [*(feature.name for feature in schema.features), *ident]

    for frame in batches(path, kind, wanted):
        yield lambda frame=frame: _of_frame(frame, schema, ident)  # type: ignore[misc]


def _of_frame(frame: object, schema: Schema, ident: list[str]) -> People:
    values, faults = read_matrix(frame, schema.features, schema.table, others=True)
    ids = None
    if ident:
        (column,) = columns_of(frame, ident, others=True) or [[]]
        ids = np.array([text_of(each) or "" for each in as_array(column).tolist()], dtype=np.str_)
    good = np.ones(len(values), dtype=np.bool_)
    told = RowErrors()
    if faults is not None:
        good = np.max(faults, axis=1) == 0
        told = RowErrors(row_errors(faults, schema.features, ids))
    return People(np.ascontiguousarray(values[good]), good, told, ids)


def _ident(names: Sequence[str], schema: Schema, where: str, must: bool) -> list[str]:
    """Return the name of the column of ids, if there is one, and see that features are there."""
    assert schema.table is not None  # noqa: S101  (`scan` gives it one)
    ident = schema.table.id
    for name in (*(feature.name for feature in schema.features), *([ident] if must else [])):
        if name not in names:
            raise DatasetError(f"{where}: expected a column {name!r} among {len(names)}")
    return [ident] if ident and ident in names else []


# --- text ----------------------------------------------------------------------------------------


def _texts(path: Path, schema: Schema, must: bool) -> Iterator[Callable[[], People]]:
    columns: Columns | None = None
    attributes = None
    line = 1
    for body in _pieces(path):
        text = None
        if body.strip():
            # Which also refuses text that is none.
            text = check_text(body, path.name, line)
        if text is not None and columns is None:
            attributes = text.attributes
            columns, text = _columns(text, schema, path.name, must)
        line += body.count(b"\n")
        if text is not None and columns is not None and text.start < text.end:
            text = text._replace(attributes=attributes)
            yield lambda text=text, columns=columns: _of_text(text, columns, path.name)  # type: ignore[misc]
    if columns is None:
        raise DatasetError(f"{path.name}: expected a header and rows, the file is empty")


def _columns(text: Text, schema: Schema, where: str, must: bool) -> tuple[Columns, Text]:
    """Find the columns of a file by its first piece; returns what is below the header."""
    form = schema.table
    assert form is not None  # noqa: S101  (`scan` gives it one)
    if text.attributes is not None:
        names = [attribute.name for attribute in text.attributes]
        form = msgspec.structs.replace(form, separator=",", columns=())
    elif form.columns:
        names = list(form.columns)
        label = form.label or names[-1]
        cells = len(next(records(text, form.separator, where))[1])
        if cells == len(names) - 1:
            if form.id and _lacks_ids(text, [name for name in names if name != form.id], schema):
                raise DatasetError(
                    f"{where}: expected {len(names)} cells in a row, got {cells}, and it cannot be "
                    "told whether the id or the label is missing; give the file a header"
                )
            # New people are not diagnosed yet.
            names.remove(label)
    else:
        names, text = header(text, form.separator, where)
    if len(names) > MAX_COLUMNS:
        raise DatasetError(f"{where}: expected at most {MAX_COLUMNS} columns, got {len(names)}")
    ident = "".join(_ident(names, schema, where, must))
    known = msgspec.structs.replace(form, id=ident, columns=(), label="")
    schema = Schema(schema.features, schema.classes, known)
    return Columns(names, schema, where, labelled=False), text


def _lacks_ids(text: Text, names: list[str], schema: Schema) -> bool:
    """Whether rows would be good ones too if the ids were missing, and not the labels."""
    form = TableForm() if schema.table is None else schema.table
    form = msgspec.structs.replace(form, id="", columns=(), label=form.label or names[-1])
    columns = Columns(names, Schema(schema.features, schema.classes, form), "schema.table")
    first = next(blocks(text, columns, ""))
    return not first.faults and faults_of(first.values, schema.features) is None


def _of_text(text: Text, columns: Columns, where: str) -> People:
    parts = list(blocks(text, columns, where))
    if not parts:
        # Nothing but comments, which ARFF may have.
        none = np.empty((0, len(columns.features)))
        ids = np.empty(0, dtype=np.str_) if columns.id else None
        return People(none, np.empty(0, dtype=np.bool_), RowErrors(), ids)
    values = np.concatenate([part.values for part in parts])
    codes = np.concatenate([part.codes for part in parts])
    rows = np.concatenate([part.rows for part in parts])
    lines = np.concatenate([part.lines for part in parts])
    names = None
    if columns.id:
        names = np.concatenate([part.ids for part in parts if part.ids is not None])
    faults: list[Fault] = list(chain.from_iterable(part.faults for part in parts))
    table = Table(values, codes, rows, lines, names, faults, columns)
    if len(faults) > MOST_FAULTS:
        raise DatasetError(f"{where}: more than {MOST_FAULTS} faults; is the schema its own?")
    faults = sorted(faults + domain_faults(table))
    # Rows of another width are among the faults only.
    count = len(rows) + sum(fault.sort == WIDTH for fault in faults)
    good = np.ones(count, dtype=np.bool_)
    good[[fault.row for fault in faults]] = False
    ids = None
    if names is not None:
        ids = np.full(count, "", dtype=object)
        ids[rows] = names
        ids = ids.astype(np.str_)
    told = RowErrors(entries(faults, table))
    return People(np.ascontiguousarray(values[good[rows]]), good, told, ids)


def _pieces(path: Path) -> Iterator[bytes]:
    """Cut a text file between rows."""
    with _opened(path) as file:
        rest = b""
        while True:
            more = file.read(PIECE)
            rest += more
            if not more:
                break
            end = _between(rest)
            if end:
                yield rest[:end]
                rest = rest[end:]
            elif len(rest) > _MOST:
                raise DatasetError(
                    f"{path.name}: expected rows of at most {_MOST} bytes; a quote may be open"
                )
    if rest:
        yield rest


def _opened(path: Path) -> BinaryIO:
    problem = ""
    try:
        file = path.open("rb")
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
        problem = "expected a regular file"
    except OSError:
        problem = "the file cannot be read"
    raise DatasetError(f"{path.name}: {problem}")


def _between(text: bytes) -> int:
    """Return where the last row begins that may go on in what is not read yet; 0 if nowhere."""
    ends = b"\n" if b"\n" in text else b"\r"
    end = text.rfind(ends, 0, len(text.rstrip(b"\r\n"))) + 1
    if end and text.count(b'"', 0, end) % 2:
        # Within a cell that spans lines; it began at the last quote.
        end = text.rfind(ends, 0, text.rfind(b'"', 0, end)) + 1
    # Blank lines go with what follows: those at the end of the file do not count.
    row = len(text[:end].rstrip(b"\r\n"))
    return text.find(ends, row) + 1 if row else 0

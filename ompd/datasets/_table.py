"""Reading of a text file: its form first, then domains.

Errors say where (line from 1, column by name) and what was expected, never what was found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np

from ompd.arrays import F64, I64, Array
from ompd.datasets._blocks import ID_AT, LABEL_AT, ROW_AT, Fault, blocks
from ompd.datasets._columns import Columns
from ompd.datasets._ids import MAX_ID, surely_differ
from ompd.errors import DatasetError, DomainError, FeatureError, LabelError, OmpdError
from ompd.schema import Errors, Feature, RowError, RowErrors, Schema
from ompd.schema.delimited import MAX_COLUMNS, check_text, header
from ompd.schema.values import DOMAIN, LEVEL, MISSING, TEXT, WIDTH, faults_of

#: Most faults that are told of one file; one with more is another file than the schema's.
MOST_FAULTS = 1_000_000
#: Values looked at together: they stay in the cache.
_CELLS = 1 << 16


class Table(NamedTuple):
    """What a file says, before domains are checked.

    Attributes
    ----------
    values : ndarray of shape (N, n), float64
        NaN where a value is missing or at fault.
    codes : ndarray of shape (N,), int64
    rows, lines : ndarrays of shape (N,), int64
        Number of each row among all of the file, from 0, and the line on which it begins, from 1.
    ids : array of text of shape (N,), or None
        Empty where there is none that can be used.
    faults : list of Fault
        Empty unless the table was read leniently.
    columns : Columns
    """

    values: F64
    codes: I64
    rows: I64
    lines: I64
    ids: Array | None
    faults: list[Fault]
    columns: Columns

    def __repr__(self) -> str:
        return f"<Table of {len(self.codes)} rows>"


def read_table(raw: bytes, schema: Schema, where: str, *, lenient: bool = False) -> Table:
    """Parse the bytes of a file: one instance per row.

    Parameters
    ----------
    raw : bytes
        CSV as `schema.table` says, or ARFF. UTF-8, with or without byte order mark; quotes as in
        RFC 4180. Blanks and tabs around a cell and blank lines at the end do not count.
    schema : Schema
        Names the columns that are read; others may be there too.
    where : str
        Name of the file, for messages.
    lenient : bool, default=False
        Whether faults of single rows are kept rather than raised.

    Raises
    ------
    DatasetError
        For text that is not UTF-8, not of this form, lacks a column, or has no row; for a row of
        another number of cells or without id.
    FeatureError
        For a feature that is missing or no plain decimal number.
    DomainError
        For a text that is none of its feature's levels.
    LabelError
        For a class that is missing or not one of the schema's.
    """
    text = check_text(raw, where)
    form = schema.table
    named = f"{where}, line 1"
    if text.attributes is not None:
        names = [attribute.name for attribute in text.attributes]
        changed = msgspec.structs.replace(form, separator=",", columns=()) if form else None
        schema, named = Schema(schema.features, schema.classes, changed), where
    elif form is not None and form.columns:
        names, named = list(form.columns), "schema.table"
    else:
        names, text = header(text, form.separator if form else ",", where)
    if len(names) > MAX_COLUMNS:
        raise DatasetError(f"{where}: expected at most {MAX_COLUMNS} columns, got {len(names)}")
    columns = Columns(names, schema, named)
    parts = []
    faults: list[Fault] = []
    for block in blocks(text, columns, where):
        if block.faults and not lenient:
            raise error_of(block.faults[0], columns, where)
        faults += block.faults
        if len(faults) > MOST_FAULTS:
            raise DatasetError(f"{where}: more than {MOST_FAULTS} faults; is the schema its own?")
        parts.append(block)
    if not parts:
        below = " below the header" if named == f"{where}, line 1" else ""
        raise DatasetError(f"{where}: expected at least one row{below}")
    values, codes, rows, lines = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("values", "codes", "rows", "lines")
    )
    ids = None
    if columns.id:
        ids = np.concatenate([part.ids for part in parts if part.ids is not None])
    return Table(values, codes, rows, lines, ids, faults, columns)


def domain_faults(table: Table) -> list[Fault]:
    """Return every value that its feature does not declare, by row.

    `Schema.check` decides the same, but knows no lines.
    """
    found: list[Fault] = []
    step = max(1, _CELLS // table.values.shape[1])
    for first in range(0, len(table.values), step):
        part = table.values[first : first + step]
        faults = faults_of(part, table.columns.features)
        places = [] if faults is None else np.argwhere(faults).tolist()
        for row, column in places[: MOST_FAULTS - len(found)]:
            if not np.isnan(part[row, column]):
                at = first + row
                found.append(Fault(int(table.rows[at]), int(table.lines[at]), column, DOMAIN))
    return found


def check_domains(table: Table, where: str) -> None:
    """Refuse the first row with a value that its feature does not declare.

    Raises
    ------
    DomainError
        For a value outside its domain, or a fraction where whole numbers are due.
    """
    for fault in domain_faults(table):
        raise error_of(fault, table.columns, where)


def sift_table(
    table: Table, where: str, errors: Errors
) -> tuple[F64, I64, Array | None, RowErrors]:
    """Part good rows from bad ones, domains and ids included.

    Returns
    -------
    values, codes, ids : arrays of the good rows
    told : RowErrors

    Raises
    ------
    DatasetError, DomainError
        For the first fault, if `errors` is ``"raise"``; or if no good row is left.
    """
    found = domain_faults(table) + _double_ids(table)
    if errors == "raise":
        for fault in sorted(found):
            raise error_of(fault, table.columns, where)
    faults = sorted(table.faults + found)
    ids = table.ids
    if not faults:
        return table.values, table.codes, ids, RowErrors()
    bad = {fault.row for fault in faults}
    good = ~np.isin(table.rows, np.fromiter(bad, dtype=np.int64, count=len(bad)))
    if not good.any():
        raise DatasetError(f"{where}: expected at least one good row, got {len(bad)} bad ones")
    told = RowErrors()
    if errors == "collect":
        told = RowErrors(entries(faults, table))
    return table.values[good], table.codes[good], None if ids is None else ids[good], told


def _double_ids(table: Table) -> list[Fault]:
    if table.ids is None or surely_differ(table.ids):
        return []
    names = table.ids.tolist()
    if len(set(names)) == len(names):
        return []
    column = len(table.columns.features) + ID_AT
    seen: set[str] = set()
    found = []
    for name, row, line in zip(names, table.rows.tolist(), table.lines.tolist(), strict=True):
        if name in seen:
            found.append(Fault(row, line, column, DOMAIN))
        elif name:
            seen.add(name)
    return found


def entries(faults: list[Fault], table: Table) -> Iterable[RowError]:
    """Tell faults in words."""
    names: dict[int, str] = {}
    if table.ids is not None:
        names = dict(zip(table.rows.tolist(), table.ids.tolist(), strict=True))
    for fault in faults:
        name = _column_of(fault, table.columns)
        why = _reason(fault, table.columns)
        yield RowError(fault.row, names.get(fault.row) or None, fault.line, name, why)


def _column_of(fault: Fault, columns: Columns) -> str:
    beyond = fault.column - len(columns.features)
    if beyond < 0:
        return columns.features[fault.column].name
    return {LABEL_AT: columns.label, ID_AT: columns.id, ROW_AT: ""}[beyond]


def _reason(fault: Fault, columns: Columns) -> str:
    beyond = fault.column - len(columns.features)
    if beyond == ROW_AT:
        return f"expected {len(columns.places)} cells, got {fault.cells}"
    if beyond == ID_AT:
        if fault.sort == DOMAIN:
            return "expected another id than those above"
        return f"expected an id of 1 to {MAX_ID} characters"
    if beyond == LABEL_AT:
        got = "a missing value" if fault.sort == MISSING else "another text"
        return f"expected one of {', '.join(columns.classes)}, got {got}"
    return _reason_of_cell(fault.sort, columns.features[fault.column])


def _reason_of_cell(sort: int, feature: Feature) -> str:
    if sort == DOMAIN:
        return f"expected {feature.expected}"
    wanted = "a number"
    if feature.levels:
        wanted = feature.expected
    elif feature.since:
        wanted = "a date or a number of days"
    got = {MISSING: "a missing value", TEXT: "other text", LEVEL: "another text"}[sort]
    return f"expected {wanted}, got {got}"


def error_of(fault: Fault, columns: Columns, where: str) -> OmpdError:
    """Make the error for one fault."""
    beyond = fault.column - len(columns.features)
    kind: type[OmpdError] = FeatureError
    if fault.sort == WIDTH or beyond == ID_AT:
        kind = DatasetError
    elif beyond == LABEL_AT:
        kind = LabelError
    elif fault.sort in {DOMAIN, LEVEL}:
        kind = DomainError
    name = _column_of(fault, columns)
    column = f", column {name!r}" if name else ""
    return kind(f"{where}, line {fault.line}{column}: {_reason(fault, columns)}")

"""Tables of other libraries: frames of pandas and polars, Arrow, mappings of columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ompd.arrays import F64, I64, U8, Array, Bools
from ompd.datasets._ids import MAX_ID, text_of
from ompd.errors import DatasetError, LabelError
from ompd.schema import Errors, RowError, RowErrors, Schema, TableForm
from ompd.schema.matching import columns_of, match_labels, names_of
from ompd.schema.matrix import read_matrix, row_errors, sift
from ompd.schema.values import as_array


class Part(NamedTuple):
    """Consecutive rows of a frame.

    Attributes
    ----------
    values : float64 array of shape (m, n)
    faults : uint8 array of shape (m, n), or None
    codes : int64 array of shape (m,)
        -1 for what names no class.
    ids : list of (str or None), or None
    """

    values: F64
    faults: U8 | None
    codes: I64
    ids: list[str | None] | None

    def __repr__(self) -> str:
        return f"<Part of {len(self.codes)} rows>"


def needed(names: Sequence[Any], schema: Schema) -> tuple[list[str], str, str]:
    """Return the names of the features, of the label and of the id in a table with these names.

    Raises
    ------
    DatasetError
        If one that the schema names is not there.
    """
    form = TableForm() if schema.table is None else schema.table
    features = [feature.name for feature in schema.features]
    label = form.label or (names[-1] if len(names) else "")
    if not isinstance(label, str) or not label or label in features:
        raise DatasetError("schema.table: expected the name of the label column")
    for name in (*features, label, *([form.id] if form.id else [])):
        if name not in names:
            raise DatasetError(f"table: expected a column {name!r} among {len(names)}")
    return features, label, form.id


def read_part(frame: Any, schema: Schema) -> Part:
    """Read features, labels and ids of one frame.

    Raises
    ------
    DatasetError, FeatureError
        If it is no table, or lacks a column.
    """
    names = names_of(frame)
    if names is None:
        raise DatasetError("table: expected columns with names")
    features, label, ident = needed(names, schema)
    form = TableForm() if schema.table is None else schema.table
    values, faults = read_matrix(frame, schema.features, form, others=True)
    wanted = [label, *([ident] if ident else [])]
    columns = columns_of(frame, [*features, *wanted], others=True)
    if columns is None:
        raise DatasetError("table: expected columns with names")
    ids = None
    if ident:
        ids = [text_of(each) for each in as_array(columns[-1]).tolist()]
    return Part(values, faults, _codes(columns[len(features)], schema, form), ids)


def _codes(column: Any, schema: Schema, form: TableForm) -> I64:
    """Return the class of each label; texts of the form come first."""
    codes, by_place = match_labels(as_array(column), schema.classes, dict(form.texts))
    if by_place:
        raise LabelError(
            f"labels: expected only {', '.join(schema.classes)}, got whole numbers; "
            "schema.table.texts says what they mean"
        )
    return np.array(codes, dtype=np.int64)


def sift_parts(
    parts: Iterable[Part], schema: Schema, errors: Errors
) -> tuple[F64, I64, Array | None, RowErrors]:
    """Join parts, and leave out bad rows.

    Raises
    ------
    FeatureError, DomainError, LabelError, DatasetError
        For the first fault, if `errors` is ``"raise"``; for a table without a good row.
    """
    kept: list[Part] = []
    told: list[RowError] = []
    seen: set[str] = set()
    first = 0
    form = TableForm() if schema.table is None else schema.table
    for part in parts:
        more = _other_faults(part, schema, form, seen)
        if errors == "raise":
            sift(part.values, part.faults, schema.features, "raise", first=first)
            for entry in more:
                kind = DatasetError if entry.column == form.id else LabelError
                raise kind(f"row {first + entry.row}, column {entry.column!r}: {entry.reason}")
        good: Bools = np.ones(len(part.values), dtype=np.bool_)
        if part.faults is not None:
            good = np.max(part.faults, axis=1) == 0
            if errors == "collect":
                told += [
                    entry._replace(row=first + entry.row)
                    for entry in row_errors(part.faults, schema.features, part.ids)
                ]
        for entry in more:
            good[entry.row] = False
            if errors == "collect":
                told.append(entry._replace(row=first + entry.row))
        first += len(part.values)
        ids = part.ids
        if not good.all():
            ids = None if ids is None else [ids[row] for row in np.flatnonzero(good).tolist()]
            part = Part(part.values[good], None, part.codes[good], ids)  # noqa: PLW2901
        kept.append(part)
    if not sum(len(part.values) for part in kept):
        raise DatasetError(f"table: expected at least one good row, got {first} bad ones")
    values = np.concatenate([part.values for part in kept])
    codes = np.concatenate([part.codes for part in kept])
    names = [name or "" for part in kept for name in part.ids or ()]
    return values, codes, np.array(names, dtype=np.str_) if form.id else None, RowErrors(told)


def _other_faults(part: Part, schema: Schema, form: TableForm, seen: set[str]) -> list[RowError]:
    """Tell what is wrong with labels and ids; rows count from the part's first."""
    found = []
    label = form.label or "label"
    for row in np.flatnonzero(part.codes < 0).tolist():
        name = None if part.ids is None else part.ids[row]
        why = f"expected one of {', '.join(schema.classes)}"
        found.append(RowError(row, name, None, label, why))
    for row, name in enumerate(part.ids or ()):
        if name is None:
            why = f"expected an id of 1 to {MAX_ID} characters"
            found.append(RowError(row, None, None, form.id, why))
        elif name in seen:
            why = "expected another id than those above"
            found.append(RowError(row, name, None, form.id, why))
        else:
            seen.add(name)
    return found

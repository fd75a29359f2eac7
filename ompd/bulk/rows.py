"""Tables of people, as rows that can be asked about: numbers, ids, and what is wrong with some."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ompd.arrays import F64, I64, Array
from ompd.datasets import People, scan
from ompd.errors import FeatureError, ParameterError
from ompd.roles.asking import ids_of, reasons_of
from ompd.schema import Schema, as_feature_matrix
from ompd.schema.matrix import read_matrix, sift
from ompd.schema.rows import Errors


class Rows(NamedTuple):
    """Rows of a table.

    Attributes
    ----------
    values : float64 array of shape (g, n)
        The good rows, in order and in the order of the schema.
    good : int64 array of shape (g,)
        Their places among all rows.
    error : object array of shape (m,)
        What is wrong with each row, without its values; empty for the good ones.
    ids : array of shape (m,), optional
        Of all rows.
    """

    values: F64
    good: I64
    error: Array
    ids: Array | None

    def __repr__(self) -> str:
        return f"<Rows: {len(self.error)}, {len(self.values)} of them good>"


def rows_of(table: Any, schema: Schema | None, errors: Errors, ids: Array | None = None) -> Rows:
    """Check a table row by row.

    Parameters
    ----------
    table : path, array, frame of pandas or polars, Arrow table, mapping of columns, or rows
        Columns with names are found by them; others than features are let be.
    schema : Schema, optional
        Its `table`, if it has one, says how values are written and which column has ids. Without a
        schema there are plain numbers only.
    errors : {"raise", "skip", "collect"}
        Whether a bad row is an error, is left out of all that is returned, or is told.
    ids : array of shape (m,), optional
        By default those of the schema's id column or of the frame's index, if it is a named one.

    Raises
    ------
    FeatureError, DomainError
        If the table is none of these features; for the first fault, if `errors` is "raise".
    """
    if isinstance(table, (str, os.PathLike)):
        return _of_file(table, schema, errors)
    ids = ids_of(table, schema) if ids is None else ids
    if schema is None:
        values = as_feature_matrix(table)
        return Rows(values, np.arange(len(values)), np.full(len(values), "", dtype=object), ids)
    values, faults = read_matrix(table, schema.features, schema.table, others=True)
    kept, good, told = sift(values, faults, schema.features, errors)
    if ids is not None and len(ids) != len(good):
        raise FeatureError(f"ids: expected {len(good)}, one per row, got {len(ids)}")
    if errors == "skip":
        ids = None if ids is None else ids[good]
        good = np.ones(len(kept), dtype=np.bool_)
    return Rows(kept, np.flatnonzero(good), reasons_of(told, len(good)), ids)


def _of_file(path: str | os.PathLike[str], schema: Schema | None, errors: Errors) -> Rows:
    if schema is None:
        raise ParameterError("queries: a file needs a schema that says what its columns are")
    parts = []
    first = 0
    for read in scan(path, schema):
        people = read()
        if errors == "raise" and people.told:
            fault = people.told[0]
            where = f"row {first + fault.row}" + (f", {fault.column!r}" if fault.column else "")
            raise FeatureError(f"{where}: {fault.reason}")
        first += len(people.good)
        parts.append(of_people(people))
    rows = joined(parts)
    if errors == "skip":
        ids = None if rows.ids is None else rows.ids[rows.good]
        return Rows(rows.values, np.arange(len(rows.values)), rows.error[rows.good], ids)
    return rows


def of_people(people: People) -> Rows:
    """Return what was read of a file."""
    error = reasons_of(people.told, len(people.good))
    return Rows(people.values, np.flatnonzero(people.good), error, people.ids)


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several pieces, one after the other."""
    firsts = np.cumsum([0, *(len(part.error) for part in parts)])[:-1]
    ids = [part.ids for part in parts if part.ids is not None]
    return Rows(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.good + first for part, first in zip(parts, firsts, strict=True)]),
        np.concatenate([part.error for part in parts]),
        np.concatenate(ids) if ids else None,
    )

"""What a user wants to know, as rows of numbers: from frames, series, mappings and plain values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ompd.arrays import F64, Array, Bools
from ompd.errors import FeatureError, ParameterError
from ompd.roles.diagnoses import Diagnoses
from ompd.schema import Errors, RowErrors, Schema, as_feature_matrix
from ompd.schema.matching import arrange, columns_of, has_names
from ompd.schema.matrix import read_matrix, sift
from ompd.schema.rows import check_errors


@dataclass(frozen=True, slots=True, repr=False)
class Asked:
    """Which rows a user gave, and which of them were asked about.

    Attributes
    ----------
    good : bool array of shape (m,)
        Those that the hospital is asked about.
    ids : array of text of shape (m,), optional
    reasons : object array of shape (m,), optional
        Why a row is not good, in words without a value; None if bad rows are left out.
    """

    good: Bools
    ids: Array | None
    reasons: Array | None

    @property
    def rows(self) -> int:
        """How many the hospital is asked about."""
        return int(np.count_nonzero(self.good))

    def told(self, diagnoses: Diagnoses) -> Diagnoses:
        """Return the diagnoses of the good rows with ids, and with the bad rows among them."""
        places = np.flatnonzero(self.good)
        if self.reasons is None or len(places) == len(self.good):
            return diagnoses if self.ids is None else diagnoses.named(self.ids[places])
        return diagnoses.among(places, self.reasons, self.ids)


@dataclass(frozen=True, slots=True, repr=False)
class Rows:
    """Rows of numbers, with what was asked for.

    Attributes
    ----------
    values : float64 array of shape (g, n)
        The good rows, in order; at least one.
    asked : Asked
    """

    values: F64
    asked: Asked

    def pieces(self, most: int) -> Iterator[Rows]:
        """Return them in pieces of so many good rows at most; bad rows go with a good one."""
        asked = self.asked
        places = np.flatnonzero(asked.good)
        for first in range(0, len(places), most):
            last = first + most
            start = int(places[first]) if first else 0
            end = int(places[last]) if last < len(places) else len(asked.good)
            part = slice(start, end)
            yield Rows(
                self.values[first:last],
                Asked(
                    asked.good[part],
                    None if asked.ids is None else asked.ids[part],
                    None if asked.reasons is None else asked.reasons[part],
                ),
            )


def rows_of(features: Any, schema: Schema | None, *, errors: Errors, ids: Any) -> Rows:
    """Return what a user gave as rows of numbers.

    Parameters
    ----------
    features, errors, ids
        As for `User.ask`.
    schema : Schema or None

    Raises
    ------
    FeatureError, DomainError, ParameterError
        As `User.ask`.
    """
    check_errors(errors)
    if schema is None:
        values, good, told = _without_schema(features, errors)
    else:
        named = _named(features, schema, errors)
        matrix, faults = read_matrix(named, schema.features, schema.table, others=True)
        values, good, told = sift(matrix, faults, schema.features, errors)
    if not len(good) or not values.shape[1]:
        raise FeatureError("features: expected at least one row and one feature")
    if not len(values):
        first = f": row {told[0].row}: {_reason(told[0].column, told[0].reason)}" if told else ""
        raise FeatureError(f"features: no row of {len(good)} can be asked about{first}")
    reasons = reasons_of(told, len(good)) if errors == "collect" else None
    return Rows(values, Asked(good, _ids(features, schema, ids, len(good)), reasons))


def _without_schema(features: Any, errors: Errors) -> tuple[F64, Bools, RowErrors]:
    if errors != "raise":
        raise ParameterError(
            "errors: bad rows are found by the schema; learn the hospital's catalogue, or pass "
            "schema="
        )
    if has_names(features):
        raise FeatureError(
            "features: values with names need the schema that they are found in; learn the "
            "hospital's catalogue, pass schema=, or give plain rows in its order"
        )
    values = as_feature_matrix(features)
    infinite = ~np.isfinite(values)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise FeatureError(
            f"row {row}, feature {column}: expected a finite number; which may be missing stands "
            "in the hospital's catalogue"
        )
    return values, np.ones(len(values), dtype=np.bool_), RowErrors()


def _named(features: Any, schema: Schema, errors: Errors) -> Any:
    """Return the values of the schema's features alone, wherever values have names."""
    names = [feature.name for feature in schema.features]
    columns = columns_of(features, names, others=True)
    if columns is not None:
        return dict(zip(names, columns, strict=True))
    if errors == "raise" or not isinstance(features, (list, tuple)) or not has_names(features):
        return arrange(features, names, others=True)
    return [_row(row, names) for row in features]


def _row(row: Any, names: list[str]) -> Any:
    """Return one of many rows in order; None, which is no row, if a name is missing."""
    try:
        return arrange(row, names, others=True)
    except FeatureError:
        return None


def reasons_of(told: RowErrors, rows: int) -> Array:
    """Return what is wrong with each row in one text, an object array of shape (rows,)."""
    reasons = np.full(rows, "", dtype=object)
    for each in told:
        before = f"{reasons[each.row]}; " if reasons[each.row] else ""
        reasons[each.row] = before + _reason(each.column, each.reason)
    return reasons


def _reason(column: str, reason: str) -> str:
    return f"{column}: {reason}" if column else reason


def _ids(features: Any, schema: Schema | None, ids: Any, rows: int) -> Array | None:
    """Return what the user calls the rows."""
    found: Array | None
    if isinstance(ids, str):
        found = _id_column(features, ids)
    elif ids is None:
        found = ids_of(features, schema)
    elif isinstance(ids, (bytes, Mapping)) or not hasattr(ids, "__len__"):
        raise ParameterError("ids: expected the name of a column, or one id per row")
    else:
        found = id_array(ids)
    if found is not None and found.shape != (rows,):
        raise ParameterError(f"ids: expected {rows}, one per row, got shape {found.shape}")
    return found


def ids_of(table: Any, schema: Schema | None = None) -> Array | None:
    """Return the ids of a table: its schema's id column, else its index if that is a named one."""
    name = "" if schema is None or schema.table is None else schema.table.id
    names = table if isinstance(table, Mapping) else getattr(table, "columns", None)
    if name and names is not None and not callable(names):
        named = getattr(table, "column_names", names)
        if name in list(named):
            return id_array(table[name])
    index = getattr(table, "index", None)
    if not hasattr(table, "columns") or index is None or callable(index):
        return None
    # A frame that only numbers its rows from 0 names none.
    if getattr(index, "start", None) == 0 and getattr(index, "step", None) == 1:
        return None
    return id_array(index)


def _id_column(features: Any, name: str) -> Array:
    if isinstance(features, (list, tuple)) and all(hasattr(row, "get") for row in features):
        return id_array([row.get(name) for row in features])
    columns = columns_of(features, [name], others=True)
    if columns is None:
        raise ParameterError("ids: only a table has a column of ids")
    return id_array(columns[0])


def id_array(ids: Any) -> Array:
    """Return ids as integers if all are, else as texts; one that is missing is an empty text.

    Raises
    ------
    ParameterError
        For whole numbers that became decimals and are too large to be exact as such.
    """
    for method in ("to_pylist", "tolist", "to_list"):
        if hasattr(ids, method):
            ids = getattr(ids, method)()
            break
    # Not by NumPy, which makes the text "nan" of what is missing among texts.
    listed = [None if _absent(each) else each for each in ids]
    if all(isinstance(each, (int, np.integer)) and type(each) is not bool for each in listed):
        array = np.asarray(listed)
        if array.dtype.kind in "iu":
            return array
    # Frames turn whole numbers into decimals where one of them is missing.
    whole = all(
        isinstance(each, float) and each.is_integer() for each in listed if each is not None
    )
    if whole and any(each is not None and abs(each) >= 2**53 for each in listed):
        raise ParameterError(
            "ids: expected texts or integers, got decimals that are too large to be exact ids"
        )
    texts = ["" if each is None else str(int(each) if whole else each) for each in listed]
    return np.array(texts, dtype=np.str_)


def _absent(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    # Those of pandas, which need not be installed.
    return value is None or type(value).__name__ in {"NAType", "NaTType"}

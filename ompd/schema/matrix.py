"""Tables of whatever form, as matrices of numbers, and what is wrong with their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ompd.arrays import F64, U8, Array, Bools
from ompd.errors import FeatureError
from ompd.schema.features import Feature
from ompd.schema.form import TableForm
from ompd.schema.matching import arrange, columns_of, has_names
from ompd.schema.rows import Errors, RowError, RowErrors
from ompd.schema.values import WIDTH, column_values, error_of, faults_of, reason, settled

_PLAIN = TableForm()


def read_matrix(
    x: Any,
    features: Sequence[Feature],
    form: TableForm | None,
    *,
    others: bool = False,
) -> tuple[F64, U8 | None]:
    """Return `x` as numbers, and what is wrong with each.

    Parameters
    ----------
    x : Any
        As for `Schema.check`.
    features : sequence of Feature, n of them
    form : TableForm, optional
        How numbers in text, dates and missing values are written.
    others : bool, default=False
        Whether other columns are let be.

    Returns
    -------
    values : float64 array of shape (m, n), contiguous
    faults : uint8 array of shape (m, n), or None

    Raises
    ------
    FeatureError
        If `x` as a whole is no table of these features.
    """
    form = _PLAIN if form is None else form
    names = [feature.name for feature in features]
    columns = columns_of(x, names, others=others)
    if columns is None:
        x = arrange(x, names)
        values = _numbers(x, len(features))
        if values is not None:
            values = _settled(values, features, form)
            return values, faults_of(values, features)
        rows = _rows(x, len(features))
        width = np.array([row is None for row in rows], dtype=np.bool_)
        empty = [None] * len(features)
        listed = list(zip(*(empty if row is None else row for row in rows), strict=True))
        columns = listed or [()] * len(features)
    else:
        width = None
    values = np.empty((len(columns[0]), len(features)), dtype=np.float64)
    found = np.zeros(values.shape, dtype=np.uint8)
    for place, (column, feature) in enumerate(zip(columns, features, strict=True)):
        values[:, place], faults = column_values(column, feature, form)
        if faults is not None:
            found[:, place] = faults
    outside = faults_of(values, features)
    if outside is not None:
        found = np.where(found > 0, found, outside)
    if width is not None:
        found[width] = 0
        found[width, 0] = WIDTH
    return values, found if found.any() else None


def _numbers(x: Any, width: int) -> F64 | None:
    """Return `x` as a matrix if it is nothing but numbers in rows of `width`."""
    try:
        values = as_feature_matrix(x.to_numpy() if hasattr(x, "to_numpy") else x)
    except FeatureError:
        return None
    return values if values.shape[1] == width else None


def _settled(values: F64, features: Sequence[Feature], form: TableForm) -> F64:
    """Take numbers as those of columns; the caller's array stays as it is."""
    result = values
    for place, feature in enumerate(features):
        column = settled(values[:, place], feature, form)
        if not np.may_share_memory(column, values):
            result = values.copy() if result is values else result
            result[:, place] = column
    return result


def _rows(x: Any, width: int) -> list[Sequence[Any] | None]:
    """Return rows of `width` cells, and None for whatever is none."""
    if isinstance(x, (str, bytes)) or not hasattr(x, "__len__"):
        raise FeatureError("features: expected rows of numbers")
    if isinstance(x, np.ma.MaskedArray):
        x = np.ma.filled(x.astype(object), None)
    rows = x.tolist() if isinstance(x, np.ndarray) else list(x)
    if rows and not any(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
        rows = [rows]
    if rows and isinstance(rows[0], (list, tuple, np.ndarray)) and np.ndim(rows[0][:1]) > 1:
        raise FeatureError("features: expected one or two dimensions")
    if rows and not any(_fits(row, width) for row in rows):
        raise FeatureError(f"features: expected {width} per row, got {np.size(rows[0])}")
    return [list(row) if _fits(row, width) else None for row in rows]


def _fits(row: Any, width: int) -> bool:
    if isinstance(row, np.ndarray):
        return bool(row.shape == (width,))
    return isinstance(row, (list, tuple)) and len(row) == width


def sift(
    values: F64,
    faults: U8 | None,
    features: Sequence[Feature],
    errors: Errors,
    ids: Any = None,
    first: int = 0,
) -> tuple[F64, Bools, RowErrors]:
    """Part the good rows from the bad; see `Schema.check_rows`.

    Raises
    ------
    FeatureError, DomainError
        For the first fault, if `errors` is ``"raise"``.
    """
    if faults is None:
        return values, np.ones(len(values), dtype=np.bool_), RowErrors()
    good: Bools = np.max(faults, axis=1) == 0
    if errors == "raise":
        row = int(np.argmin(good))
        column = int(np.argmax(faults[row] > 0))
        if faults[row, column] == WIDTH:
            raise FeatureError(f"row {first + row}: expected {len(features)} features")
        feature = features[column]
        where = f"row {first + row}, feature {feature.name!r}"
        raise error_of(feature, int(faults[row, column]), where)
    told = row_errors(faults, features, ids) if errors == "collect" else RowErrors()
    return np.ascontiguousarray(values[good]), good, told


def row_errors(faults: U8, features: Sequence[Feature], ids: Any = None) -> RowErrors:
    """Tell every fault of a matrix."""

    def entries(row: int, column: int) -> RowError:
        fault = int(faults[row, column])
        name = None if ids is None else str(ids[row])
        if fault == WIDTH:
            return RowError(row, name, None, "", f"expected {len(features)} features")
        feature = features[column]
        return RowError(row, name, None, feature.name, reason(feature, fault))

    return RowErrors(entries(row, column) for row, column in np.argwhere(faults).tolist())


def as_feature_matrix(x: Any) -> F64:
    """Return `x` as a contiguous float64 matrix of shape (m, n); a vector becomes one row.

    Only the type and the number of dimensions are checked; NaN passes.

    Raises
    ------
    FeatureError
        For text, booleans, objects that are no numbers, or another number of dimensions.
    """
    if has_names(x):
        raise FeatureError(
            "features: values with names need the schema that they are found in; pass schema=, "
            "or plain rows in its order"
        )
    _refuse_non_numbers(x)
    # Outside of `except`, since NumPy quotes cells.
    array = _made(np.asarray, x)
    if array is None:
        raise FeatureError("features: expected rows of equal length")
    if array.dtype.kind == "O":
        _refuse_non_numbers(array.tolist())
        array = _made(lambda cells: cells.astype(np.float64), array)
        if array is None:
            raise FeatureError("features: expected real numbers")
    if array.dtype.kind not in "iuf":
        raise FeatureError(f"features: expected real numbers, got {array.dtype}")
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2:
        raise FeatureError(f"features: expected one or two dimensions, got {array.ndim}")
    return np.ascontiguousarray(array, dtype=np.float64)


def _made(make: Callable[[Any], Array], x: Any) -> Array | None:
    try:
        return make(x)
    except (ValueError, TypeError, OverflowError):
        return None


def _refuse_non_numbers(x: Any) -> None:
    """Refuse what NumPy would silently turn into numbers: True, "5", None, a masked value."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise FeatureError("features: expected real numbers, got masked values")
    if isinstance(x, np.ndarray) and x.dtype.kind == "b":
        raise FeatureError("features: expected real numbers, got bool")
    if isinstance(x, (bool, np.bool_, str, bytes)) or x is None:
        raise FeatureError(f"features: expected real numbers, got {type(x).__name__}")
    if isinstance(x, (list, tuple)):
        for item in x:
            _refuse_non_numbers(item)

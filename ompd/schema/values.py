"""Whatever a cell may hold, as the number that its feature declares for it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np

from ompd.arrays import F64, U8, Array
from ompd.errors import DomainError, FeatureError
from ompd.schema.features import NUMBER, Feature
from ompd.schema.form import TableForm

#: What may be wrong with a cell; 0 is nothing.
MISSING, TEXT, DOMAIN, WHOLE, LEVEL, WIDTH = range(1, 7)

_DAY = 86_400.0
ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?"
)
#: Different cells of a column that are remembered; a column of numbers in text has as many as rows.
_MOST_SEEN = 1 << 16


def reason(feature: Feature, fault: int) -> str:
    """Say what was expected of a cell, and of what sort it was instead; never its value."""
    if fault == MISSING:
        return "expected a finite number, got a missing or infinite one"
    if fault == TEXT:
        return f"expected {feature.expected}, got no number"
    if fault == WHOLE:
        return "expected a whole number"
    if fault == LEVEL:
        return f"expected {feature.expected}, got another text"
    if feature.levels:
        return f"expected {feature.expected}, got another number"
    unit = f" days since {feature.since}" if feature.since else f" {feature.unit}".rstrip()
    return f"expected a value from {feature.low:g} to {feature.high:g}{unit}"


def error_of(feature: Feature, fault: int, where: str) -> FeatureError:
    """Make the error for one cell."""
    kind = DomainError if fault in {DOMAIN, WHOLE, LEVEL} else FeatureError
    return kind(f"{where}: {reason(feature, fault)}")


def faults_of(values: F64, features: Sequence[Feature]) -> U8 | None:
    """Compare numbers with their domains.

    Parameters
    ----------
    values : ndarray of shape (m, n), float64
        NaN is a missing value.

    Returns
    -------
    uint8 array of shape (m, n), or None if nothing is wrong
    """
    low = np.array([feature.low for feature in features], dtype=np.float64)
    high = np.array([feature.high for feature in features], dtype=np.float64)
    whole = np.array([feature.kind != "numeric" for feature in features], dtype=np.bool_)
    # False for NaN too.
    good = (values >= low) & (values <= high)
    if whole.any():
        good &= ~whole | (values == np.floor(values))
    if good.all():
        return None
    faults = np.zeros(values.shape, dtype=np.uint8)
    rows, columns = np.nonzero(~good)
    bad = values[rows, columns]
    found = np.full(len(rows), DOMAIN, dtype=np.uint8)
    found[(bad >= low[columns]) & (bad <= high[columns])] = WHOLE
    found[~np.isfinite(bad)] = MISSING
    complete = np.array([feature.complete for feature in features], dtype=np.bool_)
    found[np.isnan(bad) & ~complete[columns]] = 0
    faults[rows, columns] = found
    return faults if found.any() else None


def written_numbers(feature: Feature) -> dict[float, float]:
    """Return numbers outside the domain that one level writes, and that level.

    A column of levels such as "1", "2" and "3+" is one of numbers wherever no cell has a "3+".
    """
    found: dict[float, float | None] = {}
    for place, level in enumerate(feature.levels):
        if NUMBER.fullmatch(level):
            number = float(level)
            if not feature.low <= number <= feature.high:
                found[number] = None if number in found else feature.low + place
    return {number: level for number, level in found.items() if level is not None}


@lru_cache(maxsize=4096)
def _meanings(feature: Feature, form: TableForm) -> tuple[tuple[float, float], ...]:
    """Return the numbers of a column that mean another, or a missing value."""
    # Remembered, since a server reads row after row of the same few features.
    meant = dict.fromkeys(form.numbers_of(feature.name), math.nan) | written_numbers(feature)
    return tuple(meant.items())


def settled(values: F64, feature: Feature, form: TableForm) -> F64:
    """Return the numbers of a column with NaN for marks of a missing value, and with levels.

    It is the same array if none of them means anything else.
    """
    result = values
    for number, value in _meanings(feature, form):
        places = values == number
        if places.any():
            result = values.copy() if result is values else result
            result[places] = value
    return result


def column_values(column: Any, feature: Feature, form: TableForm) -> tuple[F64, U8 | None]:
    """Turn one column into numbers.

    Parameters
    ----------
    column : array, series, Arrow array or sequence of m cells
        Numbers, also in text; texts of levels; booleans, which are the levels "True" and "False";
        dates.
        Missing is NaN, None, NaT, pandas' NA, or masked.
    feature : Feature
    form : TableForm
        How texts write numbers, dates and missing values.

    Returns
    -------
    values : float64 array of shape (m,)
        NaN where a value is missing or at fault.
    faults : uint8 array of shape (m,), or None
        Only of sort `TEXT` and `LEVEL`; domains are not looked at.
    """
    pool, places = _dictionary(column)
    if places is not None:
        return _from_pool(pool, places, feature, form)
    array = as_array(column)
    kind = array.dtype.kind
    if kind in "iuf":
        values = settled(np.array(array, dtype=np.float64), feature, form)
    elif kind == "M" and feature.since:
        since = np.datetime64(feature.since, "s")
        seconds = (array.astype("datetime64[us]") - since) / np.timedelta64(1, "us")
        values = np.where(np.isnat(array), math.nan, seconds / (_DAY * 1e6))
    else:
        return _by_cell(array.tolist(), feature, form)
    return values, None


def _dictionary(column: Any) -> tuple[Any, Array | None]:
    """Return different cells and each row's place among them, -1 for none, if so stored."""
    if hasattr(column, "to_pylist") and hasattr(column.type, "value_type"):
        if not hasattr(column.type, "index_type"):
            return None, None
        whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
        if hasattr(whole, "chunks"):  # older ones stay in chunks
            whole = whole.unify_dictionaries().chunk(0)
        places = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return whole.dictionary, np.asarray(places, dtype=np.int64)
    codes = getattr(getattr(column, "cat", None), "codes", None)  # pandas
    if codes is not None:
        return column.cat.categories, np.asarray(codes, dtype=np.int64)
    return None, None


def _from_pool(
    pool: Any, places: Array, feature: Feature, form: TableForm
) -> tuple[F64, U8 | None]:
    values, faults = column_values(pool, feature, form)
    found = np.append(values, math.nan)[places]
    if faults is None:
        return found, None
    wrong = np.append(faults, np.uint8(0))[places]
    return found, wrong if wrong.any() else None


def as_array(column: Any) -> Array:
    """Return a column of any library as a one-dimensional array."""
    pool, places = _dictionary(column)
    if places is not None:
        cells = np.empty(len(pool) + 1, dtype=object)
        cells[:-1] = as_array(pool).tolist()
        cells[-1] = None
        return cells[places]
    if isinstance(column, np.ma.MaskedArray):
        if not np.ma.is_masked(column):
            return np.asarray(column.data)
        return np.asarray(np.ma.filled(column.astype(object), None))
    if isinstance(column, np.ndarray):
        return _in_microseconds(column)
    if hasattr(column, "to_pylist"):  # Arrow: chunks and nulls
        column = _on_the_clock(column)
        return _in_microseconds(np.asarray(column.to_numpy(zero_copy_only=False)))
    if getattr(getattr(column, "dtype", None), "time_zone", None):  # polars
        column = column.dt.replace_time_zone(None)
    if hasattr(column, "to_numpy"):
        return _in_microseconds(np.asarray(column.to_numpy()))
    listed = list(column)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def _on_the_clock(column: Any) -> Any:
    """Return moments of a zone as its clocks showed them, as pandas and polars do."""
    if getattr(column.type, "tz", None) is None:
        return column
    from pyarrow import compute

    return compute.local_timestamp(column)


def _in_microseconds(array: Array) -> Array:
    # NumPy makes integers of nanoseconds where it lists them.
    kind = array.dtype.kind
    return array.astype(f"{kind}8[us]") if kind in "mM" else array


def _by_cell(cells: Iterable[Any], feature: Feature, form: TableForm) -> tuple[F64, U8 | None]:
    reader = CellReader(feature, form)
    # By type too: Python takes True, 1 and 1.0 for the same key.
    seen: dict[tuple[type, Any], tuple[float, int]] = {}
    pairs = []
    for cell in cells:
        key = (type(cell), cell)
        try:
            pair = seen.get(key)
        except TypeError:  # a list or another thing that is no value at all
            pair = (math.nan, TEXT)
        if pair is None:
            pair = reader.read(cell)
            if len(seen) < _MOST_SEEN:
                seen[key] = pair
        pairs.append(pair)
    values = np.array([value for value, _ in pairs], dtype=np.float64)
    faults = np.array([fault for _, fault in pairs], dtype=np.uint8)
    return values, faults if faults.any() else None


class CellReader:
    """Reads single cells of one feature.

    Parameters
    ----------
    feature : Feature
    form : TableForm
        As for `column_values`.
    """

    def __init__(self, feature: Feature, form: TableForm) -> None:
        self._levels = {
            text: float(feature.low + place) for place, text in enumerate(feature.levels)
        }
        self._truths = {}
        if {text.casefold() for text in feature.levels} == {"false", "true"}:
            self._truths = {text.casefold(): value for text, value in self._levels.items()}
        self._since = date.fromisoformat(feature.since) if feature.since else None
        self._form = form
        self._marks = form.marks_of(feature.name)
        self._numbers = form.numbers_of(feature.name)
        self._written = written_numbers(feature)

    def read(self, cell: Any) -> tuple[float, int]:
        """Return value and fault; the value of a fault or of what is missing is NaN."""
        if isinstance(cell, (bytes, np.bytes_)):
            # How SciPy reads the texts of ARFF.
            return self.text(cell.decode("utf-8", "replace"))
        if isinstance(cell, str):
            return self.text(str(cell))
        if cell is None or type(cell).__name__ in {"NAType", "NaTType"}:
            return math.nan, 0
        if isinstance(cell, (bool, np.bool_)):
            value = self._truths.get(str(cell).casefold())
            return (math.nan, TEXT) if value is None else (value, 0)
        if isinstance(cell, (int, float, np.integer, np.floating, Decimal)):
            try:
                value = float(cell)
            except OverflowError:
                value = math.inf
            found = self._written.get(value)
            if found is None:
                found = math.nan if value in self._numbers else value
            return found, 0
        if isinstance(cell, (date, np.datetime64)) and self._since is not None:
            return self._days(cell)
        return math.nan, TEXT

    def text(self, cell: str) -> tuple[float, int]:
        """Return value and fault of a text."""
        value = self._levels.get(cell)
        if value is not None:
            return value, 0
        stripped = cell.strip(" \t")
        value = self._levels.get(stripped)
        if value is None and self._truths:
            value = self._truths.get(stripped.casefold())
        if value is not None:
            return value, 0
        if stripped.casefold() in self._marks:
            return math.nan, 0
        if self._since is not None:
            found = self._date(stripped, self._form.dates)
            if not found[1]:
                return found
        if self._levels:
            return math.nan, LEVEL
        number = stripped
        if self._form.decimal == ",":
            if "." in number:
                return math.nan, TEXT
            number = number.replace(",", ".")
        if not NUMBER.fullmatch(number):
            return math.nan, TEXT
        value = float(number)
        return (math.nan if value in self._numbers else value), 0

    def _date(self, cell: str, form: str) -> tuple[float, int]:
        if form == "%Y-%m-%d" and not ISO.fullmatch(cell):
            return math.nan, TEXT
        try:
            if form == "%Y-%m-%d":
                return self._days(datetime.fromisoformat(cell))
            return self._days(datetime.strptime(cell, form))
        except ValueError:
            return math.nan, TEXT

    def _days(self, when: date | np.datetime64) -> tuple[float, int]:
        if isinstance(when, np.datetime64):
            if np.isnat(when):
                return math.nan, 0
            when = when.astype("datetime64[us]").item()
        if self._since is None or not isinstance(when, date):
            return math.nan, TEXT
        days = float(when.toordinal() - self._since.toordinal())
        if isinstance(when, datetime):
            clock = when.hour * 3600 + when.minute * 60 + when.second + when.microsecond / 1e6
            days += clock / _DAY
        return days, 0

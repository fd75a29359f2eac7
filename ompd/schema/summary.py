"""What is in one column, gathered chunk by chunk without keeping its cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np

from ompd.arrays import F64, Array
from ompd.schema.features import NUMBER
from ompd.schema.form import DATES, MISSING
from ompd.schema.values import ISO

#: Different cells that are remembered of a column.
MOST = 4096
#: Numbers that often stand for a missing value; 0 only now and then.
MARKS = (-9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0, 0.0)
#: Texts that stand for a missing value in some tables, beside those of `form.MISSING`.
OTHER_MARKS = frozenset(
    {
        ".",
        "..",
        "*",
        "--",
        "unknown",
        "unk",
        "missing",
        "n.a.",
        "n.d.",
        "nd",
        "not available",
        "nil",
    }
)
_MISSING = frozenset(MISSING)


class Summary:
    """Counts of one column.

    Attributes
    ----------
    name : str
    rows, missing, numbers, texts, truths, dates : int
        Number of cells of each sort.
    cells : dict of str to int, or None
        Different cells that are not missing, as text, with their counts; None if too many.
    special : dict of float to int
        Counts of numbers in `MARKS`.
    low, high : float
        Ends of all other numbers.
    whole : bool
        Whether all numbers are whole.
    marks : set of str
        Found ones of `OTHER_MARKS`, casefolded. They count as texts too.
    distinct : bool
        Whether all cells differ and none is missing.
    rising : bool
        Whether all are numbers of which each is the last plus one.
    first_day, last_day : date or None
    declared : tuple of str or None
        Texts that the source declares, in its order.
    ordered : bool
        Whether it declares that their order means something.
    """

    def __init__(self, name: str, decimal: str = ".") -> None:
        self.name = name
        self.rows = self.missing = self.numbers = self.texts = self.truths = self.dates = 0
        self.cells: dict[str, int] | None = {}
        self.special: dict[float, int] = {}
        self.low, self.high = math.inf, -math.inf
        self.whole = True
        self.marks: set[str] = set()
        self.distinct = self.rising = True
        self.first_day: date | None = None
        self.last_day: date | None = None
        self.declared: tuple[str, ...] | None = None
        self.ordered = False
        self._seen: set[Any] = set()
        self._last: float | None = None
        self._decimal = decimal

    def feed_texts(self, cells: Sequence[str]) -> None:
        """Add cells of a text file."""
        # Ids are no fractions.
        if not self.whole:
            self._repeats()
        self._follow(cells)
        if self.cells is None:
            cells = self._take_numbers(cells)
        for cell, count in Counter(cells).items():
            self._text(cell.strip(" \t"), count)

    def _take_numbers(self, cells: Sequence[str]) -> Sequence[str]:
        """Count numbers at once where single ones are not remembered; return the other cells."""
        plain = cells
        if self._decimal == ",":
            plain = ["" if "." in cell else cell.replace(",", ".") for cell in cells]
        numbers, others = [], []
        for cell, text in zip(cells, plain, strict=True):
            if NUMBER.fullmatch(text):
                numbers.append(float(text))
            else:
                others.append(cell)
        self._at_once(np.array(numbers, dtype=np.float64))
        return others

    def _at_once(self, values: F64) -> None:
        """Count numbers without remembering single ones."""
        self.cells = None
        if gaps := int(np.isnan(values).sum()):
            self._gap(gaps)
        values = values[~np.isnan(values)]
        self.rows += len(values)
        self.numbers += len(values)
        self.texts += int(np.isinf(values).sum())
        values = values[np.isfinite(values)]
        for mark in MARKS:
            if count := int((values == mark).sum()):
                self.special[mark] = self.special.get(mark, 0) + count
        values = values[~np.isin(values, MARKS)]
        if len(values):
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))
            self.whole = self.whole and bool((values == np.floor(values)).all())

    def feed(self, array: Array) -> None:
        """Add cells of an array of any type."""
        kind = array.dtype.kind
        if kind in "iuf":
            self._follow(array.tolist() if self.distinct else ())
            values, counts = np.unique(array, return_counts=True)
            if len(values) > MOST or self.cells is None:
                self._at_once(array.astype(np.float64))
                return
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                self._number(float(value), count)
            return
        cells = array.tolist()
        self._follow(cells)
        for cell, count in Counter(map(_key, cells)).items():
            self._any(cell[1], count)

    def _follow(self, cells: Iterable[Any]) -> None:
        """See whether cells differ, as ids do."""
        if not self.distinct:
            return
        for cell in cells:
            try:
                known = cell in self._seen
            except TypeError:
                known = True
            if known:
                self._repeats()
                return
            self._seen.add(cell)
            if self.rising:
                value = _as_float(cell)
                if value is None or (self._last is not None and value != self._last + 1):
                    self.rising = False
                self._last = value

    def _repeats(self) -> None:
        self.distinct = self.rising = False
        self._seen.clear()

    def _any(self, cell: Any, count: int) -> None:
        if isinstance(cell, bytes):
            cell = cell.decode("utf-8", "replace")
        if isinstance(cell, str):
            self._text(cell.strip(" \t"), count)
        elif cell is None or type(cell).__name__ in {"NAType", "NaTType"}:
            self._gap(count)
        elif isinstance(cell, bool):
            self.rows += count
            self.truths += count
            self._remember(str(cell), count)
        elif isinstance(cell, (int, float, Decimal)):
            self._number(_as_float(cell) or 0.0, count)
        elif isinstance(cell, date):
            self.rows += count
            self.dates += count
            self._day(cell)
        else:
            self.rows += count
            self.texts += count
            self.cells = None

    def _text(self, cell: str, count: int) -> None:
        folded = cell.casefold()
        if folded in _MISSING:
            self._gap(count)
            return
        number = cell
        if self._decimal == ",":
            number = "" if "." in cell else cell.replace(",", ".")
        if NUMBER.fullmatch(number):
            self._number(float(number), count, cell)
            return
        self.rows += count
        self.texts += count
        if folded in OTHER_MARKS:
            self.marks.add(folded)
        self._remember(cell, count)

    def _number(self, value: float, count: int, cell: str | None = None) -> None:
        if math.isnan(value):
            self._gap(count)
            return
        self.rows += count
        self.numbers += count
        if not math.isfinite(value):
            self.texts += count
            return
        if value in MARKS:
            self.special[value] = self.special.get(value, 0) + count
        else:
            self.low, self.high = min(self.low, value), max(self.high, value)
            self.whole = self.whole and value == math.floor(value)
        self._remember(text_of_number(value) if cell is None else cell, count)

    def _gap(self, count: int) -> None:
        self.rows += count
        self.missing += count
        self.distinct = self.rising = False

    def _remember(self, cell: str, count: int) -> None:
        if self.cells is not None:
            self.cells[cell] = self.cells.get(cell, 0) + count
            if len(self.cells) > MOST:
                self.cells = None

    def _day(self, when: date) -> None:
        day = when.date() if isinstance(when, datetime) else when
        self.first_day = day if self.first_day is None else min(self.first_day, day)
        self.last_day = day if self.last_day is None else max(self.last_day, day)

    @property
    def values(self) -> int:
        """Number of cells that are not missing."""
        return self.rows - self.missing

    @property
    def different(self) -> int:
        """Number of different cells that are not missing; one more than `MOST` if too many."""
        return MOST + 1 if self.cells is None else len(self.cells)

    def date_forms(self) -> list[str]:
        """Return the forms in which all texts are dates, and find their ends under the first."""
        if not self.cells or self.numbers or self.truths:
            return []
        fitting = [form for form in DATES if all(_is_date(cell, form) for cell in self.cells)]
        if fitting:
            for cell in self.cells:
                self._day(_parse(cell, fitting[0]))
        return fitting


def _key(cell: Any) -> tuple[type, Any]:
    """By type too, since Python takes True, 1 and 1.0 for the same."""
    try:
        hash(cell)
    except TypeError:
        return object, object()
    return type(cell), cell


def _as_float(cell: Any) -> float | None:
    if isinstance(cell, str):
        return float(cell) if NUMBER.fullmatch(cell) else None
    try:
        return None if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def text_of_number(value: float) -> str:
    """Write a number as a class or level is named: a whole one without fraction."""
    return str(int(value)) if value == math.floor(value) else repr(value)


def _parse(cell: str, form: str) -> datetime:
    if form == DATES[0]:
        return datetime.fromisoformat(cell)
    return datetime.strptime(cell, form)


def _is_date(cell: str, form: str) -> bool:
    if form == DATES[0] and not ISO.fullmatch(cell):
        return False
    try:
        _parse(cell, form)
    except ValueError:
        return False
    return True

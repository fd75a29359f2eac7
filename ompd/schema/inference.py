"""Proposals for a schema, from what a table holds. A person decides.

Of the values only the ends of domains and the texts of levels and classes go into a proposal: no
id, no free text, nothing that stands in a few rows only. Notes count cells and never quote them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from ompd.errors import SchemaError
from ompd.params import MAX_TEXT
from ompd.schema.choices import (
    ID,
    MOST_CLASSES,
    classes_of,
    find_id,
    find_label,
    is_like_id,
    order_of,
)
from ompd.schema.features import NUMBER, Feature
from ompd.schema.form import TableForm
from ompd.schema.sources import Source, sum_up
from ompd.schema.summary import MOST, Summary, text_of_number

_PERSON = re.compile(
    r"(?:.*[\s_.-])?(?:name|surname|firstname|lastname|address|street|phone|e-?mail)", re.IGNORECASE
)
#: What is measured and not quite a number: "<0.1", "12 mg".
_MEASURED = re.compile(r"\s*(?:[<>≤≥~=]|[+-]?[0-9]+(?:[.,][0-9]+)?\s*[A-Za-zµ%])")
#: Of the marks of a missing value, those that nobody calls a category.
_NO_LEVEL = frozenset({"", "?", "na", "n/a", "#n/a", "nan"})
#: Most different texts of a nominal feature, and how many cells there must be for each.
_MOST_TEXTS = 50
#: Widest domain of whole numbers that is taken as a scale or count rather than a measurement.
_WIDEST_ORDINAL = 300


def propose(
    source: Any, label: str | None, ident: str | None, columns: Sequence[str] | None
) -> tuple[tuple[Feature, ...], tuple[str, ...], TableForm]:
    """Return features, classes and form of a table; see `Schema.infer`."""
    found = sum_up(source, columns)
    by_name = {summary.name: summary for summary in found.columns}
    for what, name in (("label", label), ("id", ident)):
        if name and name not in by_name:
            raise SchemaError(f"{what}: expected one of the table's {len(by_name)} columns")
    notes: list[tuple[str, str]] = [("", note) for note in found.notes]
    of_classes = find_label(found.columns, label, ident, notes)
    classes = classes_of(of_classes, notes)
    rest = [summary for summary in found.columns if summary is not of_classes]
    of_ids = find_id(rest, ident, notes)
    proposal = _Proposal(notes, found)
    features = []
    for summary in rest:
        if summary.name != of_ids:
            feature = proposal.feature(summary)
            if feature is not None:
                features.append(feature)
    if not features:
        raise SchemaError("source: expected at least one column that can be a feature")
    form = TableForm(
        label=of_classes.name,
        id=of_ids,
        marks=tuple(proposal.marks.items()),
        dates=proposal.dates or "%Y-%m-%d",
        notes=tuple(notes),
        **found.form,
    )
    return tuple(features), classes, form


# --- features ----------------------------------------------------------------------------------


class _Proposal:
    """What features need of one another: marks, and the one form of dates."""

    def __init__(self, notes: list[tuple[str, str]], source: Source) -> None:
        self.marks: dict[str, tuple[str, ...]] = {}
        self.dates = ""
        self._notes = notes
        self._decimal = source.form.get("decimal", ".")
        self._first = source.columns[0]

    def feature(self, summary: Summary) -> Feature | None:
        """Propose one feature, or note why the column is left out."""
        why = self._unfit(summary)
        if why:
            self._notes.append(("", f"column {summary.name!r} is left out: {why}"))
            return None
        found = self._texts(summary)
        if found is None:
            found = self._dates(summary)
        if found is None:
            found = self._numbers(summary)
        if isinstance(found, str):
            self._notes.append(("", f"column {summary.name!r} is left out: {found}"))
            return None
        missing = summary.missing + sum(
            (summary.cells or {}).get(mark, 0) for mark in self.marks.get(summary.name, ())
        )
        if missing:
            found["missing"] = "median"
            hint = '; "level" if the method is evidence' if found["kind"] == "nominal" else ""
            self._note(summary, f"{missing} of {summary.rows} are missing{hint}")
        return Feature(name=summary.name, **found)

    def _note(self, summary: Summary, text: str) -> None:
        self._notes.append((summary.name, text))

    def _unfit(self, summary: Summary) -> str:
        name = summary.name.strip()
        if not summary.values:
            return "all its values are missing"
        if summary.declared is None and _PERSON.fullmatch(name) and summary.texts:
            return "it looks like personal data"
        if ID.fullmatch(name) and summary.whole and summary.different > MOST_CLASSES:
            return "it looks like an id, and is not one: values are missing or there twice"
        large = summary.low >= 10_000 or summary.different > MOST_CLASSES
        if summary is self._first and is_like_id(summary, 0) and summary.numbers and large:
            return "it looks like numbers of rows or patients; if it is a feature, add it"
        return ""

    # --- texts

    def _texts(self, summary: Summary) -> dict[str, Any] | str | None:
        """Propose a feature of texts; None if its cells are numbers or dates."""
        if summary.declared is not None:
            return self._declared(summary)
        if summary.truths and summary.truths == summary.values:
            return {"kind": "nominal", "low": 0, "high": 1, "levels": ("False", "True")}
        if not summary.texts or summary.dates or self._is_of_numbers(summary):
            return None
        if summary.cells is None:
            return "it is text" if not summary.date_forms() else None
        if summary.date_forms():
            return None
        levels = sorted(summary.cells, key=order_of)
        enough = summary.values >= (2 if len(levels) <= 12 else 5) * len(levels)
        if len(levels) > _MOST_TEXTS or not enough:
            return "it is text of its own in most rows"
        if not all(len(text) <= MAX_TEXT for text in levels):
            return "its texts are long"
        if len({text.casefold() for text in levels}) < len(levels):
            self._note(summary, "some levels differ only in upper and lower case")
        return self._levels(summary, levels, ordered=False)

    def _is_of_numbers(self, summary: Summary) -> bool:
        """Whether texts among numbers are faults or marks, and no categories of their own."""
        if not summary.numbers:
            return False
        if summary.cells is None:
            return True
        texts = [
            (text, count)
            for text, count in summary.cells.items()
            if not NUMBER.fullmatch(text.replace(self._decimal, "."))
            and text.casefold() not in summary.marks
        ]
        often = all(count >= 3 and not _MEASURED.match(text) for text, count in texts)
        return not texts or not often or summary.texts <= 0.2 * summary.numbers

    def _declared(self, summary: Summary) -> dict[str, Any] | str:
        # Whoever turns a column into categories turns its marks of a missing value into one too.
        declared = [text for text in summary.declared or () if text.casefold() not in _NO_LEVEL]
        numbers = [float(text) for text in declared if NUMBER.fullmatch(text)]
        if not declared or len(declared) > MOST:
            return "it declares no texts, or very many"
        if len(numbers) < len(declared):
            return self._levels(summary, declared, ordered=summary.ordered)
        low, high = min(numbers), max(numbers)
        whole = all(number == math.floor(number) for number in numbers)
        kind = "nominal" if not summary.ordered and len(numbers) == 2 else "ordinal"
        if whole and not summary.ordered and len(numbers) > 2:
            self._note(summary, 'numbers by name: kind = "nominal" if they have no order')
        return {"kind": kind if whole else "numeric", "low": low, "high": high}

    def _levels(self, summary: Summary, levels: list[str], *, ordered: bool) -> dict[str, Any]:
        numbers = [float(text) for text in levels if NUMBER.fullmatch(text)]
        # In a frame a number must not mean another level than the text that writes it.
        low = 0 if not numbers else math.floor(max(numbers)) + 1
        if not ordered and len(levels) > 2:
            self._note(summary, 'texts without an order; kind = "ordinal" if low to high they rise')
        return {
            "kind": "ordinal" if ordered else "nominal",
            "low": low,
            "high": low + len(levels) - 1,
            "levels": tuple(levels),
        }

    # --- dates

    def _dates(self, summary: Summary) -> dict[str, Any] | str | None:
        if summary.dates:
            if summary.dates < summary.values:
                return "only some of its values are dates"
        elif summary.texts:
            forms = summary.date_forms()
            if not forms:
                return None
            if self.dates and self.dates not in forms:
                return "its dates are of another form than those of another column"
            self.dates = self.dates or forms[0]
            if len(forms) > 1:
                self._note(summary, "day and month could be the other way round: see dates above")
        else:
            return None
        if summary.first_day is None or summary.last_day is None:
            return None
        since = date(summary.first_day.year // 10 * 10 or 1, 1, 1)
        last = (summary.last_day - since).days
        high = math.ceil((last + 3650) / 1000) * 1000
        self._note(summary, f"dates, as days since {since}; the domain leaves ten years more")
        return {"kind": "numeric", "low": 0, "high": high, "since": since.isoformat()}

    # --- numbers

    def _numbers(self, summary: Summary) -> dict[str, Any] | str:
        if not summary.numbers:
            return "its values are neither numbers nor categories"
        if summary.truths:
            return "its values are of several sorts"
        low, high = self._outliers(summary)
        odd = summary.texts
        if summary.marks and summary.cells is not None:
            marks = [text for text in summary.cells if text.casefold() in summary.marks]
            odd -= sum(summary.cells[text] for text in marks)
            self.marks[summary.name] = (*self.marks.get(summary.name, ()), *marks)
            self._note(summary, f"{len(marks)} texts look like marks of a missing value: see marks")
        if odd:
            self._note(
                summary,
                f"{odd} values are neither numbers nor known marks of a missing value: their rows "
                'are bad rows; errors="collect" of load tells which',
            )
        if not math.isfinite(low):
            return "it has no number beside marks of missing values"
        return self._domain(summary, low, high)

    def _outliers(self, summary: Summary) -> tuple[float, float]:
        """Return the ends without what is clearly a mark; note the marks."""
        low, high = summary.low, summary.high
        marks = []
        for value, count in summary.special.items():
            outside = value < 0 <= low if value < 0 else value > 3 * max(high, 1) and count > 1
            if value and math.isfinite(low) and outside:
                marks.append(text_of_number(value))
                self._note(
                    summary,
                    f"{count} values are {value:g}, far from all others: taken as missing, see "
                    "marks",
                )
        kept = [value for value in summary.special if text_of_number(value) not in marks]
        if marks:
            self.marks[summary.name] = tuple(marks)
        others = min([low, *(value for value in kept if value > 0)])
        if 0.0 in kept and 4 < others < math.inf:
            self._note(
                summary,
                f"{summary.special[0.0]} values are 0, apart from all others: if 0 means missing, "
                f'write [table.marks] with {summary.name} = ["0"], and missing = "median" here',
            )
        return min([low, *kept]), max([high, *kept])

    def _is_alone(self, summary: Summary, low: float, high: float) -> bool:
        """Whether all other values are within a third of the span."""
        if summary.cells is None:
            return False
        sign = self._decimal
        numbers = (cell.replace(sign, ".") for cell in summary.cells)
        values = sorted(float(text) for text in numbers if NUMBER.fullmatch(text))
        inner = [value for value in values if low <= value <= high]
        if len(inner) < 3 or high == low:
            return False
        return min(inner[-1] - inner[1], inner[-2] - inner[0]) < (high - low) / 3

    def _domain(self, summary: Summary, low: float, high: float) -> dict[str, Any]:
        if not summary.whole:
            if self._is_alone(summary, low, high):
                self._note(summary, "one end stands far apart from all other values: a slip?")
            ends = rounded(low, high)
            self._note(summary, "ends as found, and a tenth more, rounded")
            return {"kind": "numeric", "low": ends[0], "high": ends[1]}
        span = high - low
        if max(abs(low), abs(high)) > 2**53:
            self._note(
                summary, "numbers of more than 15 digits, of which the last are lost: an id?"
            )
        if low == high:
            self._note(summary, "all values are the same: a constant has no weight")
            return {"kind": "ordinal", "low": low, "high": high}
        if summary.different <= 2 and span == 1:
            return {"kind": "nominal", "low": low, "high": high}
        if span <= 12:
            self._note(summary, 'ends as found; kind = "nominal" if the numbers have no order')
            return {"kind": "ordinal", "low": low, "high": high}
        if self._is_alone(summary, low, high):
            self._note(summary, "one end stands far apart from all other values: a slip?")
        ends = rounded(low, high, whole=True)
        self._note(summary, "ends as found, and a tenth more, rounded")
        kind = "ordinal" if span <= _WIDEST_ORDINAL else "numeric"
        return {"kind": kind, "low": ends[0], "high": ends[1]}


def rounded(low: float, high: float, *, whole: bool = False) -> tuple[float, float]:
    """Return ends a tenth of the span further out, rounded outwards; 0 is not crossed."""
    span = high - low or abs(high) or 1.0
    if not math.isfinite(span) or not math.isfinite(span * 1.5):
        return low, high
    step = 10.0 ** math.floor(math.log10(span / 10)) if span > 1e-300 else span
    step *= next((factor for factor in (2, 5) if step * factor > span / 20), 5)
    step = max(step, 1.0) if whole else step
    wide_low = math.floor((low - span / 10) / step) * step
    wide_high = math.ceil((high + span / 10) / step) * step
    if low >= 0:
        wide_low = max(wide_low, 0.0)
    if high <= 0:
        wide_high = min(wide_high, 0.0)
    # Without the last digits, which multiplying left.
    return min(float(f"{wide_low:.12g}"), low), max(float(f"{wide_high:.12g}"), high)

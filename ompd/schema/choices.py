"""Which column of a table holds classes, and which one ids of rows."""

from __future__ import annotations

import re

from ompd.errors import SchemaError
from ompd.params import MAX_TEXT
from ompd.schema.features import NUMBER
from ompd.schema.summary import Summary

#: Names of the column of classes, the likelier first.
LABELS = (
    "class", "diagnosis", "outcome", "target", "label", "severity", "classification", "disease",
    "diag", "dx", "finding", "result", "status", "selector", "num", "y", "condition",
)  # fmt: skip
MOST_CLASSES = 20

ID = re.compile(
    r"(?:.*[\s_.-])?(?:id|pid|uid|uuid|mrn|identifier|key)|(?:patient|subject|sample|record|case)"
    r"(?:[\s_.-]*(?:id|nr|no|number|code(?:[\s_.-]*number)?))?|(?:code|id)[\s_.-]*number|index|nr",
    re.IGNORECASE,
)


def find_label(
    columns: list[Summary], label: str | None, ident: str | None, notes: list[tuple[str, str]]
) -> Summary:
    """Return the column of classes, and note why it is taken.

    Raises
    ------
    SchemaError
        If no column has few values.
    """
    if label is not None:
        for summary in columns:
            if summary.name == label:
                return summary
        raise SchemaError("label: expected the name of a column")
    few = [
        each
        for each in columns
        if 2 <= each.different <= MOST_CLASSES and each.name != ident and not _has_fractions(each)
    ]
    for name in LABELS:
        for summary in few:
            if summary.name.strip().casefold() == name:
                notes.append((summary.name, "taken as the column of classes for its name"))
                return summary
    if not few:
        raise SchemaError(
            f"source: expected a column of 2 to {MOST_CLASSES} classes; say which by label="
        )
    last = few[-1]
    place = "the last one" if last is columns[-1] else "the last one with few values"
    notes.append((last.name, f"taken as the column of classes, since it is {place}"))
    return last


def _has_fractions(summary: Summary) -> bool:
    return bool(summary.numbers) and not summary.whole


def classes_of(summary: Summary, notes: list[tuple[str, str]]) -> tuple[str, ...]:
    """Return the names of classes, in the source's order if it declares one, else sorted.

    Raises
    ------
    SchemaError
        If there are none, very many or long ones.
    """
    if summary.declared is not None:
        classes = [text for text in summary.declared if text]
    elif summary.cells is None or len(summary.cells) > MOST_CLASSES:
        raise SchemaError(f"column {summary.name!r}: expected at most {MOST_CLASSES} classes")
    else:
        classes = sorted(summary.cells, key=order_of)
    if not all(len(text) <= MAX_TEXT for text in classes) or not classes:
        raise SchemaError(f"column {summary.name!r}: expected names of classes")
    if summary.missing:
        notes.append((summary.name, f"{summary.missing} rows have no class: they are bad rows"))
    if all(NUMBER.fullmatch(text) for text in classes):
        notes.append(
            (
                summary.name,
                "classes are numbers; to name them, write the names in classes, and what the file "
                f'writes in [table.texts]: {classes[0]} = "NAME"',
            )
        )
    return tuple(classes)


def order_of(text: str) -> tuple[bool, float, str, str]:
    """Sort numbers by value and before other texts."""
    number = bool(NUMBER.fullmatch(text))
    return not number, float(text) if number else 0.0, text.casefold(), text


def find_id(columns: list[Summary], ident: str | None, notes: list[tuple[str, str]]) -> str:
    """Return the name of the column of ids, and note why."""
    if ident is not None:
        for summary in columns:
            if summary.name == ident and not summary.distinct:
                raise SchemaError("id: expected a column of different values, none missing")
        return ident
    for summary in columns:
        if ID.fullmatch(summary.name.strip()) and summary.distinct and _may_be_id(summary):
            notes.append((summary.name, "taken as ids of rows for its name"))
            return summary.name
    for place, summary in enumerate(columns):
        if summary.distinct and is_like_id(summary, place):
            notes.append((summary.name, "taken as ids of rows, since all of them differ"))
            return summary.name
    return ""


def _may_be_id(summary: Summary) -> bool:
    return summary.truths + summary.dates == 0 and summary.whole


def is_like_id(summary: Summary, place: int) -> bool:
    """Whether cells look like numbers or names of rows, whether or not all differ."""
    if not _may_be_id(summary) or place or summary.values < 2:
        return False
    if summary.texts:
        return summary.numbers == 0 and summary.distinct and summary.values > 3
    # Rows counted from 0 or from 1.
    if summary.rising and summary.low == 1 and summary.values > 3:
        return True
    # Measured values neither differ that much nor are that large throughout.
    often = summary.cells is not None and summary.different < 0.7 * summary.values
    return summary.low >= 1000 and not often

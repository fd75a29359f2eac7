"""What callers name, matched to what a schema names: labels to classes, columns to features.

A frame's column or a label that stands somewhere else than in the schema must never count as what
happens to stand there. Whatever has a name is therefore found by it, and refused if it is not
found exactly once.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from ompd.errors import FeatureError, LabelError

#: A class name that is a number. Exponents are left out: "1E5" is more likely a code of its own.
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")


def match_labels(
    labels: Any, classes: Sequence[str], texts: Mapping[str, str] | None = None
) -> tuple[list[int], bool]:
    """Find the class that every label writes; -1 for one that names no class.

    Parameters
    ----------
    labels : sequence or one-dimensional array of text, numbers or booleans
        Blanks around text do not count, where it is no name with them.
    classes : sequence of str
    texts : mapping of str to str, optional
        What else names a class, and which one; it comes before the classes' own names. Where
        there are such texts, no number is taken as a place.

    Returns
    -------
    codes : list of int
    by_place : bool
        Whether whole numbers were taken as places in `classes`, since no class is named by a
        number.

    Raises
    ------
    LabelError
        If they are no sequence.
    """
    expected = LabelError(f"labels: expected only {', '.join(classes)}")
    if isinstance(labels, (str, bytes, Mapping)):
        raise expected
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(labels, method):
            labels = getattr(labels, method)()
    if not isinstance(labels, Sequence):
        raise expected
    names = _Names(classes, texts or {})
    if labels and set(map(type, labels)) == {str}:
        known = {label: names.code(label) for label in set(labels)}
        return [known[label] for label in labels], False
    seen: dict[tuple[type, Any], int] = {}
    codes = []
    for each in labels:
        label = each.item() if isinstance(each, np.generic) else each
        if not isinstance(label, (str, bool, int, float)):
            codes.append(-1)
            continue
        # By type too: Python takes True, 1 and 1.0 for the same key.
        key = (type(label), label)
        code = seen.get(key)
        if code is None:
            code = seen[key] = names.code(label)
        codes.append(code)
    by_place = names.takes_places and any(
        kind is int and code >= 0 for (kind, _), code in seen.items()
    )
    return codes, by_place


class _Names:
    """Class names by text and, where they are numbers, by value."""

    def __init__(self, classes: Sequence[str], texts: Mapping[str, str]) -> None:
        self.by_text = {name: code for code, name in enumerate(classes)}
        self.by_text |= {text: classes.index(name) for text, name in texts.items()}
        self._classes = len(classes)
        # None marks a value that two names write, as "1" and "1.0" do.
        self.by_number: dict[int | float, int | None] = {}
        for name, code in self.by_text.items():
            if _NUMBER.fullmatch(name):
                value = _value(Decimal(name))
                same = self.by_number.get(value, code) == code
                self.by_number[value] = code if same else None
        self.takes_places = not (self.by_number or texts)

    def code(self, label: str | bool | float) -> int:
        """Return the class of one label; -1 for none."""
        if isinstance(label, (str, bool)):
            text = str(label)
            code = self.by_text.get(text)
            return self.by_text.get(text.strip(" \t"), -1) if code is None else code
        if self.takes_places:
            return label if isinstance(label, int) and 0 <= label < self._classes else -1
        found = self.by_number.get(_value(label))
        return -1 if found is None else found


def _value(number: float | Decimal) -> int | float:
    if isinstance(number, float) and not math.isfinite(number):
        return number
    whole = int(number)
    return whole if whole == number else float(number)


def are_ambiguous(classes: Sequence[str]) -> bool:
    """Whether an integer may name one class and be the place of another."""
    return any(code != value for value, code in _Names(classes, {}).by_number.items())


def arrange(x: Any, names: Sequence[str], *, others: bool = False) -> Any:
    """Return the values in the order of `names` if `x` names them, else `x` as it is.

    Parameters
    ----------
    x : Any
        Names are the columns of a data frame, the index of a series, the keys of a mapping
        (of numbers, or of columns of equal length), or the fields of a structured array; rows in a
        list may have names each. A frame or series that only numbers its columns from 0 names
        nothing.
    names : sequence of str
    others : bool, default=False
        Whether there may be other names too; what they name is left out.

    Returns
    -------
    Any
        A frame stays a frame.

    Raises
    ------
    FeatureError
        If a name is missing, unknown or there twice, or what is there is no text.
    """
    found = names_of(x)
    if found is None:
        return [arrange(row, names, others=others) for row in x] if has_names(x) else x
    _check_names(found, names, others=others)
    if isinstance(x, (Mapping, np.ndarray, np.void)):
        return _stacked([x[name] for name in names])
    ordered = x if found == list(names) else x[list(names)]
    return ordered if hasattr(x, "columns") else ordered.to_numpy()


def columns_of(x: Any, names: Sequence[str], *, others: bool = False) -> list[Any] | None:
    """Return the named columns of `x`, or None if it is no table with columns.

    Parameters
    ----------
    x : Any
        A frame of pandas or polars, an Arrow table, a structured array, or a mapping of columns.
    names : sequence of str
    others : bool, default=False
        Whether there may be other columns too.

    Raises
    ------
    FeatureError
        As for `arrange`.
    """
    if isinstance(x, np.void) or (isinstance(x, Mapping) and _is_one_row(x)):
        return None
    found = names_of(x)
    if found is None or not (isinstance(x, (Mapping, np.ndarray)) or hasattr(x, "columns")):
        return None
    _check_names(found, names, others=others)
    columns = [x[name] for name in names]
    if len({len(column) for column in columns}) > 1:
        raise FeatureError("features: expected one value or one column of equal length per name")
    return columns


def _is_one_row(x: Mapping[Any, Any]) -> bool:
    return any(
        isinstance(each, (str, bytes))
        or not hasattr(each, "__len__")
        or getattr(each, "ndim", 1) != 1
        for each in x.values()
    )


def has_names(x: Any) -> bool:
    """Whether `arrange` would look at names."""
    if isinstance(x, (list, tuple)):
        return any(names_of(row) is not None for row in x)
    return names_of(x) is not None


def check_aligned(features: Any, labels: Any) -> None:
    """Refuse labels whose rows are named otherwise than those of the features.

    Raises
    ------
    LabelError
    """
    rows, others = _rows_of(features), _rows_of(labels)
    if rows is not None and others is not None and rows != others:
        raise LabelError(
            "labels: expected the index of the features, in its order; "
            "labels.to_numpy() has none and goes by place"
        )


def _rows_of(x: Any) -> list[Any] | None:
    """Names of rows, which frames and series have."""
    found = getattr(x, "index", None) if hasattr(x, "to_numpy") else None
    return None if found is None or callable(found) else list(found)


def names_of(x: Any) -> list[Any] | None:
    """Return the names that `x` gives to its values; None if it gives none."""
    if isinstance(x, Mapping):
        return list(x)
    if isinstance(x, (np.ndarray, np.void)):
        return None if x.dtype.names is None else list(x.dtype.names)
    if hasattr(x, "column_names"):  # Arrow, whose `columns` are the columns themselves
        return list(x.column_names)
    if not hasattr(x, "to_numpy"):
        return None  # among others polars' lazy frames, of which nothing was read yet
    found = getattr(x, "columns", None)
    # Lists have a method of that name.
    if found is None:
        found = getattr(x, "index", None)
    if found is None or callable(found):
        return None
    listed = list(found)
    # What a frame calls its columns if nobody did. Numbers in another order were moved.
    numbered = all(type(name) is int for name in listed) and listed == list(range(len(listed)))
    return None if numbered else listed


def _check_names(found: list[Any], names: Sequence[str], *, others: bool = False) -> None:
    there = {name for name in found if isinstance(name, str)}
    missing = [name for name in names if name not in there]
    if missing:
        alike = {_folded(name) for name in missing} - {""}
        near = [place for place, name in enumerate(found) if _folded(name) in alike]
        hint = f"; the name in place {near[0]} is written almost like one" if near else ""
        raise FeatureError(f"features: expected a value of {_quoted(missing)}{hint}")
    known = set(names)
    # By place: where a file without header was read as if it had one, names are a patient's values.
    unknown = [place for place, name in enumerate(found) if name not in known]
    if unknown and not others:
        raise FeatureError(
            f"features: expected only {_quoted(names)}, got another name in place {unknown[0]}"
        )
    twice = [name for name in names if found.count(name) > 1] if len(found) > len(names) else []
    if twice:
        raise FeatureError(f"features: expected {_quoted(twice)} only once")


def _folded(name: Any) -> str | None:
    """Return a name without case, blanks, signs between words and the form of its letters."""
    if not isinstance(name, str):
        return None
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def _quoted(names: Sequence[str]) -> str:
    most = 12
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _stacked(columns: list[Any]) -> Any:
    """Columns side by side, as rows; plain values are one row."""
    if all(np.ndim(column) == 0 for column in columns):
        return columns
    if len({np.shape(column) for column in columns}) > 1 or np.ndim(columns[0]) != 1:
        raise FeatureError("features: expected one value or one column of equal length per name")
    return [list(row) for row in zip(*columns, strict=True)]

"""How a file writes a table: names of columns, separators, marks of what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ompd.errors import SchemaError
from ompd.schema.features import NUMBER, texts

#: Texts that people and programs write where a value is missing, in any case of letters.
MISSING = ("", "?", "-", "na", "n/a", "#n/a", "nan", "null", "none")

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank"}

#: Forms of dates that a file may have, as `datetime.strptime` writes them.
DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y%m%d")


class TableForm(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    r"""How one hospital's file or frame writes the table of a schema.

    It is of no concern to anybody else: `Schema.plain`, which travels, is without it.

    Parameters
    ----------
    label : str
        Name of the column of classes; empty for the last column of a file.
    id : str
        Name of the column of row ids, which must differ; empty for none.
    columns : tuple of str
        Names of all columns of a file without header, in order; empty for a file with one.
        Columns that neither the schema nor `label` nor `id` names are not read.
    separator : {",", ";", "\t", "|", " "}
        What stands between cells. A blank means one or more of them.
    decimal : {".", ","}
        Sign before the fraction of a number.
    missing : tuple of str
        Marks of a missing value, in any case of letters; `MISSING` if empty.
    marks : mapping or tuple of pairs (str, tuple of str)
        Further marks of single columns, for example ``{"glucose": ["0"]}``. One that is a number
        means every cell that writes this number.
    texts : mapping or tuple of pairs (str, str)
        What the column of classes writes, and the class that it means, where these differ:
        ``{"2": "benign", "4": "malignant"}``.
    dates : str
        Form of dates, one of `DATES`.
    notes : tuple of pairs (str, str)
        What `Schema.infer` could not decide: name of the column or empty text, and a sentence.
        They become comments in TOML, and are not read from there.

    Raises
    ------
    SchemaError
        If these contradict one another.
    """

    label: str = ""
    id: str = ""
    columns: tuple[str, ...] = ()
    separator: str = ","
    decimal: str = "."
    missing: tuple[str, ...] = ()
    marks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    dates: str = "%Y-%m-%d"
    notes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            msgspec.structs.force_setattr(self, name, value)

        if not all(isinstance(text, str) for text in (self.label, self.id)):
            raise SchemaError("table: expected texts as label and id")
        if self.id and self.id == self.label:
            raise SchemaError("table: id and label must be different columns")
        put("columns", texts(self.columns, "table columns"))
        put("missing", texts(self.missing, "table missing"))
        put(
            "marks",
            tuple((name, texts(each, "table marks")) for name, each in _pairs(self.marks, "marks")),
        )
        for name in ("texts", "notes"):
            pairs = _pairs(getattr(self, name), name)
            if not all(isinstance(text, str) for _, text in pairs):
                raise SchemaError(f"table {name}: expected pairs of texts")
            put(name, pairs)
        for name in ("marks", "texts"):
            keys = [key for key, _ in getattr(self, name)]
            if len(set(keys)) != len(keys):
                raise SchemaError(f"table {name}: expected each name once")
        if self.separator not in SEPARATORS:
            raise SchemaError(f"table separator: must be one of {tuple(SEPARATORS)}")
        if self.decimal not in {".", ","} or self.decimal == self.separator:
            raise SchemaError("table decimal: must be '.' or ',', and not the separator")
        if self.dates not in DATES:
            raise SchemaError(f"table dates: must be one of {DATES}")
        if self.columns:
            for name in (self.label, self.id):
                if name and name not in self.columns:
                    raise SchemaError(f"table columns: expected {name!r} among them")

    def marks_of(self, column: str) -> frozenset[str]:
        """Return the marks of a missing value in one column, casefolded."""
        own = next((marks for name, marks in self.marks if name == column), ())
        return frozenset(mark.casefold() for mark in (*(self.missing or MISSING), *own))

    def numbers_of(self, column: str) -> frozenset[float]:
        """Return the marks of one column that are numbers."""
        marks = self.marks_of(column)
        return frozenset(float(mark) for mark in marks if NUMBER.fullmatch(mark))


def _pairs(values: Any, where: str) -> tuple[tuple[str, Any], ...]:
    if isinstance(values, Mapping):
        values = values.items()
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise SchemaError(f"table {where}: expected pairs")
    pairs = tuple(tuple(pair) if isinstance(pair, (tuple, list)) else () for pair in values)
    if not all(len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        raise SchemaError(f"table {where}: expected pairs")
    return pairs

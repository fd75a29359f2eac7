"""Which column of a file holds what, and how its cells are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from ompd.arrays import F64, I64, U8, Bools
from ompd.errors import DatasetError
from ompd.schema import Feature, Schema, TableForm
from ompd.schema.features import NUMBER
from ompd.schema.values import LEVEL, MISSING, CellReader

#: What a column holds where it is no feature, as for `_kernels.cells`.
SKIP, LABEL, ID = -1, -2, -3
#: A longer list of texts is left to Python's dictionaries.
_MOST_WORDS = 64
#: How pandas and NumPy write a missing value.
_AS_PRINTED = {"nan": "NaN"}


class Columns:
    """The columns of one file.

    Parameters
    ----------
    names : sequence of str
        All of them, in the order of the file.
    schema : Schema
    where : str
        Name of the file and of its header, for messages.
    labelled : bool, default=True
        Whether one of them holds classes.

    Raises
    ------
    DatasetError
        If one that the schema names is missing or there twice.
    """

    def __init__(
        self, names: Sequence[str], schema: Schema, where: str, *, labelled: bool = True
    ) -> None:
        form = TableForm() if schema.table is None else schema.table
        wanted = [feature.name for feature in schema.features]
        self.label = form.label or (names[-1] if names else "") if labelled else ""
        if labelled and not form.label and (not self.label or self.label in wanted):
            raise DatasetError(f"{where}: expected a name of its own for the label column")
        self.id = form.id
        for name in (*wanted, *filter(None, (self.label, form.id))):
            if name not in names:
                raise DatasetError(
                    f"{where}: expected a column {name!r} among {len(names)}; schema.table says "
                    "separator, label and, for a file without header, columns"
                )
            if list(names).count(name) > 1:
                known = name in wanted or form.label or name == form.id
                shown = repr(name) if known else "of labels"
                raise DatasetError(f"{where}: expected a single column {shown}")
        self.features: tuple[Feature, ...] = schema.features
        self.classes = schema.classes
        self.form = form
        places = {name: place for place, name in enumerate(wanted)}
        if labelled:
            places[self.label] = LABEL
        if form.id:
            places[form.id] = ID
        self.places: I64 = np.array([places.get(name, SKIP) for name in names], dtype=np.int64)
        self.readers = [CellReader(feature, form) for feature in schema.features]
        self.codes: dict[str, int] = {text: code for code, text in enumerate(schema.classes)}
        self.codes |= {text: schema.classes.index(name) for text, name in form.texts}
        self._label_marks = form.marks_of(self.label)

    def read(self, place: int, cell: str) -> tuple[float, int]:
        """Return what a cell of a feature or of the label means, and its fault."""
        if place != LABEL:
            return self.readers[place].text(cell)
        code = self.codes.get(cell)
        code = self.codes.get(cell.strip(" \t"), -1) if code is None else code
        if code >= 0:
            return float(code), 0
        return -1.0, MISSING if cell.strip().casefold() in self._label_marks else LEVEL

    @cached_property
    def numeric(self) -> Bools:
        """Which columns of the file may hold numbers."""
        found = [
            place >= 0 and not (self.features[place].levels or self.features[place].since)
            for place in self.places.tolist()
        ]
        return np.array(found, dtype=np.bool_)

    @cached_property
    def words(self) -> tuple[U8, I64, I64, F64]:
        """What texts of each column mean, as `_kernels.cells.read_rows` takes them."""
        listed: list[bytes] = []
        meanings: list[float] = []
        first = [0]
        for place in self.places.tolist():
            known: Mapping[str, float] = {}
            if place == LABEL:
                known = {text: float(code) for text, code in self.codes.items()}
            elif place >= 0:
                known = self._texts_of(place)
            for text, meaning in known.items() if len(known) <= _MOST_WORDS else ():
                listed.append(text.encode("utf-8", "surrogatepass"))
                meanings.append(meaning)
            first.append(len(listed))
        bounds = np.cumsum([0, *map(len, listed)], dtype=np.int64)
        return (
            np.frombuffer(b"".join(listed) or b"\0", dtype=np.uint8),
            bounds,
            np.array(first, dtype=np.int64),
            np.array(meanings or [0.0], dtype=np.float64),
        )

    def _texts_of(self, place: int) -> dict[str, float]:
        feature = self.features[place]
        known = {text: float(feature.low + i) for i, text in enumerate(feature.levels)}
        for mark in self.form.marks_of(feature.name):
            if not NUMBER.fullmatch(mark) or feature.levels:
                for text in (mark, mark.upper(), mark.capitalize(), _AS_PRINTED.get(mark, mark)):
                    known.setdefault(text, math.nan)
        return known

    @cached_property
    def numeric_marks(self) -> list[tuple[int, float]]:
        """Features, by place, and numbers that mean a missing value."""
        return [
            (place, mark)
            for place, feature in enumerate(self.features)
            if not feature.levels
            for mark in self.form.numbers_of(feature.name)
        ]

"""Rows of a text file in blocks: plain ones by a kernel, the others cell by cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from ompd.arrays import F64, I64, Array
from ompd.datasets._columns import ID, LABEL, Columns
from ompd.datasets._ids import MAX_ID, text_of
from ompd.schema import Feature, Schema, TableForm
from ompd.schema.delimited import Text, records
from ompd.schema.values import MISSING, TEXT, WIDTH

#: Rows turned into arrays at once where cells are read as Python strings: enough to amortise
#: NumPy's calls, few enough that their text stays in the processor's cache.
CHUNK_ROWS = 256
#: Cells that the kernel reads at once, which bounds what it may leave to Python.
CHUNK_CELLS = 1 << 18

#: From this size of a file on, in bytes, loading the compiled kernel pays.
FAST_BYTES = 1 << 18

#: What a fault is in beyond the n features, as n + one of these.
LABEL_AT, ID_AT, ROW_AT = 0, 1, 2

_MOST_KNOWN = 1 << 16


class Fault(NamedTuple):
    """What is wrong with a row.

    Attributes
    ----------
    row, line : int
        Its number from 0, and the line on which it begins, from 1.
    column : int
        Place of the feature, or beyond.
    sort : int
        One of those in `ompd.schema.values`.
    cells : int
        How many cells the row has, if they are too few or too many.
    """

    row: int
    line: int
    column: int
    sort: int
    cells: int = 0


class Block(NamedTuple):
    """Rows one after another. One of another width is among the faults only.

    Attributes
    ----------
    rows, lines : int64 arrays of shape (r,)
    values : float64 array of shape (r, n)
        NaN where a value is missing or at fault.
    codes : int64 array of shape (r,)
        -1 for a fault.
    ids : array of text of shape (r,), or None
        Empty where there is none that can be used.
    faults : list of Fault
        By row, then by column.
    """

    rows: I64
    lines: I64
    values: F64
    codes: I64
    ids: Array | None
    faults: list[Fault]

    def __repr__(self) -> str:
        return f"<Block of {len(self.rows)} rows>"


def blocks(text: Text, columns: Columns, where: str) -> Iterator[Block]:
    """Read all rows.

    Raises
    ------
    DatasetError
        For a misplaced quote or an oversized cell.
    """
    row = 0
    plain = columns.form.separator != " " and text.quote == '"'
    # ARFF may have remarks among its rows.
    if text.attributes is not None and b"%" in text.body[text.start :]:
        plain = False
    if plain and text.end - text.start >= FAST_BYTES:
        fast = _Fast(text, columns)
        yield from fast.blocks()
        row, text = fast.row, fast.rest
    if text.start < text.end:
        yield from _slow(text, columns, where, row)


def warmup_reader() -> None:
    """Compile what reads large files, or load it."""
    feature = Feature("x", "numeric", 0, 1)
    schema = Schema((feature,), ("a",), TableForm(label="y", id="id"))
    body = b"p,0.12345678901234567,a"
    columns = Columns(["id", "x", "y"], schema, "warm-up")
    for _ in _Fast(Text(body, 0, len(body), 1, None), columns).blocks():
        pass


class _Fast:
    """Reads by the kernel until the text ends or a row is not plain."""

    def __init__(self, text: Text, columns: Columns) -> None:
        self.row = 0
        self.rest = text
        self._columns = columns
        self._text = np.frombuffer(text.body, dtype=np.uint8, count=text.end)

    def blocks(self) -> Iterator[Block]:
        from ompd._kernels.cells import UNUSUAL, read_rows

        columns = self._columns
        width, features = len(columns.places), len(columns.features)
        most = max(1, CHUNK_CELLS // width)
        form = columns.form
        names = np.zeros((most, 2), dtype=np.int64)
        widths = np.empty(most, dtype=np.int64)
        todo = np.empty((most * width, 4), dtype=np.int64)
        ended = 0
        while ended != UNUSUAL and self.rest.start < len(self._text):
            values = np.empty((most, features), dtype=np.float64)
            codes = np.empty(most, dtype=np.int64)
            rows, position, left, ended = read_rows(
                self._text,
                self.rest.start,
                np.uint8(ord(form.separator)),
                np.uint8(ord(form.decimal)),
                columns.places,
                columns.numeric,
                *columns.words,
                values,
                values.view(np.uint64),
                codes,
                names,
                widths,
                todo,
            )
            if rows:
                faults = self._resolve(values, codes, todo[:left])
                yield self._block(values[:rows], codes[:rows], names[:rows], widths[:rows], faults)
            self.row += rows
            self.rest = self.rest._replace(start=position, line=self.rest.line + rows)

    def _resolve(self, values: F64, codes: I64, todo: I64) -> list[Fault]:
        """Read the cells that the kernel left."""
        columns = self._columns
        known: dict[tuple[int, bytes], tuple[float, int]] = {}
        faults = []
        for row, column, start, stop in todo.tolist():
            place = int(columns.places[column])
            content = self.rest.body[start:stop]
            found = known.get((place, content))
            if found is None:
                found = columns.read(place, content.decode("utf-8"))
                if len(known) < _MOST_KNOWN:
                    known[place, content] = found
            if place == LABEL:
                codes[row] = int(found[0])
                place = len(columns.features) + LABEL_AT
            else:
                values[row, place] = found[0]
            if found[1]:
                faults.append(Fault(self.row + row, self.rest.line + row, place, found[1]))
        return faults

    def _block(
        self, values: F64, codes: I64, names: I64, widths: I64, faults: list[Fault]
    ) -> Block:
        columns = self._columns
        for place, mark in columns.numeric_marks:
            values[values[:, place] == mark, place] = math.nan
        good = widths == len(columns.places)
        rows = np.arange(self.row, self.row + len(values))
        lines = rows + (self.rest.line - self.row)
        faults += [
            _width(int(rows[place]), int(lines[place]), int(widths[place]), columns)
            for place in np.flatnonzero(~good).tolist()
        ]
        ids = self._ids(names[good]) if columns.id else None
        if not good.all():
            rows, lines, values, codes = rows[good], lines[good], values[good], codes[good]
        return _finished(Block(rows, lines, values, codes, ids, faults), columns)

    def _ids(self, spans: I64) -> Array:
        from ompd._kernels.cells import gather

        longest = int((spans[:, 1] - spans[:, 0]).max(initial=0))
        if 0 < longest <= MAX_ID:
            out = np.zeros((len(spans), longest), dtype=np.uint8)
            gather(self._text, spans, out)
            if out.max() < 0x80:
                # ASCII is its own code points, of which NumPy's text has four bytes each.
                return out.astype(np.uint32).view(f"U{longest}")[:, 0]
        body = self.rest.body
        return _usable(body[start:stop].decode("utf-8") for start, stop in spans.tolist())


def _usable(cells: Iterable[str]) -> Array:
    return np.array([text_of(cell) or "" for cell in cells], dtype=np.str_)


def _slow(text: Text, columns: Columns, where: str, row: int) -> Iterator[Block]:
    stream = records(text, columns.form.separator, where)
    width = len(columns.places)
    known: list[dict[str, tuple[float, int]]] = [{} for _ in columns.places]
    while chunk := list(islice(stream, CHUNK_ROWS)):
        faults: list[Fault] = []
        kept: list[tuple[int, int, list[str]]] = []
        for number, (line, cells) in enumerate(chunk, row):
            if len(cells) == width:
                kept.append((number, line, cells))
            else:
                faults.append(_width(number, line, len(cells), columns))
        values = np.empty((len(kept), len(columns.features)), dtype=np.float64)
        codes = np.empty(len(kept), dtype=np.int64)
        ids = None
        for column, place in enumerate(columns.places.tolist()):
            if place == ID:
                ids = _usable(cells[column] for _, _, cells in kept)
            if place < LABEL or place == -1:
                continue
            memo = known[column]
            found = []
            for number, line, cells in kept:
                pair = memo.get(cells[column])
                if pair is None:
                    pair = columns.read(place, cells[column])
                    if len(memo) < _MOST_KNOWN:
                        memo[cells[column]] = pair
                if pair[1]:
                    at = len(columns.features) + LABEL_AT if place == LABEL else place
                    faults.append(Fault(number, line, at, pair[1]))
                found.append(pair[0])
            if place == LABEL:
                codes[:] = found
            else:
                values[:, place] = found
        numbers = np.array([number for number, _, _ in kept], dtype=np.int64)
        lines = np.array([line for _, line, _ in kept], dtype=np.int64)
        yield _finished(Block(numbers, lines, values, codes, ids, faults), columns)
        row += len(chunk)


def _width(row: int, line: int, cells: int, columns: Columns) -> Fault:
    return Fault(row, line, len(columns.features) + ROW_AT, WIDTH, cells)


def _finished(block: Block, columns: Columns) -> Block:
    """Add what is missing, and order the faults."""
    faults = block.faults
    complete = np.array([feature.complete for feature in columns.features], dtype=np.bool_)
    gaps = np.argwhere(np.isnan(block.values) & complete)
    if len(gaps):
        known = {(fault.row, fault.column) for fault in faults}
        rows, lines = block.rows.tolist(), block.lines.tolist()
        faults += [
            Fault(rows[row], lines[row], column, MISSING)
            for row, column in gaps.tolist()
            if (rows[row], column) not in known
        ]
    if block.ids is not None:
        faults += [
            Fault(int(block.rows[at]), int(block.lines[at]), len(columns.features) + ID_AT, TEXT)
            for at in np.flatnonzero(block.ids == "").tolist()
        ]
    return block._replace(faults=sorted(faults))

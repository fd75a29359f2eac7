"""Tables of whatever source, summed up column by column."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ompd.errors import DatasetError, SchemaError
from ompd.schema.arrow import MAGIC, batches
from ompd.schema.delimited import (
    MAX_COLUMNS,
    MOST_BYTES,
    Text,
    check_text,
    header,
    read_file,
    records,
)
from ompd.schema.features import NUMBER
from ompd.schema.form import MISSING, SEPARATORS
from ompd.schema.matching import names_of
from ompd.schema.summary import Summary
from ompd.schema.values import as_array

#: How much of a file is looked at to see its separator and header.
_SAMPLE_BYTES = 1 << 20
_SAMPLE_ROWS = 200
_CHUNK_ROWS = 4096


class Source(NamedTuple):
    """A table summed up.

    Attributes
    ----------
    columns : list of Summary
    form : dict
        Fields of `TableForm` that its text shows.
    notes : list of str
    """

    columns: list[Summary]
    form: dict[str, Any]
    notes: list[str]


def sum_up(source: Any, columns: Sequence[str] | None) -> Source:
    """Read a whole table once.

    Parameters
    ----------
    source : path, frame, Arrow table or mapping of columns
    columns : sequence of str or None
        Names of all columns of a file without header.

    Raises
    ------
    SchemaError
        If it is none of these, or names do not fit.
    DatasetError
        If a file cannot be read.
    """
    if not isinstance(source, (str, os.PathLike)):
        if columns is not None:
            raise SchemaError("columns: only a file without header needs names")
        return _of_frames([source])
    path = Path(source)
    form = MAGIC.get(read_file(path, 4, whole=False))
    if form is not None:
        if columns is not None:
            raise SchemaError("columns: only a file without header needs names")
        return _of_frames(batches(path, form, list))
    text = check_text(read_file(path, MOST_BYTES), path.name)
    if text.attributes is not None:
        return _of_arff(text, path.name)
    return _of_csv(text, path.name, columns)


def _of_frames(frames: Any) -> Source:
    summaries: dict[Any, Summary] = {}
    for frame in frames:
        names = names_of(frame)
        if names is None or not all(isinstance(name, str) for name in names):
            raise SchemaError("source: expected a path, or a table whose columns have names")
        if len(names) > MAX_COLUMNS:
            raise SchemaError(f"source: expected at most {MAX_COLUMNS} columns")
        for name in set(names):
            if names.count(name) > 1:
                raise SchemaError(f"source: expected {name!r} only once")
        for name in names:
            summary = summaries.setdefault(name, Summary(name))
            column = frame[name]
            _declare(summary, column)
            summary.feed(as_array(column))
    return Source(list(summaries.values()), {}, [])


def _declare(summary: Summary, column: Any) -> None:
    """Note the categories that a column declares."""
    kind = getattr(column, "dtype", None)
    found = getattr(kind, "categories", None)
    if found is not None and hasattr(column, "cat"):
        listed = found.to_list() if hasattr(found, "to_list") else list(found)
        # Polars lists what all columns of the process share.
        if "polars" not in type(column).__module__ or type(kind).__name__ == "Enum":
            summary.declared = tuple(map(str, listed))
            summary.ordered = bool(getattr(kind, "ordered", False))
        # Numbers are such without being listed, and more may come.
        if not summary.ordered and all(map(_is_no_level, summary.declared or ())):
            summary.declared = None


def _is_no_level(text: str) -> bool:
    return bool(NUMBER.fullmatch(text)) or text.casefold() in MISSING


# --- text --------------------------------------------------------------------------------------


def _of_arff(text: Text, where: str) -> Source:
    attributes = text.attributes or ()
    summaries = [Summary(attribute.name) for attribute in attributes]
    for summary, attribute in zip(summaries, attributes, strict=True):
        summary.declared = attribute.levels
    notes = _feed(summaries, text, ",", where)
    return Source(summaries, {}, notes)


def _of_csv(text: Text, where: str, columns: Sequence[str] | None) -> Source:
    separator, sample = _separator(text, where)
    width = Counter(map(len, sample)).most_common(1)[0][0]
    if width < 2:
        raise SchemaError(f"{where}: expected at least two columns")
    if width > MAX_COLUMNS:
        raise SchemaError(f"{where}: expected at most {MAX_COLUMNS} columns")
    decimal = _decimal(sample, separator)
    form: dict[str, Any] = {"separator": separator, "decimal": decimal}
    notes = []
    first = [cell.strip(" \t") for cell in sample[0]]
    if columns is not None:
        names = list(columns)
        if len(names) != width:
            raise SchemaError(f"columns: expected {width} names, got {len(names)}")
        form["columns"] = tuple(names)
    elif _is_header(sample, decimal):
        names = first
        text = header(text, separator, where)[1]
    else:
        names = [f"column_{place}" for place in range(1, width + 1)]
        form["columns"] = tuple(names)
        notes.append(
            "the first line holds values, so the file has no header: give the columns their "
            "names, here and in the sections of features"
        )
    if len(names) != width:
        raise SchemaError(f"{where}: expected {width} names in the header, got {len(names)}")
    if not all(names) or len(set(names)) != len(names):
        # Only those that can be named can be read.
        notes.append("columns without a name of their own are left out")
    summaries = [Summary(name, decimal) for name in names]
    notes += _feed(summaries, text, separator, where)
    counts = Counter(names)
    kept = [each for each in summaries if each.name and counts[each.name] == 1]
    return Source(kept, form, notes)


def _feed(summaries: list[Summary], text: Text, separator: str, where: str) -> list[str]:
    odd = 0
    rows = 0
    stream = records(text, separator, where)
    while chunk := [cells for _, cells in islice(stream, _CHUNK_ROWS)]:
        kept = [cells for cells in chunk if len(cells) == len(summaries)]
        odd += len(chunk) - len(kept)
        rows += len(kept)
        if kept:
            for summary, cells in zip(summaries, zip(*kept, strict=True), strict=True):
                summary.feed_texts(cells)
    if not rows:
        raise DatasetError(f"{where}: expected at least one row")
    if odd:
        return [f"{odd} rows have another number of cells: they are bad rows; see errors= of load"]
    return []


def _separator(text: Text, where: str) -> tuple[str, list[list[str]]]:
    """Return the separator that most rows agree on, and the first rows."""
    cut = text.body[: min(_SAMPLE_BYTES, text.end)]
    if len(cut) < text.end:
        cut = cut[: max(cut.rfind(b"\n"), cut.rfind(b"\r")) + 1] or cut
    # The cut may be within a character.
    sample = Text(cut.decode("utf-8", "ignore").encode(), 0, len(cut), 1, None)
    best: tuple[float, str, list[list[str]]] = (0.0, ",", [])
    # A comma may stand within numbers, and a blank within texts.
    for separator in ("\t", ";", "|", ",", " "):
        rows: list[list[str]] = []
        try:
            rows.extend(
                cells for _, cells in islice(records(sample, separator, where), _SAMPLE_ROWS)
            )
        except DatasetError:
            if len(rows) < 2:
                continue
        width, count = Counter(map(len, rows)).most_common(1)[0]
        share = count / len(rows)
        if width > 1 and share > best[0] + 0.05:
            best = (share, separator, rows)
    if not best[2]:
        kinds = ", ".join(SEPARATORS.values())
        raise SchemaError(f"{where}: expected rows of cells with one of {kinds} between them")
    return best[1], best[2]


def _decimal(sample: list[list[str]], separator: str) -> str:
    """Return the decimal sign that more cells are numbers with."""
    if separator == ",":
        return "."
    cells = [cell.strip(" \t") for row in sample for cell in row]
    points = sum("." in cell and bool(NUMBER.fullmatch(cell)) for cell in cells)
    commas = sum("," in cell and bool(NUMBER.fullmatch(cell.replace(",", "."))) for cell in cells)
    return "," if commas > points else "."


def _is_header(sample: list[list[str]], decimal: str) -> bool:
    """Whether the first row names columns: different texts that no row below has in its place."""
    first = [cell.strip(" \t") for cell in sample[0]]

    def is_value(cell: str) -> bool:
        number = cell.replace(",", ".") if decimal == "," else cell
        return bool(NUMBER.fullmatch(number)) or (cell.casefold() in MISSING and bool(cell))

    # One may be without a name: row numbers that a frame wrote.
    # Names that stand there twice are left out later.
    if any(map(is_value, first)) or first.count("") > 1:
        return False
    below = {(place, cell.strip(" \t")) for row in sample[1:] for place, cell in enumerate(row)}
    return not any((place, cell) in below for place, cell in enumerate(first))

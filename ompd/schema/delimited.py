"""Text with one row per line, and the header of ARFF: what is checked before any cell is read.

A file holds patients. Errors therefore say where (line from 1, column by name) and what was
expected, never what was found, and are raised outside ``except`` blocks: the text of Python's own
``ValueError`` or ``UnicodeDecodeError`` quotes the data and would hang on as ``__context__``.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ompd.errors import DatasetError
from ompd.schema.form import SEPARATORS

#: Most bytes of a line and most columns: no table of patients comes near, and both bound memory.
MAX_LINE = 4 << 20
MAX_COLUMNS = 1 << 14
#: Largest file of text, in bytes.
MOST_BYTES = 8 << 30
_STEP = 1 << 16


class Attribute(NamedTuple):
    """A column that ARFF declares: its name, and its texts if it has a set of them."""

    name: str
    levels: tuple[str, ...] | None


class Text(NamedTuple):
    """A checked text file.

    Attributes
    ----------
    body : bytes
        UTF-8 without NUL and byte order mark.
    start, end : int
        Where rows, or the header of CSV, begin, and where the breaks at the end do.
    line : int
        Number of the line that begins there, from 1.
    attributes : tuple of Attribute or None
        The columns, if the file is ARFF.
    """

    body: bytes
    start: int
    end: int
    line: int
    attributes: tuple[Attribute, ...] | None

    def __repr__(self) -> str:
        return f"<Text of {len(self.body)} bytes>"

    @property
    def quote(self) -> str:
        """The sign around a cell. ARFF allows two."""
        return "'" if self.attributes and b"'" in self.body[self.start :] else '"'


def read_file(path: Path, most: int, *, whole: bool = True) -> bytes:
    """Read a regular file of at most `most` bytes, or only its beginning.

    Raises
    ------
    DatasetError
        If it cannot be read, or is no regular file or larger.
    """
    problem = ""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                problem = "expected a regular file"
            elif whole and status.st_size > most:
                problem = f"expected at most {most} bytes"
            else:
                # A file may grow meanwhile; what is read is what was looked at.
                return file.read(min(most, status.st_size))
    except FileNotFoundError:
        problem = "no such file"
    except IsADirectoryError:
        problem = "expected a file, got a folder"
    except (OSError, ValueError):  # ValueError: a NUL in the path
        problem = "the file cannot be read"
    raise DatasetError(f"{path}: {problem}")


def check_text(raw: bytes, where: str, line: int = 1) -> Text:
    """Check what can be checked without knowing columns; `line` is the number of the first.

    Raises
    ------
    DatasetError
        For text that is not UTF-8 or has NUL bytes, lines that are too long, an empty file, or a
        bad header of ARFF.
    """
    # Spreadsheets put a byte order mark in front when they export UTF-8.
    body = raw.removeprefix(codecs.BOM_UTF8)
    bad = -1
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            bad = error.start
    if bad >= 0:
        raise DatasetError(f"{where}, line {line + _line_of(body, bad)}: expected UTF-8 text")
    if (bad := body.find(b"\0")) >= 0:
        line += _line_of(body, bad)
        raise DatasetError(f"{where}, line {line}: expected text, got a NUL byte")
    end = _end_of(body)
    if not (body[:_STEP].strip() or body.strip()):
        raise DatasetError(f"{where}: expected a header and rows, the file is empty")
    if (bad := _long_line(body)) >= 0:
        line += _line_of(body, bad)
        raise DatasetError(f"{where}, line {line}: expected at most {MAX_LINE} bytes in a line")
    return _arff(body, end, where) if _is_arff(body) else Text(body, 0, end, line, None)


def _end_of(body: bytes) -> int:
    """Return where the line breaks at the end begin, without a copy of the whole."""
    end = len(body)
    while end:
        part = body[max(0, end - _STEP) : end]
        kept = part.rstrip(b"\r\n")
        end -= len(part) - len(kept)
        if kept:
            break
    return end


def _line_of(body: bytes, position: int) -> int:
    """Count the lines that end before a position."""
    before = body[:position].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return before.count(b"\n")


def _long_line(body: bytes) -> int:
    """Return where a line begins that is too long; -1 if none is."""
    position = 0
    while len(body) - position > MAX_LINE:
        ends = position + MAX_LINE + 1
        found = max(body.rfind(b"\n", position, ends), body.rfind(b"\r", position, ends))
        if found < 0:
            return position
        position = found + 1
    return -1


def records(text: Text, separator: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line on which it begins; a quoted cell may span several.

    Raises
    ------
    DatasetError
        For a misplaced quote or an oversized cell.
    """
    stream = io.TextIOWrapper(
        io.BytesIO(memoryview(text.body)[text.start : text.end]), encoding="utf-8", newline=""
    )
    is_arff = text.attributes is not None
    if separator == " ":
        for line, content in enumerate(stream, text.line):
            yield line, content.split()
        return
    reader = csv.reader(stream, strict=True, delimiter=separator, quotechar=text.quote)
    while True:
        line = reader.line_num + text.line
        cells: list[str] | None = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            pass
        if cells is None:
            raise DatasetError(
                f"{where}, line {line}: expected {SEPARATORS[separator]}-separated cells, "
                "got a misplaced quote or an oversized cell"
            )
        if is_arff and (not "".join(cells).strip() or cells[0].lstrip().startswith("%")):
            continue
        yield line, cells


def header(text: Text, separator: str, where: str) -> tuple[list[str], Text]:
    """Read the first line as names of columns, and return what is below it.

    Raises
    ------
    DatasetError
        For a misplaced quote.
    """
    breaks = [place for place in (text.body.find(b"\n"), text.body.find(b"\r")) if place >= 0]
    end = min(breaks, default=text.end)
    first = Text(text.body[:end], 0, end, 1, None)
    cells = next(records(first, separator, where))[1] if end else []
    if text.body[end : end + 2] == b"\r\n":
        end += 1
    return [cell.strip(" \t") for cell in cells], text._replace(start=end + 1, line=2)


# --- ARFF --------------------------------------------------------------------------------------


def _is_arff(body: bytes) -> bool:
    for line in body[:_STEP].splitlines():
        stripped = line.strip().lower()
        if stripped and not stripped.startswith(b"%"):
            return stripped.startswith(b"@relation")
    return False


def _arff(body: bytes, stop: int, where: str) -> Text:
    attributes: list[Attribute] = []
    position = 0
    number = 0
    while position < stop:
        end = body.find(b"\n", position, stop)
        end = stop if end < 0 else end
        line = body[position:end].decode("utf-8").strip()
        position, number = end + 1, number + 1
        word = line.split(None, 1)[0].casefold() if line else ""
        if word == "@data":
            break
        if word == "@attribute":
            attributes.append(_attribute(line, f"{where}, line {number}"))
        elif word and word != "@relation" and not word.startswith("%"):
            raise DatasetError(f"{where}, line {number}: expected @attribute or @data")
        if len(attributes) > MAX_COLUMNS:
            raise DatasetError(f"{where}, line {number}: expected at most {MAX_COLUMNS} columns")
    else:
        raise DatasetError(f"{where}: expected @data")
    names = [attribute.name for attribute in attributes]
    if not names or len(set(names)) != len(names):
        raise DatasetError(f"{where}: expected different names of attributes")
    if body[position : position + _STEP].lstrip().startswith(b"{"):
        raise DatasetError(f"{where}, line {number + 1}: expected dense rows, got sparse ones")
    return Text(body, position, stop, number + 1, tuple(attributes))


def _attribute(line: str, where: str) -> Attribute:
    rest = line.split(None, 1)[1] if " " in line or "\t" in line else ""
    quote = rest[:1]
    if quote in {"'", '"'}:
        name, found, kind = rest[1:].partition(quote)
    else:
        end = next((at for at, sign in enumerate(rest) if sign in " \t{"), len(rest))
        name, found, kind = rest[:end], "", rest[end:]
    kind = kind.strip()
    if not name or not kind or (quote in {"'", '"'} and not found):
        raise DatasetError(f"{where}: expected @attribute, a name and a type")
    if not kind.startswith("{"):
        return Attribute(name, None)
    if not kind.endswith("}"):
        raise DatasetError(f"{where}: expected a closing brace")
    inner = kind[1:-1]
    quote = "'" if "'" in inner else '"'
    levels: list[str] | None = None
    with contextlib.suppress(csv.Error):
        levels = next(csv.reader([inner], quotechar=quote, skipinitialspace=True), [])
    if levels is None:
        raise DatasetError(f"{where}: expected a set of texts")
    stripped = dict.fromkeys(level.strip(" \t") for level in levels)
    return Attribute(name, tuple(stripped))

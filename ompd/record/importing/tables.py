"""Tables of measurements, as CSV.

Plain form: a header and the columns `when`, `code`, `value` and, for numbers, `unit`; if wanted
`system`, `name`, `until` and `device`. Separated by comma, semicolon or tab, in UTF-8::

    when,code,value,unit
    2024-02-03T10:15+01:00,8867-4,72,/min
    2024-02-03,29463-7,70.5,kg

`when` is a day, or a moment with its zone; `code` one of LOINC, or of the `system`; `unit` one of
UCUM, or common words for it.

Any other table needs a mapping, in TOML, that says what its columns are::

    when = "Datum"
    format = "%d.%m.%Y %H:%M"
    zone = "Europe/Berlin"
    decimal = ","

    [columns.Puls]
    code = "8867-4"
    unit = "/min"

    [columns.Raucher]
    code = "72166-2"
    values = { ja = true, nein = false }

`when` names a column, `format` is that of `strptime` (ISO 8601 without), `zone` where its times
are. A cell of a column that is named becomes an observation; empty ones, and other columns, none.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from ompd.errors import ImportFileError, ResourceError
from ompd.record.fhir import ATC, ICD10, LOINC, OWN, SNOMED, Resource, observation, unit_of
from ompd.record.importing.limits import MOST_PARTS, Tally

_SYSTEMS = {"loinc": LOINC, "snomed": SNOMED, "icd10": ICD10, "atc": ATC, "own": OWN}
_NEEDED = ("when", "code", "value")
_KNOWN = {*_NEEDED, "unit", "system", "name", "until", "device"}
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}([.][0-9]{1,15})?([eE][+-]?[0-9]{1,2})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Of a mapping, in bytes.
_MOST_MAPPING = 1 << 16
# Of a line, also within quotes.
_MOST_CELLS = 10_000

Cell = bool | Decimal | str


class _Column(msgspec.Struct, forbid_unknown_fields=True):
    code: str
    unit: str = ""
    system: str = "loinc"
    name: str = ""
    values: dict[str, bool | float | str] = {}


class Mapping(msgspec.Struct, forbid_unknown_fields=True):
    """What the columns of a table are; see the module.

    Attributes
    ----------
    when : str
        The column with the time.
    columns : dict
        By their names.
    format : str, default ISO 8601
    zone : str, optional
        Of the IANA's database; without it, times must have their own.
    decimal : str, default "."
    separator : str, optional
        Found by itself without it.
    """

    when: str
    columns: dict[str, _Column]
    format: str = ""
    zone: str = ""
    decimal: str = "."
    separator: str = ""

    @classmethod
    def from_toml(cls, source: bytes) -> Mapping:
        """Read a mapping.

        Raises
        ------
        ImportFileError
            If it is none.
        """
        failed = len(source) > _MOST_MAPPING
        try:
            text = "" if failed else source.decode()
            found = msgspec.convert(tomllib.loads(text), type=cls)
            if found.zone:
                ZoneInfo(found.zone)
            failed |= found.decimal not in {".", ","} or len(found.separator) > 1
        # Zones that are none raise what their files do.
        except (ValueError, msgspec.MsgspecError, RecursionError, LookupError, OSError):
            failed = True
        if failed:
            raise ImportFileError("mapping: expected TOML with `when` and `columns`")
        return found


def observations_in(
    source: bytes, tally: Tally, *, mapping: Mapping | None, partial: bool, now: datetime
) -> Iterator[Resource]:
    """Yield what a table has measured.

    Parameters
    ----------
    source : bytes
    tally : Tally
        Counts what is left out.
    mapping : Mapping, optional
        Without it, the table is of the plain form.
    partial : bool
        Whether a row that is wrong is left out and counted, instead of an error.
    now : datetime

    Raises
    ------
    ImportFileError
        If it is no such table or has a wrong row. It tells which, and what was expected.
    """
    text = _decoded(source)
    separator = (mapping.separator if mapping else "") or _separator(text)
    rows = csv.reader(_lines(text, separator), delimiter=separator, strict=True)
    made = 0
    columns: list[str] | None = None
    for place, row in enumerate(_rows(rows), start=1):
        if columns is None:
            columns = _columns(row, mapping)
            continue
        if not any(cell.strip() for cell in row):
            continue
        if place > MOST_PARTS:
            raise ImportFileError(f"file: expected at most {MOST_PARTS:,} rows")
        problem = ""
        try:
            found = _row(row, columns, mapping, now)
            made += len(found)
            yield from found
        except (ResourceError, ImportFileError) as error:
            problem = str(error)
        if problem and not partial:
            raise ImportFileError(f"row {place}: {problem}")
        if problem:
            tally.add(problem)
        if made > MOST_PARTS:
            raise ImportFileError(f"file: expected at most {MOST_PARTS:,} values")
    if columns is None:
        raise ImportFileError("file: expected a table with a header")


def _row(
    row: list[str], columns: list[str], mapping: Mapping | None, now: datetime
) -> list[Resource]:
    if len(row) != len(columns):
        raise ImportFileError("expected as many cells as columns")
    cells = dict(zip(columns, (cell.strip() for cell in row), strict=True))
    return list(_mapped(cells, mapping, now)) if mapping else [_plain(cells, now)]


def _decoded(source: bytes) -> str:
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ImportFileError("file: expected CSV in UTF-8")
    return text


def _separator(text: str) -> str:
    head = text[: 1 << 14].partition("\n")[0]
    return max(",;\t", key=head.count)


def _lines(text: str, separator: str) -> Iterator[str]:
    for line in io.StringIO(text, newline=""):
        if line.count(separator) > _MOST_CELLS:
            raise ImportFileError(f"file: expected at most {_MOST_CELLS:,} columns")
        yield line


def _rows(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    while True:
        failed = False
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            failed = True
        if failed:
            raise ImportFileError("file: expected CSV with cells of at most 128 KiB")
        yield row


def _columns(row: list[str], mapping: Mapping | None) -> list[str]:
    names = [name.strip() for name in row]
    if mapping is None:
        names = [name.lower() for name in names]
        if not set(_NEEDED) <= set(names):
            raise ImportFileError("file: expected the columns when, code and value, or a mapping")
    elif not {mapping.when, *mapping.columns} <= set(names):
        raise ImportFileError("file: expected the columns that the mapping names")
    wanted = {mapping.when, *mapping.columns} if mapping else _KNOWN
    if any(names.count(name) > 1 for name in wanted):
        raise ImportFileError("file: expected each column once")
    return names


def _plain(cells: dict[str, str], now: datetime) -> Resource:
    code, value = cells["code"], _value(cells["value"], ".")
    system = cells.get("system") or "loinc"
    until = _moment(cells["until"], "", "") if cells.get("until") else None
    return _observed(
        value, cells.get("unit", ""), _moment(cells["when"], "", ""), now, code=code,
        system=_SYSTEMS.get(system.lower(), system),
        display=cells.get("name") or None, device=cells.get("device") or None, until=until,
    )  # fmt: skip


def _mapped(cells: dict[str, str], mapping: Mapping, now: datetime) -> Iterator[Resource]:
    when = _moment(cells[mapping.when], mapping.format, mapping.zone)
    for name, column in mapping.columns.items():
        cell = cells[name]
        if not cell:
            continue
        value: Cell | float | None = column.values.get(cell)
        if value is None:
            value = _value(cell, mapping.decimal)
        yield _observed(
            value, column.unit, when, now, code=column.code,
            system=_SYSTEMS.get(column.system, column.system), display=column.name or None,
        )  # fmt: skip


def _observed(
    value: Cell | float, unit: str, when: datetime | date, now: datetime, **more: Any
) -> Resource:
    number = not isinstance(value, (bool, str))
    if unit and not number:
        raise ImportFileError("value: expected a number, since it has a unit")
    found = unit_of(unit[:64]) if unit else None
    if unit and found is None:
        raise ImportFileError("unit: expected a unit of UCUM, or one that people use")
    if number and not unit:
        raise ImportFileError("unit: expected one with a number; 1 if it has none")
    return observation(more.pop("code"), value, found, when, now=now, **more)


def _value(cell: str, decimal: str) -> Cell:
    written = cell.replace(decimal, ".") if decimal != "." and "." not in cell else cell
    if _NUMBER.fullmatch(written):
        return Decimal(written)
    if cell.lower() in {"true", "false"}:
        return cell.lower() == "true"
    if not cell or len(cell) > 10_000:
        raise ImportFileError("value: expected a number, true, false or a text")
    return cell


def _moment(cell: str, form: str, zone: str) -> datetime | date:
    found: datetime | None = None
    try:
        if not form and _DAY.fullmatch(cell):
            return date.fromisoformat(cell)
        found = datetime.strptime(cell, form) if form else datetime.fromisoformat(cell)
    except ValueError:
        found = None
    if found is not None and found.tzinfo is None and zone:
        found = found.replace(tzinfo=ZoneInfo(zone))
    if found is None or found.tzinfo is None:
        raise ImportFileError("when: expected a day, or a moment with a zone")
    return found

"""Quantities of an export of Apple Health, read as a stream.

The declaration of the document's type, which some of Apple's systems write with mistakes, is cut
out before the parser sees it: so there are no entities, no attributes by default, and nothing that
could be fetched. What is kept in memory does not depend on the file's size. Records within
correlations are skipped: Apple writes each of them at the top, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, NoReturn
from xml.parsers import expat

from ompd.errors import ImportFileError
from ompd.record.fhir import MEASURES, Resource, is_convertible, observation, unit_of
from ompd.record.fhir.dates import FIRST_YEAR, SLACK, is_sane
from ompd.record.fhir.vocabulary import APPLE_TYPES
from ompd.record.importing.limits import Tally

#: How deep elements may lie, and how long one may be; and what is before the first.
MOST_DEPTH, MOST_ELEMENT, MOST_HEAD = 16, 1 << 20, 1 << 16

# How far zones are from UTC, at most.
_NONE, _FAR = timedelta(0), timedelta(hours=14)

_TYPE = re.compile(r"HK[A-Za-z]{1,78}")
_ELEMENT = re.compile(r"[A-Za-z]{1,40}")
_DATE = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d)", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,12}(\.\d{1,20})?(e[+-]?\d{1,2})?", re.ASCII)
_MOLAR_GLUCOSE = re.compile(r"mmol<180[.\d]{0,30}>/L", re.ASCII)

_DECLARATION = re.compile(rb"<!DOCTYPE\s+HealthData\s*\[.*?\]\s*>", re.DOTALL)
# Texts of Apple's sources have signs that XML does not allow.
_CONTROLS = bytes(sign if sign in b"\t\n\r" or sign >= 32 else 32 for sign in range(256))

# Apple's other words for units.
_UNITS = {"Cal": "kcal", "st": "[stone_av]", "degC": "Cel", "degF": "[degF]"}
_SEXES = {"Female": "female", "Male": "male", "Other": "other"}
# Written as a part of one, and called percent.
_FRACTIONS = {"59408-5", "41982-0"}
_GLUCOSE, _GLUCOSE_MOLAR = "41653-7", "14743-9"


class Sample(NamedTuple):
    """One quantity, checked as far as it will be when it becomes a resource."""

    code: str
    number: Decimal
    unit: str
    start: datetime
    end: datetime
    device: str | None

    def resource(self) -> Resource:
        """Return it as an Observation."""
        return observation(
            self.code, self.number, self.unit, self.start, until=self.end, device=self.device
        )


class Person(NamedTuple):
    """What the export says of whose it is."""

    born: date | None = None
    gender: str | None = None


class AppleReader:
    """Reads one export.

    Parameters
    ----------
    tally : Tally
        Counts what is skipped: other types, by their names, and other elements.
    partial : bool
        Whether a quantity that is wrong is skipped and counted, instead of an error.
    now : datetime

    Attributes
    ----------
    person : Person
        Known once the element is passed that tells it.
    """

    def __init__(self, tally: Tally, *, partial: bool, now: datetime) -> None:
        self.person = Person()
        self._tally, self._partial, self._now = tally, partial, now
        self._found: list[Sample] = []
        self._path: list[str] = []
        parser = expat.ParserCreate("UTF-8", None)
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_declaration
        self._parser = parser
        self._fed = 0

    def samples(self, chunks: Iterable[bytes]) -> Iterator[Sample]:
        """Yield the quantities of a file.

        Raises
        ------
        ImportFileError
            If it is no such file, damaged, or above a limit; it tells the line.
        """
        for chunk in _without_declaration(chunks):
            self._feed(chunk.translate(_CONTROLS), final=False)
            yield from self._found
            self._found.clear()
        self._feed(b"", final=True)
        yield from self._found

    def _feed(self, chunk: bytes, *, final: bool) -> None:
        failed = False
        try:
            self._parser.Parse(chunk, final)
        except expat.ExpatError:
            failed = True
        if failed:
            self._refuse("well-formed XML in UTF-8")
        self._fed += len(chunk)
        pending = self._fed - max(self._parser.CurrentByteIndex, 0)
        if pending > MOST_ELEMENT + len(chunk):
            self._refuse("shorter elements")

    def _refuse(self, expected: str) -> NoReturn:
        raise ImportFileError(f"line {self._parser.CurrentLineNumber}: expected {expected}")

    def _refuse_declaration(self, *_: object) -> None:
        self._refuse("no other declaration of the document's type than Apple's")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        depth = len(self._path)
        if depth == 1 and name != "HealthData":
            self._refuse("the element HealthData")
        if depth > MOST_DEPTH:
            self._refuse(f"at most {MOST_DEPTH} levels")
        if depth != 2:
            return
        if name == "Record":
            self._record(attributes)
        elif name == "Me":
            self._me(attributes)
        elif name != "ExportDate":
            self._tally.add(f"{name if _ELEMENT.fullmatch(name) else 'other'} elements")

    def _end(self, name: str) -> None:
        self._path.pop()

    def _me(self, attributes: dict[str, str]) -> None:
        prefix = "HKCharacteristicTypeIdentifier"
        try:
            born = date.fromisoformat(attributes.get(f"{prefix}DateOfBirth", ""))
        except ValueError:
            born = None
        sex = attributes.get(f"{prefix}BiologicalSex", "").removeprefix("HKBiologicalSex")
        if born is not None and not FIRST_YEAR <= born.year <= self._now.year:
            self._refuse("a date of birth of somebody alive")
        self.person = Person(born, _SEXES.get(sex))

    def _record(self, attributes: dict[str, str]) -> None:
        form = attributes.get("type", "")
        code = APPLE_TYPES.get(form)
        if code is None:
            self._tally.add(form if _TYPE.fullmatch(form) else "other types")
            return
        try:
            self._found.append(self._sample(code, attributes))
        except ImportFileError as error:
            if not self._partial:
                raise
            # Without its line, of which there are many.
            self._tally.add(str(error).partition(": ")[2])

    def _sample(self, code: str, attributes: dict[str, str]) -> Sample:
        start = self._moment(attributes.get("startDate", ""))
        end = self._moment(attributes.get("endDate", attributes.get("startDate", "")))
        if end < start:
            self._refuse("a record that does not end before it starts")
        written = attributes.get("value", "")
        if not _NUMBER.fullmatch(written):
            self._refuse("a number as value")
        number = Decimal(written)
        if number and not -20 <= number.adjusted() < 15:
            self._refuse("a number that can be measured")
        given = attributes.get("unit", "")
        if code == _GLUCOSE and _MOLAR_GLUCOSE.fullmatch(given):
            code, unit = _GLUCOSE_MOLAR, "mmol/L"
        elif given == "count":
            unit = MEASURES[code].unit
        else:
            unit = _UNITS.get(given) or unit_of(given[:64]) or self._refuse("a known unit")
        if not is_convertible(unit, MEASURES[code].unit):
            self._refuse("a unit that fits the type")
        if code in _FRACTIONS and unit == "%" and number <= 1:
            number *= 100
        device = attributes.get("sourceName", "").strip()[:200]
        return Sample(code, number, unit, start, end, device or None)

    def _moment(self, written: str) -> datetime:
        parts = _DATE.fullmatch(written)
        found = None
        if parts is not None:
            try:
                found = datetime.fromisoformat(f"{parts[1]}T{parts[2]}{parts[3]}:{parts[4]}")
            except ValueError:
                found = None
        if found is None or not is_sane(found) or abs(found.utcoffset() or _NONE) > _FAR:
            self._refuse("a date with a zone")
        if found > self._now + SLACK:
            self._refuse("a date that is not in the future")
        return found


def _without_declaration(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a file without what declares its type, but with as many lines."""
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= MOST_HEAD or b"<HealthData" in head:
            break
    start = head.find(b"<!DOCTYPE")
    found = _DECLARATION.match(head[:MOST_HEAD], start) if start >= 0 else None
    if found is not None:
        if b"<!ENTITY" in found[0]:
            raise ImportFileError("file: expected a declaration without entities")
        head = head[: found.start()] + b"\n" * found[0].count(b"\n") + head[found.end() :]
    yield head
    yield from source

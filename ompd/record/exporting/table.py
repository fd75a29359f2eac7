"""A record as a table, for spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from ompd.record.exporting.describing import described, unit_for_people
from ompd.record.exporting.sections import Readable, in_order
from ompd.record.fhir import Resource, readings, written

COLUMNS = ("when", "kind", "id", "name", "value", "unit", "text", "system", "code")

# Spreadsheets take such cells for formulas, which can send others away.
_FORMULA = re.compile(r"[=+\-@\t\r]")


def table(record: Readable, *, language: str = "en") -> bytes:
    """Return a record as CSV in UTF-8: a row for each value, newest first, and each other resource.

    Texts that a spreadsheet would run have an apostrophe before them. For reading and reckoning;
    to be imported again, take the bundle of `everything`.

    Parameters
    ----------
    record : Record
    language : {"en", "de"}
        Of names that are not the resource's own.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for entry in in_order(record):
        writer.writerows(_rows(record, record.get(entry.reference), language))
    # The mark tells spreadsheets the encoding.
    return stream.getvalue().encode("utf-8-sig")


def _rows(record: Readable, resource: Resource, language: str) -> Iterator[list[str]]:
    when = written(resource.when) if resource.when else ""
    title, value = described(resource, language, record)
    system, code = resource.codes[0] if resource.codes else ("", "")
    head = [when, resource.kind, resource.id]
    found = readings(resource)
    for one in found:
        of = one.codes[0] if one.codes else ("", "")
        name = one.name if len(found) > 1 else title
        number = "" if one.number is None else repr(one.number).removesuffix(".0")
        unit = unit_for_people(one.unit) if one.coded else one.unit
        yield [
            *head,
            _safe(name),
            number,
            _safe(unit),
            _safe(", ".join(one.words)),
            *map(_safe, of),
        ]
    if not found:
        yield [*head, _safe(title), "", "", _safe(value), _safe(system), _safe(code)]


def _safe(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text

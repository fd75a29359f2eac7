"""Tables in CSV, of the plain form and of any other with a mapping."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest

from ompd.errors import ImportFileError
from ompd.record import fhir
from ompd.record.importing import Mapping, import_file
from tests.record.files import TABLE

pytest.importorskip("fhir.resources")
pytest.importorskip("ucumvert")

NOW = datetime(2026, 1, 1, tzinfo=UTC)

MAPPING = b"""
when = "Datum"
format = "%d.%m.%Y %H:%M"
zone = "Europe/Berlin"
decimal = ","
[columns.Puls]
code = "8867-4"
unit = "/min"
[columns.Gewicht]
code = "29463-7"
unit = "kg"
[columns.Raucher]
code = "72166-2"
name = "Smokes"
values = { ja = true, nein = false }
"""
GERMAN = """\ufeffDatum;Puls;Gewicht;Raucher;Notiz
03.07.2024 08:00;72;70,5;ja;egal
03.01.2024 08:00;;71;nein;
\r
""".encode()


def load(record, source, **more):
    return import_file(record, io.BytesIO(source), now=NOW, **more)


def readings(record):
    found = [record.get(entry.reference) for entry in record.list()]
    return {
        (
            each.codes[0][1],
            each.when,
            *((one.number, one.unit, one.words) for one in fhir.readings(each)),
        )
        for each in found
    }


def test_the_plain_form(record):
    assert load(record, TABLE).added == 4
    assert load(record, TABLE).same == 4
    assert readings(record) == {
        ("8867-4", datetime(2024, 2, 3, 9, 15, tzinfo=UTC), (72.0, "/min", ())),
        ("29463-7", datetime(2024, 2, 3, tzinfo=UTC), (70.5, "kg", ())),
        ("72166-2", datetime(2024, 2, 4, 10, 15, tzinfo=UTC), (1.0, "", ())),
        ("44833-2", datetime(2024, 2, 5, 10, 15, tzinfo=UTC), (None, "", ("well, 'mostly'",))),
    }
    # Other separators, orders and ends of lines say the same.
    rows = [row.split(",") for row in TABLE.decode().splitlines()[:3]]
    turned = "\r\n".join("\t".join(row[::-1]) for row in rows).encode("utf-8-sig")
    assert load(record, turned).same == 2


def test_other_systems_and_times(record):
    source = (
        b"When,Code,System,Value,Unit,Until,Device\n"
        b"2024-02-03T10:15Z,22298006,SNOMED,true,,,\n"
        b"2024-02-03T10:15Z,x,urn:mine,3,1,2024-02-03T10:20Z,Scale\n"
    )
    assert load(record, source).added == 2
    [entry] = record.list(code=("urn:mine", "x"))
    document = record.get(entry.reference).document()
    assert document["effectivePeriod"]["end"] == "2024-02-03T10:20:00Z"
    assert document["device"] == {"display": "Scale"}
    assert record.count(code=(fhir.SNOMED, "22298006")) == 1


def test_a_mapping(record):
    mapping = Mapping.from_toml(MAPPING)
    assert load(record, GERMAN, mapping=mapping).added == 5
    assert load(record, GERMAN, mapping=mapping).same == 5
    summer, winter = datetime(2024, 7, 3, 6, tzinfo=UTC), datetime(2024, 1, 3, 7, tzinfo=UTC)
    assert readings(record) == {
        ("8867-4", summer, (72.0, "/min", ())),
        ("29463-7", summer, (70.5, "kg", ())),
        ("72166-2", summer, (1.0, "", ())),
        ("29463-7", winter, (71.0, "kg", ())),
        ("72166-2", winter, (0.0, "", ())),
    }


ROW = "2024-02-03,8867-4,72,/min,\n"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("2024-02-03,8867-5,72,/min,\n", r"LOINC with its check digit"),
        ("2024-02-03,8867-4,72,,\n", r"unit: expected one with a number"),
        ("2024-02-03,8867-4,72,florps,\n", r"unit: expected a unit"),
        ("2024-02-03,8867-4,72,kg,\n", r"can be told in /min"),
        ("2024-02-03,8867-4,fast,/min,\n", r"value: expected a number"),
        ("2024-02-03,8867-4,,,\n", r"value: expected"),
        ("2024-02-03T10:00,8867-4,72,/min,\n", r"when: expected"),
        ("2024-02-30,8867-4,72,/min,\n", r"when: expected"),
        ("03.02.2024,8867-4,72,/min,\n", r"when: expected"),
        ("2031-02-03,8867-4,72,/min,\n", r"not in the future"),
        ("2024-02-03,8867-4,72\n", r"as many cells"),
        ("2024-02-03,8867-4,1e99,/min,\n", r"expected"),
    ],
)
def test_wrong_rows(record, row, expected):
    source = b"when,code,value,unit,name\n" + (ROW + row).encode()
    with pytest.raises(ImportFileError, match=rf"^row 3: .*{expected}"):
        load(record, source)
    assert len(record) == 0
    found = load(record, source, partial=True)
    assert (found.added, sum(found.skipped.values())) == (1, 1)
    assert "fast" not in str(found.skipped)


@pytest.mark.parametrize(
    "source",
    [b"", b"\n", b"a,b\n1,2\n", b"when,code\n", b"when,code,value,when\n", b"\xff\xfe", b"a\0b",
     b'when,code,value\n"2024', b"when,code,value\n" + b"x" * 200_000],
)  # fmt: skip
def test_other_tables_are_refused(record, source):
    with pytest.raises(ImportFileError, match="expected"):
        load(record, source)


@pytest.mark.parametrize(
    "source",
    [b"", b"when = 3", b"\xff", b'when="a"', MAPPING + b"\n[columns.x]\ncolour = 1\n",
     MAPPING.replace(b"Europe/Berlin", b"Mars/Base"), MAPPING.replace(b'","', b'"x"'),
     MAPPING.replace(b"Europe/Berlin", b"../../etc/passwd"), b"#" * (1 << 17)],
)  # fmt: skip
def test_other_mappings_are_refused(source):
    with pytest.raises(ImportFileError, match="mapping"):
        Mapping.from_toml(source)


def test_a_mapping_of_other_columns(record):
    with pytest.raises(ImportFileError, match="columns that the mapping names"):
        load(record, TABLE, mapping=Mapping.from_toml(MAPPING))

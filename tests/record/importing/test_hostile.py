"""Files that were made to cost much, or to be half taken: refused whole, soon, and by one error."""

from __future__ import annotations

import copy
import io
import json
import zipfile

import pytest

from ompd.errors import ImportFileError, OmpdError, ResourceError
from ompd.record import fhir
from ompd.record.importing import Mapping, import_file, limits, tables
from tests.record.files import QUANTITY, Box, apple, bundle
from tests.record.files import record as sample

pytest.importorskip("fhir.resources")
pytest.importorskip("ucumvert")


def refused(source, expected, **more):
    box = Box()
    with pytest.raises(ImportFileError) as caught:
        import_file(box, io.BytesIO(source), **more)
    assert expected in str(caught.value)
    assert not box


@pytest.mark.parametrize("offset", [2**64 - 1, 2**63, 2**63 - 1])
def test_members_that_lie_nowhere(offset):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export.xml", apple())
        archive.infolist()[0].header_offset = offset
    refused(stream.getvalue(), "undamaged archive")


def test_members_that_lie_over_one_another_are_not_all_looked_into(monkeypatch):
    looks = []
    read = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, "open", lambda *args, **more: looks.append(1) or read(*args, **more)
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", b"<a>" + b" " * (1 << 20))
        archive.filelist += [copy.copy(archive.infolist()[0]) for _ in range(3000)]
    del looks[:]
    refused(stream.getvalue(), "the XML of Apple Health")
    assert len(looks) <= 100


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": "1e99"},
        {"value": "1e-99"},
        {"value": "1e18"},
        {"start": "2023-01-01 00:00:00 +2359"},
        {"start": "2023-01-01 00:00:00 +2400"},
        {"start": "2023-06-30 23:59:60 +0000"},
        {"start": "0000-01-01 00:00:00 +0000"},
        {"start": "9999-12-31 23:59:59 -1400"},
    ],
)
def test_what_would_be_refused_later_is_refused_before_anything_is_added(wrong):
    fine = [sample(f"{QUANTITY}HeartRate", n + 40, "count/min") for n in range(3)]
    more = {"value": 72, **wrong}
    bad = sample(f"{QUANTITY}HeartRate", more.pop("value"), "count/min", **more)
    refused(apple([*fine, bad]), "line 2")
    box = Box()
    found = import_file(box, io.BytesIO(apple([*fine, bad])), partial=True)
    assert found.added == 4
    assert sum(found.skipped.values()) == 1


def test_a_date_of_birth_that_cannot_be():
    person = '<Me HKCharacteristicTypeIdentifierDateOfBirth="0001-01-01"/>'
    refused(apple(person=person), "date of birth")


OBSERVATION = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}


@pytest.mark.parametrize("number", ["1" * 400, "-" + "1" * 19, "9" * 5000, "1e400", "1e60"])
def test_numbers_that_nobody_can_compute_with(number):
    source = json.dumps(OBSERVATION | {"valueQuantity": {"value": "N"}}).replace('"N"', number)
    refused(source.encode(), "entry[0]")


def test_numbers_of_eighteen_digits_are_kept():
    source = json.dumps(OBSERVATION | {"valueQuantity": {"value": 10**18 - 1}}).encode()
    box = Box()
    import_file(box, io.BytesIO(source))
    [[reading]] = [fhir.readings(each) for each in box.values()]
    assert reading.number == 1e18


def test_many_empty_things_are_refused_before_they_are_taken_apart():
    """One megabyte of them took 15 seconds and half a gigabyte; a file of them two gigabytes."""
    empties = json.dumps(OBSERVATION | {"component": [{}] * 100_000}).encode()
    refused(bundle([{"resourceType": "Observation", "id": "a", "component": [{}] * 9999}]), "less")
    with pytest.raises(ResourceError, match="less objects"):
        fhir.checked(empties)
    refused(json.dumps({"resourceType": "Bundle", "entry": [{}] * 10_000}).encode(), "less")


def test_tables_are_bounded_in_columns_and_values(monkeypatch):
    refused(b"when,code,value" + b"," * 20_000, "columns")
    refused(b"when,code,value\n" + b"," * 20_000, "columns")
    monkeypatch.setattr(tables, "MOST_PARTS", 50)
    names = [f"c{n}" for n in range(30)]
    mapping = Mapping.from_toml(
        b'when = "when"\n'
        + b"".join(f'[columns.{name}]\ncode = "8867-4"\nunit = "/min"\n'.encode() for name in names)
    )
    row = "2024-02-03," + ",".join("70" for _ in names)
    table = "\n".join([",".join(["when", *names]), row, row, row]).encode()
    refused(table, "at most 50 values", mapping=mapping)


PLANTED = "plantedvalue93417"


@pytest.mark.parametrize(
    "source",
    [
        json.dumps(OBSERVATION | {PLANTED: PLANTED}).encode(),
        json.dumps(OBSERVATION | {"status": PLANTED}).encode(),
        json.dumps(OBSERVATION | {"effectiveDateTime": PLANTED}).encode(),
        json.dumps(OBSERVATION | {"valueQuantity": {"value": PLANTED}}).encode(),
        json.dumps(OBSERVATION | {"valueQuantity": {"value": 1, "code": PLANTED}}).encode(),
        json.dumps(OBSERVATION | {"resourceType": PLANTED})[:-1].encode(),
        json.dumps({"resourceType": "Patient", "birthDate": PLANTED}).encode(),
        f"when,code,value,unit\n{PLANTED},8867-4,70,/min\n".encode(),
        f"when,code,value,unit\n2024-02-03,{PLANTED},70,/min\n".encode(),
        f"when,code,value,unit\n2024-02-03,8867-4,{PLANTED},/min\n".encode(),
        f"when,code,value,unit\n2024-02-03,8867-4,70,{PLANTED}\n".encode(),
        f'when,code,value\n2024-02-03,8867-4,"{PLANTED}"x\n'.encode(),
        apple([sample(f"{QUANTITY}HeartRate", PLANTED, "count/min")]),
        apple([sample(f"{QUANTITY}HeartRate", 7, PLANTED)]),
        apple([sample(f"{QUANTITY}HeartRate", 7, "count/min", PLANTED)]),
        apple([f"<Record {PLANTED}>"]),
    ],
)
def test_errors_and_what_they_chain_carry_no_value(source, caplog, capsys):
    error = None
    try:
        import_file(Box(), io.BytesIO(source))
    except OmpdError as raised:
        error = raised
    assert isinstance(error, ImportFileError)
    while error is not None:
        assert PLANTED not in f"{error!r} {error.__dict__} {getattr(error, '__notes__', ())}"
        error = error.__cause__ or error.__context__
    assert PLANTED not in caplog.text
    assert PLANTED not in "".join(capsys.readouterr())


def test_archives_have_the_bounds_that_the_document_says():
    assert (limits.MOST_WHOLE, limits.MOST_XML, limits.MOST_RATIO) == (64 << 20, 8 << 30, 60)

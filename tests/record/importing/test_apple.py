"""Exports of Apple Health: what is taken, and that a hostile one costs little."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from datetime import UTC, datetime

import pytest

from ompd.errors import ImportFileError, StoreFullError
from ompd.record import Record, fhir
from ompd.record.importing import import_file, limits
from tests.record.files import HEAD, PERSON, QUANTITY, RECORDS, Box, apple, zipped
from tests.record.files import record as sample

pytest.importorskip("fhir.resources")
pytest.importorskip("ucumvert")

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def load(record, source, **more):
    return import_file(record, io.BytesIO(source), now=NOW, **more)


@pytest.mark.parametrize("form", [apple, lambda: zipped(apple())])
def test_an_export(record, form):
    found = load(record, form())
    assert (found.form, found.added, found.same) == ("apple", 9, 0)
    assert found.skipped == {
        "Correlation elements": 1,
        "HKCategoryTypeIdentifierSleepAnalysis": 1,
        "HKQuantityTypeIdentifierDietaryCaffeine": 1,
        "Workout elements": 1,
    }
    assert load(record, form()).same == 9
    numbers = {}
    for entry in record.list("Observation"):
        [one] = fhir.readings(record.get(entry.reference))
        numbers[one.codes[0][1]] = (one.number, one.unit)
    assert numbers == {
        "8867-4": (72, "/min"),
        "29463-7": (155.4, "[lb_av]"),
        "8310-5": (98.6, "[degF]"),
        "59408-5": (97, "%"),
        "14743-9": (5.4, "mmol/L"),
        "55423-8": (531, "{steps}"),
        "39156-5": (24.5, "kg/m2"),
        "8480-6": (120, "mm[Hg]"),
    }
    person = record.get(fhir.SELF).document()
    assert (person["birthDate"], person["gender"]) == ("1960-05-01", "female")
    [steps] = record.list(code="55423-8")
    document = record.get(steps.reference).document()
    assert document["effectivePeriod"] == {
        "start": "2023-04-05T07:00:00+02:00",
        "end": "2023-04-05T07:10:00+02:00",
    }
    assert document["device"] == {"display": "Ann's Watch"}


def test_an_import_that_was_interrupted_goes_on(record, other, monkeypatch):
    beats = [sample(f"{QUANTITY}HeartRate", 50 + n, "count/min") for n in range(2500)]
    source = zipped(apple(beats))
    taken = []
    whole = Record.put_all

    def full(self, resources, **more):
        taken.append(1)
        if len(taken) == 3:
            raise StoreFullError("folder: the disk is full")
        return whole(self, resources, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "put_all", full)
        with pytest.raises(StoreFullError):
            load(record, source)
    assert len(record) == 1001
    found = load(record, source)
    assert (found.added, found.same) == (1500, 1001)
    load(other, source)
    assert [each.reference for each in other.list()] == [each.reference for each in record.list()]


def test_somebody_elses_export(record):
    record.add(fhir.patient("Ann", born=datetime(1961, 1, 1).date()))
    with pytest.raises(ImportFileError, match="birthDate"):
        load(record, apple())
    assert len(record) == 1


WRONG = [
    (sample(f"{QUANTITY}HeartRate", "fast", "count/min"), "a number as value"),
    (sample(f"{QUANTITY}HeartRate", "1" * 40, "count/min"), "a number as value"),
    (sample(f"{QUANTITY}HeartRate", 72, "florps"), "a known unit"),
    (sample(f"{QUANTITY}HeartRate", 72, "kg"), "a unit that fits"),
    (sample(f"{QUANTITY}HeartRate", 72, "count/min", "2023-04-05 06:07:08"), "a date with a zone"),
    (sample(f"{QUANTITY}HeartRate", 72, "count/min", "2023-04-31 06:07:08 +0200"), "a date"),
    (sample(f"{QUANTITY}HeartRate", 72, "count/min", "2033-04-05 06:07:08 +0200"), "future"),
    (
        sample(f"{QUANTITY}StepCount", 72, "count", "2023-04-05 06:07:08 +0200",
               "2023-04-05 06:07:07 +0200"),
        "before it starts",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "expected"), WRONG)
def test_what_is_wrong_is_refused_before_anything_is_added(record, wrong, expected):
    many = [sample(f"{QUANTITY}HeartRate", 50 + n % 90, "count/min") for n in range(1500)]
    with pytest.raises(ImportFileError, match=rf"^line \d+: expected .*{expected}") as caught:
        load(record, apple([*many, wrong]))
    assert "fast" not in str(caught.value)
    assert len(record) == 0
    found = load(record, apple([RECORDS[0], wrong]), partial=True)
    assert (found.added, sum(found.skipped.values())) == (2, 1)


BILLION = HEAD.replace(
    "]>",
    '<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
    ) + "]>",
)  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [
        apple(head=BILLION).replace(b"Ann's Watch", b"&j;"),
        apple(head=HEAD.replace("]>", '<!ENTITY x SYSTEM "file:///etc/passwd">]>')),
        apple(head=HEAD.replace("]>", '<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">%x;]>')),
        apple(head=HEAD.replace("HealthData [", 'HealthData SYSTEM "http://127.0.0.1:9/x" [')),
        apple(head=HEAD.replace("]>", f"<!-- {'x' * 100_000} -->]>")),
        apple(head=HEAD + HEAD.partition("\n")[2]),
        apple(head="").replace(b"Ann's Watch", b"&x;"),
        apple().decode().encode("utf-16"),
        apple(head="<?xml version='1.0'?>").replace(b"HealthData", b"HealthDate"),
        apple().replace(b"</HealthData>", b""),
        apple().replace(b"</HealthData>", b"</HealthData><x/>"),
        apple(["<a>" * 100 + "</a>" * 100]),
        apple([f'<Record type="{"x" * (2 << 20)}"/>']),
        apple(["<Record " + " ".join(f'a{n}="{n}"' for n in range(200_000)) + "/>"]),
        apple([f"<!-- {'x' * (3 << 20)} -->"]),
        b"<",
        b"<HealthData>",
        b"<html></html>",
    ],
    ids=range(18),
)
def test_hostile_xml_is_refused(source):
    for form in (source, zipped(source)):
        box = Box()
        with pytest.raises(ImportFileError, match="expected"):
            load(box, form)
        assert not box


def test_mistakes_that_apple_makes_do_no_harm():
    """Declarations that are none, and signs that XML does not have."""
    plain = Box()
    load(plain, apple())
    broken = HEAD.replace("#IMPLIED", "#IMPLID").replace("]>", "<!ATTLIST >]>")
    # Attributes by default would be copied into every element.
    copied = HEAD.replace("#IMPLIED", f'"{"x" * 30_000}"')
    for head in (broken, copied, ""):
        box = Box()
        load(box, apple(head=head))
        assert box == plain
    signs = apple().replace(b"Ann's Watch", b"Ann's\x0bWatch")
    box = Box()
    load(box, signs)
    assert box == plain
    wrong = apple([RECORDS[0].replace('"72"', '"x"')])
    line = wrong[: wrong.index(b'"x"')].count(b"\n") + 1
    with pytest.raises(ImportFileError, match=rf"^line {line}: "):
        load(Box(), wrong)


def test_of_an_archive_no_more_is_unpacked_than_it_is_worth(monkeypatch):
    xml = apple().replace(b"</HealthData>", b" " * (limits.EARLY + (8 << 20)) + b"</HealthData>")
    packed = zipped(xml)
    del xml
    assert len(packed) < 1 << 20
    tracemalloc.start()
    with pytest.raises(ImportFileError, match="less in so small an archive"):
        load(Box(), packed)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()
    monkeypatch.setattr(limits, "MOST_XML", 100)
    with pytest.raises(ImportFileError, match="less XML"):
        load(Box(), apple())


def locked_archive():
    packed = bytearray(zipped(apple()))
    # The flag of encryption, in the list and before the members.
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := packed.find(mark, at + 1)) >= 0:
            packed[at + place] |= 1
    return bytes(packed)


def other_compression(how):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        archive.writestr("apple_health_export/export.xml", apple())
    return stream.getvalue()


@pytest.mark.parametrize(
    "packed",
    [
        zipped(apple())[:-30],
        zipped(apple())[: len(zipped(apple())) // 2],
        zipped(apple(), name="deep/er/export.xml"),
        zipped(b"<x/>"),
        b"PK\x03\x04",
        locked_archive(),
        other_compression(zipfile.ZIP_BZIP2),
        other_compression(zipfile.ZIP_LZMA),
    ],
    ids=range(8),
)
def test_other_archives_are_refused(packed):
    with pytest.raises(ImportFileError, match="expected"):
        load(Box(), packed)


def test_an_endless_list_of_members_is_not_read(monkeypatch):
    monkeypatch.setattr(limits, "_MOST_LIST", 1 << 14)
    members = {f"route-{n}.gpx": "" for n in range(400)}
    with pytest.raises(ImportFileError, match="undamaged archive"):
        load(Box(), zipped(apple(), **members))


def test_names_of_types_are_counted_up_to_a_bound():
    letters = [f"{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(400)]
    found = load(
        Box(), apple([sample(f"HKQuantityTypeIdentifier{each}", 1, "x") for each in letters])
    )
    assert len(found.skipped) == 301
    assert sum(found.skipped.values()) == 400
    strange = load(Box(), apple([sample("Quincy", 1, "x"), "<Quincy1/>"]))
    assert strange.skipped == {"other types": 1, "other elements": 1}


def test_memory_does_not_grow_with_the_file():
    beats = [sample(f"{QUANTITY}DietaryCaffeine", n, "mg") for n in range(10_000)]
    source = io.BytesIO(zipped(apple(beats)))
    del beats
    tracemalloc.start()
    import_file(Box(), source, now=NOW)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert PERSON.encode() in apple()

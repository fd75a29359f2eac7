from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest

from ompd.errors import UnitError
from ompd.record.diary import Point, Series, chart, charted, series
from ompd.record.errors import DiaryError
from ompd.record.fhir import observation

pytest.importorskip("fhir.resources")
pytest.importorskip("matplotlib")

START = datetime(2025, 3, 1, 8, tzinfo=UTC)
WEIGHT = ("http://loinc.org", "29463-7")


def weights(record, *values, unit="kg", first=0):
    record.add_all(
        observation("29463-7", value, unit, START + timedelta(days=first + day))
        for day, value in enumerate(values)
    )


def invented(count, base=80.0, name="weight", unit="kg"):
    points = (Point(START + timedelta(hours=9 * i), base + i % 7) for i in range(count))
    return Series(("http://loinc.org", name), name, unit, tuple(points), 0)


def test_a_series_is_in_one_unit_and_in_order(record):
    weights(record, 80, 81.5)
    weights(record, 180.0, unit="[lb_av]", first=2)
    weights(record, 82, first=3)
    found = series(record, "29463-7")
    assert (found.name, found.unit, found.others) == ("Body weight", "kg", 0)
    assert [round(point.value, 2) for point in found.points] == [80, 81.5, 81.65, 82]
    assert [point.when for point in found.points] == sorted(p.when for p in found.points)
    rows = found.rows()
    assert rows[0] == (START + timedelta(days=3), "82")
    assert len(rows) == 4
    assert series(record, WEIGHT, unit="[lb_av]").points[2].value == pytest.approx(180)
    later = series(record, "29463-7", since=START + timedelta(1), until=START + timedelta(2))
    assert [point.value for point in later.points] == [81.5]
    with pytest.raises(UnitError):
        series(record, "29463-7", unit="stones")


def test_units_of_something_else_are_counted_and_left_out(record):
    weights(record, 80, 81)
    mixed = series(record, "29463-7", unit="cm")
    assert not mixed.points
    assert mixed.others == 2
    with pytest.raises(DiaryError, match="at least one value"):
        chart(mixed)


def test_components_have_series_of_their_own(record):
    for day in range(3):
        record.add(
            observation(
                "85354-9", None, when=START + timedelta(days=day),
                parts=[("8480-6", 120 + day, "mm[Hg]"), ("8462-4", 80 + day, "mm[Hg]")],
            )
        )  # fmt: skip
    assert [point.value for point in series(record, "8480-6").points] == [120, 121, 122]
    assert [point.value for point in series(record, "8462-4").points] == [80, 81, 82]
    assert {code for _, code in charted(record)} == {"8480-6", "8462-4"}


def test_what_there_are_charts_of(record):
    weights(record, 80, 81, 82)
    record.add(observation("8302-2", 180, "cm", START))
    for day in (0, 1):
        when = START + timedelta(days=day)
        record.add(observation("x", ("urn:own", "yes"), when=when, system="urn:q"))
    assert charted(record) == {WEIGHT: "Body weight"}
    assert ("http://loinc.org", "8302-2") in charted(record, least=1)


@pytest.mark.parametrize("count", [1, 2, 40, 3000])
def test_svg_is_safe_small_and_the_same_every_time(count):
    drawn = chart(invented(count))
    assert drawn == chart(invented(count))
    tree = ET.fromstring(drawn)  # noqa: S314
    # In points: 360 pixels are 270.
    assert float(tree.get("viewBox").split()[2]) <= 270
    for element in tree.iter():
        assert element.tag.rpartition("}")[2] not in {"script", "foreignObject", "image", "text"}
        for key, value in element.attrib.items():
            assert not key.startswith("on")
            if key == "{http://www.w3.org/1999/xlink}href":
                assert value.startswith("#")
    # However many values there are.
    assert len(drawn) < 60_000


def test_png_has_two_pixels_for_one():
    drawn = chart(invented(20), "png")
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", drawn[16:24]) == (720, 480)
    assert drawn == chart(invented(20), "png")


def test_two_numbers_of_one_measure():
    both = [invented(20, 120, "systolic", "mm[Hg]"), invented(20, 80, "diastolic", "mm[Hg]")]
    assert chart(both) != chart(both[0])
    named = {("http://loinc.org", "systolic"): "oberer"}
    assert chart(both, names=named) != chart(both)
    # Signs that begin a formula elsewhere.
    assert chart([invented(3, name="$x_{$"), invented(3, 90, name="_b")])


@pytest.mark.parametrize(
    "shown", [[], [invented(3)] * 5, [invented(3), invented(3, unit="cm")], [invented(0)]]
)
def test_what_cannot_be_drawn(shown):
    with pytest.raises(DiaryError, match="shown"):
        chart(shown)


def test_other_forms():
    with pytest.raises(DiaryError, match="form"):
        chart(invented(2), "gif")

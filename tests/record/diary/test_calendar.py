from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ompd.record.diary import Diary, Reminder, calendar_file
from ompd.record.errors import DiaryError

icalendar = pytest.importorskip("icalendar")
pytest.importorskip("fhir.resources")

NOW = datetime(2025, 2, 1, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe")


def reminders(zone="Europe/Berlin"):
    start = datetime(2025, 3, 28, 7, 45, tzinfo=ZoneInfo(zone))
    return [
        Reminder.make("a", "metoprolol 47.5 mg", start, "daily", alarm=10),
        Reminder.make("b", "HIV clinic", start, "FREQ=WEEKLY;BYDAY=MO,FR", until=date(2025, 12, 1)),
        Reminder.make("psychiatry-1", "oncology", start, "once", alarm=None),
    ]


def test_it_says_when_and_not_what():
    data = calendar_file(reminders(), "Erinnerung", when=NOW)
    for word in (b"metoprolol", b"hiv", b"oncology", b"47.5", b"clinic", b"psychiatry"):
        assert word not in data.lower()
    events = icalendar.Calendar.from_ical(data).walk("VEVENT")
    assert {str(event["SUMMARY"]) for event in events} == {"Erinnerung"}
    allowed = {
        "UID", "DTSTAMP", "DTSTART", "DURATION", "SUMMARY", "CLASS", "TRANSP", "RRULE",
    }  # fmt: skip
    assert all(set(event) <= allowed for event in events)
    first, second, third = events
    assert first["DTSTART"].dt == datetime(2025, 3, 28, 7, 45, tzinfo=ZoneInfo("Europe/Berlin"))
    assert first.walk("VALARM")[0]["TRIGGER"].dt == timedelta(minutes=-10)
    assert second["RRULE"]["BYDAY"] == ["MO", "FR"]
    assert not third.walk("VALARM")
    assert "RRULE" not in third
    assert all(b"\n" not in line and len(line) <= 75 for line in data.split(b"\r\n"))
    assert calendar_file(reminders(), "Erinnerung", when=NOW) == data


def offset_by_file(zone, moment):
    """Offset at a moment in UTC by the rules of RFC 5545, from a VTIMEZONE as it is written."""
    best = None
    for part in zone.subcomponents:
        dates = [part["DTSTART"].dt]
        listed = part.get("RDATE", [])
        for each in listed if isinstance(listed, list) else [listed]:
            dates += [value.dt for value in each.dts]
        for local in dates:
            # Onsets are in the time that clocks showed before.
            onset = (local - part["TZOFFSETFROM"].td).replace(tzinfo=UTC)
            if onset <= moment and (best is None or onset > best[0]):
                best = onset, part["TZOFFSETTO"].td
    return best[1]


@pytest.mark.parametrize("name", ZONES)
def test_zones_in_the_file_change_clocks_when_they_do(name):
    calendar = icalendar.Calendar.from_ical(calendar_file(reminders(name), when=NOW))
    (zone,) = calendar.walk("VTIMEZONE")
    clock = ZoneInfo(name)
    day, changes = datetime(2025, 1, 1, tzinfo=UTC), 0
    while day < datetime(2027, 1, 1, tzinfo=UTC):
        next_day = day + timedelta(days=1)
        if day.astimezone(clock).utcoffset() != next_day.astimezone(clock).utcoffset():
            changes += 1
            # Every quarter of an hour of the day of a change, so on both sides of it.
            moments = [day + timedelta(minutes=15 * each) for each in range(96)]
        else:
            moments = [day]
        for moment in moments:
            assert offset_by_file(zone, moment) == moment.astimezone(clock).utcoffset(), moment
        day = next_day
    assert changes == 4


@pytest.mark.parametrize("name", [*ZONES, "UTC"])
def test_times_in_the_file_are_those_of_the_reminder(name):
    """Another program's way: expand the rule in local time, then go by the zone."""
    from dateutil.rrule import rrulestr

    calendar = icalendar.Calendar.from_ical(calendar_file(reminders(name), when=NOW))
    event = calendar.walk("VEVENT")[0]
    assert bool(calendar.walk("VTIMEZONE")) == (name != "UTC")
    local = event["DTSTART"].dt.replace(tzinfo=None)
    rule = rrulestr(event["RRULE"].to_ical().decode(), dtstart=local)
    days = rule.between(local, local + timedelta(days=400), inc=True)
    clock = ZoneInfo(name)
    theirs = [day.replace(tzinfo=clock).astimezone(UTC) for day in days]
    ours = reminders(name)[0].occurrences(theirs[0], theirs[-1] + timedelta(minutes=1))
    assert [each.astimezone(UTC) for each in ours] == theirs
    assert len(theirs) == 401


@pytest.mark.parametrize("title", ["", "  ", "x" * 61, "a\nATTENDEE:b", "a\r\nX:y"])
def test_titles_that_are_none(title):
    with pytest.raises(DiaryError, match="title"):
        calendar_file(reminders(), title)


def test_of_a_diary(record):
    diary = Diary(record)
    diary.remind("dialysis", datetime(2025, 3, 1, 8, tzinfo=ZoneInfo("Europe/Berlin")), "weekly")
    data = diary.calendar("Erinnerung", when=NOW)
    assert b"dialysis" not in data
    assert data.count(b"BEGIN:VEVENT") == 1
    assert icalendar.Calendar.from_ical(calendar_file([], when=NOW)).walk("VEVENT") == []

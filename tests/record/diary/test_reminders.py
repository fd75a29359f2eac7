from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.record.diary import Diary, Reminder
from ompd.record.errors import DiaryError
from ompd.record.fhir import checked

pytest.importorskip("fhir.resources")
pytest.importorskip("dateutil")

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2025, 1, 6, 8, 0, tzinfo=BERLIN)
NAIVE = datetime(2025, 2, 1)


def made(start=START, every="daily", **options):
    return Reminder.make("r1", "take it", start, every, **options)


def between(reminder, since, until):
    return list(reminder.occurrences(since, until))


@pytest.mark.parametrize(
    ("zone", "first", "hours"),
    [
        # The day before clocks change, that of the change, and the next: hours between them.
        ("Europe/Berlin", date(2025, 3, 29), [23, 24]),
        ("Europe/Berlin", date(2025, 10, 25), [25, 24]),
        ("America/New_York", date(2025, 3, 8), [23, 24]),
        ("America/New_York", date(2025, 11, 1), [25, 24]),
        ("Australia/Lord_Howe", date(2025, 4, 5), [24.5, 24]),
        ("Australia/Lord_Howe", date(2025, 10, 4), [23.5, 24]),
        ("Asia/Kolkata", date(2025, 3, 29), [24, 24]),
    ],
)
def test_the_clock_stays_the_same_when_clocks_change(zone, first, hours):
    start = datetime(first.year, first.month, first.day, 8, 30, tzinfo=ZoneInfo(zone))
    found = between(made(start), start, start + timedelta(days=2, hours=4))
    assert [f"{each:%H:%M}" for each in found] == ["08:30"] * 3
    gaps = [(b.astimezone(UTC) - a.astimezone(UTC)) for a, b in pairwise(found)]
    assert [gap / timedelta(hours=1) for gap in gaps] == hours


def test_what_clocks_skip_and_what_they_show_twice():
    night = made(datetime(2025, 3, 29, 2, 30, tzinfo=BERLIN))
    found = between(night, datetime(2025, 3, 29, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC))
    # By RFC 5545 half past two is reckoned as before the change, when clocks show half past three.
    assert [each.isoformat() for each in found] == [
        "2025-03-29T02:30:00+01:00",
        "2025-03-30T03:30:00+02:00",
        "2025-03-31T02:30:00+02:00",
    ]
    night = made(datetime(2025, 10, 25, 2, 30, tzinfo=BERLIN))
    found = between(night, datetime(2025, 10, 25, tzinfo=UTC), datetime(2025, 10, 28, tzinfo=UTC))
    # Once, and the first time.
    assert [each.isoformat() for each in found] == [
        "2025-10-25T02:30:00+02:00",
        "2025-10-26T02:30:00+02:00",
        "2025-10-27T02:30:00+01:00",
    ]


@pytest.mark.parametrize("day", [date(2025, 3, 30), date(2025, 10, 26)])
@pytest.mark.parametrize("fold", [0, 1])
def test_a_first_time_in_the_night_of_the_change_is_kept(day, fold):
    start = datetime(day.year, day.month, day.day, 2, 30, tzinfo=BERLIN, fold=fold)
    reminder = made(start)
    assert Reminder.from_resource(reminder.to_resource()) == reminder
    kept = Reminder.from_resource(reminder.to_resource())
    found = between(kept, start - timedelta(days=1), start + timedelta(days=3))
    assert found == between(reminder, start - timedelta(days=1), start + timedelta(days=3))
    first = "03:30" if day.month == 3 else "02:30"
    assert [f"{each:%H:%M}" for each in found] == [first, "02:30", "02:30"]


def naive_days(start, freq, interval, weekdays, count, horizon):
    """Days of a rule, one after the other; an oracle that knows no language of rules."""
    found, day = [], start
    monday = start - timedelta(days=start.weekday())
    while day < horizon and len(found) < (count or 10**6):
        weeks = (day - timedelta(days=day.weekday()) - monday).days // 7
        months = (day.year - start.year) * 12 + day.month - start.month
        if freq == "DAILY":
            fits = (day - start).days % interval == 0
        elif freq == "WEEKLY":
            fits = weeks % interval == 0 and day.weekday() in (weekdays or [start.weekday()])
        elif freq == "MONTHLY":
            fits = months % interval == 0 and day.day == start.day
        else:
            same = (day.month, day.day) == (start.month, start.day)
            fits = same and (day.year - start.year) % interval == 0
        if fits:
            found.append(day)
        day += timedelta(days=1)
    return found


@given(
    st.dates(date(2024, 1, 1), date(2025, 12, 31)),
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    st.integers(1, 5),
    st.sets(st.integers(0, 6), max_size=4),
    st.none() | st.integers(1, 30),
    st.sampled_from(["Europe/Berlin", "America/Santiago", "UTC", "Asia/Tokyo"]),
)
def test_rules_are_what_counting_days_says(start, freq, interval, weekdays, count, zone):
    clock = ZoneInfo(zone)
    rule = f"FREQ={freq};INTERVAL={interval}"
    days = sorted(weekdays) if freq == "WEEKLY" else []
    if days:
        rule += ";BYDAY=" + ",".join(calendar.day_abbr[day][:2].upper() for day in days)
    if count:
        rule += f";COUNT={count}"
    horizon = start + timedelta(days=500)
    expected = naive_days(start, freq, interval, days, count, horizon)
    moment = datetime(start.year, start.month, start.day, 12, 15, tzinfo=clock)
    reminder = made(moment, rule)
    end = datetime(horizon.year, horizon.month, horizon.day, tzinfo=clock)
    found = between(reminder, moment, end)
    assert [each.date() for each in found] == expected
    assert {f"{each:%H:%M}" for each in found} == {"12:15"}
    # What is kept in a record means the same.
    assert Reminder.from_resource(reminder.to_resource()) == reminder
    # A part of the time has what the whole has there.
    middle = moment + timedelta(days=200)
    assert between(reminder, middle, end) == [each for each in found if each >= middle]


def test_ends():
    last = datetime(2025, 1, 8, 8, 0, tzinfo=BERLIN)
    for until in (last, last.astimezone(UTC), date(2025, 1, 8)):
        found = between(made(until=until), START, START + timedelta(days=30))
        assert [each.day for each in found] == [6, 7, 8]
    earlier = last - timedelta(seconds=1)
    assert len(between(made(until=earlier), START, START + timedelta(days=30))) == 2
    assert len(between(made(every="once"), START, START + timedelta(days=30))) == 1
    # The end is not in it, the beginning is.
    assert len(between(made(), START, START + timedelta(days=1))) == 1
    assert not between(made(every="once"), START + timedelta(seconds=1), START + timedelta(days=1))


def test_a_start_that_the_rule_leaves_out_is_moved():
    # A Monday, for Thursdays.
    reminder = made(every="FREQ=WEEKLY;BYDAY=TH;COUNT=2")
    assert reminder.start == START + timedelta(days=3)
    assert [each.day for each in between(reminder, START, START + timedelta(days=60))] == [9, 16]


def test_the_last_friday_is_kept_in_words_of_the_rule():
    reminder = made(every="FREQ=MONTHLY;BYDAY=-1FR")
    found = between(reminder, START, START + timedelta(days=85))
    assert [each.date().isoformat() for each in found] == ["2025-01-31", "2025-02-28", "2025-03-28"]
    document = reminder.to_resource().document()
    assert "FREQ=MONTHLY" in document["activity"][0]["detail"]["scheduledString"]
    assert Reminder.from_resource(reminder.to_resource()) == reminder


def test_fhir_says_it_in_its_own_way():
    reminder = made(every="FREQ=WEEKLY;BYDAY=MO,TH;INTERVAL=2", alarm=10)
    document = reminder.to_resource().document()
    repeat = document["activity"][0]["detail"]["scheduledTiming"]["repeat"]
    assert repeat["dayOfWeek"] == ["mon", "thu"]
    assert (repeat["period"], repeat["periodUnit"], repeat["frequency"]) == (2, "wk", 1)
    assert repeat["timeOfDay"] == ["08:00:00"]


@pytest.mark.parametrize(
    ("every", "options"),
    [
        ("hourly", {}),
        ("FREQ=HOURLY", {}),
        ("FREQ=DAILY;BYHOUR=8", {}),
        ("FREQ=DAILY;FREQ=DAILY", {}),
        ("INTERVAL=2", {}),
        ("FREQ=DAILY;INTERVAL=0", {}),
        ("FREQ=DAILY;COUNT=2;UNTIL=20260101T000000Z", {}),
        ("FREQ=WEEKLY;BYDAY=XX", {}),
        ("FREQ=MONTHLY;BYMONTHDAY=99", {}),
        ("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", {}),
        ("FREQ=MONTHLY;BYMONTH=13", {}),
        ("FREQ=DAILY;\nX=1", {}),
        ("once", {"until": date(2025, 2, 1)}),
        ("FREQ=DAILY;COUNT=2", {"until": date(2025, 2, 1)}),
        ("daily", {"until": date(2024, 1, 1)}),
        ("daily", {"until": NAIVE}),
        ("daily", {"alarm": -1}),
        ("daily", {"alarm": 10_081}),
        ("daily", {"alarm": True}),
        ("daily", {"zone": "Europe/Nowhere"}),
        ("daily", {"zone": "../../etc/passwd"}),
        ("daily", {"zone": ""}),
    ],
)
def test_what_is_no_reminder(every, options):
    with pytest.raises(DiaryError):
        made(every=every, **options)


def test_titles_and_starts():
    for title in ("", "  ", "x" * 10_000, None):
        with pytest.raises(DiaryError, match="title"):
            Reminder.make("r", title, START)
    with pytest.raises(DiaryError, match="zone"):
        Reminder.make("r", "x", NAIVE)
    offset = datetime(2025, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    with pytest.raises(DiaryError, match="name of a zone"):
        Reminder.make("r", "x", offset)
    assert Reminder.make("r", "x", offset, zone="Europe/Berlin").zone == "Europe/Berlin"
    assert Reminder.make("r", "x", offset.astimezone(UTC)).zone == "UTC"
    with pytest.raises(DiaryError, match="zone"):
        between(made(), NAIVE, START)


def test_other_plans_of_care_are_no_reminders(record):
    good = made(alarm=5).to_resource().document()
    for place, value in ((0, "Europe/Nowhere"), (1, "tomorrow"), (2, "FREQ=HOURLY")):
        bad = made(alarm=5).to_resource().document() | {"id": f"bad{place}"}
        name = next(key for key in bad["extension"][place] if key.startswith("value"))
        bad["extension"][place][name] = value
        record.add(checked(bad))
    record.add(checked({**good, "id": "plain", "extension": good["extension"][3:]}))
    record.add(checked({key: value for key, value in good.items() if key != "title"}))
    assert record.count("CarePlan") == 5
    assert Diary(record).reminders() == []


def test_in_a_record(record):
    diary = Diary(record)
    one = diary.remind("weigh myself", START, "weekly", alarm=None)
    two = diary.remind("call the practice", START - timedelta(hours=1))
    assert diary.reminders() == [two, one]
    assert record.search("practice")[0].reference == f"CarePlan/{two.id}"
    due = diary.agenda(START - timedelta(days=1), START + timedelta(days=8))
    assert [each.reminder.id for each in due] == [two.id, one.id, one.id]
    diary.change(Reminder.make(two.id, "call them", START + timedelta(days=1)))
    assert [each.title for each in diary.reminders()] == ["weigh myself", "call them"]
    diary.remove(one.id)
    assert [each.id for each in diary.reminders()] == [two.id]
    with pytest.raises(LookupError):
        diary.remove(one.id)
    with pytest.raises(DiaryError, match="days"):
        diary.agenda(START, START + timedelta(days=10_000))
    assert "call" not in repr(diary.reminders()[0])

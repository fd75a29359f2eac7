"""Reminders as a calendar file, which says when and not what."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ompd.errors import BackendUnavailableError
from ompd.record.diary.recurrence import zone_of
from ompd.record.diary.reminder import Reminder
from ompd.record.errors import DiaryError

#: How long a calendar shows a reminder for.
LENGTH = timedelta(minutes=5)
#: Most characters of the title that all share.
MOST_TITLE = 60


def calendar_file(
    reminders: Iterable[Reminder], title: str = "Reminder", *, when: datetime | None = None
) -> bytes:
    """Return reminders in the form of RFC 5545 (``.ics``), for any calendar program.

    What each is about stays on the device: all have one title, no description, and ids made of
    those in the record by a hash. Times and rules are in clear, and may tell something by
    themselves.

    Parameters
    ----------
    reminders : iterable of Reminder
    title : str, default "Reminder"
        Of every event and alarm: in the person's language, and nothing of the person's.
    when : datetime, optional
        With a zone; when it was written: now.

    Returns
    -------
    bytes
        UTF-8. Zones come with it, so that a program without them rings rightly, too.

    Raises
    ------
    DiaryError
        If the title is blank or too long.
    BackendUnavailableError
        Without the extra `care`.
    """
    try:
        from icalendar import Alarm, Calendar, Event, vRecur
    except ImportError:
        raise BackendUnavailableError(
            "calendar files need icalendar: pip install 'ompd[care]'"
        ) from None
    if not title.strip() or len(title) > MOST_TITLE or not title.isprintable():
        raise DiaryError(f"title: expected 1 to {MOST_TITLE} characters")
    stamp = (when or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    calendar = Calendar()
    calendar.add("prodid", "-//ompd//diary//EN")
    calendar.add("version", "2.0")
    first = stamp
    for reminder in reminders:
        event = Event()
        # The same at every export, so that calendars replace it; an id from elsewhere may be words.
        event.add("uid", str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:ompd:reminder:{reminder.id}")))
        event.add("dtstamp", stamp)
        event.add("dtstart", reminder.start)
        event.add("duration", LENGTH)
        event.add("summary", title)
        event.add("class", "PRIVATE")
        event.add("transp", "TRANSPARENT")
        if reminder.rule:
            event.add("rrule", vRecur.from_ical(reminder.rule))
        if reminder.alarm is not None:
            alarm = Alarm()
            alarm.add("action", "DISPLAY")
            alarm.add("description", title)
            alarm.add("trigger", -timedelta(minutes=reminder.alarm))
            event.add_component(alarm)
        calendar.add_component(event)
        first = min(first, reminder.start)
    calendar.add_missing_timezones(first_date=(first - timedelta(days=366)).date())
    for zone in calendar.timezones:
        _correct(zone)
    data: bytes = calendar.to_ical()
    return data


def _correct(zone: Any) -> None:
    """Put onsets of a VTIMEZONE into the time that clocks showed before, as RFC 5545 has them.

    icalendar 7.3 writes when summer time begins as clocks show it afterwards, so that a program
    that goes by the file would be an hour late on that night.
    """
    clock = zone_of(str(zone.tz_name))
    for part in zone.subcomponents:
        before, after = part.TZOFFSETFROM, part.TZOFFSETTO
        if before == after:
            # The beginning of the file's time, and no change of clocks.
            continue
        listed = part.pop("RDATE", [])
        lists = listed if isinstance(listed, list) else [listed]
        later = [each.dt for dates in lists for each in dates.dts]
        part.DTSTART = _onset(part.DTSTART, before, after, clock)
        if later:
            part.add("RDATE", [_onset(each, before, after, clock) for each in later])


def _onset(local: datetime, before: timedelta, after: timedelta, clock: ZoneInfo) -> datetime:
    moment = (local - before).replace(tzinfo=UTC)
    changed = [(moment - timedelta(seconds=each)).astimezone(clock).utcoffset() for each in (1, 0)]
    return local if changed == [before, after] else local - (after - before)

"""Reminders, medicines and body mass."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.responses import Response

from ompd.errors import OmpdError
from ompd.portal.numbers import exact, moment_of, number_of
from ompd.portal.pages.exchange import file_of
from ompd.portal.pages.page import Page
from ompd.portal.visit import Visit
from ompd.record.diary import Diary, Medicine
from ompd.record.errors import DiaryError
from ompd.record.exporting import unit_for_people

#: How far ahead the next time of a reminder is looked for, in days.
_AHEAD = 400
#: Largest dose, in whatever unit.
_MOST_DOSE = 1e6
_EVERY = ("once", "daily", "weekly", "monthly")
#: Units of doses: what is sent, and what is shown for languages that have no word of their own.
_UNITS = ("mg", "g", "ug", "mL", "[IU]", "{tablet}", "{drop}")


def zone_here() -> str:
    """Return the name of this device's time zone; UTC if it has none."""
    names = [os.environ.get("TZ", "").lstrip(":")]
    link = Path("/etc/localtime")
    if link.is_symlink():
        names.append(str(link.readlink()).rpartition("zoneinfo/")[2])
    for name in names:
        try:
            if name:
                return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return "UTC"


def upcoming(visit: Visit) -> dict[str, datetime]:
    """Return when each reminder is due next, by its id; those that are over are not there."""
    now, found = datetime.now(UTC), dict[str, datetime]()
    for when, reminder in Diary(visit.house.own).agenda(now, now + timedelta(days=_AHEAD)):
        found.setdefault(reminder.id, when)
    return found


def _dose(visit: Visit, medicine: Medicine) -> str:
    if medicine.dose is None:
        return medicine.text
    unit = visit.words.maybe(f"unit.{medicine.unit.strip('{}')}", unit_for_people(medicine.unit))
    dose = f"{visit.words.number(medicine.dose)} {unit}".strip()
    times = ", ".join(f"{clock:%H:%M}" for clock in medicine.times)
    return " · ".join(part for part in (dose, times, medicine.text) if part)


def _diary(visit: Visit, part: str = "", error: Mapping[str, str] | None = None) -> Response:
    diary = Diary(visit.house.own)
    due = upcoming(visit)
    return visit.page(
        "diary.html",
        status=400 if error else 200,
        error=error,
        part=part,
        typed=dict(visit.form) if error else {},
        now=f"{datetime.now():%Y-%m-%dT%H:%M}",
        every=[(name, visit.words(f"every.{name}")) for name in _EVERY],
        units=[
            (unit, visit.words.maybe(f"unit.{unit.strip('{}')}", unit_for_people(unit)))
            for unit in _UNITS
        ],
        reminders=[(each, due.get(each.id)) for each in diary.reminders()],
        medicines=[(each, _dose(visit, each)) for each in diary.medicines()],
        zone=zone_here(),
    )


def _day_of(text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    raise DiaryError("until: expected a day")


def _times_of(text: str) -> list[time]:
    try:
        return [time.fromisoformat(part) for part in text.replace(",", " ").split()]
    except ValueError:
        pass
    raise DiaryError("times: expected clock times, such as 08:00 20:00")


def _remind(visit: Visit) -> None:
    form = visit.form
    alarm = form.text("alarm")
    Diary(visit.house.own).remind(
        form.text("title", required=True),
        moment_of("first", form.text("first")).replace(tzinfo=ZoneInfo(zone_here())),
        form.text("every"),
        until=_day_of(form.text("until")),
        alarm=int(number_of("alarm", alarm)) if alarm else None,
        zone=zone_here(),
    )


def _take(visit: Visit) -> None:
    form = visit.form
    dose = form.text("dose")
    Diary(visit.house.own).take(
        form.text("name", required=True),
        exact(number_of("dose", dose, _MOST_DOSE)) if dose else None,
        form.text("unit") if dose else None,
        _times_of(form.text("times")),
        zone=zone_here(),
        text=form.text("how") or None,
    )


def _added(visit: Visit) -> Response:
    part = visit.names["part"]
    makers = {"reminder": _remind, "medicine": _take}
    if part not in makers:
        return visit.go("/diary")
    try:
        makers[part](visit)
    except OmpdError as error:
        return _diary(visit, part, visit.reason(error))
    return visit.go("/diary", visit.words("diary.kept"))


def _weigh(visit: Visit) -> Response:
    form = visit.form
    try:
        age = form.text("age")
        found = Diary(visit.house.own).weigh(
            exact(number_of("weight", form.text("weight"))),
            exact(number_of("height", form.text("height"))),
            age=int(number_of("age", age)) if age else None,
        )
    except OmpdError as error:
        return _diary(visit, "bmi", visit.reason(error))
    value, group = visit.words.number(found.index, 1), visit.words(f"bmi.{found.group}")
    return visit.go("/diary", visit.words("diary.result", value=value, group=group))


def _remove(visit: Visit) -> Response:
    Diary(visit.house.own).remove(visit.form.text("id"))
    return visit.go("/diary", visit.words("diary.removed"))


def _stop(visit: Visit) -> Response:
    Diary(visit.house.own).stop(visit.form.text("id"))
    return visit.go("/diary", visit.words("diary.stopped"))


def _calendar(visit: Visit) -> Response:
    content = Diary(visit.house.own).calendar(visit.words("diary.opaque"))
    return file_of(content, "text/calendar", "reminders.ics")


PAGES = [
    Page("GET", "/diary", _diary),
    Page("GET", "/diary/reminders.ics", _calendar),
    Page("POST", "/diary/weigh", _weigh),
    Page("POST", "/diary/remove", _remove),
    Page("POST", "/diary/stop", _stop),
    Page("POST", "/diary/add/{part}", _added),
]

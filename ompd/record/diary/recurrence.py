"""When something recurs: rules of RFC 5545, in the time that clocks on the wall show."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from ompd.errors import BackendUnavailableError
from ompd.record.errors import DiaryError

#: Rules by the names that most people need.
EVERY = {
    "once": "",
    "daily": "FREQ=DAILY",
    "weekly": "FREQ=WEEKLY",
    "monthly": "FREQ=MONTHLY",
    "yearly": "FREQ=YEARLY",
}

_DAY = r"[+-]?[0-9]{0,2}(MO|TU|WE|TH|FR|SA|SU)"
_MONTHDAY, _MONTH = r"-?([1-9]|[12][0-9]|3[01])", r"([1-9]|1[0-2])"
_NUMBER = r"-?[1-9][0-9]{0,2}"
#: Parts of a rule that are understood. Days recur; times of a day are reminders of their own.
_PARTS = {
    "FREQ": r"DAILY|WEEKLY|MONTHLY|YEARLY",
    "INTERVAL": r"[1-9][0-9]{0,2}",
    "COUNT": r"[1-9][0-9]{0,3}",
    "UNTIL": r"[0-9]{8}T[0-9]{6}Z",
    "BYDAY": rf"{_DAY}(,{_DAY})*",
    "BYMONTHDAY": rf"{_MONTHDAY}(,{_MONTHDAY})*",
    "BYMONTH": rf"{_MONTH}(,{_MONTH})*",
    "BYSETPOS": rf"{_NUMBER}(,{_NUMBER})*",
    "WKST": r"MO|TU|WE|TH|FR|SA|SU",
}
_UNTIL = "%Y%m%dT%H%M%SZ"
#: Within so long a rule must come for the first time: the next 29 February may be 8 years away.
FIRST = timedelta(days=9 * 366)
_DAY_LONG = timedelta(days=1)


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its name, as ``"Europe/Berlin"``.

    Raises
    ------
    DiaryError
        If this system knows none of that name.
    """
    found = None
    # A name may also be no path, a folder, or something else.
    with contextlib.suppress(ValueError, OSError, LookupError):
        found = ZoneInfo(name)
    if found is None:
        raise DiaryError("zone: expected the name of a time zone, such as Europe/Berlin")
    return found


def rule_of(every: str, until: datetime | date | None, zone: ZoneInfo) -> str:
    """Return a checked rule.

    Parameters
    ----------
    every : str
        A name of `EVERY`, or a rule of RFC 5545, such as ``"FREQ=WEEKLY;BYDAY=MO,TH"``: of
        days, weeks, months or years.
    until : datetime or date, optional
        The last moment, with a zone, or the last day in `zone`.
    zone : ZoneInfo

    Raises
    ------
    DiaryError
        If the rule is none, or ends twice.
    """
    rule = EVERY.get(every, every)
    if rule:
        rule = rule.upper().removeprefix("RRULE:")
        parts = parts_of(rule)
        if until is not None and {"UNTIL", "COUNT"} & set(parts):
            raise DiaryError("until: expected none, since the rule has an end")
    elif until is not None:
        raise DiaryError("until: expected none for what does not recur")
    if until is not None:
        if not isinstance(until, date):
            raise DiaryError("until: expected a datetime with a zone, or a date")
        if not isinstance(until, datetime):
            until = datetime.combine(until, time(23, 59, 59), zone)
        if until.utcoffset() is None:
            raise DiaryError("until: expected a datetime with a zone, or a date")
        rule += f";UNTIL={until.astimezone(UTC).strftime(_UNTIL)}"
    return rule


def parts_of(rule: str) -> dict[str, str]:
    """Return the parts of a rule by name.

    Raises
    ------
    DiaryError
        If it is not of the form, or has parts that are not understood.
    """
    found: dict[str, str] = {}
    for part in rule.split(";"):
        name, _, value = part.partition("=")
        if name not in _PARTS or name in found or not re.fullmatch(_PARTS[name], value):
            raise DiaryError(
                "every: expected once, daily, weekly, monthly, yearly, or a rule of RFC 5545 made "
                f"of {', '.join(_PARTS)}, each at most once"
            )
        found[name] = value
    if "FREQ" not in found or {"COUNT", "UNTIL"} <= set(found):
        raise DiaryError("every: expected FREQ, and not both COUNT and UNTIL")
    return found


def occurrences(start: datetime, rule: str, since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the moments of a rule from one moment until before another, in order.

    Parameters
    ----------
    start : datetime
        The first one, in the zone whose clocks are followed.
    rule : str
        Of `rule_of`.
    since, until : datetime
        With a zone.

    Yields
    ------
    datetime
        In the zone of `start`. A time that clocks skip in spring is as long after midnight as it
        would have been; one that they show twice in autumn is the first of both.
    """
    zone, local = start.tzinfo, start.replace(tzinfo=None, fold=0)
    # The end counts in.
    end = _end(rule)
    moments = _series(rule, local, until.astimezone(zone).replace(tzinfo=None)) if rule else [local]
    for moment in moments:
        when = _aware(moment, zone)
        if when >= until or (end is not None and when > end):
            return
        if when >= since:
            yield when


def first_of(start: datetime, rule: str) -> datetime:
    """Return the first moment of a rule at or after a start, with the clock of the start.

    Calendars disagree about a start that its own rule leaves out; there is none afterwards.

    Raises
    ------
    DiaryError
        If the rule ends before it begins.
    """
    if not rule:
        return start
    zone, local = start.tzinfo, start.replace(tzinfo=None, fold=0)
    # Of how many there are, the first is one.
    uncounted = ";".join(part for part in rule.split(";") if not part.startswith("COUNT="))
    end = _end(rule)
    try:
        last = local + FIRST
    except OverflowError:
        raise DiaryError("start: is later than calendars go") from None
    for moment in _series(uncounted, local, last):
        if end is None or _aware(moment, zone) <= end:
            first: datetime = moment.replace(tzinfo=zone)
            return first
        break
    raise DiaryError("every: expected a rule that comes at least once, and before its end")


def _end(rule: str) -> datetime | None:
    until = parts_of(rule).get("UNTIL") if rule else None
    return None if until is None else datetime.strptime(until, _UNTIL).replace(tzinfo=UTC)


def _aware(local: datetime, zone: Any) -> datetime:
    # By way of UTC, so that what clocks skip becomes what they show then.
    return local.replace(tzinfo=zone, fold=0).astimezone(UTC).astimezone(zone)


def _series(rule: str, start: datetime, last: datetime) -> Any:
    """Return moments of a rule by the clock, without a zone, up to some day behind `last`."""
    try:
        from dateutil.rrule import rrulestr
    except ImportError:
        raise BackendUnavailableError(
            "reminders need python-dateutil: pip install 'ompd[care]'"
        ) from None
    # Clocks do not know UTC, in which the end is.
    plain = ";".join(part for part in rule.split(";") if not part.startswith("UNTIL="))
    found = None
    with contextlib.suppress(ValueError, TypeError, IndexError):
        found = rrulestr(plain, dtstart=start)
        if "COUNT=" not in plain:
            # Or one that never comes again would be looked for until the year 9999.
            found = found.replace(until=last + _DAY_LONG)
    if found is None:
        raise DiaryError("every: expected a rule whose parts go together")
    return found

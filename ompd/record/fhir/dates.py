"""Moments, as FHIR writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

#: Years that are told of people alive: births on one side, plans on the other.
FIRST_YEAR, LAST_YEAR = 1850, 2200

#: How far clocks and zones may be apart.
SLACK = timedelta(days=1)

_PARTIAL = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}")


def moment_of(written: str) -> datetime | None:
    """Return a date, dateTime or instant of FHIR as a moment, in the zone that it names.

    Parameters
    ----------
    written : str
        A date without a time is its first moment in UTC.

    Returns
    -------
    datetime or None
        With a zone; None if it is of another form or time.
    """
    if _PARTIAL.fullmatch(written):
        written += "-01" * (2 - written.count("-")) + "T00:00:00Z"
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    return found if found.tzinfo is not None and is_sane(found) else None


def is_sane(when: datetime) -> bool:
    """Tell whether a moment lies between the births of the oldest and the plans of the youngest."""
    return FIRST_YEAR <= when.year <= LAST_YEAR


def written(when: datetime) -> str:
    """Return a moment as FHIR writes it, in its own zone, to the millisecond.

    Parameters
    ----------
    when : datetime
        With a zone.
    """
    offset = when.utcoffset()
    # Zones of old days had seconds, which FHIR has not.
    if not offset or offset.total_seconds() % 60:
        when = when.astimezone(UTC)
    text = when.isoformat(timespec="milliseconds" if when.microsecond // 1000 else "seconds")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text

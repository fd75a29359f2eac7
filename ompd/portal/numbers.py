"""Numbers and moments as people type them."""

from __future__ import annotations

import re
from datetime import datetime

from ompd.errors import FeatureError

_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(?:[.,][0-9]{1,12})?")


def number_of(name: str, text: str) -> float:
    """Return a number that was typed with a point or a comma.

    Neither stands between thousands: nobody could tell which is meant.

    Raises
    ------
    FeatureError
        If it is none.
    """
    if _NUMBER.fullmatch(text) is None:
        raise FeatureError(f"{name}: expected a number, such as 5 or 5.5")
    return float(text.replace(",", "."))


def exact(value: float) -> float:
    """Return a number as it was typed: without a point, if it was whole."""
    return int(value) if value.is_integer() else value


def moment_of(name: str, text: str) -> datetime:
    """Return the moment of a field of days and times, in the zone of this device.

    Raises
    ------
    FeatureError
        If it is none.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        pass
    raise FeatureError(f"{name}: expected a day and a time")

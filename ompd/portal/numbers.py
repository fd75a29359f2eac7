"""Numbers and moments as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ompd.errors import FeatureError


class NumberError(FeatureError):
    """What was typed is no number."""


class MomentError(FeatureError):
    """What was typed is no day and time."""


class FutureError(FeatureError):
    """A moment that was typed has not come yet."""


_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(?:[.,][0-9]{1,12})?")


def number_of(name: str, text: str, most: float | None = None) -> float:
    """Return a number that was typed with a point or a comma.

    Neither stands between thousands: nobody could tell which is meant.

    Raises
    ------
    NumberError
        If it is none.
    FeatureError
        If `most` is given, and it is negative or more than that.
    """
    if _NUMBER.fullmatch(text) is None:
        raise NumberError(f"{name}: expected a number, such as 5 or 5.5")
    value = float(text.replace(",", "."))
    if most is not None and not 0 <= value <= most:
        raise FeatureError(f"{name}: expected 0 to {most:,g}")
    return value


def exact(value: float) -> float:
    """Return a number as it was typed: without a point, if it was whole."""
    return int(value) if value.is_integer() else value


def past_of(name: str, text: str) -> datetime:
    """Return such a moment as `moment_of`, which has come.

    Raises
    ------
    MomentError
        If it is none.
    FutureError
        If it has not come.
    """
    moment = moment_of(name, text)
    if moment > datetime.now(UTC):
        raise FutureError(f"{name}: expected a moment that is not in the future")
    return moment


def moment_of(name: str, text: str) -> datetime:
    """Return the moment of a field of days and times, in the zone of this device.

    Raises
    ------
    MomentError
        If it is none.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        pass
    raise MomentError(f"{name}: expected a day and a time")

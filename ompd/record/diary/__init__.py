"""The diary: reminders, medicines, body mass, charts, and a calendar that tells nothing.

from ompd.record.diary import Diary, chart, series

diary = Diary(record)
diary.take("metoprolol", 47.5, "mg", [time(8), time(20)], zone="Europe/Berlin")
page = chart(series(record, "8480-6"))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.record.diary.body import CLASSES, BodyMass, body_mass
    from ompd.record.diary.charts import chart
    from ompd.record.diary.diary import Diary, Due
    from ompd.record.diary.export import calendar_file
    from ompd.record.diary.medicine import Medicine
    from ompd.record.diary.reminder import Reminder
    from ompd.record.diary.timeline import Point, Series, charted, series

# Lazily: a chart needs no calendar, and the other way round.
_HOMES = {
    "CLASSES": "body",
    "BodyMass": "body",
    "Diary": "diary",
    "Due": "diary",
    "Medicine": "medicine",
    "Point": "timeline",
    "Reminder": "reminder",
    "Series": "timeline",
    "body_mass": "body",
    "calendar_file": "export",
    "chart": "charts",
    "charted": "timeline",
    "series": "timeline",
}

__all__ = [
    "CLASSES",
    "BodyMass",
    "Diary",
    "Due",
    "Medicine",
    "Point",
    "Reminder",
    "Series",
    "body_mass",
    "calendar_file",
    "chart",
    "charted",
    "series",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.record.diary' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ompd.record.diary.{_HOMES[name]}"), name)

"""What a person's sensors say, as dated events.

    samples -> windows -> units -> components -> events

Windows are minutes that begin where minutes begin, so that it does not matter when somebody began
to listen. A window is done once the newest sample is its end, a margin of ten seconds and the
lateness ahead. Units compute something of a window and its margins: a regular grid, where the
sensor measured, beats, intervals, rates, activity. Components say which units they need; the plan
runs each unit once per window. What a component finds in windows in a row is one `Event`.

Nothing leaves the process, and nothing is kept but what open windows need. This is no medical
device: thresholds are examples.
"""

from __future__ import annotations

from ompd.signals.analysis import Analysis
from ompd.signals.components import (
    Component,
    Event,
    inactivity,
    irregular_rhythm,
    sensor_off,
    standard,
    tachycardia,
)

__all__ = [
    "Analysis",
    "Component",
    "Event",
    "inactivity",
    "irregular_rhythm",
    "sensor_off",
    "standard",
    "tachycardia",
]

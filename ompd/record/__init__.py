"""A person's health record, on the person's own device.

device samples, answers, notes -> record -> vector -> pre-diagnosis -> report in the record
-> diary -> shared with a physician
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.record.backups import backup, restore
    from ompd.record.direct import Direct
    from ompd.record.entries import Entry
    from ompd.record.events import event_resource
    from ompd.record.reading import Reader
    from ompd.record.record import Added, Record
    from ompd.record.reports import report_resources
    from ompd.record.sharing import Share, Shared, refresh, revoke, share, shares
    from ompd.record.vector import Vector

# Lazily: who only checks resources needs no store.
_HOMES = {
    "Added": "ompd.record.record",
    "Direct": "ompd.record.direct",
    "Entry": "ompd.record.entries",
    "Reader": "ompd.record.reading",
    "Record": "ompd.record.record",
    "Share": "ompd.record.sharing",
    "Shared": "ompd.record.sharing",
    "Vector": "ompd.record.vector",
    "backup": "ompd.record.backups",
    "event_resource": "ompd.record.events",
    "refresh": "ompd.record.sharing",
    "report_resources": "ompd.record.reports",
    "restore": "ompd.record.backups",
    "revoke": "ompd.record.sharing",
    "share": "ompd.record.sharing",
    "shares": "ompd.record.sharing",
}

__all__ = [
    "Added",
    "Direct",
    "Entry",
    "Reader",
    "Record",
    "Share",
    "Shared",
    "Vector",
    "backup",
    "event_resource",
    "refresh",
    "report_resources",
    "restore",
    "revoke",
    "share",
    "shares",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.record' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

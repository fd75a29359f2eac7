"""The four parties that find features in an image that no cloud sees.

An authority deals randomness to two clouds that do not work together; a patient sends both the same
masked image; they exchange rounds; a physician reads keypoints and descriptors. Every party
has `receive`, which takes a frame and returns what is to be sent, whatever carries it; `deliver`
carries frames within a process.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.roles.imaging.authority import Authority
    from ompd.roles.imaging.cloud import ImageCloud
    from ompd.roles.imaging.delivery import Outgoing, deliver
    from ompd.roles.imaging.patient import Patient
    from ompd.roles.imaging.physician import Physician

# Lazily, so that no party loads what another one computes.
_HOMES = {
    "Authority": "authority",
    "ImageCloud": "cloud",
    "Outgoing": "delivery",
    "Patient": "patient",
    "Physician": "physician",
    "deliver": "delivery",
}

__all__ = ["Authority", "ImageCloud", "Outgoing", "Patient", "Physician", "deliver"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.roles.imaging' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ompd.roles.imaging.{_HOMES[name]}"), name)

"""Online multiparty medical pre-diagnosis over blinded records.

A user asks, a hospital blinds, a cloud finds the nearest blinded instances, the hospital advises.
Importing this package loads neither the kernels nor the cryptographic libraries; the names below
do so when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.bulk import diagnose
    from ompd.compilation import warmup
    from ompd.errors import OmpdError
    from ompd.roles import Cloud, Diagnoses, Diagnosis, Hospital, User, introduce
    from ompd.schema import Feature, Schema

__version__ = "0.1.0"

_HOMES = {
    "Cloud": "ompd.roles",
    "Diagnoses": "ompd.roles",
    "Diagnosis": "ompd.roles",
    "Feature": "ompd.schema",
    "Hospital": "ompd.roles",
    "OmpdError": "ompd.errors",
    "Schema": "ompd.schema",
    "User": "ompd.roles",
    "diagnose": "ompd.bulk",
    "introduce": "ompd.roles",
    "warmup": "ompd.compilation",
}

__all__ = [
    "Cloud",
    "Diagnoses",
    "Diagnosis",
    "Feature",
    "Hospital",
    "OmpdError",
    "Schema",
    "User",
    "diagnose",
    "introduce",
    "warmup",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

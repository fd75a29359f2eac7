"""The parties. They exchange bytes and nothing else.

user.ask -> hospital.forward -> cloud.answer -> hospital.report -> user.read

For sums of hidden values, of which a cloud learns nothing:

physician.collect -> cloud.answer -> physician.confirm
physician.invite -> patient.accept, patient.contribute -> cloud.answer -> patient.confirm
physician.ask -> cloud.answer -> physician.read
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.roles.aggregator import AggregateCloud
    from ompd.roles.cloud import Cloud
    from ompd.roles.contributor import HospitalContributor, Patient
    from ompd.roles.diagnoses import Diagnoses
    from ompd.roles.diagnosis import Diagnosis
    from ompd.roles.hospital import Batch, Hospital
    from ompd.roles.party import Party, introduce
    from ompd.roles.physician import Aggregate, Physician
    from ompd.roles.user import User

# Lazily, so that a cloud loads nothing with its own role that could unblind.
_HOMES = {
    "Aggregate": "ompd.roles.physician",
    "AggregateCloud": "ompd.roles.aggregator",
    "Batch": "ompd.roles.hospital",
    "Cloud": "ompd.roles.cloud",
    "Diagnoses": "ompd.roles.diagnoses",
    "Diagnosis": "ompd.roles.diagnosis",
    "Hospital": "ompd.roles.hospital",
    "HospitalContributor": "ompd.roles.contributor",
    "Party": "ompd.roles.party",
    "Patient": "ompd.roles.contributor",
    "Physician": "ompd.roles.physician",
    "User": "ompd.roles.user",
    "introduce": "ompd.roles.party",
}

__all__ = [
    "Aggregate",
    "AggregateCloud",
    "Batch",
    "Cloud",
    "Diagnoses",
    "Diagnosis",
    "Hospital",
    "HospitalContributor",
    "Party",
    "Patient",
    "Physician",
    "User",
    "introduce",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.roles' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

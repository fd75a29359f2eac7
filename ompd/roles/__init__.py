"""The parties. They exchange bytes and nothing else.

user.ask -> hospital.forward -> cloud.answer -> hospital.report -> user.read

For sums of hidden values, of which a cloud learns nothing:

physician.collect -> cloud.answer -> physician.confirm
physician.invite -> patient.accept, patient.contribute -> cloud.answer -> patient.confirm
physician.ask -> cloud.answer -> physician.read

For programs paid per use, and for records that are shared:

company.publish -> authority.serve, cloud.keeping
subscriber.buy -> authority.serve; subscriber.advise -> authority.evaluate
subscriber.records -> cloud.keeping
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ompd.roles.aggregator import AggregateCloud
    from ompd.roles.authority import Authority
    from ompd.roles.cloud import Cloud
    from ompd.roles.company import Company
    from ompd.roles.contributor import HospitalContributor, Patient
    from ompd.roles.diagnoses import Diagnoses
    from ompd.roles.diagnosis import Diagnosis
    from ompd.roles.hospital import Batch, Hospital
    from ompd.roles.party import Party, introduce
    from ompd.roles.physician import Aggregate, Physician
    from ompd.roles.subscriber import Subscriber
    from ompd.roles.user import User

# Lazily, so that a cloud loads nothing with its own role that could unblind.
_HOMES = {
    "Aggregate": "ompd.roles.physician",
    "AggregateCloud": "ompd.roles.aggregator",
    "Authority": "ompd.roles.authority",
    "Batch": "ompd.roles.hospital",
    "Cloud": "ompd.roles.cloud",
    "Company": "ompd.roles.company",
    "Diagnoses": "ompd.roles.diagnoses",
    "Diagnosis": "ompd.roles.diagnosis",
    "Hospital": "ompd.roles.hospital",
    "HospitalContributor": "ompd.roles.contributor",
    "Party": "ompd.roles.party",
    "Patient": "ompd.roles.contributor",
    "Physician": "ompd.roles.physician",
    "Subscriber": "ompd.roles.subscriber",
    "User": "ompd.roles.user",
    "introduce": "ompd.roles.party",
}

__all__ = [
    "Aggregate",
    "AggregateCloud",
    "Authority",
    "Batch",
    "Cloud",
    "Company",
    "Diagnoses",
    "Diagnosis",
    "Hospital",
    "HospitalContributor",
    "Party",
    "Patient",
    "Physician",
    "Subscriber",
    "User",
    "introduce",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ompd.roles' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

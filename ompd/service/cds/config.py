"""What a hospital writes of its CDS Hooks services: which codes and units its features have."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import msgspec

Indicator = Literal["info", "warning", "critical"]
Hook = Literal[
    "patient-view", "encounter-start", "encounter-discharge", "order-select", "order-sign"
]

#: One segment of a path without any escape.
_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
#: A LOINC number and its check digit.
_LOINC = re.compile(r"[0-9]{1,8}-[0-9]")


class Coding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A code of a terminology.

    Parameters
    ----------
    system : str
        URI of the terminology.
    code : str
    display : str
    """

    system: str
    code: str
    display: str = ""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a feature's value stands in a patient's record.

    Parameters
    ----------
    loinc : tuple of str
        LOINC codes of the observations that have it; the latest final one counts.
    panel : str
        LOINC code of the observation that has these as components, as blood pressure has.
    unit : str
        UCUM code of the unit that the table's numbers are in; empty for scores and counts.
    also : dict of str to float or pair of floats
        Other UCUM units that are understood. A number f means value x f in `unit`, a pair (f, o)
        means value x f + o. What weighs how much per mole is for the hospital to say.
    codes : dict of str to str or float
        For coded values, texts and truths: which level or number each means. What is not in it is
        missing.
    patient : {"", "age", "gender"}
        Instead of an observation: years by the date of birth, or the administrative gender.
    max_age_days : float
        How old an observation may be; 0 for any age.

    Raises
    ------
    ValueError
        If these contradict one another.
    """

    loinc: tuple[str, ...] = ()
    panel: str = ""
    unit: str = ""
    also: dict[str, float | tuple[float, float]] = {}
    codes: dict[str, str | float] = {}
    patient: Literal["", "age", "gender"] = ""
    max_age_days: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.loinc) == bool(self.patient):
            raise ValueError("feature: expected either LOINC codes, or what of the patient")
        if self.patient and (self.panel or self.unit or self.also or self.max_age_days):
            raise ValueError("feature: only an observation has a panel, a unit and an age")
        for code in (*self.loinc, *((self.panel,) if self.panel else ())):
            if not _LOINC.fullmatch(code):
                raise ValueError("feature loinc: expected codes such as 4548-4")
        if self.also and not self.unit:
            raise ValueError("feature also: expected a unit that others are converted to")
        for factor, offset in map(conversion, self.also.values()):
            if not (math.isfinite(factor) and factor > 0 and math.isfinite(offset)):
                raise ValueError("feature also: expected finite numbers, factors above 0")
        if not 0 <= self.max_age_days < math.inf:
            raise ValueError("feature max_age_days: expected a number of days, or 0")


def conversion(rule: float | tuple[float, float]) -> tuple[float, float]:
    """Return factor and offset of one rule of `Source.also`."""
    return rule if isinstance(rule, tuple) else (rule, 0.0)


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The CDS service of one disease.

    Parameters
    ----------
    features : dict of str to Source
        By the names that the table's schema gives them. Those left out are missing.
    id : str
        Last part of its address; by default the name of the disease.
    hook : str
        When the EHR asks.
    title, description : str
        For people; by default made of the name of the disease.
    indicators : dict of str to {"info", "warning", "critical"}
        How urgent a class is; "info" for those left out.
    outcomes : dict of str to Coding
        Codes of classes, for the risk assessment.

    Raises
    ------
    ValueError
        If there are no features, or the id is no segment of an address.
    """

    features: dict[str, Source]
    id: str = ""
    hook: Hook = "patient-view"
    title: str = ""
    description: str = ""
    indicators: dict[str, Indicator] = {}
    outcomes: dict[str, Coding] = {}

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("cds service: expected at least one feature")
        if self.id and not _ID.fullmatch(self.id):
            raise ValueError("cds service id: expected letters, digits and . _ ~ -")


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An EHR that may ask.

    Parameters
    ----------
    issuer : str
        The `iss` of its tokens.
    keys : Path
        File with its public keys, a JSON Web Key Set. Addresses in tokens are not followed.
    """

    issuer: str
    keys: Path


class Cds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[cds]` of a hospital's configuration.

    Parameters
    ----------
    id, identity, password_file
        The user that asks for the EHR, as for every party; the hospital must have met it.
    services : dict of str to Service
        By disease.
    label : str
        What cards name as their source; by default the hospital's id.
    url : str
        Where people read about it, or empty.
    base : str
        Address under which the EHR reaches this server, as ``"https://cds.example.org"``. Tokens
        are valid for addresses below it.
    clients : tuple of Client
        Those that may ask, by signed tokens. Without any, whoever reaches the server may.
    origins : tuple of str
        Web pages that browsers may call from (CORS), as ``"https://ehr.example.org"``.

    Raises
    ------
    ValueError
        If two services have one address, or clients come without `base`.
    """

    id: str
    identity: Path
    password_file: Path
    services: dict[str, Service]
    label: str = ""
    url: str = ""
    base: str = ""
    clients: tuple[Client, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ids = [service.id or disease for disease, service in self.services.items()]
        if not all(_ID.fullmatch(each) for each in ids):
            raise ValueError(
                "cds services: a disease whose name is no segment of an address needs an id"
            )
        if len(set(ids)) != len(ids):
            raise ValueError("cds services: expected different ids")
        if self.clients and not self.base:
            raise ValueError("cds base: expected the address that tokens are made out to")
        if len({client.issuer for client in self.clients}) != len(self.clients):
            raise ValueError("cds clients: expected different issuers")
        if "*" in self.origins:
            raise ValueError("cds origins: expected addresses, and not every page there is")

"""A cardiac program on real readings, through all parties."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ompd.crypto import backend
from ompd.monitor import Program
from ompd.roles import Authority, Cloud, Company, Subscriber, introduce
from ompd.stores import Keeper
from ompd.wire.payments import check_chain

#: Beats per minute, SDNN and RMSSD in milliseconds of twelve minutes: the second example recording
#: of HeartPy 1.2.7 (P. van Gent, MIT licence), cut and measured by it, `process_segmentwise` with
#: a width of 60 seconds.
READINGS = (
    (102.3, 36.5, 40.5), (97.8, 38.8, 36.0), (95.8, 49.4, 29.7), (97.8, 47.2, 23.3),
    (97.5, 51.5, 28.6), (96.5, 64.0, 35.1), (96.1, 43.8, 24.3), (97.4, 60.6, 28.6),
    (118.6, 160.3, 123.6), (93.7, 70.6, 48.5), (99.2, 55.6, 26.3), (98.8, 78.5, 77.4),
)  # fmt: skip
_NAMES = ("heart rate", "SDNN", "RMSSD")
#: Thresholds are examples; what counts as fast is that of adults at rest.
PROGRAM: dict[str, Any] = {
    "name": "cardiac",
    "attributes": [
        {"name": "heart rate", "low": 20, "high": 300, "step": 0.1, "unit": "1/min"},
        {"name": "SDNN", "low": 0, "high": 1000, "step": 0.1, "unit": "ms"},
        {"name": "RMSSD", "low": 0, "high": 1000, "step": 0.1, "unit": "ms"},
    ],
    "root": "fast",
    "nodes": {
        "fast": {"attribute": "heart rate", "at_most": 100, "then": "slow", "else": "noisy"},
        "slow": {"attribute": "heart rate", "at_most": 50, "then": "low", "else": "stiff"},
        "low": {"advice": "slow: measure again at rest"},
        "stiff": {"attribute": "SDNN", "at_most": 20, "then": "rigid", "else": "uneven"},
        "rigid": {"advice": "little variation: tell your physician"},
        "uneven": {"attribute": "RMSSD", "at_most": 70, "then": "usual", "else": "check"},
        "usual": {"advice": "as usual"},
        "check": {"advice": "uneven: check the sensor"},
        "noisy": {"attribute": "RMSSD", "at_most": 100, "then": "rest", "else": "again"},
        "rest": {"advice": "fast: rest and measure again"},
        "again": {"advice": "fast and uneven: check the sensor, then call"},
    },
}
_BOUGHT = 40
_PAYMENT = b"demo payment 001"


@dataclass(frozen=True)
class MonitorResult:
    """What came of the demonstration.

    Attributes
    ----------
    minutes : list of (reading, advice, tokens)
    bought, used, given_back : int
        Tokens.
    program_bytes : int
    agrees : bool
        Whether all advice is that of the plain program.
    shared : bool
        Whether the physician opened the record that was shared.
    receipts : int
        Of the authority, which verify.
    looked_for, found_in_files : int
        Texts of program and record, and how many of them the files of cloud and authority hold.
    """

    minutes: list[tuple[tuple[float, float, float], str, int]]
    bought: int
    used: int
    given_back: int
    program_bytes: int
    agrees: bool
    shared: bool
    receipts: int
    looked_for: int
    found_in_files: int

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, for JSON."""
        return asdict(self)


def run_monitor() -> MonitorResult:
    """Let the program advise on the readings, and share a record of them."""
    with tempfile.TemporaryDirectory(prefix="ompd-") as name:
        return _run(Path(name))


def _run(folder: Path) -> MonitorResult:
    text = json.dumps(PROGRAM)
    with Keeper(folder / "keeper.db") as keeper:
        cloud = Cloud.create("cloud", keeper=keeper)
        authority = Authority.create("authority", till=folder / "till.db")
        company = Company.create("company")
        person = Subscriber.create("person", wallet=folder / "wallet.db")
        physician = Subscriber.create("physician", wallet=folder / "physician.db")
        introduce(cloud, authority, company, person, physician)
        assert cloud.keeping is not None  # noqa: S101  (it has a keeper)
        to_cloud = ("cloud", cloud.keeping.answer)
        try:
            encoded = company.publish(
                text, authority=("authority", authority.serve), cloud=to_cloud
            )
            card = person.read_card(encoded)
            authority.till.deposit("person", _PAYMENT, _BOUGHT)
            person.buy(card, _BOUGHT, authority.serve)
            content = person.fetch(card, to_cloud[1])
            plain = Program.from_json(text)
            minutes, agrees = [], True
            for reading in READINGS:
                values = dict(zip(_NAMES, reading, strict=True))
                before = person.purse(card).ready
                advice = person.advise(card, content, values, authority.evaluate)
                minutes.append((reading, advice, before - person.purse(card).ready))
                agrees = agrees and advice == plain.advise(values)
            left = person.purse(card).ready
            person.give_back(card, left, authority.serve)
            record = json.dumps([advice for _, advice, _ in minutes]).encode()
            stored = person.records.store("cardiac", record, to_cloud)
            notice = person.records.grant(
                "cardiac", "physician", physician.records.public, to_cloud
            )
            opened = physician.records.open_shared(
                physician.records.accept(notice), stored, to_cloud
            )
            receipts = _verified(authority)
        finally:
            for party in (authority, person, physician):
                party.close()
    texts = {advice for _, advice, _ in minutes} | set(_NAMES)
    files = [
        path.read_bytes() for each in ("keeper", "till") for path in folder.glob(f"{each}.db*")
    ]
    found = sum(any(each.encode() in content for content in files) for each in texts)
    return MonitorResult(
        minutes, _BOUGHT, _BOUGHT - left, left, len(content), agrees, opened == record, receipts,
        len(texts), found,
    )  # fmt: skip


def _verified(authority: Authority) -> int:
    """Return how many receipts the books have, all verified."""
    verifier, signer = backend(authority.signature_backend), authority.public.signing_key
    return check_chain(authority.till.receipts(), lambda *signed: verifier.verify(signer, *signed))[
        0
    ]

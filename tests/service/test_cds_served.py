"""CDS Hooks from a hospital's own process."""

from __future__ import annotations

import time

import httpx
import pytest

from ompd.crypto import Identity
from ompd.crypto.identity_files import save_identity
from ompd.stores.registry import Registry
from tests.roles.conftest import instances
from tests.service import cds_rules
from tests.service.rig import Rig

CONFIG = """
[cds]
id = "ehr"
identity = "hospital/ehr"
password_file = "hospital/password"
label = "St Mary"
origins = ["https://ehr.example.org"]

[cds.services.flu.features]
f0 = { loinc = ["8310-5"], unit = "Cel" }
f1 = { loinc = ["9279-1"], unit = "/min" }
f2 = { loinc = ["8867-4"], unit = "/min" }
"""


def prefetch(code, value, unit):
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {
        f"loinc-{code}": {
            "resourceType": "Observation",
            "id": code,
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "effectiveDateTime": at,
            "valueQuantity": {"value": value, "code": unit},
        }
    }


@pytest.mark.long
def test_a_hospitals_record_system_gets_cards_before_and_after_a_kill(tmp_path):
    rig = Rig(tmp_path)
    home = rig.folder / "hospital"
    identity = Identity.generate("ehr")
    save_identity(home / "ehr", identity, (home / "password").read_text().strip(), _n=2)
    with Registry(home / "registry.db") as registry:
        registry.admit(identity.public, "user")
    config = rig.hospital.config
    config.write_text(config.read_text() + CONFIG)
    data = instances()
    table = tmp_path / "flu.csv"
    lines = [
        ",".join([*map(str, row), data.schema.classes[label]])
        for row, label in zip(data.features.tolist(), data.labels.tolist(), strict=True)
    ]
    table.write_text("\n".join(["f0,f1,f2,label", *lines]))
    (tmp_path / "flu.toml").write_text(data.schema.to_toml())
    body = {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/example", "patientId": "1288992"},
        "prefetch": prefetch("8310-5", 7, "Cel")
        | prefetch("9279-1", 6, "/min")
        | prefetch("8867-4", 6, "/min"),
    }
    with rig:
        url = rig.hospital.proxy.url + "/cds-services"
        cds_rules.discovery(httpx.get(url).json())
        early = httpx.post(f"{url}/flu", json=body, timeout=30)
        assert early.status_code == 503
        assert int(early.headers["retry-after"]) > 0
        assert "done" in rig.outsource(table, tmp_path / "flu.toml")
        for kill in (True, False):
            answer = httpx.post(f"{url}/flu", json=body, timeout=30)
            assert answer.status_code == 200, answer.text
            cds_rules.cards(answer.json())
            (card,) = answer.json()["cards"]
            assert card["summary"].startswith("Pre-diagnosis: flu: yes")
            assert card["source"]["label"] == "St Mary"
            if kill:
                rig.hospital.kill()
                rig.hospital.start()
        # Longer than may be: refused by its announcement, and the server goes on.
        long = httpx.post(f"{url}/flu", content=bytes(2 << 20), headers={
            "content-type": "application/json"
        })  # fmt: skip
        assert long.status_code == 413
        assert httpx.get(url).status_code == 200
        asked = {event["who"] for event in rig.audit("hospital") if event["what"] == "query"}
        assert asked == {"ehr"}
        log = rig.hospital.log.read_text()
        assert "1288992" not in log
        assert "Practitioner" not in log

"""CDS Hooks: answers to requests made after the specification's examples."""

from __future__ import annotations

import asyncio
import copy
import json
from types import SimpleNamespace

import httpx
import msgspec
import numpy as np
import pytest
from starlette.applications import Starlette

import ompd
from ompd.crypto.identity_files import save_identity
from ompd.errors import BusyError, NoAnswerError, UnreachableError
from ompd.service.cds import fhir
from ompd.service.cds import routes as cds_routes
from ompd.service.cds.config import Cds
from ompd.service.cds.desk import Desk
from ompd.service.cds.mounted import mounted
from ompd.service.cds.routes import MAX_REQUEST, routes
from ompd.service.config import HospitalConfig, read_config
from ompd.stores.registry import Registry
from tests.roles.conftest import World, keys_of
from tests.service import cds_rules

CONFIG = {
    "id": "ehr",
    "identity": "keys/ehr",
    "password_file": "ehr.password",
    "services": {
        "type-2-diabetes": {
            "id": "diabetes",
            "indicators": {"yes": "warning"},
            "outcomes": {
                "yes": {"system": "http://snomed.info/sct", "code": "44054006", "display": "T2DM"}
            },
            "features": {
                "age": {"patient": "age"},
                "gender": {"patient": "gender", "codes": {"female": "F", "male": "M"}},
                "glucose": {
                    "loinc": ["2339-0", "2345-7"],
                    "unit": "mg/dL",
                    "also": {"mmol/L": 18.0, "g/L": 100},
                    "max_age_days": 365,
                },
                "systolic": {"panel": "85354-9", "loinc": ["8480-6"], "unit": "mm[Hg]"},
                "diastolic": {"panel": "85354-9", "loinc": ["8462-4"], "unit": "mm[Hg]"},
                "temperature": {
                    "loinc": ["8310-5"],
                    "unit": "Cel",
                    "also": {"[degF]": [0.5555555556, -17.777777778]},
                },
                "pregnancies": {"loinc": ["11996-6"]},
                "smoker": {
                    "loinc": ["72166-2"],
                    "codes": {"449868002": "True", "8517006": "False", "266919005": "False"},
                },
            },
        }
    },
}  # fmt: skip

SCHEMA = ompd.Schema(
    (
        ompd.Feature("age", "ordinal", 18, 100, unit="years"),
        ompd.Feature("gender", "nominal", 0, 1, levels=("F", "M")),
        ompd.Feature("glucose", "numeric", 40, 400, unit="mg/dl"),
        ompd.Feature("systolic", "numeric", 60, 260, missing="median"),
        ompd.Feature("diastolic", "numeric", 30, 160, missing="median"),
        ompd.Feature("temperature", "numeric", 30, 45, missing="median"),
        ompd.Feature("pregnancies", "ordinal", 0, 20, missing="median"),
        ompd.Feature("smoker", "nominal", 0, 1, levels=("False", "True"), missing="level"),
    ),
    ("no", "yes"),
)

PATIENT = "1288992"
#: Noon of 26 November 2026, UTC.
NOW = 1_795_694_400.0


def observation(code, name="o1", at="2026-11-20T08:30:00+01:00", status="final", **value):
    return {
        "resourceType": "Observation",
        "id": name,
        "status": status,
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{PATIENT}"},
        "effectiveDateTime": at,
        **value,
    }


def quantity(value, unit="mg/dL", **more):
    return {
        "valueQuantity": {
            "value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit
        } | more
    }  # fmt: skip


def bundle(*resources):
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(resources),
        "entry": [{"resource": each, "search": {"mode": "match"}} for each in resources],
    }


def part(code, value):
    coding = {"coding": [{"system": "http://loinc.org", "code": code}]}
    return {"code": coding, **quantity(value, "mm[Hg]")}


def smoking(code):
    return {
        "valueCodeableConcept": {"coding": [{"system": "http://snomed.info/sct", "code": code}]}
    }


def request():
    """The specification's example of a call, with this service's prefetch."""
    return {
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "fhirServer": "https://fhir.example.org",
        "hook": "patient-view",
        "fhirAuthorization": {
            "access_token": "some-opaque-fhir-access-token",
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "patient/Patient.read patient/Observation.read",
            "subject": "cds-service4",
        },
        "context": {
            "userId": "Practitioner/example",
            "patientId": PATIENT,
            "encounterId": "89284",
        },
        "prefetch": {
            "patient": {
                "resourceType": "Patient",
                "gender": "male",
                "birthDate": "1966-12-23",
                "id": PATIENT,
                "active": True,
            },
            "loinc-2339-0-2345-7": bundle(observation("2345-7", "glu", **quantity(148.0))),
            "loinc-85354-9": bundle(
                observation("85354-9", "bp", component=[part("8480-6", 131), part("8462-4", 84)])
            ),
            "loinc-8310-5": bundle(observation("8310-5", "temp", **quantity(98.6, "[degF]"))),
            "loinc-11996-6": None,
            "loinc-72166-2": observation("72166-2", "smoke", **smoking("449868002")),
        },
        "extension": {"com.example.timestamp": "2017-11-27T22:13:25Z"},
    }


def records():
    rng = np.random.default_rng(5)
    rows = 80
    labels = np.arange(rows) % 2
    values = np.column_stack(
        [
            np.clip(np.rint(rng.normal(45 + 12 * labels, 8)), 18, 100),
            rng.integers(0, 2, rows),
            np.clip(rng.normal(100 + 45 * labels, 15), 40, 400),
            np.clip(rng.normal(120 + 12 * labels, 10), 60, 260),
            np.clip(rng.normal(78 + 6 * labels, 6), 30, 160),
            np.clip(rng.normal(36.8, 0.4, rows), 30, 45),
            np.clip(np.rint(rng.normal(2, 1, rows)), 0, 20),
            rng.integers(0, 2, rows),
        ]
    )
    return SimpleNamespace(schema=SCHEMA, features=values, labels=labels)


class Caller:
    """Somebody who calls CDS services."""

    def __init__(self, app):
        self.app = app

    def call(self, method, path, **options):
        async def once():
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="https://cds.test") as http:
                return await http.request(method, path, **options)

        return asyncio.run(once())

    def ask(self, body, **options):
        headers = {"content-type": "application/json"} | options.pop("headers", {})
        content = json.dumps(body)
        path = "/cds-services/diabetes"
        return self.call("POST", path, content=content, headers=headers, **options)


class Ehr(Caller):
    """A hospital with CDS services, and somebody who calls them."""

    def __init__(self, **config):
        self.world = World()
        self.publish()
        asker = ompd.User.create("ehr", **self.world.options)
        ompd.introduce(self.world.hospital, asker)
        self.asked = []
        self.failure = ()
        self.desk = Desk(asker, "st-mary", self.world.hospital.catalogue, self.send)
        super().__init__(self.with_config(**config))

    def publish(self, k=5):
        advice = {"no": "No need for action.", "yes": "Measure HbA1c within [two] weeks | soon."}
        self.world.publish("type-2-diabetes", records(), k=k, advice=advice)

    def with_config(self, **config):
        made = msgspec.convert({**CONFIG, **config}, Cds, dec_hook=lambda kind, each: kind(each))
        return Starlette(routes=routes(made, "st-mary", self.desk, now=lambda: NOW))

    async def send(self, frame):
        if self.failure is None:
            return None
        if self.failure:
            raise self.failure
        self.asked.append(frame)
        world = self.world
        try:
            job = world.hospital.forward(frame)
        except ompd.errors.OmpdError:
            return world.hospital.refuse(frame)
        return world.hospital.report(world.cloud.answer(job))


@pytest.fixture(scope="module")
def ehr():
    return Ehr()


@pytest.fixture(autouse=True)
def _whole(request):
    yield
    if "ehr" in request.fixturenames:
        request.getfixturevalue("ehr").failure = ()


def test_services_can_be_discovered(ehr):
    answer = ehr.call("GET", "/cds-services")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    cds_rules.discovery(answer.json())
    (service,) = answer.json()["services"]
    assert (service["id"], service["hook"]) == ("diabetes", "patient-view")
    assert service["prefetch"] == {
        "patient": "Patient/{{context.patientId}}",
        "loinc-2339-0-2345-7": (
            "Observation?patient={{context.patientId}}&code=http://loinc.org|2339-0,"
            "http://loinc.org|2345-7&status=final,amended,corrected&_sort=-date&_count=1"
        ),
    } | {
        f"loinc-{code}": (
            f"Observation?patient={{{{context.patientId}}}}&code=http://loinc.org|{code}"
            "&status=final,amended,corrected&_sort=-date&_count=1"
        )
        for code in ("85354-9", "8310-5", "11996-6", "72166-2")
    }


def test_a_request_gives_a_valid_card_with_what_a_user_gets(ehr):
    answer = ehr.ask(request())
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    cds_rules.cards(answer.json())
    (card,) = answer.json()["cards"]

    world = ehr.world
    values = {
        "age": 59, "gender": "M", "glucose": 148.0, "systolic": 131, "diastolic": 84,
        "temperature": 98.6 * 0.5555555556 - 17.777777778, "pregnancies": None, "smoker": "True",
    }  # fmt: skip
    query = world.user.ask("st-mary", "type-2-diabetes", values, schema=SCHEMA)
    report = world.hospital.report(world.cloud.answer(world.hospital.forward(query)))
    expected = world.user.read(report)[0]

    assert expected.label == "yes"
    assert expected.filled == 1
    chance = expected.probabilities["yes"]
    assert card["summary"] == f"Pre-diagnosis: type-2-diabetes: yes ({100 * chance:.1f} %)"
    assert card["indicator"] == "warning"
    assert f"{expected.votes['yes']} of the 5" in card["detail"]
    # What the hospital wrote is shown as it is, and is no markup.
    assert r"Measure HbA1c within \[two\] weeks \| soon." in card["detail"]
    assert "filled in: 1" in card["detail"]
    assert "| glucose | 148 mg/dl | 2026-11-20 |" in card["detail"]

    (suggestion,) = card["suggestions"]
    (action,) = suggestion["actions"]
    assessment = action["resource"]
    assert assessment["subject"] == {"reference": f"Patient/{PATIENT}"}
    assert assessment["encounter"] == {"reference": "Encounter/89284"}
    assert assessment["occurrenceDateTime"] == "2026-11-26T12:00:00+00:00"
    assert assessment["basis"] == [
        {"reference": f"Observation/{name}"} for name in ("bp", "glu", "smoke", "temp")
    ]
    assert {
        each["outcome"]["text"]: each["probabilityDecimal"] for each in assessment["prediction"]
    } == {name: round(100 * each, 2) for name, each in expected.probabilities.items()}
    outcomes = {each["outcome"]["text"]: each["outcome"] for each in assessment["prediction"]}
    assert outcomes["yes"]["coding"] == [
        {"system": "http://snomed.info/sct", "code": "44054006", "display": "T2DM"}
    ]
    assert "coding" not in outcomes["no"]


def shown(answer, feature):
    """What the card says that a feature was."""
    assert answer.status_code == 200, answer.text
    cds_rules.cards(answer.json())
    (card,) = answer.json()["cards"]
    (line,) = [each for each in card["detail"].splitlines() if each.startswith(f"| {feature} |")]
    return line.split(" | ")[1].replace("\\", "")


def with_glucose(*resources):
    body = request()
    body["prefetch"]["loinc-2339-0-2345-7"] = bundle(*resources)
    return body


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (quantity(148.0), "148 mg/dl"),
        (quantity(8.0, "mmol/L"), "144 mg/dl"),
        (quantity(1.5, "g/L"), "150 mg/dl"),
        # Without code, the unit's text may be one that is known.
        ({"valueQuantity": {"value": 151, "unit": "mg/dL"}}, "151 mg/dl"),
        ({"valueInteger": 98}, None),
        (quantity(148.0, "mg"), None),
        (quantity(148.0, comparator="<"), None),
        ({"valueString": "about 150"}, None),
        ({"dataAbsentReason": {"text": "lost"}}, None),
        (quantity(148.0, unit="mg", code="mg/dL", system="http://x.y"), None),
    ],
)  # fmt: skip
def test_units_are_converted_and_others_are_no_values(ehr, value, expected):
    answer = ehr.ask(with_glucose(observation("2345-7", **value)))
    if expected is None:
        cds_rules.cards(answer.json())
        (card,) = answer.json()["cards"]
        assert "glucose" in card["detail"]
        assert "suggestions" not in card
    else:
        assert shown(answer, "glucose") == expected


def test_the_latest_final_observation_counts(ehr):
    answer = ehr.ask(
        with_glucose(
            observation("2345-7", "a", "2026-11-20", **quantity(101)),
            observation("2339-0", "b", "2026-11-22T01:00:00+02:00", **quantity(102)),
            observation("2345-7", "c", "2026-11-21T22:30:00Z", **quantity(103)),
            observation("2345-7", "d", "2026-11-25", status="preliminary", **quantity(104)),
            observation("2345-7", "e", "2026-11-25", status="entered-in-error", **quantity(105)),
            observation("4548-4", "f", "2026-11-25", **quantity(106)),
            {"resourceType": "OperationOutcome", "issue": []},
        )
    )
    # 23:00 of the 21st in UTC is half an hour later than the other.
    assert shown(answer, "glucose") == "102 mg/dl"
    references = str(answer.json()["cards"][0]["suggestions"])
    assert "Observation/b" in references
    assert "Observation/c" not in references


@pytest.mark.parametrize(
    ("at", "there"),
    [("2025-11-26T12:00:00Z", True), ("2025-11-26T11:59:59Z", False), ("2026", True), ("", False)],
)
def test_what_is_too_old_is_missing(ehr, at, there):
    answer = ehr.ask(with_glucose(observation("2345-7", at=at, **quantity(148))))
    assert ("suggestions" in answer.json()["cards"][0]) is there


@pytest.mark.parametrize(
    ("birth", "age"),
    [("1966-11-26", "60"), ("1966-11-27", "59"), ("1966", None), ("2030-01-01", None), ("x", None)],
)
def test_years_are_whole(ehr, birth, age):
    body = request()
    body["prefetch"]["patient"]["birthDate"] = birth
    answer = ehr.ask(body)
    if age is None:
        assert "- age:" in answer.json()["cards"][0]["detail"]
    else:
        assert shown(answer, "age") == f"{age} years"


def test_what_may_be_missing_is_filled_in(ehr):
    body = request()
    for key in ("loinc-85354-9", "loinc-8310-5"):
        del body["prefetch"][key]
    body["prefetch"]["loinc-72166-2"] = bundle()
    answer = ehr.ask(body)
    for feature in ("systolic", "diastolic", "temperature", "pregnancies", "smoker"):
        assert shown(answer, feature) == "missing"
    assert shown(answer, "glucose") == "148 mg/dl"


def test_a_record_without_a_needed_value_gets_a_card_that_says_so(ehr):
    body = request()
    body["prefetch"]["loinc-2339-0-2345-7"] = None
    body["prefetch"]["patient"]["gender"] = "unknown"
    before = len(ehr.asked)
    answer = ehr.ask(body)
    cds_rules.cards(answer.json())
    (card,) = answer.json()["cards"]
    assert "suggestions" not in card
    assert "glucose" in card["detail"]
    assert "gender" in card["detail"]
    assert len(ehr.asked) == before


def test_a_value_out_of_its_domain_is_told_without_it(ehr):
    answer = ehr.ask(with_glucose(observation("2345-7", **quantity(4321))))
    (card,) = answer.json()["cards"]
    assert "from 40 to 400" in card["detail"].replace("\\", "")
    assert "4321" not in answer.text


@pytest.mark.parametrize("absent", ["patient", "loinc-2339-0-2345-7"])
def test_needed_data_that_was_not_sent_is_a_failed_precondition(ehr, absent):
    body = request()
    del body["prefetch"][absent]
    answer = ehr.ask(body)
    assert answer.status_code == 412
    assert absent in answer.json()["message"]
    del body["prefetch"]
    assert ehr.ask(body).status_code == 412


@pytest.mark.parametrize(
    "reference", ["Patient/2", "https://x.org/Patient/2/_history/1", "Group/1"]
)
def test_data_of_another_patient_are_refused(ehr, reference):
    wrong = observation("2345-7", **quantity(148))
    wrong["subject"]["reference"] = reference
    assert ehr.ask(with_glucose(wrong)).status_code == 400
    body = request()
    body["prefetch"]["patient"]["id"] = "2"
    assert ehr.ask(body).status_code == 400


@pytest.mark.parametrize(
    "reference", [f"https://x.org/fhir/Patient/{PATIENT}", f"Patient/{PATIENT}/_history/3"]
)
def test_references_may_be_absolute_or_have_versions(ehr, reference):
    found = observation("2345-7", **quantity(148))
    found["subject"]["reference"] = reference
    assert shown(ehr.ask(with_glucose(found)), "glucose") == "148 mg/dl"


SECRET = "eyes only 4711"  # noqa: S105  (looked for in answers)


def paths(part, so_far=()):
    """Where parts of a request are."""
    yield so_far
    if isinstance(part, (dict, list)):
        places = part if isinstance(part, dict) else range(len(part))
        for place in places:
            yield from paths(part[place], (*so_far, place))


def replaced(body, path, value):
    if not path:
        return value
    body = copy.deepcopy(body)
    inner = body
    for place in path[:-1]:
        inner = inner[place]
    inner[path[-1]] = value
    return body


@pytest.mark.parametrize("value", [SECRET, 4711.5, [SECRET], {SECRET: SECRET}, True, None])
def test_parts_of_a_wrong_type_are_refused_and_not_repeated(ehr, value, caplog):
    whole = request()
    for path in paths(whole):
        answer = ehr.ask(replaced(whole, path, value))
        # Parts that are not used are not looked at.
        assert answer.status_code in {200, 400, 412}, path
        if answer.status_code == 200:
            cds_rules.cards(answer.json())
        assert SECRET not in answer.text
        assert "4711.5" not in answer.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"hook": NaN}',
        b"[" * 500_000,
        b'{"a":' * 150_000,
        b'{"hook":"patient-view","hookInstance":"1","context":{"userId":"P/1","patientId":"1"},'
        b'"prefetch":{"patient":' + b"[" * 300_000 + b"]" * 300_000 + b"}}",
    ],
)
def test_what_is_no_request_is_refused(ehr, body):
    answer = ehr.call(
        "POST",
        "/cds-services/diabetes",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400
    assert set(answer.json()) == {"message"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("hook",), "order-sign"),
        (("hookInstance",), ""),
        (("context", "userId"), ""),
        (("context", "patientId"), "../../Patient?x"),
        (("context", "encounterId"), "a b"),
    ],
)
def test_contexts_that_mean_nothing_are_refused(ehr, path, value):
    assert ehr.ask(replaced(request(), path, value)).status_code == 400


def test_unknown_services_and_types_are_refused(ehr):
    assert ehr.call("POST", "/cds-services/other", json=request()).status_code == 404
    assert ehr.call("GET", "/cds-services/diabetes").status_code == 405
    text = ehr.call("POST", "/cds-services/diabetes", content=b"{}")
    assert text.status_code == 415


def test_a_long_request_is_refused_before_it_is_read(ehr):
    read = []

    async def parts():
        for _ in range(100):
            read.append(1)
            yield b" " * 65536

    headers = {"content-type": "application/json"}
    path = "/cds-services/diabetes"
    answer = ehr.call("POST", path, content=parts(), headers=headers)
    assert answer.status_code == 413
    length = {"content-length": str(MAX_REQUEST + 1)}
    assert ehr.call("POST", path, content=b"{}", headers=headers | length).status_code == 413
    whole = json.dumps(request()).encode()
    filled = whole + b" " * (MAX_REQUEST - len(whole))
    assert ehr.call("POST", path, content=filled, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (BusyError("queue", 7), "7"),
        (NoAnswerError("report: none"), "5"),
        (None, "5"),
        (UnreachableError("cloud"), "5"),
    ],
)
def test_a_hospital_that_cannot_answer_says_when_to_come_again(ehr, failure, seconds):
    ehr.failure = failure
    answer = ehr.ask(request())
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == seconds
    ehr.failure = ()
    assert ehr.ask(request()).status_code == 200


def test_a_table_that_is_not_there_or_does_not_fit_is_no_answer(ehr):
    services = copy.deepcopy(CONFIG["services"])
    services["measles"] = services["type-2-diabetes"] | {"id": "measles"}
    services["type-2-diabetes"]["features"]["weight"] = {"loinc": ["29463-7"], "unit": "kg"}
    other = copy.copy(ehr)
    other.app = ehr.with_config(services=services)
    for name in ("diabetes", "measles"):
        answer = other.call("POST", f"/cds-services/{name}", json=request())
        assert answer.status_code == 503


def test_another_table_is_asked_by_its_own_catalogue():
    ehr = Ehr()
    first = ehr.ask(request())
    fewer = [each for each in SCHEMA.features if each.name != "temperature"]
    data = records()
    data.features = np.delete(data.features, 5, axis=1)
    data.schema = ompd.Schema(tuple(fewer), SCHEMA.classes)
    services = copy.deepcopy(CONFIG["services"])
    del services["type-2-diabetes"]["features"]["temperature"]
    ehr.app = ehr.with_config(services=services)
    ehr.world.clock.now += 1
    ehr.world.publish("type-2-diabetes", data, k=5)
    answer = ehr.ask(request())
    assert first.status_code == answer.status_code == 200
    assert "temperature" in first.json()["cards"][0]["detail"]
    assert "temperature" not in answer.json()["cards"][0]["detail"]


TOML = """
id = "st-mary"
identity = "keys/st-mary"
password_file = "st-mary.password"
registry = "registry.sqlite"
state = "state"

[listen]
port = 0
metrics_port = 0

[clouds]
cloud = "http://127.0.0.1:8112"
"""


def test_a_configuration_file_makes_the_services(tmp_path):
    hospital = ompd.Hospital.create("st-mary", profile="paper")
    asker = ompd.User.create("ehr-2")
    (tmp_path / "keys").mkdir()
    save_identity(tmp_path / "keys" / "ehr", keys_of(asker)["identity"], "a password", _n=2)
    password = tmp_path / "ehr.password"
    password.write_text("a password\n")
    password.chmod(0o600)
    with Registry(tmp_path / "registry.sqlite") as registry:
        registry.register(hospital.public, "hospital")
        registry.register(asker.public, "user")

    config = tmp_path / "hospital.toml"
    config.write_text(TOML)

    async def send(_query):
        return None

    with mounted(read_config(config, HospitalConfig), hospital.catalogue, send) as made:
        assert made == []

    services = CONFIG["services"]["type-2-diabetes"]["features"]
    lines = [TOML, '[cds]\nid = "ehr-2"\nidentity = "keys/ehr"\npassword_file = "ehr.password"']
    lines.append('[cds.services.type-2-diabetes]\nid = "diabetes"')
    lines += [
        f"[cds.services.type-2-diabetes.features.{name}]\n"
        + "\n".join(f"{key} = {toml(value)}" for key, value in source.items())
        for name, source in services.items()
    ]
    config.write_text("\n".join(lines))
    found = read_config(config, HospitalConfig)
    assert found.cds.identity == tmp_path / "keys" / "ehr"
    with mounted(found, hospital.catalogue, send) as made:
        ehr = Caller(Starlette(routes=made))
        cds_rules.discovery(ehr.call("GET", "/cds-services").json())
        # Its user has learned the catalogue, which has no table.
        answer = ehr.ask(request())
        assert answer.status_code == 503
        assert "table is not there" in answer.text


@pytest.mark.parametrize(
    "kind",
    [
        each
        for module in (fhir, cds_routes)
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, msgspec.Struct)
        and each.__module__ == module.__name__
    ],
)
def test_what_a_record_system_sends_is_in_no_repr(kind):
    """Whatever it holds: all fields are texts here, which no decoder would take."""
    names = kind.__struct_fields__
    assert "eyes only" not in repr(kind(*(["eyes only 4711"] * len(names))))


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(each)}' for key, each in value.items()) + "}"
    return json.dumps(value)

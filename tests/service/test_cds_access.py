"""CDS Hooks: who may ask, from where, and what a hospital may configure."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ompd.errors import (
    ConfigError,
    ExpiredError,
    ParameterError,
    ReplayError,
    SignatureError,
    UnknownKeyError,
)
from ompd.service.cds import tokens
from ompd.service.cds.config import Cds, Client
from ompd.service.cds.features import check
from ompd.service.cds.tokens import Tokens
from tests.places import PACKAGE
from tests.service.test_cds import CONFIG, NOW, SCHEMA, Ehr, request

BASE = "https://cds.example.org"
SERVICE = f"{BASE}/cds-services/diabetes"
ISSUER = "https://fhir-ehr.example.com/"

SIGNERS = {
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "RS384": rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
STRANGER = ec.generate_private_key(ec.SECP384R1())


def public(algorithm, key, **more):
    make = jwt.get_algorithm_by_name(algorithm).to_jwk
    return make(key.public_key(), as_dict=True) | {"kid": algorithm} | more


def private(algorithm, key):
    return jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True) | {"kid": algorithm}


def token(algorithm="ES384", key=None, headers=None, **claims):
    body = {"iss": ISSUER, "aud": SERVICE, "exp": NOW + 60, "iat": NOW, "jti": "1"} | claims
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(
        body, key or SIGNERS[algorithm], algorithm, {"kid": algorithm} | (headers or {})
    )


@pytest.fixture(name="keys", scope="module")
def _keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "ehr.json"
    path.write_text(json.dumps({"keys": [public(*each) for each in SIGNERS.items()]}))
    return path


@pytest.fixture(name="checks")
def _checks(keys):
    return Tokens((Client(ISSUER, keys),), lambda: NOW)


@pytest.mark.parametrize("algorithm", list(SIGNERS))
def test_tokens_of_clients_are_taken_once(checks, algorithm):
    header = f"Bearer {token(algorithm, aud=[SERVICE])}"
    assert checks.check(header, SERVICE) == ISSUER
    with pytest.raises(ReplayError):
        checks.check(header, SERVICE)
    # Those of others, and later ones, are other tokens.
    checks.check(f"bearer {token(algorithm, jti='2')}", SERVICE)


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"aud": f"{BASE}/cds-services/other"}, SignatureError),
        ({"aud": None}, SignatureError),
        ({"jti": None}, SignatureError),
        ({"jti": ""}, SignatureError),
        ({"jti": 7}, SignatureError),
        ({"iat": None}, SignatureError),
        ({"exp": None}, SignatureError),
        ({"exp": True}, SignatureError),
        ({"exp": "soon"}, SignatureError),
        ({"iss": "https://other.example/"}, UnknownKeyError),
        ({"iss": None}, UnknownKeyError),
        ({"exp": NOW - 61, "iat": NOW - 100}, ExpiredError),
        ({"iat": NOW + 61, "exp": NOW + 90}, ExpiredError),
        ({"exp": NOW + 301}, ExpiredError),
        ({"exp": float("nan")}, ExpiredError),
        ({"exp": float("inf")}, ExpiredError),
        ({"key": STRANGER}, SignatureError),
        ({"headers": {"kid": "other"}}, UnknownKeyError),
        ({"headers": {"kid": "RS384"}}, SignatureError),
    ],
)
def test_other_tokens_are_refused(checks, claims, error):
    with pytest.raises(error) as refused:
        checks.check(f"Bearer {token(**claims)}", SERVICE)
    assert "example" not in str(refused.value)
    # And use nothing up.
    checks.check(f"Bearer {token()}", SERVICE)


def test_a_key_that_names_its_algorithm_is_for_no_other(tmp_path):
    path = tmp_path / "ehr.json"
    path.write_text(json.dumps({"keys": [public("RS384", SIGNERS["RS384"], alg="RS384")]}))
    checks = Tokens((Client(ISSUER, path),), lambda: NOW)
    checks.check(f"Bearer {token('RS384')}", SERVICE)
    other = token("RS256", SIGNERS["RS384"], {"kid": "RS384"}, jti="2")
    with pytest.raises(SignatureError):
        checks.check(f"Bearer {other}", SERVICE)


def test_unsigned_and_shared_key_tokens_are_refused(checks):
    body = {"iss": ISSUER, "aud": SERVICE, "exp": NOW + 60, "iat": NOW, "jti": "1"}
    unsigned = jwt.encode(body, None, "none", {"kid": "ES384"})
    # Signed with what everybody knows of a client.
    known = public("ES384", SIGNERS["ES384"])["x"].encode()
    shared = jwt.encode(body, known, "HS384", {"kid": "ES384"})
    for each in (unsigned, shared, "", "a.b.c", "..", "x" * 10_000, "e30." * 3):
        with pytest.raises((SignatureError, UnknownKeyError)):
            checks.check(f"Bearer {each}", SERVICE)
    with pytest.raises(SignatureError):
        checks.check(f"Basic {token()}", SERVICE)


def test_what_is_remembered_of_tokens_is_bounded(keys, monkeypatch):
    now = [NOW]
    checks = Tokens((Client(ISSUER, keys),), lambda: now[0])
    monkeypatch.setattr(tokens, "_MOST", 3)
    for name in "abc":
        checks.check(f"Bearer {token('EdDSA', jti=name)}", SERVICE)
    with pytest.raises(ReplayError):
        checks.check(f"Bearer {token('EdDSA', jti='d')}", SERVICE)
    now[0] += 200
    later = token("EdDSA", jti="d", iat=now[0], exp=now[0] + 60)
    checks.check(f"Bearer {later}", SERVICE)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"keys": []}',
        json.dumps({"keys": [public("ES384", STRANGER), public("ES384", STRANGER)]}),
        json.dumps({"keys": [public("ES384", STRANGER, kid=None)]}),
        json.dumps({"keys": [private("ES384", STRANGER)]}),
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"}]}),
        json.dumps({"keys": [{"kty": "EC", "kid": "a"}]}),
        json.dumps({"keys": [public("ES384", STRANGER, alg="HS384")]}),
        "[" * 100_000,
        " " * ((1 << 20) + 1),
    ],
    # Not the keys, which are others in each process.
    ids=[f"file {number}" for number in range(12)],
)
def test_files_without_public_keys_are_refused(tmp_path, content):
    path = tmp_path / "ehr.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"ehr\.json") as refused:
        Tokens((Client(ISSUER, path),), lambda: NOW)
    assert str(tmp_path) not in str(refused.value)
    assert refused.value.__cause__ is None
    path.unlink()
    with pytest.raises(ConfigError):
        Tokens((Client(ISSUER, path),), lambda: NOW)


def test_every_endpoint_wants_a_token_where_there_are_clients(keys):
    client = {"issuer": ISSUER, "keys": str(keys)}
    ehr = Ehr(base=f"{BASE}/", clients=[client])
    for method, path in (
        ("GET", "/cds-services"),
        ("POST", "/cds-services/diabetes"),
        ("POST", "/cds-services/other"),
    ):
        answer = ehr.call(method, path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    found = token(aud=f"{BASE}/cds-services", jti="a")
    headers = {"authorization": f"Bearer {found}"}
    assert ehr.call("GET", "/cds-services", headers=headers).status_code == 200
    # One address's token does not open another.
    assert ehr.ask(request(), headers=headers).status_code == 401
    headers = {"authorization": f"Bearer {token(jti='b')}"}
    assert ehr.ask(request(), headers=headers).status_code == 200
    assert ehr.ask(request(), headers=headers).status_code == 401


def test_browsers_may_call_from_configured_pages_alone():
    page = "https://ehr.example.org"
    ehr = Ehr(origins=[page])
    asked = {
        "origin": page,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    path = "/cds-services/diabetes"
    answer = ehr.call("OPTIONS", path, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == page
    assert "POST" in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert "authorization" in allowed
    assert "content-type" in allowed
    assert "access-control-allow-credentials" not in answer.headers
    answer = ehr.ask(request(), headers={"origin": page})
    assert answer.headers["access-control-allow-origin"] == page

    other = {"origin": "https://other.example.org"}
    assert ehr.call("OPTIONS", path, headers=asked | other).status_code == 400
    answer = ehr.ask(request(), headers=other)
    assert "access-control-allow-origin" not in answer.headers
    assert ehr.call("OPTIONS", path).status_code == 204


def test_without_pages_no_browser_may_call():
    ehr = Ehr()
    headers = {"origin": "https://ehr.example.org", "access-control-request-method": "GET"}
    answer = ehr.call("OPTIONS", "/cds-services", headers=headers)
    assert answer.status_code == 405
    assert "access-control-allow-origin" not in answer.headers


def changed(path, value):
    config = copy.deepcopy(CONFIG)
    inner = config
    for place in path[:-1]:
        inner = inner[place]
    inner[path[-1]] = value
    return msgspec.convert(config, Cds, dec_hook=lambda kind, each: kind(each))


DISEASE = ("services", "type-2-diabetes")
GLUCOSE = (*DISEASE, "features", "glucose")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("services", "two words"), CONFIG["services"]["type-2-diabetes"] | {"id": ""}, "id"),
        (("services", "other"), CONFIG["services"]["type-2-diabetes"], "different ids"),
        ((*DISEASE, "id"), "a/b", "service id"),
        ((*DISEASE, "features"), {}, "feature"),
        ((*DISEASE, "hook"), "at-lunch", "hook"),
        ((*DISEASE, "indicators"), {"yes": "red"}, "indicators"),
        ((*DISEASE, "colour"), "red", "colour"),
        ((*GLUCOSE, "loinc"), [], "LOINC"),
        ((*GLUCOSE, "loinc"), ["glucose"], "loinc"),
        ((*GLUCOSE, "panel"), "bp", "loinc"),
        ((*GLUCOSE, "patient"), "age", "either"),
        ((*GLUCOSE, "unit"), "", "unit"),
        ((*GLUCOSE, "also"), {"g/L": 0}, "factors"),
        ((*GLUCOSE, "also"), {"g/L": [1.0, float("inf")]}, "finite"),
        ((*GLUCOSE, "max_age_days"), -1, "days"),
        ((*DISEASE, "features", "age", "unit"), "a", "unit"),
        (("clients",), [{"issuer": ISSUER, "keys": "a"}], "base"),
        (("origins",), ["*"], "origins"),
    ],
)
def test_configurations_that_contradict_themselves_are_refused(path, value, words):
    with pytest.raises(msgspec.ValidationError, match=words):
        changed(path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*DISEASE, "features", "weight"), {"loinc": ["29463-7"]}),
        ((*DISEASE, "features"), {"age": {"patient": "age"}}),
        ((*DISEASE, "indicators"), {"maybe": "info"}),
        ((*DISEASE, "outcomes"), {"maybe": {"system": "a", "code": "b"}}),
    ],
)
def test_configurations_that_do_not_fit_the_table_are_refused(path, value):
    service = changed(path, value).services["type-2-diabetes"]
    with pytest.raises(ParameterError):
        check(service, SCHEMA)


def test_the_example_of_the_manual_is_a_configuration():
    text = (PACKAGE / "OPERATING.md").read_text()
    (example,) = re.findall(r"```toml\n(\[cds\]\n.*?)```", text, re.DOTALL)
    made = msgspec.convert(
        tomllib.loads(example)["cds"], Cds, dec_hook=lambda kind, each: kind(each)
    )
    service = made.services["type-2-diabetes"]
    assert made.clients[0].keys == Path("ehr.jwks.json")
    assert service.features["glucose"].also == {"mmol/L": 18.016, "g/L": 100}
    assert set(service.features) <= {each.name for each in SCHEMA.features}

"""Frozen bytes mean what they meant: every message type, and every kind of failure."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from ompd import errors, wire
from ompd.crypto import EnvelopeKey, Identity, PublicIdentity, SigningKey
from ompd.roles import Party
from ompd.roles.catalogue import read_catalogue
from ompd.wire import (
    CatalogueFrame,
    Frame,
    Kind,
    decode_body,
    encode_body,
    encode_catalogue,
    encode_signed_part,
)
from tests.roles.conftest import post_of

HERE = Path(__file__).parent


def load(name):
    return json.loads((HERE / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def parties():
    world = load("identities")
    people = {}
    for name, keys in world["parties"].items():
        identity = Identity(
            name,
            SigningKey.from_bytes(bytes.fromhex(keys["sign"])),
            EnvelopeKey(bytes.fromhex(keys["open"])),
        )
        assert identity.public.to_bytes().hex() == keys["public"]
        people[name] = Party(identity, clock=lambda: world["now"])
    for name, keys in world["parties"].items():
        if name == "mallory":
            continue
        public = PublicIdentity.from_bytes(bytes.fromhex(keys["public"]))
        for party in people.values():
            if party.id != name:
                party.meet(public, {"alice": "user", "other-cloud": "cloud"}.get(name, name))
    return people


def receiver(parties, kind):
    readers = {
        "alice": {
            "REPORT",
            "REFUSAL",
            "ACCOUNT_ANSWER",
            "KEEPING_ANSWER",
            "BLIND_REPORT",
            "BLIND_KEY_RECEIPT",
        },
        "authority": {"ACCOUNT_REQUEST"},
        "hospital": {
            "QUERY",
            "VERDICT",
            "RECEIPT",
            "SEALED_ANSWER",
            "BLIND_QUERY",
            "BLIND_KEY",
        },
        "patient": {"INVITATION", "IMAGE_TICKET", "IMAGE_SEED"},
        "physician": {
            "COLLECTION_RECEIPT",
            "AGGREGATE_RESULT",
            "IMAGE_CANDIDATES",
            "IMAGE_SUMS",
            "IMAGE_FEATURES",
            "MATCH_TICKET",
            "MATCH_COUNT",
        },
        "other-cloud": {"IMAGE_ROUND", "MATCH_ROUND"},
    }
    return parties[next((name for name, kinds in readers.items() if kind in kinds), "cloud")]


def receive(party, kind, data):
    frame = post_of(party).authenticate(data, Kind[kind])
    return frame, post_of(party).open(frame, Kind[kind].body)


@pytest.mark.parametrize("vector", load("bodies")["vectors"], ids=lambda v: v["name"])
def test_bodies(vector):
    data = bytes.fromhex(vector["bytes"])
    body = decode_body(getattr(wire, vector["type"]), data)
    assert encode_body(body) == data
    fields = json.loads(msgspec.json.encode(body))
    assert fields == vector["fields"]


@pytest.mark.parametrize("vector", load("frames")["vectors"], ids=lambda v: v["name"])
def test_frames(parties, vector):
    data = bytes.fromhex(vector["frame"])
    frame, body = receive(receiver(parties, vector["kind"]), vector["kind"], data)
    assert encode_body(body).hex() == vector["bytes"]
    signed, message = encode_signed_part(frame.header, frame.ciphertext)
    assert signed + frame.signature == data
    sender = parties[frame.header.sender]
    # Signatures are deterministic, and both backends make the same.
    assert post_of(sender).identity.signing_key.sign(message) == frame.signature


@pytest.mark.parametrize("vector", load("failures")["vectors"], ids=lambda v: v["name"])
def test_failures(parties, vector):
    data = bytes.fromhex(vector["frame"])
    with pytest.raises(getattr(errors, vector["error"])):
        receive(receiver(parties, vector["kind"]), vector["kind"], data)


def read(party, data):
    post = post_of(party)
    backend = post.identity.signing_key.backend
    return read_catalogue(data, party.directory, backend, post.now())[0]


GOOD, *BAD = load("catalogues")["vectors"]


def test_catalogues(parties):
    data = bytes.fromhex(GOOD["catalogue"])
    frame = CatalogueFrame.decode(data)
    entries = frame.entries()
    assert (
        json.loads(msgspec.json.encode(sorted(entries, key=lambda each: each.k)[::-1]))
        == (GOOD["fields"])
    )
    signed, _ = encode_catalogue(frame.hospital, frame.made_at, frame.valid_until, list(entries))
    assert signed + frame.signature == data
    known = read(parties["alice"], data)
    assert list(known.diseases) == ["fièvre", "flu"]
    assert {each.form.hex() for each in known.diseases.values()} == {GOOD["form"]}
    key = post_of(parties["hospital"]).identity.signing_key
    assert key.sign(frame.signed_message) == frame.signature


@pytest.mark.parametrize("vector", BAD, ids=lambda v: v["name"])
def test_failures_of_catalogues(parties, vector):
    with pytest.raises(getattr(errors, vector["error"])) as caught:
        read(parties["alice"], bytes.fromhex(vector["catalogue"]))
    assert type(caught.value).__name__ == vector["error"] or vector["error"] == "SignatureError"


def test_every_kind_of_message_and_error_has_a_vector():
    kinds = {kind.name for kind in Kind}
    assert {vector["kind"] for vector in load("frames")["vectors"]} == kinds
    for kind in kinds:
        found = {v["error"] for v in load("failures")["vectors"] if v["kind"] == kind}
        assert found == {
            "DecryptionError", "ExpiredError", "FramingError", "NonCanonicalError",
            "ReflectionError", "SignatureError", "UnknownKeyError", "VersionError",
            "WrongRecipientError",
        }  # fmt: skip


def test_failures_are_not_all_refused_for_the_same_reason(parties):
    """The control: an unchanged frame passes where its damaged twins do not."""
    for vector in load("frames")["vectors"]:
        party = receiver(parties, vector["kind"])
        assert Frame.decode(bytes.fromhex(vector["frame"]), Kind[vector["kind"]])
        assert receive(party, vector["kind"], bytes.fromhex(vector["frame"]))

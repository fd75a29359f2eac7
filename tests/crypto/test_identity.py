"""Identities, their encoding, and the registry."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc.bls import g2_primitives as plain
from py_ecc.optimized_bls12_381 import add, neg

from ompd.crypto import (
    Directory,
    EnvelopeKey,
    Identity,
    PublicIdentity,
    SigningKey,
    backend,
    check_id,
)
from ompd.crypto.identity import MAX_PUBLIC_IDENTITY_BYTES
from ompd.errors import (
    FramingError,
    IdentityPointError,
    KeyMaterialError,
    NonCanonicalError,
    OmpdError,
    PointDecodingError,
    ProofOfPossessionError,
    SignatureError,
    SubgroupError,
    TooLargeError,
    UnknownKeyError,
)

replace = msgspec.structs.replace
COMPACT, HYBRID = b"\1" + bytes(range(32)), b"\2" + bytes(range(96))
HOSPITAL = Identity("hospital-1", SigningKey(7001), EnvelopeKey.from_bytes(COMPACT))
CLOUD = Identity("cloud", SigningKey(7002), EnvelopeKey.from_bytes(HYBRID))
LONGEST = Identity("a" * 63, SigningKey(7003), EnvelopeKey.from_bytes(HYBRID))


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("party", ["a", "0", "a" * 63, "st.mary_ward-3", "0.-_"])
def test_good_ids(party: str) -> None:
    assert check_id(party) == party


@pytest.mark.parametrize(
    "party",
    [
        "",
        "a" * 64,
        "A",
        "-a",
        ".a",
        "_a",
        "a b",
        "a\n",
        "\na",
        "ä",
        "a\0",
        "٣",
        "a/b",
        b"a",
        None,
        1,
    ],
)
def test_bad_ids(party: Any) -> None:
    with pytest.raises(KeyMaterialError, match=r"^id: "):
        check_id(party)
    with pytest.raises(KeyMaterialError, match=r"^id: "):
        Identity.generate(party)


# --- encoding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [HOSPITAL, CLOUD, LONGEST], ids=["compact", "hybrid", "long"])
def test_round_trip(identity: Identity) -> None:
    encoded = identity.public.to_bytes()
    decoded = PublicIdentity.from_bytes(encoded)
    assert decoded == identity.public
    assert decoded.to_bytes() == encoded
    assert decoded.verify() is None
    for cut in range(0, len(encoded), 1 if len(encoded) < 500 else 37):
        with pytest.raises(FramingError):
            PublicIdentity.from_bytes(encoded[:cut])
    with pytest.raises(FramingError):
        PublicIdentity.from_bytes(encoded + b"\0")


def test_sizes() -> None:
    assert len(HOSPITAL.public.to_bytes()) == 303
    assert len(LONGEST.public.to_bytes()) == 1542 <= MAX_PUBLIC_IDENTITY_BYTES


def test_not_canonical() -> None:
    fields = msgspec.msgpack.decode(HOSPITAL.public.to_bytes())
    packed = [msgspec.msgpack.encode(field) for field in fields]
    # The same values with wider headers: id as str8, a key as bin16, the array as array16.
    wider_id = b"\xd9" + bytes([len("hospital-1")]) + b"hospital-1"
    wider_key = b"\xc5\x00\x30" + fields[2]
    for variant in (
        b"\x96" + packed[0] + wider_id + b"".join(packed[2:]),
        b"\x96" + packed[0] + packed[1] + wider_key + b"".join(packed[3:]),
        b"\xdc\x00\x06" + b"".join(packed),
    ):
        with pytest.raises(NonCanonicalError):
            PublicIdentity.from_bytes(variant)
    assert b"\x96" + b"".join(packed) == HOSPITAL.public.to_bytes()


def test_other_forms() -> None:
    fields = msgspec.msgpack.decode(HOSPITAL.public.to_bytes())
    wrong = [
        fields[:-1],
        [*fields, b""],
        ["ompd-id-2", *fields[1:]],
        fields[1:],
        dict(enumerate(fields)),
        [*fields[:2], "text", *fields[3:]],
        None,
        [fields],
    ]
    for value in wrong:
        with pytest.raises(FramingError):
            PublicIdentity.from_bytes(msgspec.msgpack.encode(value))
    for value in (None, "text", bytearray(HOSPITAL.public.to_bytes())):
        with pytest.raises(FramingError):
            PublicIdentity.from_bytes(value)  # type: ignore[arg-type]
    with pytest.raises(FramingError):
        PublicIdentity.from_bytes(b"\x91" * MAX_PUBLIC_IDENTITY_BYTES)
    with pytest.raises(FramingError):
        PublicIdentity.from_bytes(b"\x96\xa9ompd-id-1\xa2\xff\xff")
    with pytest.raises(TooLargeError):
        PublicIdentity.from_bytes(bytes(MAX_PUBLIC_IDENTITY_BYTES + 1))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "Hospital"},
        {"id": "\ud800"},
        {"id": None},
        {"signing_key": bytes(47)},
        {"signing_key": "key"},
        {"possession": bytes(97)},
        {"binding": b""},
        {"envelope_key": b""},
        {"envelope_key": b"\1" + bytes(31)},
        {"envelope_key": bytearray(33)},
    ],
)
def test_bad_fields_are_neither_written_nor_registered(change: dict[str, Any]) -> None:
    changed = replace(HOSPITAL.public, **change)
    with pytest.raises(KeyMaterialError):
        changed.to_bytes()
    with pytest.raises(KeyMaterialError):
        Directory().register(changed)


def test_bad_fields_are_not_read() -> None:
    for change in ({"id": "Hospital"}, {"signing_key": bytes(47)}, {"envelope_key": b"\3"}):
        encoded = msgspec.msgpack.encode(replace(HOSPITAL.public, **change))
        with pytest.raises(KeyMaterialError):
            PublicIdentity.from_bytes(encoded)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_decoder_raises_only_our_errors(data: st.DataObject) -> None:
    valid = HOSPITAL.public.to_bytes()
    changed = bytearray(valid)
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=4)
    ):
        changed[place] = value
    encoded = data.draw(st.one_of(st.binary(max_size=400), st.just(bytes(changed))))
    try:
        decoded = PublicIdentity.from_bytes(encoded)
    except OmpdError:
        return
    assert decoded.to_bytes() == encoded
    if encoded != valid:
        with pytest.raises(OmpdError):
            decoded.verify()


def test_frozen_and_quiet() -> None:
    with pytest.raises(AttributeError):
        HOSPITAL.public.id = "other"  # type: ignore[misc]
    assert len(repr(HOSPITAL.public)) < 80


# --- the registry ---------------------------------------------------------------------------------


def test_register_and_get() -> None:
    directory = Directory()
    assert len(directory) == 0
    for identity in (HOSPITAL, CLOUD):
        directory.register(identity.public)
        directory.register(PublicIdentity.from_bytes(identity.public.to_bytes()))
    assert len(directory) == 2
    assert directory.get("cloud") == CLOUD.public
    assert "cloud" in directory
    for unknown in ("user", "", "CLOUD", None, 3, [], b"cloud"):
        assert unknown not in directory
        with pytest.raises(UnknownKeyError):
            directory.get(unknown)  # type: ignore[arg-type]
    assert repr(directory) == "<Directory of 2 parties>"


def test_both_backends_admit_and_refuse() -> None:
    directory = Directory("py_ecc")
    directory.register(HOSPITAL.public)
    assert directory.get("hospital-1") == HOSPITAL.public
    with pytest.raises(ProofOfPossessionError):
        directory.register(replace(CLOUD.public, possession=HOSPITAL.public.possession))
    portable = Identity("user", SigningKey.generate("py_ecc"), EnvelopeKey.generate())
    assert portable.public.verify("pyblst") is None


def test_conflicts() -> None:
    directory = Directory()
    directory.register(HOSPITAL.public)
    second = Identity.generate("hospital-1")
    rotated = Identity("hospital-1", HOSPITAL.signing_key, EnvelopeKey.generate())
    alias = Identity("hospital-2", HOSPITAL.signing_key, EnvelopeKey.generate())
    for other, reason in ((second, "its id"), (rotated, "its id"), (alias, "its signing key")):
        with pytest.raises(KeyMaterialError, match=reason):
            directory.register(other.public)
    assert len(directory) == 1
    assert directory.get("hospital-1") == HOSPITAL.public
    assert "hospital-2" not in directory


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"signing_key": b"\xc0" + bytes(47)}, IdentityPointError),
        ({"signing_key": b"\x80" + bytes(47)}, SubgroupError),
        ({"signing_key": bytes(48)}, PointDecodingError),
        ({"signing_key": CLOUD.public.signing_key}, ProofOfPossessionError),
        ({"possession": CLOUD.public.possession}, ProofOfPossessionError),
        ({"possession": b"\xc0" + bytes(95)}, ProofOfPossessionError),
        ({"possession": HOSPITAL.public.binding}, ProofOfPossessionError),
        ({"binding": HOSPITAL.public.possession}, SignatureError),
        ({"binding": b"\xc0" + bytes(95)}, SignatureError),
        # Somebody in the middle swaps the envelope key, or claims another's keys.
        ({"envelope_key": EnvelopeKey.generate().public_bytes}, SignatureError),
        ({"id": "mallory"}, SignatureError),
        ({"envelope_key": b"\1" + bytes(32)}, SubgroupError),
        ({"envelope_key": b"\1" + b"\xff" * 32}, KeyMaterialError),
    ],
)
def test_unsound_identities(change: dict[str, Any], error: type[OmpdError]) -> None:
    directory = Directory()
    with pytest.raises(error):
        directory.register(replace(HOSPITAL.public, **change))
    assert len(directory) == 0


def test_only_public_identities() -> None:
    for wrong in (HOSPITAL, HOSPITAL.public.to_bytes(), None):
        with pytest.raises(KeyMaterialError, match=r"^public_identity: "):
            Directory().register(wrong)  # type: ignore[arg-type]


def test_rogue_key() -> None:
    """A key chosen to cancel the victim's: no proof that the attacker can make admits it."""
    victim, attacker = HOSPITAL, Identity.generate("mallory")
    evil = plain.pubkey_to_G1(attacker.public.signing_key)
    good = plain.pubkey_to_G1(victim.public.signing_key)
    rogue_key = bytes(plain.G1_to_pubkey(add(evil, neg(good))))

    # What the attack is worth: under the sum of the two keys, the attacker signs for both alone.
    total = add(plain.pubkey_to_G1(rogue_key), good)
    message = b"both of us agree"
    forged = attacker.signing_key.sign(message)
    scheme = backend()
    assert scheme.check_public_key(rogue_key) is None
    assert scheme.verify(bytes(plain.G1_to_pubkey(total)), message, forged) is None

    directory = Directory()
    directory.register(victim.public)
    for proof in (
        attacker.public.possession,
        victim.public.possession,
        attacker.signing_key.sign(rogue_key),
        bytes(plain.G2_to_signature(difference(attacker, victim))),
    ):
        rogue = replace(attacker.public, signing_key=rogue_key, possession=proof)
        with pytest.raises(ProofOfPossessionError):
            directory.register(rogue)
    assert "mallory" not in directory


def difference(one: Identity, other: Identity) -> Any:
    """The two proofs' difference; it would do, if proofs were not over the key itself."""
    return add(
        plain.signature_to_G2(one.public.possession),
        neg(plain.signature_to_G2(other.public.possession)),
    )


def test_many_threads() -> None:
    directory = Directory()
    parties = [Identity.generate(f"party-{number}").public for number in range(6)]
    rivals = [Identity.generate("contested").public for _ in range(4)]
    start = threading.Barrier(4)
    refused: list[OmpdError] = []

    def work(number: int) -> None:
        start.wait()
        for party in parties[number:] + parties[:number]:
            directory.register(party)
            assert directory.get(party.id) == party
        try:
            directory.register(rivals[number])
        except KeyMaterialError as error:
            refused.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(directory) == 7
    assert len(refused) == 3
    assert directory.get("contested") in rivals

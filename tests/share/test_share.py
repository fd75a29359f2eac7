"""Re-encryption: against the oracle, on both libraries, and what must be refused."""

from __future__ import annotations

import copy
import pickle
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.crypto.groups import decode_scalar, group
from ompd.errors import (
    CapsuleError,
    DecryptionError,
    EpochError,
    GrantError,
    IdentityPointError,
    KeyMaterialError,
    ParameterError,
    PointDecodingError,
    PointError,
    ProofError,
    SubgroupError,
)
from ompd.share import (
    EPOCH_SECONDS,
    Grant,
    Outsourced,
    Received,
    Reencrypted,
    Scope,
    Sealed,
    SharingKey,
    check_capsule,
    check_epoch,
    epoch_at,
    open_own,
    reencrypt,
    seal,
    transform,
)
from tests.share import oracle

NOW = 1_800_000_000.0
EPOCH = epoch_at(NOW)
RECORD = bytes(range(16))
INFINITY = b"\xc0" + bytes(47)
# x = 4: on the curve, outside the subgroup; x = 1: not on the curve.
OUTSIDE = b"\x80" + bytes(46) + b"\x04"
OFF = b"\x80" + bytes(46) + b"\x01"
BAD_POINTS = {
    "identity": (INFINITY, IdentityPointError),
    "subgroup": (OUTSIDE, SubgroupError),
    "off the curve": (OFF, PointDecodingError),
    "not below the modulus": (b"\x9f" + b"\xff" * 47, PointDecodingError),
    "not compressed": (bytes(48), PointDecodingError),
}


class Scene:
    """Alice has a sealed record, and grants it to Dr Bell."""

    def __init__(self, backend=None, plaintext=b"rate 71"):
        self.alice, self.bell, self.eve = (SharingKey.generate(backend) for _ in range(3))
        self.scope = Scope("alice", "cardio", EPOCH)
        self.key = self.alice.scope(self.scope)
        self.plaintext = plaintext
        self.sealed = seal(self.key.public, self.scope, RECORD, plaintext, backend)
        self.grant = Grant.make(self.key, self.bell.public)
        self.bound = self.scope.to_bytes() + b"|" + RECORD

    def received(self, key=None, **other):
        given = {"scope": self.scope, "owner": self.key.public, "point": self.grant.point} | other
        return Received(key or self.bell, **given)

    def reencrypted(self):
        return reencrypt(self.grant, RECORD, self.sealed.capsule, NOW)


@pytest.fixture(scope="module")
def scene():
    return Scene()


@pytest.mark.parametrize("backend", ["pyblst", "py_ecc"])
def test_all_three_ways_open(backend):
    scene = Scene(backend)
    assert open_own(scene.key, RECORD, scene.sealed) == scene.plaintext
    turned = scene.reencrypted()
    assert scene.received().open(RECORD, scene.sealed, turned) == scene.plaintext
    own = Outsourced(scene.key)
    turned = transform(own.factor, scene.scope, RECORD, scene.sealed.capsule, backend)
    assert own.open(RECORD, scene.sealed, turned) == scene.plaintext


def test_both_libraries_compute_the_same_bytes():
    secret, factor = secrets.token_bytes(32), bytes(31) + b"\x07"
    fast, slow = SharingKey(secret, "pyblst"), SharingKey(secret, "py_ecc")
    scope = Scope("alice", "cardio", 3)
    assert fast.public == slow.public == oracle.Person(secret).public
    key = fast.scope(scope)
    assert key.public == slow.scope(scope).public
    sealed = seal(key.public, scope, RECORD, b"x", "pyblst")
    assert open_own(slow.scope(scope), RECORD, sealed) == b"x"
    found = [
        transform(factor, scope, RECORD, sealed.capsule, each) for each in ("pyblst", "py_ecc")
    ]
    assert found[0] == found[1]


@settings(max_examples=4)
@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=200),
    st.integers(0, 2**31 - 1),
)
def test_as_the_oracle_computes_it(owner, other, record, plaintext, epoch):
    scope = Scope("alice", "cardio", epoch)
    bound = scope.to_bytes() + b"|" + record
    alice, bell = SharingKey(owner), SharingKey(other)
    key = alice.scope(scope)
    a, person = oracle.Person(owner).scope(scope.to_bytes()), oracle.Person(other)
    assert key.secret == a
    assert bell.public == person.public
    # What the package seals the oracle opens, and the other way round.
    sealed = seal(key.public, scope, record, plaintext)
    assert oracle.valid(sealed.capsule, bound)
    assert oracle.opened(a, sealed.capsule, sealed.ciphertext, bound) == plaintext
    capsule, ciphertext = oracle.seal(key.public, bound, plaintext, 5, 2**254 + 9)
    assert open_own(key, record, Sealed(capsule, ciphertext)) == plaintext
    # A grant, by its own equation; proof and opening.
    grant = Grant.make(key, bell.public)
    shared = oracle.encode(oracle.multiply(oracle.decode(grant.point), person.b))
    d = oracle.divisor(shared, grant.point, person.public, scope.to_bytes())
    assert grant.factor * d % oracle.R == a
    turned = reencrypt(grant, record, capsule, epoch * EPOCH_SECONDS)
    assert oracle.turned_rightly(capsule, turned.capsule, grant.commitment, bound)
    # The recipient: d times E' is a times E.
    assert oracle.opened(d * grant.factor % oracle.R, capsule, ciphertext, bound) == plaintext
    received = Received(bell, scope, key.public, grant.point)
    assert received.open(record, Sealed(capsule, ciphertext), turned) == plaintext


def test_a_moved_capsule_is_refused_by_everybody(scene):
    elsewhere = bytes(16)
    with pytest.raises(CapsuleError):
        open_own(scene.key, elsewhere, scene.sealed)
    with pytest.raises(CapsuleError):
        reencrypt(scene.grant, elsewhere, scene.sealed.capsule, NOW)
    with pytest.raises(CapsuleError):
        transform(Outsourced(scene.key).factor, scene.scope, elsewhere, scene.sealed.capsule)
    with pytest.raises(CapsuleError):
        scene.received().open(elsewhere, scene.sealed, scene.reencrypted())
    for other in (
        Scope("alina", "cardio", EPOCH),
        Scope("alice", "diary", EPOCH),
        Scope("alice", "cardio", EPOCH + 1),
    ):
        with pytest.raises(CapsuleError):
            check_capsule(scene.sealed.capsule, other, RECORD)
    check_capsule(scene.sealed.capsule, scene.scope, RECORD)


@pytest.mark.parametrize("place", [0, 20, 47, 48, 60, 79, 80, 111])
def test_every_part_of_a_capsule_counts(scene, place):
    changed = bytearray(scene.sealed.capsule)
    changed[place] ^= 1
    with pytest.raises((CapsuleError, PointError)):
        check_capsule(bytes(changed), scene.scope, RECORD)


@pytest.mark.parametrize("place", [0, 30, 48, 79, 80, 111])
def test_every_part_of_a_proof_counts(scene, place):
    turned = scene.reencrypted()
    changed = bytearray(turned.capsule)
    changed[place] ^= 1
    with pytest.raises((ProofError, PointError)):
        scene.received().open(RECORD, scene.sealed, Reencrypted(turned.grant, bytes(changed)))


@pytest.mark.parametrize("backend", ["pyblst", "py_ecc"])
@pytest.mark.parametrize(("point", "error"), BAD_POINTS.values(), ids=BAD_POINTS)
def test_no_place_takes_a_bad_point(backend, point, error):
    scene = Scene("pyblst")
    eve = SharingKey(scene.eve.to_bytes(), backend)
    key = SharingKey(scene.alice.to_bytes(), backend).scope(scene.scope)
    capsule = point + scene.sealed.capsule[48:]
    turned = Reencrypted(scene.grant.point, point + bytes(31) + b"\1" + bytes(31) + b"\1")
    own = Outsourced(key)
    for attempt in (
        lambda: seal(point, scene.scope, RECORD, b"", backend),
        lambda: check_capsule(capsule, scene.scope, RECORD, backend),
        lambda: open_own(key, RECORD, Sealed(capsule, b"")),
        lambda: Grant.make(key, point),
        lambda: Grant.from_bytes(bytes(31) + b"\1" + point * 2, scene.scope, backend),
        lambda: Received(eve, scene.scope, point, scene.grant.point),
        lambda: Received(eve, scene.scope, scene.key.public, point),
        lambda: own.open(RECORD, scene.sealed, point),
        lambda: scene.received().open(RECORD, scene.sealed, turned),
    ):
        with pytest.raises(error):
            attempt()


@pytest.mark.parametrize("value", [bytes(32), oracle.number(oracle.R), b"\xff" * 32, b"\1", "1"])
def test_scalars_have_one_encoding(scene, value):
    with pytest.raises(PointDecodingError):
        decode_scalar(value, "factor")
    with pytest.raises(PointDecodingError):
        transform(value, scene.scope, RECORD, scene.sealed.capsule)


def test_a_foreign_grant_opens_nothing(scene):
    turned = scene.reencrypted()
    # Eve has the point of Bell's grant.
    with pytest.raises(ProofError):
        scene.received(scene.eve).open(RECORD, scene.sealed, turned)
    # Bell believes in another owner, or another grant.
    with pytest.raises(ProofError):
        scene.received(owner=scene.eve.public).open(RECORD, scene.sealed, turned)
    other = Grant.make(scene.key, scene.bell.public)
    with pytest.raises(GrantError):
        scene.received(point=other.point).open(RECORD, scene.sealed, turned)
    renamed = Reencrypted(other.point, turned.capsule)
    with pytest.raises(ProofError):
        scene.received(point=other.point).open(RECORD, scene.sealed, renamed)


def test_a_grant_ends_with_its_epoch_and_not_before(scene):
    last = (EPOCH + 1) * EPOCH_SECONDS
    reencrypt(scene.grant, RECORD, scene.sealed.capsule, last - 1)
    for moment in (last, last + 1, EPOCH * EPOCH_SECONDS - 1):
        with pytest.raises(EpochError):
            reencrypt(scene.grant, RECORD, scene.sealed.capsule, moment)
        with pytest.raises(EpochError):
            check_epoch(EPOCH, moment)


def test_grants_travel(scene):
    encoded = scene.grant.to_bytes()
    again = Grant.from_bytes(encoded, scene.scope)
    assert again.to_bytes() == encoded
    for place in (5, 31, 127):
        changed = bytearray(encoded)
        changed[place] ^= 1
        with pytest.raises(GrantError):
            Grant.from_bytes(bytes(changed), scene.scope)
    for wrong in (b"", encoded[:-1], encoded + b"\0", "grant", bytes(32) + encoded[32:]):
        with pytest.raises(GrantError):
            Grant.from_bytes(wrong, scene.scope)


def test_proxy_and_recipient_together_have_one_scope_and_no_more(scene):
    received = scene.received()
    stolen = received._scalar * scene.grant.factor % oracle.R
    assert stolen == scene.key.secret
    for kind, epoch in (("cardio", EPOCH + 1), ("cardio", EPOCH - 1), ("diary", EPOCH)):
        scope = Scope("alice", kind, epoch)
        bound = scope.to_bytes() + b"|" + RECORD
        sealed = seal(scene.alice.scope(scope).public, scope, RECORD, b"hidden")
        assert oracle.opened(stolen, sealed.capsule, sealed.ciphertext, bound) is None


def test_what_the_cloud_gets_for_outsourcing_opens_nothing_alone(scene):
    own = Outsourced(scene.key)
    factor = int.from_bytes(own.factor, "big")
    assert factor != scene.key.secret
    bound = scene.bound
    assert oracle.opened(factor, scene.sealed.capsule, scene.sealed.ciphertext, bound) is None
    # Another's point, or another record's, is no answer.
    other = group().encode(group().generator)
    with pytest.raises(DecryptionError):
        own.open(RECORD, scene.sealed, other)


def test_a_changed_ciphertext_is_refused(scene):
    changed = Sealed(scene.sealed.capsule, scene.sealed.ciphertext[:-1] + b"\0")
    for wrong in (changed, Sealed(scene.sealed.capsule, b"")):
        with pytest.raises(DecryptionError):
            open_own(scene.key, RECORD, wrong)
        with pytest.raises(DecryptionError):
            scene.received().open(RECORD, wrong, scene.reencrypted())


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (lambda s: Scope("Alice", "cardio", 0), KeyMaterialError),
        (lambda s: Scope("alice", "car|dio", 0), ParameterError),
        (lambda s: Scope("alice", 3, 0), ParameterError),
        (lambda s: Scope("alice", "cardio", -1), ParameterError),
        (lambda s: Scope("alice", "cardio", 1.0), ParameterError),
        (lambda s: Scope("alice", "cardio", True), ParameterError),
        (lambda s: SharingKey(b"short"), KeyMaterialError),
        (lambda s: SharingKey("x" * 32), KeyMaterialError),
        (lambda s: s.alice.scope("cardio"), ParameterError),
        (lambda s: seal(s.key.public, "cardio", RECORD, b""), ParameterError),
        (lambda s: seal(s.key.public, s.scope, b"short", b""), ParameterError),
        (lambda s: seal(s.key.public, s.scope, RECORD, "text"), ParameterError),
        (lambda s: check_capsule(None, s.scope, RECORD), CapsuleError),
        (lambda s: check_capsule(s.sealed.capsule + b"\0", s.scope, RECORD), CapsuleError),
        (
            lambda s: s.received().open(RECORD, s.sealed, Reencrypted(s.grant.point, b"")),
            ProofError,
        ),
    ],
)
def test_wrong_types_and_lengths(scene, attempt, error):
    with pytest.raises(error):
        attempt(scene)


def test_secrets_stay_where_they_are(scene):
    for holder in (scene.alice, scene.key, scene.grant, scene.received(), Outsourced(scene.key)):
        assert repr(holder) == f"<{type(holder).__name__}>"
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                attempt(holder)
    assert repr(scene.sealed) == object.__repr__(scene.sealed)


def test_grants_do_not_tell_for_whom_they_are():
    # The factor is a/d with a d of the size of the group: no two grants of a pair are alike, and
    # the proxy's equation with any candidate's public key holds for no candidate.
    scene = Scene()
    grants = [Grant.make(scene.key, scene.bell.public) for _ in range(4)]
    assert len({grant.factor for grant in grants}) == len({grant.point for grant in grants}) == 4
    for grant in grants:
        for person in (scene.bell, scene.eve):
            assert person.public not in grant.to_bytes()
            guess = oracle.divisor(
                person.public, grant.point, person.public, scene.scope.to_bytes()
            )
            assert grant.factor * guess % oracle.R != scene.key.secret

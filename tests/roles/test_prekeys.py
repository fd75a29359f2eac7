"""Forward secrecy of queries: what was recorded stays secret when long-lived keys are stolen."""

from __future__ import annotations

import pytest

import ompd
from ompd.crypto import Identity, Prekeys
from ompd.crypto.prekeys import LIFETIME, OVERLAP
from ompd.errors import DecryptionError, ParameterError, PrekeyError
from ompd.stores import Registry
from ompd.wire import Frame, HardenedJob, Kind, PaperJob, Query, SealedJob
from tests.roles.conftest import World, instances, post_of


def stolen(party, data, kind):
    """What a thief of a party's long-lived key makes of a recorded frame."""
    frame = Frame.decode(data, kind)
    return post_of(party).identity.envelope_key.decrypt(
        frame.ciphertext, frame.header.envelope_info()
    )


def own(party, data, kind, body):
    """What the party itself can still make of it."""
    return post_of(party).open(Frame.decode(data, kind), body)


@pytest.mark.parametrize("suite", ["x25519", "mlkem768x25519"])
def test_a_recorded_query_and_a_stolen_key_give_nothing(suite):
    world = World(suite=suite)
    world.publish()
    query = world.user.ask("st-mary", "flu", [6, 6, 6])
    with pytest.raises(DecryptionError):
        stolen(world.hospital, query, Kind.QUERY)
    assert own(world.hospital, query, Kind.QUERY, Query).disease == "flu"
    world.user.meet(world.hospital.rotate_prekey())
    world.clock.now += OVERLAP - 1
    assert own(world.hospital, query, Kind.QUERY, Query).disease == "flu"
    world.clock.now += 1
    # From here on nobody can: the thief has all keys that the hospital has.
    with pytest.raises(DecryptionError):
        own(world.hospital, query, Kind.QUERY, Query)


@pytest.mark.parametrize(
    ("profile", "kind", "body"),
    [
        ("sealed", Kind.SEALED_JOB, SealedJob),
        ("hardened", Kind.HARDENED_JOB, HardenedJob),
        ("paper", Kind.PAPER_JOB, PaperJob),
    ],
)
def test_nor_does_a_recorded_job(profile, kind, body):
    world = World(profile=profile)
    world.publish()
    _, job, answer, _ = world.frames()
    with pytest.raises(DecryptionError):
        stolen(world.cloud, job, kind)
    assert own(world.cloud, job, kind, body)
    with pytest.raises(DecryptionError):
        stolen(world.hospital, answer, Kind.SEALED_ANSWER if profile == "sealed" else Kind.VERDICT)
    world.hospital.meet(world.cloud.rotate_prekey())
    world.clock.now += OVERLAP
    with pytest.raises(DecryptionError):
        own(world.cloud, job, kind, body)


def test_queries_on_their_way_survive_a_rotation(world):
    world.publish()
    queries = [world.user.ask("st-mary", "flu", [6, 6, 6])]
    world.user.meet(world.hospital.rotate_prekey())
    queries.append(world.user.ask("st-mary", "flu", [6, 6, 6]))
    assert world.hospital.forward_batch(queries).refused == {}


def test_a_user_asks_nobody_without_a_valid_short_lived_key(world):
    world.publish()
    strict = ompd.User.create("bob", **world.options)
    strict.meet(world.hospital.public.lasting)
    with pytest.raises(PrekeyError, match="none of this party is known"):
        strict.ask("st-mary", "flu", [6, 6, 6])
    strict.meet(world.hospital.public)
    assert strict.ask("st-mary", "flu", [6, 6, 6])
    world.clock.now += LIFETIME
    with pytest.raises(PrekeyError, match="expired"):
        strict.ask("st-mary", "flu", [6, 6, 6])
    assert strict.signatures_made == 1
    strict.meet(world.hospital.rotate_prekey())
    assert strict.ask("st-mary", "flu", [6, 6, 6])


def test_the_long_lived_key_serves_where_the_user_allows_it(world):
    world.publish()
    lax = ompd.User.create("bob", **world.options, fallback=True)
    ompd.introduce(lax, world.hospital)
    first = lax.ask("st-mary", "flu", [6, 6, 6])
    with pytest.raises(DecryptionError):  # not where there is a better one
        stolen(world.hospital, first, Kind.QUERY)
    world.clock.now += LIFETIME
    query = lax.ask("st-mary", "flu", [6, 6, 6])
    assert stolen(world.hospital, query, Kind.QUERY)
    world.hospital.meet(world.cloud.rotate_prekey())
    report = world.hospital.report(world.cloud.answer(world.hospital.forward(query)))
    assert lax.read(report)[0].label == "yes"


def test_a_job_to_an_expired_key_is_told_once(world, caplog):
    world.publish()
    assert not caplog.records
    world.clock.now += LIFETIME
    world.user.meet(world.hospital.rotate_prekey())
    for _ in range(2):
        world.hospital.forward(world.user.ask("st-mary", "flu", [6, 6, 6]))
    (record,) = caplog.records
    assert "short-lived key of cloud is not valid" in record.getMessage()


def test_keys_of_another_identity_are_refused(world):
    prekeys = Prekeys(Identity.generate("st-john"), clock=world.clock)
    for cls in (ompd.Hospital, ompd.Cloud):
        with pytest.raises(ParameterError, match="another identity"):
            cls(Identity.generate("st-mary"), clock=world.clock, prekeys=prekeys)
    assert prekeys.statement is None


def test_an_old_key_is_not_taken_for_the_present_one(world):
    old = world.hospital.public
    world.user.meet(world.hospital.rotate_prekey())
    with pytest.raises(PrekeyError, match="newer"):
        world.user.meet(old)


def test_a_least_suite_holds_for_short_lived_keys():
    world = World(suite="mlkem768x25519")
    user = ompd.User.create("bob", **world.options, least_suite="mlkem768x25519")
    ompd.introduce(user, world.hospital)
    query = user.ask("st-mary", "flu", [6, 6, 6])
    frame = Frame.decode(query, Kind.QUERY)
    assert len(frame.ciphertext) > 1136


def test_users_have_none_and_say_so(world):
    assert world.user.public.prekey is None
    with pytest.raises(ParameterError, match="made without"):
        world.user.rotate_prekey()


def test_a_hospital_hands_its_keys_in_where_it_is_registered(world, tmp_path):
    clock = world.clock
    with Registry(tmp_path / "registry.db", clock=clock) as registry:
        people = {name: Identity.generate(name) for name in ("st-mary", "cloud", "alice")}
        for name, role in (("st-mary", "hospital"), ("cloud", "cloud"), ("alice", "user")):
            registry.admit(people[name].public, role)
        options = {"directory": registry, "clock": clock}
        cloud = ompd.Cloud(people["cloud"], **options)
        user = ompd.User(people["alice"], **options)
        keys = []
        # Each start without kept keys makes new ones, also within the same millisecond.
        for _ in range(3):
            hospital = ompd.Hospital(people["st-mary"], profile="paper", **options)
            keys.append(registry.get("st-mary").prekey)
            assert keys[-1] == hospital.public.prekey
        hospital.rotate_prekey()
        keys.append(registry.get("st-mary").prekey)
        assert len({key.envelope_key for key in keys}) == 4
        hospital.deliver(hospital.publish("flu", instances(), cloud="cloud", k=3), cloud.store)
        query = user.ask("st-mary", "flu", [6, 6, 6])
        assert user.read(hospital.report(cloud.answer(hospital.forward(query))))


def test_a_hospital_that_stood_still_starts_with_a_key_that_is_taken(tmp_path, world):
    clock = world.clock
    identity = Identity.generate("st-mary")
    with Registry(tmp_path / "registry.db", clock=clock) as registry:
        registry.admit(identity.public, "hospital")
        options = {"directory": registry, "clock": clock}
        kept = Prekeys(identity, clock=clock)
        ompd.Hospital(identity, prekeys=kept, **options)
        clock.now += LIFETIME + 1  # expired, and not deleted yet
        hospital = ompd.Hospital(identity, prekeys=kept, **options)
        assert registry.get("st-mary").prekey == hospital.public.prekey
        assert hospital.public.prekey.is_valid(clock.now)
        # Those of a backup are older than what is handed out.
        backup = Prekeys(identity, clock=clock, held=kept._held)
        hospital.rotate_prekey()
        again = ompd.Hospital(identity, prekeys=backup, **options)
        assert registry.get("st-mary").prekey == again.public.prekey


def test_given_keys_are_used(world):
    identity = Identity.generate("st-john")
    prekeys = Prekeys(identity, clock=world.clock)
    made = prekeys.rotate()
    hospital = ompd.Hospital(identity, clock=world.clock, prekeys=prekeys)
    assert hospital.public.prekey == made
    assert hospital.public.lasting == identity.public

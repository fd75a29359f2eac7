"""What users demand, what they may take, and what their frames must not tell."""

from __future__ import annotations

import os

import msgspec
import pytest

import ompd
from ompd.crypto import EnvelopeKey, Identity
from ompd.errors import (
    DecryptionError,
    DowngradeError,
    ParameterError,
    QuotaError,
    RevokedKeyError,
)
from ompd.roles.pending import CAPACITY
from ompd.roles.quota import Quota
from ompd.roles.retrieval import TableRef
from ompd.stores import Registry
from ompd.wire import MAX_BATCH, Frame, Kind, Query, Report
from tests.roles.conftest import Clock, World, instances, post_of

REF = TableRef(b"t" * 16, 1)


def header(data, kind=Kind.QUERY):
    return Frame.decode(data, kind).header


def opened(party, data, kind, body):
    return post_of(party).open(Frame.decode(data, kind), body)


@pytest.mark.parametrize("profile", ["sealed", "hardened", "paper"])
def test_a_diagnosis_names_profile_and_method(profile):
    world = World(profile=profile)
    world.publish()
    (diagnosis,) = world.user.read(world.frames()[-1])
    assert (diagnosis.profile, diagnosis.method) == (profile, "relief-mw")
    world.publish("gout", method="evidence")
    (diagnosis,) = world.user.read(world.frames(disease="gout")[-1])
    assert (diagnosis.profile, diagnosis.method) == (profile, "evidence")


def demanding(world, **options):
    user = ompd.User.create("eve", **world.options, **options)
    ompd.introduce(user, world.hospital)
    return user


@pytest.mark.parametrize(
    ("profile", "least", "served"),
    [
        ("paper", "paper", True),
        ("paper", "hardened", False),
        ("hardened", "hardened", True),
        ("hardened", "sealed", False),
        ("sealed", "sealed", True),
    ],
)
def test_an_honest_hospital_asks_no_table_below_the_least_profile(profile, least, served):
    world = World(profile=profile)
    world.publish()
    user = demanding(world, least_profile=least)
    query = user.ask("st-mary", "flu", [6, 6, 6])
    if served:
        assert user.read(world.hospital.report(world.cloud.answer(world.hospital.forward(query))))
        return
    with pytest.raises(DowngradeError, match=f"demands the profile {least}"):
        world.hospital.forward(query)
    with pytest.raises(ompd.OmpdError, match="did not accept"):
        user.read(world.hospital.refuse(query))


def test_a_report_below_the_least_profile_is_refused():
    """A hospital that does not heed the demand is still caught by its own report."""
    world = World(profile="hardened")
    world.publish()
    user = demanding(world, least_profile="sealed")
    query = user.ask("st-mary", "flu", [6, 6, 6])
    asked = opened(world.hospital, query, Kind.QUERY, Query)
    sent = header(query)
    body = Report(
        1,
        ("no",),
        (("no", ""),),
        b"\0\0",
        b"\1\0",
        bytes(8),
        b"\1",
        b"\0\0",
        "hardened",
        "relief-mw",
    )
    report = post_of(world.hospital).send(
        "eve", body, nonce=sent.nonce, sequence=sent.sequence, encrypt_to=asked.reply_key
    )
    with pytest.raises(DowngradeError, match="the profile sealed is demanded"):
        user.read(report)
    with pytest.raises(ompd.OmpdError):
        user.read(report)


def test_a_query_leaves_only_in_a_suite_that_is_strong_enough(world):
    options = {"least_suite": "mlkem768x25519"}
    with pytest.raises(DowngradeError, match="this identity has x25519"):
        demanding(world, **options)
    user = ompd.User.create("eve", **(world.options | {"suite": "mlkem768x25519"}), **options)
    ompd.introduce(user, world.hospital)
    with pytest.raises(DowngradeError, match="the hospital has x25519"):
        user.ask("st-mary", "flu", [6, 6, 6])
    assert user.signatures_made == 0
    strong = ompd.Hospital.create("st-john", **(world.options | {"suite": "mlkem768x25519"}))
    ompd.introduce(user, strong)
    assert user.ask("st-john", "flu", [6, 6, 6])


@pytest.mark.parametrize(
    "options", [{"least_profile": "best"}, {"least_profile": None}, {"least_suite": "rot13"}]
)
def test_demands_out_of_form_are_refused(options):
    with pytest.raises(ParameterError):
        ompd.User.create("eve", **options)


def test_the_wire_refuses_profiles_and_methods_that_do_not_exist(world):
    world.publish()
    body = opened(world.hospital, world.user.ask("st-mary", "flu", [6, 6, 6]), Kind.QUERY, Query)
    frame = post_of(world.user).send(
        "st-mary", msgspec.structs.replace(body, least_profile="none"), nonce=b"x" * 16, sequence=0
    )
    with pytest.raises(ompd.OmpdError, match="declared type"):
        world.hospital.forward(frame)


def test_hospitals_cannot_link_a_user_by_session_or_sequence(world):
    other = ompd.Hospital.create("st-john", **world.options)
    ompd.introduce(other, world.user)
    asked = [header(world.user.ask(name, "flu", [1, 2, 3])) for name in ("st-mary", "st-john") * 3]
    by_name = {name: [h for h in asked if h.recipient == name] for name in ("st-mary", "st-john")}
    assert [h.sequence for h in by_name["st-mary"]] == [0, 1, 2]
    assert [h.sequence for h in by_name["st-john"]] == [0, 1, 2]
    nonces = [{h.nonce for h in found} for found in by_name.values()]
    assert [len(found) for found in nonces] == [1, 1]
    assert nonces[0] != nonces[1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_user_draws_a_session_of_its_own(world):
    world.publish()
    before = world.user.ask("st-mary", "flu", [6, 6, 6])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            frames = [world.user.ask("st-mary", "flu", [6, 6, 6]) for _ in range(2)]
            os.write(writer, msgspec.msgpack.encode(frames))
        finally:
            os._exit(0)  # whatever happened: the tests go on in the parent only
    os.close(writer)
    with open(reader, "rb") as pipe:
        forked = msgspec.msgpack.decode(pipe.read(), type=list[bytes])
    assert os.waitpid(child, 0)[1] == 0
    own = [before, world.user.ask("st-mary", "flu", [6, 6, 6])]
    assert world.hospital.forward_batch([*own, *forked]).refused == {}
    assert [header(data).sequence for data in own] == [0, 1]
    assert len({header(data).nonce for data in forked} | {header(before).nonce}) == 2


def test_reports_open_with_a_key_of_their_own_only(world):
    """Whoever steals a user's long-term key later reads no report that was recorded."""
    world.publish()
    keys = set()
    for _ in range(3):
        query, *_, report = world.frames()
        body = opened(world.hospital, query, Kind.QUERY, Query)
        keys.add(body.reply_key)
        frame = Frame.decode(report, Kind.REPORT)
        with pytest.raises(DecryptionError):
            post_of(world.user).open(frame, Report)
        assert world.user.read(report)
    assert len(keys) == 3
    assert world.user.public.envelope_key not in keys


@pytest.fixture
def registered(tmp_path):
    clock = Clock()
    with Registry(tmp_path / "registry.db", clock=clock) as registry:
        parties = {}
        for name, role, kind in (
            ("st-mary", "hospital", ompd.Hospital), ("cloud", "cloud", ompd.Cloud),
            ("alice", "user", ompd.User), ("bob", "user", ompd.User),
        ):  # fmt: skip
            identity = Identity.generate(name)
            registry.admit(identity.public, role)
            parties[name] = kind(identity, directory=registry, clock=clock)
        hospital, cloud = parties["st-mary"], parties["cloud"]
        hospital.deliver(hospital.publish("flu", instances(), cloud="cloud", k=3), cloud.store)
        yield registry, parties


def test_a_user_revoked_between_query_and_report_gets_no_report(registered):
    registry, parties = registered
    hospital, cloud = parties["st-mary"], parties["cloud"]
    query = parties["alice"].ask("st-mary", "flu", [6, 6, 6])
    answer = cloud.answer(hospital.forward(query))
    registry.revoke("alice", "left")
    made = hospital.signatures_made
    with pytest.raises(RevokedKeyError):
        hospital.report(answer)
    assert hospital.signatures_made == made
    with pytest.raises(ompd.OmpdError):
        hospital.report(answer)


def test_in_a_batch_only_the_revoked_user_gets_no_report(registered):
    registry, parties = registered
    hospital, cloud, bob = parties["st-mary"], parties["cloud"], parties["bob"]
    names = ("bob", "alice", "bob")
    queries = [parties[name].ask("st-mary", "flu", [6, 6, 6]) for name in names]
    (job,) = hospital.forward_batch(queries).jobs
    answer = cloud.answer(job.frame)
    registry.revoke("alice", "left")
    reports = hospital.report_batch(answer)
    assert {id: type(error) for id, error in reports.refused.items()} == {"alice": RevokedKeyError}
    assert [len(bob.read(report)) for report in reports] == [1, 1]


def test_one_user_leaves_hints_to_others():
    quota = Quota(0.5)
    assert not quota.take_hints("alice", 51, REF, 100)
    assert quota.take_hints("alice", 50, REF, 100)
    assert not quota.take_hints("alice", 1, REF, 50)
    assert quota.take_hints("bob", 25, REF, 50)
    assert not quota.take_hints("bob", 1, REF, 25)
    # A new window, another version or another table count anew.
    for ref, room in (
        (REF, 100),
        (TableRef(REF.table_id, 2), 100),
        (TableRef(b"u" * 16, 1), 100),
    ):
        assert quota.take_hints("alice", 50, ref, room)
        assert not quota.take_hints("alice", 1, ref, room - 50)
    # The last query of a window is somebody's.
    assert quota.take_hints("carol", 1, REF, 1)


def test_what_came_to_nothing_is_not_counted():
    quota = Quota(0.5)
    assert quota.take_hints("alice", 50, REF, 100)
    quota.untake_hints("alice", 50, REF)
    assert quota.take_hints("alice", 50, REF, 100)


def test_one_user_has_one_whole_table_sent_at_a_time():
    quota, trusting = Quota(0.5), Quota(1)
    for each in (quota, trusting):
        assert each.may_take_whole("alice")
        each.take_whole("alice")
        assert each.may_take_whole("bob")
    assert not quota.may_take_whole("alice")
    assert trusting.may_take_whole("alice")
    quota.end_whole("alice")
    assert quota.may_take_whole("alice")


def test_one_user_cannot_keep_everything_open():
    quota = Quota(0.5)
    quota.take("alice", MAX_BATCH)
    with pytest.raises(QuotaError, match="rows of one user open"):
        quota.take("alice", 1)
    quota.take("bob", 1)
    quota.end("alice", MAX_BATCH)
    small = Quota(3 / CAPACITY)
    for _ in range(3):
        small.take("alice", 1)
    with pytest.raises(QuotaError, match="too many open"):
        small.take("alice", 1)
    small.end("alice", 1)
    small.take("alice", 1)


@pytest.mark.parametrize("share", [0, -1, 1.01, "all", None, float("nan")])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(ParameterError, match="share"):
        ompd.Hospital.create("st-mary", share=share)


def test_one_frame_does_not_empty_the_window_of_all():
    from tests.roles.test_profiles import population

    world = World(profile="sealed", share=0.5)
    world.publish("flu", population(), k=5)
    room = world.hospital.remaining("flu")
    greedy = world.user.ask("st-mary", "flu", [[5, 5, 5]] * room)
    job = world.hospital.forward(greedy)
    assert world.hospital.remaining("flu") == room
    other = demanding(world)
    query = other.ask("st-mary", "flu", [5, 5, 5])
    assert other.read(world.hospital.report(world.cloud.answer(world.hospital.forward(query))))
    assert len(world.user.read(world.hospital.report(world.cloud.answer(job)))) == room


def test_open_queries_are_released_when_they_end(world, monkeypatch):
    """Answered, refused, failed or forgotten: none counts against its user for ever."""
    world.publish()

    def ask():
        world.hospital.forward(world.user.ask("st-mary", "flu", [1, 2, 3]))

    monkeypatch.setattr("ompd.roles.quota.CAPACITY", 4)
    world.frames()
    refused = world.hospital.forward(world.user.ask("st-mary", "flu", [1, 2, 3]))
    world.hospital.report(world.cloud.refuse(refused))
    world.hospital.fail(world.hospital.forward(world.user.ask("st-mary", "flu", [1, 2, 3])))
    world.hospital.forward(world.user.ask("st-mary", "flu", [1, 2, 3]))
    query = world.user.ask("st-mary", "flu", [1, 2, 3])
    world.hospital.forward(query)
    with pytest.raises(ompd.OmpdError):
        world.hospital.forward(query)
    for still_open in (2, 0):
        for _ in range(4 - still_open):
            ask()
        with pytest.raises(QuotaError, match="too many"):
            ask()
        world.clock.now += 121
        world.frames()


def test_reply_keys_are_of_the_users_suite():
    world = World(suite="mlkem768x25519")
    world.publish()
    query, *_ = world.frames()
    body = opened(world.hospital, query, Kind.QUERY, Query)
    assert len(body.reply_key) == len(EnvelopeKey.generate("mlkem768x25519").public_bytes)

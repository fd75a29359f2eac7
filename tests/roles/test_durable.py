"""Parties on durable stores: roles, revocation and replays across restarts."""

from __future__ import annotations

import pytest

import ompd
from ompd.crypto import Identity
from ompd.errors import KeyMaterialError, ParameterError, ReplayError, RevokedKeyError, RoleError
from ompd.roles import Party
from ompd.stores import DurableReplayGuard, Registry
from ompd.wire import Kind, Refusal
from tests.roles.conftest import Clock, instances, post_of


class Deployment:
    """A hospital, a cloud and a user that share one registry on disk."""

    def __init__(self, folder):
        self.folder = folder
        self.clock = Clock()
        self.registry = Registry(folder / "registry.db", clock=self.clock)
        self.identities = {name: Identity.generate(name) for name in ("st-mary", "cloud", "alice")}
        for name, role in (("st-mary", "hospital"), ("cloud", "cloud"), ("alice", "user")):
            self.registry.admit(self.identities[name].public, role)
        self.guards = []
        options = {"directory": self.registry, "clock": self.clock}
        self.cloud = ompd.Cloud(self.identities["cloud"], **options)
        self.user = ompd.User(self.identities["alice"], **options)
        self.hospital = self.start_hospital()
        self.publish()

    def start_hospital(self):
        guard = DurableReplayGuard(self.folder / "frames.db", window=120.0)
        self.guards.append(guard)
        return ompd.Hospital(
            self.identities["st-mary"],
            profile="paper",
            directory=self.registry,
            replays=guard,
            clock=self.clock,
        )

    def publish(self):
        upload = self.hospital.publish("flu", instances(), cloud="cloud", k=3)
        self.hospital.deliver(upload, self.cloud.store)

    def close(self):
        for store in (*self.guards, self.registry):
            store.close()


@pytest.fixture
def deployment(tmp_path):
    world = Deployment(tmp_path)
    yield world
    world.close()


def test_the_protocol_runs_on_durable_stores(deployment):
    query = deployment.user.ask("st-mary", "flu", [6, 6, 6])
    report = deployment.hospital.report(deployment.cloud.answer(deployment.hospital.forward(query)))
    assert deployment.user.read(report)[0].label == "yes"


def test_a_frame_played_again_after_a_restart_is_refused(deployment):
    query = deployment.user.ask("st-mary", "flu", [6, 6, 6])
    deployment.hospital.forward(query)
    deployment.guards[0].close()
    deployment.hospital = deployment.start_hospital()
    deployment.publish()
    with pytest.raises(ReplayError):
        deployment.hospital.forward(query)
    deployment.hospital.forward(deployment.user.ask("st-mary", "flu", [6, 6, 6]))


@pytest.mark.parametrize("durable", [False, True])
def test_everybody_sends_what_the_role_allows(deployment, durable):
    identities, options = deployment.identities, {"clock": deployment.clock}
    hospital, cloud = deployment.hospital, deployment.cloud
    if durable:
        options["directory"] = deployment.registry
    else:
        hospital = ompd.Hospital(identities["st-mary"], profile="paper", **options)
        cloud = ompd.Cloud(identities["cloud"], **options)
        user = ompd.User(identities["alice"], fallback=True, **options)
        ompd.introduce(hospital, cloud, user)
    # Who else has the keys of a user, or of a cloud, and another class.
    intruder = ompd.Hospital(identities["alice"], profile="paper", **options)
    curious = ompd.User(identities["cloud"], fallback=True, **options)
    someone = Party(identities["alice"], **options)
    if not durable:
        for party in (intruder, curious, someone):
            for other in (hospital, cloud):
                if other.id != party.id:
                    party.meet(other.public, other.role)
    with pytest.raises(RoleError, match="expected a hospital"):
        cloud.store(*intruder.publish("flu", instances(), cloud="cloud", k=3))
    query = curious.ask("st-mary", "flu", [1, 1, 1])
    with pytest.raises(RoleError, match="expected a user"):
        hospital.forward(query)
    assert isinstance(hospital.forward_batch([query]).refused[0], RoleError)
    refusal = post_of(curious).send("st-mary", Refusal(), nonce=bytes(16), sequence=0)
    assert post_of(hospital).authenticate(refusal, Kind.REFUSAL)
    refusal = post_of(someone).send("st-mary", Refusal(), nonce=bytes(16), sequence=0)
    with pytest.raises(RoleError, match="expected a hospital or cloud"):
        post_of(hospital).authenticate(refusal, Kind.REFUSAL)


def test_who_is_met_without_a_role_is_heard_as_a_user(world):
    other = ompd.Cloud.create("other", **world.options)
    hospital = ompd.Hospital.create("st-john", profile="paper", **world.options)
    hospital.meet(other.public)
    other.meet(hospital.public)
    (upload,) = hospital.publish("flu", instances(), cloud="other", k=3)
    with pytest.raises(RoleError, match="expected a hospital"):
        other.store(upload)
    # One that is known by now does not change by being met again.
    for role in ("hospital", "cloud"):
        with pytest.raises(KeyMaterialError, match="another role"):
            other.meet(hospital.public, role)


def test_a_revoked_party_is_not_heard_any_more(deployment):
    query = deployment.user.ask("st-mary", "flu", [6, 6, 6])
    deployment.registry.revoke("alice", "left the study")
    with pytest.raises(RevokedKeyError):
        deployment.hospital.forward(query)


def test_the_memory_of_frames_must_have_the_partys_window(deployment):
    with pytest.raises(ParameterError, match="same window"):
        ompd.User(deployment.identities["alice"], replays=deployment.guards[0], window=60.0)


def test_a_revoked_cloud_does_not_use_up_queries(deployment):
    query = deployment.user.ask("st-mary", "flu", [6, 6, 6])
    deployment.registry.revoke("cloud", "moved")
    for _ in range(2):
        with pytest.raises(RevokedKeyError):
            deployment.hospital.forward(query)
    assert deployment.hospital.open_jobs == 0

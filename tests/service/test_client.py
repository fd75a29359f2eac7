"""The user's client, against a hospital behind a server that can be told to be bad."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import ompd
from ompd.bulk import Desk
from ompd.crypto import Prekeys
from ompd.errors import (
    BusyError,
    ConfigError,
    FeatureError,
    KeyMaterialError,
    NoAnswerError,
    ParameterError,
    RefusedError,
    UnknownDiseaseError,
    UnreachableError,
)
from ompd.service import Client
from ompd.service.config import Connect
from tests.roles.conftest import World, instances, post_of
from tests.service.certificates import Authority

#: What a server may do with a request before it answers the next in earnest.
DROP, LOSE, BUSY, REFUSE, LONG, ELSEWHERE, GATEWAY = (
    "drop", "lose", "busy", "refuse", "long", "elsewhere", "gateway"
)  # fmt: skip


class Server:
    """A hospital behind HTTP."""

    def __init__(self, world, context=None):
        self.world = world
        self.script = deque()
        self.frames = []
        self.paths = []
        self.answer = Desk(world.hospital, world.cloud.answer).answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self, get):
                outer.paths.append(self.path)
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.path == "/v1/frames":
                    outer.frames.append(body)
                what = outer.script.popleft() if outer.script else None
                if what == DROP:
                    self.close_connection = True
                    return
                answer = get(body)
                if what == LOSE:
                    # The hospital has done it, and nobody hears of it.
                    self.close_connection = True
                    return
                status = {BUSY: 503, REFUSE: 400, ELSEWHERE: 307, GATEWAY: 502}.get(what, 200)
                if status != 200:
                    answer = b""
                elif answer is None:
                    status, answer = 400, b""
                self.send_response(status)
                if what == BUSY:
                    self.send_header("retry-after", "0")
                if what == ELSEWHERE:
                    self.send_header("location", "/elsewhere")
                if what == LONG:
                    answer += bytes(9 << 20)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_POST(self):
                self.handle_one(outer.answer)

            def do_GET(self):
                hospital = outer.world.hospital
                known = {
                    "/v1/diseases": hospital.catalogue,
                    "/v1/identity": hospital.public.to_bytes,
                }
                self.handle_one(lambda _: known.get(self.path, bytes)())

            def log_message(self, *_):
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """A client that closes early is no error here."""

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        if context is not None:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server():
    world = World()
    world.publish("flu")
    made = Server(world)
    yield made
    made.close()


@pytest.fixture
def client(server):
    with Client(server.world.user, "st-mary", server.url, patience=20) as made:
        yield made


PERSON = {"f0": 3, "f1": 4, "f2": 5}


def test_a_diagnosis_by_names(server, client):
    found = client.ask("flu", PERSON)
    assert found[0].votes == server.world.user.read(server.world.frames()[3])[0].votes
    assert server.paths == ["/v1/diseases", "/v1/frames"]
    client.ask("flu", [PERSON, PERSON])
    # The catalogue is known.
    assert server.paths[2:] == ["/v1/frames"]


def test_what_can_be_asked(server, client):
    (name,) = client.diseases()
    assert name == "flu"
    server.world.publish("cold", instances(seed=1))
    # It is not in the catalogue that is known, and in the next one.
    assert client.ask("cold", PERSON)
    assert list(client.diseases()) == ["cold", "flu"]
    with pytest.raises(UnknownDiseaseError):
        client.ask("plague", PERSON)


def test_lost_answers_are_asked_for_by_the_same_frame(server, client):
    client.diseases()
    server.script += [DROP, LOSE, GATEWAY, BUSY, BUSY]
    assert client.ask("flu", PERSON)
    assert len(server.frames) == 6
    assert len(set(server.frames)) == 1
    # Once, though it was asked for twice.
    assert server.world.hospital.open_jobs == 0


def test_every_request_of_all_is_dropped_once(server, client):
    server.script += [DROP]
    client.diseases()
    for _ in range(3):
        server.script += [LOSE]
        assert client.ask("flu", PERSON)
    assert len(server.frames) == 6
    assert len(set(server.frames)) == 3


def test_after_a_refusal_a_new_frame_is_asked_for(server, client):
    """As where the hospital was killed while it had the query."""
    client.diseases()
    real, refused = server.answer, []

    def killed(query):
        if refused:
            return real(query)
        refused.append(query)
        return server.world.hospital.refuse(query)

    server.answer = killed
    assert client.ask("flu", PERSON)
    assert len(set(server.frames)) == 2


def lose_prekeys(world):
    """Let a hospital go on without its short-lived keys, which are in no backup."""
    prekeys = Prekeys(post_of(world.hospital).identity, clock=world.clock)
    world.clock.now += 1
    prekeys.begin()
    post_of(world.hospital).prekeys = prekeys
    # As its server tells the cloud.
    world.cloud.meet(world.hospital.public)


def test_a_restored_hospital_is_asked_under_its_next_key(server, client):
    client.diseases()
    lose_prekeys(server.world)
    assert client.ask("flu", PERSON)
    assert len(set(server.frames)) == 2


def test_a_restored_hospital_is_asked_for_a_table_under_its_next_key(server, client):
    lose_prekeys(server.world)
    client.diseases()
    found = ompd.diagnose(
        instances(seed=5).features, disease="flu", hospital=client.hospital, user=client.user,
        send=client.send, progress=False,
    )  # fmt: skip
    assert found.failures == 0


def test_who_is_refused_again_and_again_is_told(server, client):
    server.answer = server.world.hospital.refuse
    with pytest.raises(RefusedError) as caught:
        client.ask("flu", PERSON)
    assert not isinstance(caught.value, NoAnswerError)
    assert len(set(server.frames)) == 3


def test_where_the_cloud_is_away_new_frames_are_asked_for(server, client):
    hospital = server.world.hospital
    real = server.answer

    def away(query):
        batch = hospital.forward_batch([query])
        if len(server.frames) == 3:
            server.answer = real
        return hospital.fail(batch.jobs[0].frame)[0]

    server.answer = away
    assert client.ask("flu", PERSON)
    assert len(set(server.frames)) == 4


def test_patience_ends(server):
    user = server.world.user
    with Client(user, "st-mary", server.url, patience=0.3) as client:
        client.diseases()
        server.script += [BUSY] * 1000
        with pytest.raises(BusyError):
            client.ask("flu", PERSON)
        # As `ompd.diagnose` takes it.
        with pytest.raises(UnreachableError, match="busy"):
            client.send(user.ask("st-mary", "flu", PERSON))
        server.script.clear()
        server.answer = lambda query: server.world.hospital.fail(
            server.world.hospital.forward(query)
        )[0]
        with pytest.raises(NoAnswerError):
            client.ask("flu", PERSON)


def test_nobody_is_there(server):
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    with (
        Client(server.world.user, "st-mary", f"http://127.0.0.1:{port}", patience=0.3) as client,
        pytest.raises(UnreachableError, match="ConnectError"),
    ):
        client.ask("flu", PERSON)


def test_the_one_constant_answer_is_told_as_a_refusal(server, client):
    client.diseases()
    server.script += [REFUSE]
    with pytest.raises(RefusedError):
        client.ask("flu", PERSON)
    server.script += [REFUSE]
    with pytest.raises(UnreachableError):
        client.send(server.world.user.ask("st-mary", "flu", PERSON))


def test_a_query_that_waited_for_too_long_is_made_anew_once(server, client, monkeypatch):
    monkeypatch.setattr("ompd.service.client._STALE", 0.05)
    client.diseases()
    server.script += [BUSY, REFUSE]
    assert client.ask("flu", PERSON)[0].label
    first, again, anew = server.frames
    assert first == again != anew
    server.script += [BUSY, REFUSE] * 2
    with pytest.raises(RefusedError):
        client.ask("flu", PERSON)
    assert len(server.frames) == 3 + 4


def test_no_redirect_is_followed(server, client):
    client.diseases()
    server.script += [ELSEWHERE]
    with pytest.raises(RefusedError):
        client.ask("flu", PERSON)
    assert "/elsewhere" not in server.paths


def test_no_more_is_read_than_there_can_be(server, client):
    server.script += [LONG]
    with pytest.raises(UnreachableError, match="too long"):
        client.diseases()


def test_the_hospitals_next_short_lived_key_is_fetched(server, client):
    client.diseases()
    server.world.hospital.rotate_prekey()
    server.world.clock.now += 7.5 * 86_400
    server.world.hospital.rotate_prekey()
    assert client.ask("flu", PERSON)
    assert "/v1/identity" in server.paths


def test_other_keys_are_not_taken_for_the_hospitals(server, client):
    """Whoever answers at this address is no hospital that the user has met."""
    world = server.world
    other = ompd.Hospital.create("st-mary", clock=world.clock, profile="paper")
    world.clock.now += 7.5 * 86_400
    other.rotate_prekey()
    real, world.hospital = world.hospital, other
    real.rotate_prekey()
    world.user.learn(real.catalogue())
    with pytest.raises(KeyMaterialError, match="other keys"):
        client.ask("flu", PERSON)
    assert not server.frames


def test_another_schema_is_learned(server, client):
    assert client.ask("flu", PERSON)
    server.world.publish("flu", instances(features=4))
    with pytest.raises(FeatureError):
        # It is by names: the fourth is not there.
        client.ask("flu", PERSON)
    assert client.ask("flu", PERSON | {"f3": 1})


def test_a_table_of_people_goes_the_same_road(server, client):
    client.diseases()
    server.script += [LOSE]
    rows = instances(seed=5).features
    found = ompd.diagnose(
        rows, disease="flu", hospital=client.hospital, user=client.user, send=client.send,
        progress=False,
    )  # fmt: skip
    assert found.failures == 0
    assert len(found) == len(rows)


@pytest.mark.parametrize("patience", [0, -1, float("nan"), float("inf")])
def test_patience_is_a_number_of_seconds(server, patience):
    with pytest.raises(ParameterError):
        Client(server.world.user, "st-mary", server.url, patience=patience)


def test_files_of_tls_are_checked_at_once(server, tmp_path):
    for name in ("authorities", "certificate"):
        (tmp_path / name).write_text("none")
        files = {"key": tmp_path / name} if name == "certificate" else {}
        with pytest.raises(ConfigError, match="PEM"):
            Client(
                server.world.user, "st-mary", "https://localhost:1",
                connect=Connect(**{name: tmp_path / name}, **files),
            )  # fmt: skip


def test_tls_with_certificates_of_both_sides(tmp_path):
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ours.file)
    context.load_cert_chain(*ours.issue("hospital"))
    context.verify_mode = ssl.CERT_REQUIRED
    certificate, key = ours.issue("user")
    world = World()
    world.publish("flu")
    server = Server(world, context)
    known = {"authorities": ours.file, "certificate": certificate, "key": key}
    try:
        for files, good in ((known, True), (known | {"authorities": others.file}, False)):
            connect = Connect(**files)
            with Client(world.user, "st-mary", server.url, connect=connect, patience=1) as client:
                if good:
                    assert client.ask("flu", PERSON)
                else:
                    with pytest.raises(UnreachableError):
                        client.diseases()
        assert len(server.frames) == 1
    finally:
        server.close()

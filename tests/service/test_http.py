"""The HTTP of both servers: what is read, for how long, and the one answer to all that is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import ompd
from ompd.errors import ConfigError
from ompd.service import protocol
from ompd.service import serving as module
from ompd.service.answers import REFUSAL, Busy, octets
from ompd.service.application import Application, route
from ompd.service.config import Listen
from ompd.service.intake import Intake, read_body
from ompd.service.metrics import Metrics
from ompd.service.operations import operations_app
from ompd.service.serving import run
from ompd.wire import HEAD_BYTES, Kind
from tests.service.lines import Peer, answer_to, get, headed, post, said, serving, until

HOSPITAL = ompd.Hospital.create("st-mary")
ALICE = ompd.User.create("alice")
STRANGER = ompd.User.create("mallory")
ELSEWHERE = ompd.Hospital.create("st-paul")
BOB, CAROL = ompd.User.create("bob"), ompd.User.create("carol")
ompd.introduce(HOSPITAL, ALICE, BOB, CAROL)
PATIENCE = 0.4


def query(sender=ALICE, recipient="st-mary", kind=Kind.QUERY, size=2000, sequence=0):
    return headed(sender.id, recipient, kind, size, sequence)


class Echo:
    """An app that answers frames with their last bytes, and counts what was wrong."""

    def __init__(self, room=1 << 20):
        self.refused = 0
        self.intake = Intake(HOSPITAL.check_header, Kind.QUERY, Kind.PAPER_UPLOAD, room=room)
        self.hold = threading.Event()
        self.hold.set()
        self.app = Application(
            [
                route("POST", "/v1/frames", self.frames),
                route("POST", "/body", self.body),
                route("POST", "/bug", self.bug),
                route("POST", "/early", self.live),
                route("GET", "/health/live", self.live),
            ],
            refused=self.count,
        )

    def count(self):
        self.refused += 1

    async def frames(self, request):
        async with self.intake.frame(request) as received:
            await asyncio.get_running_loop().run_in_executor(None, self.hold.wait)
            if received.header.sequence:
                raise Busy(7)
            return octets(received.data[-96:] + len(received.data).to_bytes(4, "big"))

    async def body(self, request):
        return octets(await read_body(request, 10))

    async def bug(self, request):
        raise RuntimeError("Alice has the flu")

    async def live(self, request):
        return octets(b"alive")


@pytest.fixture(scope="module")
def echo():
    return Echo()


@pytest.fixture(scope="module")
def url(echo):
    with serving(echo.app, patience=PATIENCE) as addresses:
        yield addresses.service


BIG = b"POST /v1/frames HTTP/1.1\r\nhost: x\r\ncontent-length: 2147483648\r\n\r\n"
WRONG = {
    "nothing at all": b"",
    "half a header": b"POST /v1/fra",
    "slow body": post(query())[:-500],
    "no body": post(bytes(5000))[:-5000],
    "line ends for ever": b"\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(190),
    "garbage": b"\x00\xff\xfe garbage \r\n\r\n",
    "http/1.0": b"GET /health/live HTTP/1.0\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http/0.9": b"GET /health/live\r\n\r\n",
    "path": get("/v1/frame"),
    "slash": get("/health/live/"),
    "root": get("/"),
    "no path": b"GET * HTTP/1.1\r\nhost: x\r\n\r\n",
    "not ascii": "GET /é HTTP/1.1\r\nhost: x\r\n\r\n".encode(),
    "method": get("/v1/frames"),
    "other method": post(b"", "/health/live"),
    "head": b"HEAD /health/live HTTP/1.1\r\nhost: x\r\n\r\n",
    "connect": b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
    "options": b"OPTIONS /v1/frames HTTP/1.1\r\nhost: x\r\n\r\n",
    "chunked": b"POST /v1/frames HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n",
    "chunked and length": b"POST /v1/frames HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
    b"transfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
    "no length": b"POST /v1/frames HTTP/1.1\r\nhost: x\r\n\r\n",
    "two lengths": b"POST /v1/frames HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
    b"content-length: 6\r\n\r\nabcde",
    "negative length": b"POST /v1/frames HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\nabcde",
    "long length": b"POST /v1/frames HTTP/1.1\r\nhost: x\r\ncontent-length: "
    + b"9" * 30
    + b"\r\n\r\nabcde",
    "body of a get": b"GET /health/live HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabcde",
    "above every cap": BIG,
    "above every cap, and a body": BIG + bytes(1 << 20),
    "above the cap of an upload": post(bytes(0))[:-4].replace(b": 0", b": 2147483648")
    + b"\r\n\r\n"
    + query(kind=Kind.PAPER_UPLOAD),
    "long header": b"GET /health/live HTTP/1.1\r\nhost: " + b"x" * (1 << 20),
    "long header that ends": b"GET /health/live HTTP/1.1\r\nhost: " + b"x" * 20000 + b"\r\n\r\n",
    "many headers": b"GET /health/live HTTP/1.1\r\n" + b"a: b\r\n" * 10000,
    "long path": get("/" + "x" * 100_000),
    "no frame": post(bytes(3000)),
    "short frame": post(bytes(3)),
    "empty frame": post(b""),
    "of a stranger": post(query(STRANGER)),
    "of nobody": post(query(ELSEWHERE)),
    "of the server itself": post(query(HOSPITAL)),
    "for somebody else": post(query(recipient="st-paul")),
    "in no role to send it": post(query(kind=Kind.PAPER_UPLOAD)),
    "of another kind": post(query(kind=Kind.VERDICT)),
    "bug": post(b"", "/bug"),
    "long body": post(bytes(11), "/body"),
    "pipelined, all wrong": get("/a") + get("/b") + get("/c"),
    "pipelined, after wrong": get("/a") + get("/health/live"),
    "upgrade": b"GET /v1/frames HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n"
    b"upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"sec-websocket-version: 13\r\n\r\n",
    "expect": BIG[:-2] + b"expect: 100-continue\r\n\r\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_all_that_is_wrong_gets_the_same_bytes(url, echo, name):
    before = echo.refused
    assert said(url, WRONG[name]) == REFUSAL
    assert echo.refused == before + 1


#: These could still become right.
UNFINISHED = {"nothing at all", "half a header", "slow body", "no body", "line ends for ever"}


def test_what_cannot_become_right_is_not_waited_for():
    with serving(Echo().app, patience=1000) as addresses:
        for name, request in WRONG.items():
            if name not in UNFINISHED:
                assert said(addresses.service, request) == REFUSAL, name


def test_whoever_goes_on_sending_gets_the_answer(url):
    with Peer(url) as peer:
        peer.socket.sendall(BIG)
        for _ in range(20):
            # A reset would be an error here.
            peer.socket.sendall(bytes(100_000))
            time.sleep(0.01)
        assert peer.rest() == REFUSAL


def test_an_answer_before_the_end_of_the_request_is_the_last(url):
    with Peer(url) as peer:
        peer.send(post(bytes(1000), "/early")[:-500])
        assert peer.answer()[2] == b"alive"
        assert peer.rest() == b""


def test_nobody_is_told_to_go_on(url):
    with Peer(url) as peer:
        peer.send(post(query(), extra="expect: 100-continue\r\n"))
        assert peer.answer()[0] == 200


def test_a_sender_that_is_known_is_answered(url):
    frame = query()
    assert answer_to(url, post(frame)) == (200, bytes(96) + len(frame).to_bytes(4, "big"))
    assert answer_to(url, get("/health/live")) == (200, b"alive")
    assert answer_to(url, post(b"0123456789", "/body")) == (200, b"0123456789")


@pytest.mark.parametrize("size", [0, HEAD_BYTES - 200, HEAD_BYTES, 1 << 20, (16 << 20) - 400])
def test_frames_of_all_lengths_come_whole(url, size):
    frame = query(size=size)
    with Peer(url) as peer:
        # In parts that end within the header and everywhere else.
        data = post(frame)
        for start in range(0, 1000, 90):
            peer.send(data[start : start + 90])
            time.sleep(0.001)
        peer.send(data[990:])
        status, headers, body = peer.answer()
    assert (status, body) == (200, bytes(96) + len(frame).to_bytes(4, "big"))
    assert b"date" not in headers
    assert b"server" not in headers


@pytest.mark.long
def test_an_idle_connection_lives_on(url):
    with Peer(url) as peer:
        for _ in range(3):
            peer.send(get("/health/live"))
            assert peer.answer()[0] == 200
            time.sleep(2 * PATIENCE)
        peer.send(post(query()))
        assert peer.answer()[0] == 200
        # And its next request has its time from then on.
        peer.send(get("/health/live")[:-2])
        began = time.monotonic()
        assert peer.rest() == REFUSAL
        assert time.monotonic() - began > PATIENCE / 2


def test_a_request_in_drops_has_its_time_as_a_whole(url):
    with Peer(url) as peer:
        drops = 0
        try:
            peer.socket.settimeout(0.01)
            for byte in post(query()):
                peer.socket.sendall(bytes([byte]))
                drops += 1
                try:
                    assert peer.socket.recv(100) == REFUSAL
                    break
                except TimeoutError:
                    pass
        except ConnectionError:
            pass
        assert 2 < drops < 2000


def test_long_frames_of_known_senders_have_longer(url):
    # One second more for each MiB.
    frame = query(size=2 << 20)
    with Peer(url) as peer:
        data = post(frame)
        peer.send(data[:5000])
        time.sleep(2 * PATIENCE)
        peer.send(data[5000:])
        assert peer.answer()[0] == 200
    assert said(url, post(query(STRANGER, size=2 << 20))[:5000]) == REFUSAL


def test_a_pipelined_request_is_not_read(url, echo):
    with Peer(url) as peer:
        echo.hold.clear()
        try:
            peer.send(post(query()) + get("/health/live") * 1000)
            time.sleep(0.1)
            peer.send(b"garbage")
        finally:
            echo.hold.set()
        status, headers, _ = peer.answer()
        assert (status, headers[b"connection"]) == (200, b"close")
        assert peer.rest() == b""


def test_an_answer_that_takes_long_is_waited_for(url, echo):
    echo.hold.clear()
    with Peer(url) as peer:
        peer.send(post(query()))
        time.sleep(2 * PATIENCE)
        echo.hold.set()
        assert peer.answer()[0] == 200


def test_a_peer_that_left_is_forgotten(url, echo):
    for part in (post(query())[:-500], post(query())):
        with Peer(url) as peer:
            peer.send(part)
    assert answer_to(url, get("/health/live"))[0] == 200
    until(lambda: not echo.intake.held)


def test_what_is_busy_says_when_to_come_again(url):
    with Peer(url) as peer:
        peer.send(post(query(sequence=1)))
        status, headers, body = peer.answer()
        assert (status, headers[b"retry-after"], body) == (503, b"7", b"")
        # The connection lives on.
        peer.send(get("/health/live"))
        assert peer.answer()[0] == 200


def test_connections_beyond_what_the_process_may_have_come_again(monkeypatch):
    monkeypatch.setattr(module, "_raise_file_limit", lambda: module._OTHER_FILES + 2)
    with serving(Echo().app) as addresses, Peer(addresses.service) as first:
        first.send(get("/health/live"))
        assert first.answer()[0] == 200
        with Peer(addresses.service) as second:
            second.send(get("/health/live"))
            assert second.answer()[0] == 200
            with Peer(addresses.service) as third, contextlib.suppress(ConnectionError):
                third.send(get("/health/live"))
                assert third.rest() == b""
            first.send(get("/health/live"))
            assert first.answer()[0] == 200

        def comes():
            with Peer(addresses.service) as again, contextlib.suppress(ConnectionError):
                again.send(get("/health/live"))
                return again.socket.recv(100).startswith(b"HTTP/1.1 200")

        until(comes)


def test_long_bodies_take_no_more_room_than_there_is():
    echo = Echo(room=200_000)
    with serving(echo.app) as addresses, Peer(addresses.service) as first:
        echo.hold.clear()
        try:
            first.send(post(query(size=80_000)))
            until(lambda: echo.intake.held)
            with Peer(addresses.service) as second, Peer(addresses.service) as third:
                # Half of the room is for others.
                second.send(post(query(size=80_000)))
                assert second.answer()[0] == 503
                third.send(post(query(BOB, size=80_000)))
                until(lambda: echo.intake.held > 160_000)
                second.send(post(query(CAROL, size=80_000)))
                assert second.answer()[0] == 503
                # Strangers do not learn of it.
                assert said(addresses.service, post(query(STRANGER, size=80_000))) == REFUSAL
                # What is short has room.
                second.send(post(query()))
                echo.hold.set()
                assert first.answer()[0] == second.answer()[0] == third.answer()[0] == 200
                until(lambda: not echo.intake.held)
                # One that is longer than the room is, once it is alone.
                second.send(post(query(size=300_000)))
                assert second.answer()[0] == 200
        finally:
            echo.hold.set()
    assert echo.intake.held == 0


@pytest.mark.long
def test_a_peer_that_does_not_read_is_dropped(monkeypatch):
    monkeypatch.setattr(protocol, "_STALL", 0.3)
    left = threading.Event()

    async def much(_):
        response = octets(bytes(64 << 20))

        async def told(*arguments):
            await response(*arguments)
            left.set()

        return told

    with serving(Application([route("GET", "/much", much)])) as addresses:
        with Peer(addresses.service) as peer:
            peer.send(get("/much"))
            # As long as it reads, it may be slow.
            for _ in range(5):
                assert peer.socket.recv(4 << 20)
                time.sleep(0.1)
            assert not left.is_set()
            time.sleep(1)
            assert left.wait(30)
            with contextlib.suppress(ConnectionError):
                assert len(peer.rest()) < 64 << 20
        with Peer(addresses.service) as peer:
            peer.send(get("/much"))
            assert peer.answer()[2] == bytes(64 << 20)


def test_any_bytes_get_an_answer_or_the_refusal(url, rng):
    def mutated():
        data = bytearray(post(query(size=300)) + get("/health/live"))
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(len(data) if rng.random() < 0.2 else 70)
            data[place : place + rng.integers(3)] = rng.bytes(rng.integers(3))
        return bytes(data[: rng.integers(1, 2 * len(data))])

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(partial(said, url), [mutated() for _ in range(300)]))
    for answer in answers:
        # What was right came first.
        good = answer.removesuffix(REFUSAL)
        assert not good or good.startswith(b"HTTP/1.1 200 OK")
        assert b" 400 " not in good
    assert REFUSAL in answers
    assert answer_to(url, get("/health/live")) == (200, b"alive")


def test_a_thousand_at_once_are_answered(url):
    # Both ends of a connection are here.
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 300
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(url)) for _ in range(min(1000, room))]
        for peer in peers:
            peer.send(post(query()))
        assert {peer.answer()[0] for peer in peers} == {200}


def test_a_bug_is_logged_without_what_it_says(url, lines):
    assert said(url, post(b"", "/bug")) == REFUSAL
    (line,) = lines()
    assert (line["event"], line["error"]) == ("a request failed", "RuntimeError")
    assert "bug" in line["places"][-1]
    assert "flu" not in str(line)


def test_the_second_port_tells_figures():
    metrics = Metrics()
    operations = operations_app(metrics, lambda: {"ready": True})
    app = Application([], refused=metrics.strangers.inc)
    with serving(app, metrics=operations) as addresses:
        assert said(addresses.service, get("/metrics")) == REFUSAL
        status, body = answer_to(addresses.metrics, get("/metrics"))
        assert status == 200
        assert b"ompd_strangers_total 1.0" in body
        assert answer_to(addresses.metrics, get("/status")) == (200, b'{"ready":true}')
        assert said(addresses.metrics, get("/")) == REFUSAL


def test_an_address_in_use_is_an_error():
    with serving(Application([])) as addresses:
        port = int(addresses.service.rpartition(":")[2])
        with pytest.raises(ConfigError, match="listen: cannot be listened on"):
            run(Application([]), Listen(port=port, metrics_port=0))
    with pytest.raises(ConfigError, match="listen"):
        run(Application([]), Listen(host="no.such.host.invalid", port=0, metrics_port=0))

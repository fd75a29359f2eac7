"""The cloud behind HTTP: once, in turn, from where it was, and alive whatever its disk says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import secrets
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import ompd
from ompd.crypto import PublicIdentity
from ompd.roles.jobs import OpenedJob
from ompd.roles.party import FRESHNESS_WINDOW
from ompd.service import cloud as module
from ompd.service.answers import REFUSAL
from ompd.service.cloud import CloudServer
from ompd.service.config import Connect, HospitalConfig, UserConfig, read_config
from ompd.service.journal import Journal
from ompd.service.link import Link
from ompd.service.logs import logger
from ompd.service.metrics import Metrics
from ompd.service.parties import AUDIT_FOLDER, open_hospital, open_user
from ompd.service.ranges import LongAnswers
from ompd.stores import DurableReplayGuard
from ompd.stores.audit_check import verify
from ompd.wire import Frame, Kind, Receipt
from tests.faults import failing
from tests.roles.conftest import instances
from tests.service.lines import Peer, answer_to, get, headed, post, said, serving, until
from tests.service.processes import cloud_process, made

MIB = 1 << 20


@contextlib.contextmanager
def world_of(folder, profile):
    """The hospital and user of a configuration, in this process."""
    with (
        open_hospital(read_config(folder / "hospital.toml", HospitalConfig)) as hospital,
        open_user(read_config(folder / "user.toml", UserConfig)) as user,
    ):
        hospital.meet(user.public)
        user.meet(hospital.public)
        yield SimpleNamespace(hospital=hospital, user=user, folder=folder, profile=profile)


def publish(world, url, rows=60):
    """Let the cloud have a table, if it has none."""
    if "flu" in world.hospital.tables:
        return
    upload = world.hospital.publish("flu", instances(rows=rows), cloud="cloud", k=3)
    world.hospital.deliver(upload, lambda frame: frame_from(url, frame))


def frame_from(url, frame):
    status, body = answer_to(url, post(frame))
    assert status == 200
    return body


def job_of(world):
    return world.hospital.forward(world.user.ask("hospital", "flu", (3, 4, 5)))


def told(world, answer):
    return world.user.read(world.hospital.report(answer))[0]


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    folder = made(tmp_path_factory.mktemp("paper"), profile="paper")
    with world_of(folder, "paper") as world:
        yield world


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    folder = made(tmp_path_factory.mktemp("sealed"), profile="sealed")
    with world_of(folder, "sealed") as world:
        yield world


def test_the_same_frame_gets_the_same_answer_after_kills_and_ends(paper):
    with cloud_process(paper.folder) as cloud:
        publish(paper, cloud.url)
        job = job_of(paper)
        answer = frame_from(cloud.url, job)
        assert frame_from(cloud.url, job) == answer
        other = job_of(paper)
        cloud.kill()
    # One that was claimed and never answered.
    frame = Frame.decode(other, Kind.PAPER_JOB)
    with DurableReplayGuard(paper.folder / "cloud/state/frames", FRESHNESS_WINDOW) as guard:
        guard.claim(frame.header, time.time(), hashlib.sha256(other).digest())
    with cloud_process(paper.folder) as cloud:
        assert frame_from(cloud.url, job) == answer
        assert told(paper, answer).label in ("no", "yes")
        refusal = frame_from(cloud.url, other)
        assert Frame.decode(refusal, Kind.REFUSAL).header.nonce == frame.header.nonce
        assert frame_from(cloud.url, other) == refusal
        assert told(paper, frame_from(cloud.url, job_of(paper))).label in ("no", "yes")
        status = cloud.status()
        assert (status["ready"], status["tables"], status["jobs"]) == (True, 1, 0)
        assert answer_to(cloud.url, get("/health/ready"))[0] == 200
        known = answer_to(cloud.url, get("/v1/identity"))[1]
        assert PublicIdentity.from_bytes(known).id == "cloud"
        assert cloud.stop() == 0
    outcomes = audit(paper, known)
    # What happened last before the process was killed may be missing.
    assert outcomes[-4:] == ["repeated", "refused", "repeated", "answered"]


def audit(world, cloud):
    """What came of jobs by the log of the cloud, which verifies."""
    log = world.folder / "cloud/state" / AUDIT_FOLDER
    verify(log, {"cloud": [PublicIdentity.from_bytes(cloud).signing_key]}.__getitem__)
    lines = [line for file in sorted(log.glob("log-*")) for line in file.read_text().splitlines()]
    events = [event for event in map(json.loads, lines) if event.get("what") == "paper job"]
    assert {event["who"] for event in events} == {"hospital"}
    assert {event["about"] for event in events if event["outcome"] == "answered"} == {
        world.hospital.tables["flu"].ref.table_id.hex()
    }
    return [event["outcome"] for event in events]


def test_what_is_begun_is_answered_when_it_is_told_to_end(paper):
    with cloud_process(paper.folder) as cloud:
        publish(paper, cloud.url)
        # Long enough to be counted.
        query = paper.user.ask("hospital", "flu", [(3, 4, 5)] * 500)
        job = post(paper.hospital.forward(query))
        with Peer(cloud.url) as idle, Peer(cloud.url) as peer:
            idle.send(get("/health/live"))
            assert idle.answer()[0] == 200
            peer.send(job[:700])
            # It has seen the header.
            until(lambda: cloud.status()["bytes"])
            cloud.process.send_signal(signal.SIGTERM)
            assert idle.rest() == b""
            peer.send(job[700:])
            status, headers, answer = peer.answer()
            assert (status, headers[b"connection"]) == (200, b"close")
            assert peer.rest() == b""
        assert told(paper, answer).label in ("no", "yes")
        assert cloud.process.wait(60) == 0


@pytest.mark.long
def test_what_is_forged_takes_no_memory(paper):
    with cloud_process(paper.folder) as cloud:
        publish(paper, cloud.url)
        answer_to(cloud.url, post(job_of(paper)))
        said(cloud.url, post(bytes(4 * MIB)))
        before = cloud.highest()
        forged = post(b"").replace(b": 0", b": 2147483648")
        for head in (b"", headed("hospital", "cloud", Kind.SEALED_UPLOAD, 1000)[:900]):
            with Peer(cloud.url) as peer:
                peer.send(forged + head + bytes(64 * MIB))
                assert peer.rest() == REFUSAL
        # Tables come in pieces.
        assert said(cloud.url, post(headed("hospital", "cloud", Kind.SEALED_UPLOAD, 17 * MIB))) == (
            REFUSAL
        )
        # Announced with a good header, and never sent.
        with Peer(cloud.url) as peer:
            peer.send(post(headed("hospital", "cloud", Kind.PAPER_JOB, 200 * MIB))[:2000])
            until(lambda: cloud.status()["bytes"] > 200 * MIB)
            assert cloud.highest() - before < MIB


@pytest.mark.long
def test_a_whole_table_goes_on_where_it_was(sealed):
    with cloud_process(sealed.folder) as cloud:
        publish(sealed, cloud.url, rows=3000)
        request = sealed.hospital.renew("flu")
        with Peer(cloud.url) as peer:
            peer.send(post(request))
            status, headers, whole = peer.answer()
        assert status == 200
        size = len(whole)
        assert int(headers[b"content-length"]) == size > 1000
        cloud.kill()
    with cloud_process(sealed.folder) as cloud:
        with Peer(cloud.url) as peer:
            for start in (1, size // 2, size - 1):
                peer.send(post(request, extra=f"range: bytes={start}-\r\n"))
                status, headers, rest = peer.answer()
                assert (status, rest) == (206, whole[start:])
                place = f"bytes {start}-{size - 1}/{size}".encode()
                assert headers[b"content-range"] == place
            # What is no such range is none.
            for text in ("bytes=0-", f"bytes={size}-", "bytes=5-10", "bytes=-5", "lines=1-", "x"):
                peer.send(post(request, extra=f"range: {text}\r\n"))
                assert peer.answer()[::2] == (200, whole)
            # Nobody else gets it, or a part.
            peer.send(post(request[:-1] + b"\x00", extra="range: bytes=5-\r\n"))
            assert peer.rest() == REFUSAL
        with bad_line(cloud.url, size // 3) as (url, sent):
            answer = asyncio.run(asked({"cloud": url}, request, size))
        assert answer == whole
        # None of it twice, but for what was on its way.
        assert len(sent) == 3
        assert sum(sent) < 1.5 * size
        sealed.hospital.renewed(whole)
        assert told(sealed, frame_from(cloud.url, job_of(sealed))).label in ("no", "yes")


async def asked(clouds, request, longest):
    async with Link(clouds, Connect()) as link:
        return await link.ask("cloud", request, longest)


@contextlib.contextmanager
def bad_line(url, limit):
    """A way to a server that is cut behind so many bytes of an answer, twice; and how many came."""
    host, port = url.rpartition("//")[2].split(":")
    sent = []

    def relay():
        while len(sent) < 3:
            with listener.accept()[0] as near, socket.create_connection((host, int(port))) as far:
                sent.append(0)
                request = b""
                while not request or len(request) < wanted(request):
                    request += near.recv(1 << 16)
                far.sendall(request)
                with contextlib.suppress(TimeoutError):
                    while len(sent) == 3 or sent[-1] < limit:
                        part = far.recv(1 << 10)
                        near.sendall(part)
                        sent[-1] += len(part)
                        # When it is all, nothing more comes.
                        far.settimeout(0.5)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=relay)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", sent
        thread.join()


def wanted(request):
    """Length of a request of which the head is here, at least one more than is here if not."""
    head, end, _ = request.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head.lower())
    return len(head + end) + int(found[1]) if end else len(request) + 1


# --- in this process, where the cloud can be held


@pytest.fixture
def held(tmp_path):
    """A cloud on a disk, whose server is in this process."""
    hospital = ompd.Hospital.create("hospital", profile="paper")
    tables = ompd.stores.tables.FolderTables(tmp_path / "tables")
    guard = DurableReplayGuard(tmp_path / "frames", FRESHNESS_WINDOW)
    with guard, ompd.Cloud.create("cloud", tables=tables, replays=guard) as cloud:
        user = ompd.User.create("alice")
        ompd.introduce(hospital, cloud, user)
        journal = Journal(Metrics(), None, logger())
        server = CloudServer(cloud, tmp_path / "answers", journal)
        with serving(server.app) as addresses:
            yield SimpleNamespace(
                hospital=hospital, user=user, cloud=cloud, server=server, url=addresses.service
            )


def test_the_same_frame_at_the_same_time_is_computed_once(held, monkeypatch):
    publish(held, held.url)
    job = job_of(held)
    opened = []
    plain = held.cloud.open_job

    def open_job(frame):
        opened.append(frame)
        time.sleep(0.3)
        return plain(frame)

    monkeypatch.setattr(held.cloud, "open_job", open_job)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: frame_from(held.url, job), range(16)))
    assert len(set(answers)) == 1
    assert opened == [job]
    assert told(held, answers[0]).label in ("no", "yes")


def stub(held, monkeypatch):
    """Let jobs do nothing but wait; returns what they are doing, and what lets them end."""
    state = SimpleNamespace(running=[], most={}, go=threading.Event(), kinds={})
    lock = threading.Lock()

    def open_job(frame):
        table, is_whole = state.kinds[frame]

        def answer(_):
            with lock:
                state.running.append(table)
                state.most[table] = max(state.most.get(table, 0), state.running.count(table))
            state.go.wait(30)
            with lock:
                state.running.remove(table)
            return b"answer to " + frame[-8:]

        return OpenedJob(table, is_whole, answer)

    monkeypatch.setattr(held.cloud, "open_job", open_job)
    return state


def test_jobs_on_a_table_wait_for_one_another_alone(held, monkeypatch):
    publish(held, held.url)
    state = stub(held, monkeypatch)
    jobs = [job_of(held) for _ in range(8)]
    kinds = [(b"a", False)] * 3 + [(b"b", False)] * 3 + [(b"a", True)] * 2
    state.kinds = dict(zip(jobs, kinds, strict=True))
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(frame_from, held.url, job) for job in jobs]
        # A whole table is read beside the job.
        until(lambda: sorted(state.running) == [b"a", b"a", b"b"])
        until(lambda: held.server.status()["jobs"] == 8)
        state.go.set()
        assert [each.result() for each in asked] == [b"answer to " + job[-8:] for job in jobs]
    assert state.most == {b"a": 2, b"b": 1}
    until(lambda: held.server.status()["jobs"] == 0)


def test_more_than_there_is_room_for_come_again(held, monkeypatch):
    publish(held, held.url)
    state = stub(held, monkeypatch)
    monkeypatch.setitem(module._MOST, True, 2)
    jobs = [job_of(held) for _ in range(3)]
    state.kinds = dict.fromkeys(jobs, (b"a", False))
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(frame_from, held.url, job) for job in jobs[:2]]
        until(lambda: held.server.status()["jobs"] == 2)
        assert answer_to(held.url, post(jobs[2])) == (503, b"")
        state.go.set()
        assert all(each.result() for each in asked)
    until(lambda: held.server.status()["jobs"] == 0)
    assert frame_from(held.url, jobs[2]) == b"answer to " + jobs[2][-8:]


def test_uploads_hold_up_no_jobs(held, monkeypatch):
    publish(held, held.url)
    go = threading.Event()
    monkeypatch.setattr(held.cloud, "store", lambda _: go.wait(30) and b"receipt")
    upload = held.hospital.publish("cold", instances(), cloud="cloud", k=3)
    pieces = []
    with contextlib.suppress(ompd.OmpdError):
        held.hospital.deliver(upload, lambda frame: pieces.append(frame) or b"")
    monkeypatch.setattr(module, "_LONGEST", 0.2)
    # It takes longer than a connection waits, and goes on.
    assert answer_to(held.url, post(pieces[0])) == (503, b"")
    assert held.server.status()["uploads"] == 1
    assert told(held, frame_from(held.url, job_of(held))).label in ("no", "yes")
    assert answer_to(held.url, post(pieces[0])) == (503, b"")
    assert held.server.status()["uploads"] == 1
    go.set()
    until(lambda: held.server.status()["uploads"] == 0)
    assert frame_from(held.url, pieces[0]) == b"receipt"


def test_what_is_not_authentic_is_refused_like_all_else(held):
    publish(held, held.url)
    job = job_of(held)
    forged = job[:-96] + secrets.token_bytes(96)
    assert said(held.url, post(forged)) == REFUSAL
    assert told(held, frame_from(held.url, job)).label in ("no", "yes")
    # Of a hospital, but for a table that there is not: it is told so, and nobody else.
    held.cloud.tables.keep(next(iter(held.cloud.tables.kept())), ())
    refusal = frame_from(held.url, job_of(held))
    assert Frame.decode(refusal, Kind.REFUSAL).header.recipient == "hospital"


def test_a_full_disk_is_told_and_got_over(held):
    publish(held, held.url)
    upload = held.hospital.publish("cold", instances(), cloud="cloud", k=3)
    said_to = []

    def send(frame):
        with failing(0, full=True):
            said_to.append(answer_to(held.url, post(frame)))
        assert answer_to(held.url, get("/health/ready"))[0] == 503
        return frame_from(held.url, frame)

    receipt = held.hospital.deliver(upload, send)
    assert isinstance(receipt, Receipt)
    assert said_to == [(503, b"")]
    assert answer_to(held.url, get("/health/ready"))[0] == 200
    assert told(held, frame_from(held.url, job_of(held))).label in ("no", "yes")


def test_long_answers_go_when_their_time_is_over(tmp_path, monkeypatch):
    answers = LongAnswers(tmp_path / "answers", 50.0)
    answers.put(b"first", b"one")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 99)
    answers.put(b"second", b"two")
    with answers.open(b"first") as file:
        assert file.read() == b"one"
    monkeypatch.setattr(time, "time", lambda: now + 120)
    answers = LongAnswers(tmp_path / "answers", 50.0)
    assert answers.open(b"first") is None
    # Of a clock that was ahead, too.
    monkeypatch.setattr(time, "time", lambda: now - 120)
    LongAnswers(tmp_path / "answers", 50.0)
    assert answers.open(b"second") is None


def test_long_answers_take_no_more_than_their_room(tmp_path, monkeypatch):
    monkeypatch.setattr("ompd.service.ranges._MOST_BYTES", 250)
    answers = LongAnswers(tmp_path / "answers", 50.0)
    for number in range(5):
        answers.put(bytes([number]), bytes(100))
        time.sleep(0.02)
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == ["03", "04"]

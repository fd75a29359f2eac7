"""Signatures by other processes: the same as by this one, whatever happens to them."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ompd
from ompd.crypto import EnvelopeKey, SigningKey
from ompd.errors import OmpdError, ParameterError, SubgroupError, TooLargeError
from ompd.roles.clerk import Clerk, Letter
from ompd.service import signers
from ompd.service.signers import Signers
from ompd.wire import CAPS, Frame, Header, Kind
from tests.places import ROOT
from tests.roles.conftest import World, keys_of

KEY = SigningKey.generate()
READER = EnvelopeKey.generate()
#: A point of the group and one that is none, as encoded.
INFINITY = b"\xc0" + bytes(95)


def letter(sequence, content=b"content", key=READER.public_bytes):
    header = Header(1, Kind.REPORT, "st-mary", "alice", b"n" * 16, 1_000_000, sequence)
    return Letter(header, key, content)


def signed(number):
    message = b"message %d" % number
    return KEY.public_key, message, KEY.sign(message)


GOOD = [signed(number) for number in range(20)]
LETTERS = [letter(number) for number in range(20)]


def until(condition):
    """Wait until something is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def working(processes):
    """A clerk whose processes have all begun."""
    with Signers(KEY, processes) as clerk:
        until(lambda: len(clerk.pids) == processes)
        pids = clerk.pids
        yield clerk
    until(lambda: not any(map(lives, pids)))


@pytest.fixture(scope="module")
def clerk():
    with working(2) as clerk:
        yield clerk


def lives(pid):
    """Whether a process runs, rather than waits for whoever asks how it ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def check(clerk):
    """Both calls give what they should."""
    bad = (*GOOD[3][:2], GOOD[4][2])
    verdicts = clerk.verify_many([*GOOD, bad])
    assert verdicts[:-1] == [None] * len(GOOD)
    assert isinstance(verdicts[-1], OmpdError)
    frames = clerk.seal_many(LETTERS)
    for made, frame in zip(LETTERS, frames, strict=True):
        read = Frame.decode(frame, Kind.REPORT)
        assert read.header == made.header
        assert READER.decrypt(read.ciphertext, read.header.envelope_info()) == made.content
        KEY.backend.verify(KEY.public_key, read.signed_message, read.signature)


def test_processes_do_what_the_thread_does(clerk):
    check(clerk)
    check(Clerk(KEY))
    assert clerk.public_key == KEY.public_key
    assert clerk.verify_many([]) == clerk.seal_many([]) == []


def test_errors_are_those_of_the_thread(clerk):
    public, message, signature = GOOD[0]
    items = [
        GOOD[1], (public, b"other", signature), (public, message, INFINITY),
        (public, message, bytes(96)), (bytes(48), message, signature), (public, "text", signature),
        *GOOD[2:12], (b"short", message, signature),
    ]  # fmt: skip
    told = [clerk.verify_many(items), Clerk(KEY).verify_many(items)]
    assert [list(map(repr, verdicts)) for verdicts in told] == [list(map(repr, told[0]))] * 2
    assert [list(map(type, verdicts)) for verdicts in told] == [list(map(type, told[0]))] * 2
    assert [place for place, error in enumerate(told[0]) if error] == [1, 2, 3, 4, 5, 16]
    letters = [letter(0, key=b"\x01" + bytes(32)), letter(1, bytes(CAPS[Kind.REPORT])), letter(2)]
    frames = clerk.seal_many(letters)
    assert list(map(type, frames)) == [SubgroupError, TooLargeError, bytes]
    assert str(frames[1]) == str(Clerk(KEY).seal_many(letters)[1])


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17, 24, 63])
@pytest.mark.parametrize("most", [0, 1, 2, 5])
def test_parts_are_all_and_none_is_small(count, most):
    parts = signers._parts(range(count), most)
    assert [item for part in parts for item in part] == (list(range(count)) if most else [])
    assert len(parts) <= most
    if len(parts) > 1:
        assert min(map(len, parts)) >= signers._LEAST // 2
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_many_threads_get_their_own(clerk):
    def one(number):
        items = [signed(number), *GOOD[:number], (*signed(number)[:2], GOOD[0][2])]
        return [verdict is None for verdict in clerk.verify_many(items)]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(one, range(1, 17)))
    assert found == [[True] * (number + 1) + [False] for number in range(1, 17)]


def test_a_few_are_not_worth_the_way_to_a_process():
    with working(1) as clerk:
        os.kill(clerk.pids[0], signal.SIGSTOP)
        assert clerk.verify_many(GOOD[:2]) == [None] * 2
        assert len(clerk.seal_many(LETTERS[:2])) == 2
        assert clerk._tasks.qsize() == 0
        os.kill(clerk.pids[0], signal.SIGCONT)


# --- what ends ------------------------------------------------------------------------------------


def test_a_process_that_is_killed_is_replaced():
    with working(2) as clerk:
        first, other = clerk.pids
        os.kill(first, signal.SIGKILL)
        check(clerk)
        until(lambda: len(clerk.pids) == 2 and first not in clerk.pids)
        assert other in clerk.pids
        check(clerk)


def test_what_a_killed_process_had_is_done_by_whoever_asked():
    with working(1) as clerk, ThreadPoolExecutor(3) as threads:
        (pid,) = clerk.pids
        os.kill(pid, signal.SIGSTOP)
        # One is with the process, the others wait for it.
        calls = [threads.submit(check, clerk) for _ in range(3)]
        until(lambda: clerk._tasks.qsize() == 2)
        assert not any(call.done() for call in calls)
        os.kill(pid, signal.SIGKILL)
        for call in calls:
            call.result(60)
        until(lambda: clerk.pids not in ((), (pid,)))


def test_a_process_that_is_stuck_is_ended(monkeypatch):
    monkeypatch.setattr(signers, "_EACH", 0.01)
    monkeypatch.setattr(signers, "_ENDING", 0.01)
    with working(1) as clerk:
        (pid,) = clerk.pids
        os.kill(pid, signal.SIGSTOP)
        check(clerk)
        until(lambda: not lives(pid))


def test_without_processes_the_thread_works(monkeypatch, caplog):
    with working(2) as clerk:
        pids = clerk.pids

        def none():
            raise OSError

        monkeypatch.setattr(signers, "_Process", none)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        # It is noticed though nothing is asked of them.
        until(lambda: not clerk.pids)
        check(clerk)
        monkeypatch.undo()
        until(lambda: len(clerk.pids) == 2)
        check(clerk)
    assert "a signature process ended" in caplog.text


def test_signals_for_the_server_do_not_end_them():
    with working(1) as clerk:
        (pid,) = clerk.pids
        assert os.getpgid(pid) != os.getpgid(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
        check(clerk)
        assert clerk.pids == (pid,)


@pytest.mark.parametrize("began", [False, True])
def test_closing(began):
    clerk = Signers(KEY, 2)
    if began:
        until(lambda: len(clerk.pids) == 2)
    clerk.close()
    clerk.close()
    assert clerk.pids == ()
    assert not any(thread.is_alive() for thread in clerk._threads)
    check(clerk)


@pytest.mark.parametrize("number", [0, -1, 65, 2.0, True, "2", None])
def test_numbers_of_processes(number):
    with pytest.raises(ParameterError, match="1 to 64"):
        Signers(KEY, number)


#: A parent that tells its processes, then asks them again and again.
PARENT = """
import signal, time
# Whoever runs the tests may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from ompd.crypto import SigningKey
from ompd.service.signers import Signers
key = SigningKey.generate()
clerk = Signers(key, 3)
while len(clerk.pids) < 3:
    time.sleep(0.01)
print(*clerk.pids, flush=True)
items = [(key.public_key, b"m", key.sign(b"m"))] * 200
while True:
    clerk.verify_many(items)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_they_end_with_their_parent(how):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True,
    ) as parent:  # fmt: skip
        try:
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            assert len(pids) == 3
            assert all(map(lives, pids))
        finally:
            parent.send_signal(how)
        parent.wait(60)
    until(lambda: not any(map(lives, pids)))


# --- what is secret -------------------------------------------------------------------------------


def test_the_key_is_in_no_argument_or_environment(clerk):
    secret = KEY.to_bytes()
    forms = [secret, secret.hex().encode(), str(int.from_bytes(secret, "big")).encode()]
    for pid in clerk.pids:
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{pid}/{name}").read_bytes()
            assert content
            assert not any(form in content for form in forms)
        # And no socket but its own, whose other end nobody else has.
        files = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
        assert sum(each.startswith("socket:") for each in files) == 1
    assert "Signers" in repr(clerk)
    assert not any(form.decode("latin1") in repr(vars(clerk)) for form in forms)
    with pytest.raises(TypeError, match="holds a secret"):
        pickle.dumps(clerk)
    assert b"content" not in repr(LETTERS).encode()


# --- a hospital that has them ---------------------------------------------------------------------


def test_a_hospital_with_signers():
    world = World()
    keys = keys_of(world.hospital)
    with pytest.raises(ParameterError, match="clerk"):
        ompd.Hospital(**keys, clerk=Clerk(KEY))
    with Signers(keys["identity"].signing_key, 2) as clerk:
        until(lambda: len(clerk.pids) == 2)
        options = {"profile": "paper", "share": 1.0, "clock": world.clock}
        world.hospital = ompd.Hospital(**keys, **options, clerk=clerk)
        ompd.introduce(world.hospital, world.cloud, world.user)
        world.publish()
        made, verified = world.hospital.signatures_made, world.hospital.signatures_verified
        rows = [[number % 12, 4, 5] for number in range(20)]
        queries = [world.user.ask("st-mary", "flu", row) for row in rows]
        queries[7] = queries[7][:-96] + queries[8][-96:]
        batch = world.hospital.forward_batch(queries)
        assert list(batch.refused) == [7]
        (job,) = batch.jobs
        reports = world.hospital.report_batch(world.cloud.answer(job.frame))
        assert world.hospital.signatures_made - made == 1 + 19
        assert world.hospital.signatures_verified - verified == 19 + 1
    del queries[7], rows[7]
    assert [world.hospital.answered(query) for query in queries] == reports
    for row, report in zip(rows, reports, strict=True):
        assert world.user.read(report) == world.user.read(world.frames(row)[-1])

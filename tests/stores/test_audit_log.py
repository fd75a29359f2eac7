from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from ompd.crypto import Identity
from ompd.errors import KeyMaterialError, OmpdError, ParameterError, SignatureError, StoreError
from ompd.stores import AuditLog, audit_log
from ompd.stores.audit_check import Head, verify
from ompd.stores.audit_lines import START, Event, EventLine, HeadLine, read, written
from tests.faults import EVERY, torture
from tests.places import ROOT

OWNER = Identity.generate("st-mary")
SUCCESSOR = Identity.generate("st-mary")
STRANGER = Identity.generate("cloud")


def keys(party):
    assert party == "st-mary"
    return [OWNER.public.signing_key]


def event(number=0, **other):
    what = {"time": 1.7e9, "who": "alice", "what": "query", "about": "wbc", "outcome": "answered"}
    return Event(**(what | {"about": f"wbc {number}"} | other))


def events_of(folder):
    """What `append` was given, in its order."""
    lines = [
        json.loads(line)
        for file in sorted(folder.glob("log-*"))
        for line in file.read_text().splitlines()
    ]
    return [line["about"] for line in lines if line["line"] == "event" and line["what"] != "log"]


@pytest.fixture
def clock():
    """A clock that stands until it is told."""
    times = [1.7e9]

    def now():
        return times[0]

    now.times = times
    return now


@pytest.fixture
def closed(tmp_path):
    """A log of some entries."""
    folder = tmp_path / "log"
    with AuditLog(folder, OWNER) as log:
        log.append([event(1), event(2)])
        log.append([event(3, who="", about="Würger 😀")])
    return folder


def only_file(folder):
    (file,) = folder.glob("log-*")
    return file


def test_it_says_what_it_was_told(closed):
    lines = [json.loads(line) for line in only_file(closed).read_text().splitlines()]
    assert [line["line"] for line in lines] == ["log", "head", *["event"] * 5, "head"]
    assert [line["n"] for line in lines[1:]] == list(range(1, 8))
    assert lines[3] == {
        "line": "event", "n": 3, "time": "2023-11-14T22:13:20.000Z", "who": "alice",
        "what": "query", "about": "wbc 1", "outcome": "answered", "chain": lines[3]["chain"],
    }  # fmt: skip
    assert lines[5]["about"] == "Würger 😀"
    assert only_file(closed).read_bytes().isascii()
    assert only_file(closed).stat().st_mode & 0o777 == 0o600
    assert closed.stat().st_mode & 0o777 == 0o700


def test_a_log_in_order(closed):
    verdict = verify(closed, keys)
    assert verdict[:2] == ("st-mary", 1)
    assert (verdict.head.n, verdict.signed, verdict.closed) == (7, 7, True)
    assert (verdict.torn, verdict.cut, verdict.crashes) == (0, 0, 0)
    with AuditLog(closed, OWNER) as log:
        assert log.head.n == 9
        log.append([event(4)])
        log.append([])
        head = log.head
        # In use.
        found = verify(closed, keys, known=head)
        assert (found.head, found.closed, found.crashes) == (head, False, 0)
        assert repr(log) == "<AuditLog of 10 entries>"
    verdict = verify(closed, keys, known=head)
    assert (verdict.head.n, verdict.closed, verdict.crashes) == (12, True, 0)
    log.close()
    with pytest.raises(StoreError, match="was closed"):
        log.append([event()])


@pytest.mark.parametrize(
    ("other", "error"),
    [
        ({"time": "now"}, ParameterError), ({"time": float("nan")}, ParameterError),
        ({"time": -1}, ParameterError), ({"who": "Mr. Smith"}, KeyMaterialError),
        ({"who": None}, KeyMaterialError), ({"what": ""}, ParameterError),
        ({"what": "log"}, ParameterError), ({"what": "clump=10"}, ParameterError),
        ({"outcome": "4.2"}, ParameterError), ({"outcome": b"x"}, ParameterError),
        ({"about": "x" * 256}, ParameterError), ({"about": "\ud800"}, ParameterError),
        ({"about": None}, ParameterError),
    ],
)  # fmt: skip
def test_what_does_not_belong_there_is_refused(tmp_path, other, error):
    with AuditLog(tmp_path / "log", OWNER) as log:
        before = log.head
        with pytest.raises(error):
            log.append([event(1), event(2, **other)])
        assert log.head == before


def test_what_does_not_print_is_escaped(tmp_path):
    with AuditLog(tmp_path / "log", OWNER) as log:
        log.append([event(about="a\n\x1b[2J\u200d")])
    content = only_file(tmp_path / "log").read_bytes()
    assert b"\x1b" not in content
    assert rb'"about":"a\n\u001b[2J\u200d"' in content
    assert verify(tmp_path / "log", keys).closed


def test_the_longest_entry_can_be_read_again(tmp_path):
    longest = Event(1.7e9, "a" * 63, "a" * 40, "\N{GRINNING FACE}" * 255, "b" * 40)
    with AuditLog(tmp_path / "log", OWNER) as log:
        log.append([longest])
    assert verify(tmp_path / "log", keys).closed


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
def test_every_byte_that_differs_is_found(closed, step):
    file = only_file(closed)
    good = file.read_bytes()
    # With the end of the line before it, the head is gone as well.
    last = good.rindex(b'{"line":"head"') - 1
    for place in range(0, len(good), step):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        if place < last:
            with pytest.raises((StoreError, SignatureError)):
                verify(closed, keys)
        else:
            # This is what a crash might leave of the last line.
            assert verify(closed, keys).torn


def test_every_line_that_is_left_out_moved_or_repeated_is_found(closed):
    file = only_file(closed)
    lines = file.read_bytes().splitlines(keepends=True)
    for place in range(len(lines) - 1):
        for changed in (
            lines[:place] + lines[place + 1 :],
            lines[: place + 1] + lines[place:],
            [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]],
        ):
            file.write_bytes(b"".join(changed))
            try:
                verdict = verify(closed, keys)
            except StoreError:
                continue
            # The last two changed places, so that nothing signed is behind the bad one.
            assert place == len(lines) - 2
            assert verdict.torn


def test_who_has_no_key_cannot_write_the_chain_anew(closed):
    file = only_file(closed)
    raw = file.read_bytes().splitlines(keepends=True)
    for with_heads in (True, False):
        chain, parts, number = START, [], 0
        before = None
        for each in raw:
            line, before = read(each, before)
            if isinstance(line, HeadLine) and not with_heads:
                continue
            if isinstance(line, EventLine):
                line = EventLine(number, line.time, "bob", line.what, line.about, line.outcome)
            elif isinstance(line, HeadLine):
                line = HeadLine(number, line.time, line.key, line.signature)
            number += 1
            content, chain = written(line, chain)
            parts.append(content)
        file.write_bytes(b"".join(parts))
        if with_heads:
            with pytest.raises(SignatureError):
                verify(closed, keys)
            with pytest.raises(SignatureError):
                AuditLog(closed, OWNER)
        else:
            with pytest.raises(StoreError, match="not signed"):
                verify(closed, keys)
            with pytest.raises(StoreError, match="not signed"):
                AuditLog(closed, OWNER)


def test_a_torn_end_is_told_and_kept(closed, tmp_path):
    good = only_file(closed).read_bytes()
    begin = good.index(b"\n") + 1
    bounds = {0, *(at + 1 for at, byte in enumerate(good) if byte == 10)}
    for size in sorted({*range(begin, len(good), 37), *bounds} - {0}):
        folder = tmp_path / f"{size}"
        shutil.copytree(closed, folder)
        file = only_file(folder)
        file.write_bytes(good[:size])
        torn = size - max(bound for bound in bounds if bound <= size)
        verdict = verify(folder, keys)
        assert (verdict.torn, verdict.cut) == (torn, 0)
        assert verdict.closed == (size == len(good))
        with AuditLog(folder, OWNER) as log:
            log.append([event(9)])
        after = verify(folder, keys)
        assert after.closed
        assert (after.torn, after.cut, after.crashes) == (0, torn > 0, size < len(good))
        if torn:
            (cut,) = folder.glob("cut-*")
            assert cut.read_bytes() == good[size - torn : size]
            assert cut.name == f"cut-{verdict.head.n + 1:016d}"


def test_what_a_lost_power_supply_leaves_of_one_write_is_a_torn_end(tmp_path):
    with AuditLog(tmp_path / "log", OWNER) as log:
        log.append([event(0)])
        file = only_file(tmp_path / "log")
        before = file.stat().st_size
        log._signed -= 61
        # A signature first, and then more than a block of the disk.
        log.append([event(number) for number in range(100)])
        data = file.read_bytes()
        log._folder_lock.release()
    for place in (before, before + 4096, before + 8192):
        broken = bytearray(data)
        broken[place : place + 4096] = bytes(4096)
        file.write_bytes(broken)
        verdict = verify(tmp_path / "log", keys)
        assert verdict.torn
        assert before <= len(data) - verdict.torn <= place
    with AuditLog(tmp_path / "log", OWNER):
        pass
    assert verify(tmp_path / "log", keys).cut == 1


def test_what_was_signed_is_no_torn_end(closed):
    file = only_file(closed)
    data = file.read_bytes()
    for place in (data.index(b"wbc 1"), data.index(b"begun")):
        file.write_bytes(data[:place] + bytes(8) + data[place + 8 :])
        with pytest.raises(StoreError):
            verify(closed, keys)
        # The lock is free again.
        for _ in range(2):
            with pytest.raises(StoreError, match="damaged"):
                AuditLog(closed, OWNER)


def test_an_older_state_of_the_folder_differs_from_what_was_noted(closed, tmp_path):
    shutil.copytree(closed, tmp_path / "old")
    with AuditLog(closed, OWNER) as log:
        log.append([event(4)])
        head = log.head
    assert verify(closed, keys, known=head)
    assert verify(tmp_path / "old", keys).closed
    with pytest.raises(StoreError, match="older state"):
        verify(tmp_path / "old", keys, known=head)
    # And so does a log that went on from there.
    with AuditLog(tmp_path / "old", OWNER) as log:
        log.append([event(5)])
    with pytest.raises(StoreError, match="another one"):
        verify(tmp_path / "old", keys, known=head)
    with pytest.raises(StoreError, match="another one"):
        verify(closed, keys, known=Head(1, head.chain))


def test_files_follow_one_another(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_log, "FILE_BYTES", 2000)
    folder = tmp_path / "log"
    with AuditLog(folder, OWNER) as log:
        for number in range(30):
            log.append([event(number)])
        head = log.head
    files = sorted(folder.glob("log-*"))
    assert len(files) > 2
    assert events_of(folder) == [f"wbc {number}" for number in range(30)]
    assert verify(folder, keys, known=head).closed
    # All but the last are signed to their end.
    for file in files[:-1]:
        assert b'"line":"head"' in file.read_bytes().splitlines()[-1]
    shutil.copytree(folder, tmp_path / "copy")
    for place, file in enumerate(files):
        other = tmp_path / "copy" / file.name
        content = other.read_bytes()
        other.unlink()
        if place == 0:
            first = int(files[1].name[4:])
            assert verify(tmp_path / "copy", keys, known=head).first == first
            with pytest.raises(StoreError, match="not here"):
                verify(tmp_path / "copy", keys, known=Head(1, "0" * 64))
        elif place < len(files) - 1:
            with pytest.raises(StoreError, match="changed or is missing"):
                verify(tmp_path / "copy", keys)
        else:
            with pytest.raises(StoreError, match="older state"):
                verify(tmp_path / "copy", keys, known=head)
        other.write_bytes(content[:-1])
        if place < len(files) - 1:
            with pytest.raises(StoreError, match="changed or is missing"):
                verify(tmp_path / "copy", keys)
        other.write_bytes(content)
    (tmp_path / "copy" / files[1].name).rename(tmp_path / "copy" / "log-0000000000000999")
    with pytest.raises(StoreError):
        verify(tmp_path / "copy", keys)


def test_signatures_come_every_minute(tmp_path, clock):
    folder = tmp_path / "log"
    with AuditLog(folder, OWNER, clock) as log:
        for step in (0, 59, 2, 59, 62, -200, 1):
            clock.times[0] += step
            log.append([event()])
    lines = only_file(folder).read_text().splitlines()
    shape = "".join("h" if '"line":"head"' in line else "e" for line in lines[1:])
    assert shape == "he" + "ee" + "he" + "e" + "he" + "he" + "e" + "eh"


def test_signatures_are_told_once_they_are_on_disk(tmp_path, clock):
    folder = tmp_path / "log"
    heads = []

    def told(head):
        heads.append(head)
        assert verify(folder, keys, known=head).signed == head.n

    with AuditLog(folder, OWNER, clock, told) as log:
        log.append([event()])
        clock.times[0] += 61
        log.append([event()])
    assert [head.n for head in heads] == [1, 4, 7]
    assert all(verify(folder, keys, known=head) for head in heads)


def test_new_keys_of_the_party(closed):
    with AuditLog(closed, SUCCESSOR) as log:
        log.append([event(4)])
    both = [OWNER.public.signing_key, SUCCESSOR.public.signing_key]
    assert verify(closed, lambda _: both).closed
    for one in both:
        with pytest.raises(SignatureError, match="not its owner's"):
            verify(closed, lambda _, one=one: [one])
    with pytest.raises(StoreError, match="another party"):
        AuditLog(closed, STRANGER)


def test_one_process_has_it(closed):
    with AuditLog(closed, OWNER) as log:
        with pytest.raises(StoreError, match="another process"):
            AuditLog(closed, OWNER)
        child = os.fork()
        if not child:
            try:
                log.append([event()])
            except StoreError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        log.append([event()])
    assert verify(closed, keys).closed


def test_a_folder_that_others_may_enter_or_that_has_none(tmp_path):
    with pytest.raises(StoreError, match="there is none"):
        verify(tmp_path, keys)
    with pytest.raises(StoreError, match="audit log: No such file"):
        verify(tmp_path / "none", keys)
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "something").touch()
    folder.chmod(0o755)
    with pytest.raises(StoreError, match="0700"):
        AuditLog(folder, OWNER)


def test_threads(tmp_path):
    with AuditLog(tmp_path / "log", OWNER) as log:
        threads = [
            threading.Thread(target=lambda: [log.append([event(1), event(2)]) for _ in range(20)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert verify(tmp_path / "log", keys).closed
    assert events_of(tmp_path / "log") == ["wbc 1", "wbc 2"] * 80


@EVERY
@pytest.mark.parametrize("full", [False, True], ids=["failing", "full"])
@pytest.mark.parametrize("rotating", [False, True])
def test_a_disk_that_refuses(tmp_path, monkeypatch, full, every, rotating):
    monkeypatch.setattr(audit_log, "FILE_BYTES", 10 if rotating else 1 << 20)

    def prepare(at):
        folder = tmp_path / str(at)
        with AuditLog(folder, OWNER) as log:
            log.append([event(1)])
        return [folder, None, 0]

    def act(world):
        world[1] = AuditLog(world[0], OWNER)
        for number in (2, 3):
            world[1].append([event(number)])
            world[2] = number
        world[1].close()

    def check(world, refused):
        folder, log, done = world
        if not refused:
            assert events_of(folder) == ["wbc 1", "wbc 2", "wbc 3"]
        found = verify(folder, keys)
        assert not found.torn or log is None or log._failed
        if log is None:
            log = AuditLog(folder, OWNER)
        for number in range(done + 1 if done else 2, 4):
            log.append([event(number)])
        log.close()
        assert verify(folder, keys).closed
        # A sync that fails may come after the bytes are there.
        assert events_of(folder) == ["wbc 1", "wbc 2", "wbc 3"]

    failed = torture(prepare, act, check, full=full, every=every, kept=2)
    assert {"write", "open"} <= failed
    assert full or "fsync" in failed


PROGRAM = """
import sys
from ompd.crypto import Identity, SigningKey, EnvelopeKey
from ompd.stores import AuditLog, audit_log
from ompd.stores.audit_lines import Event
audit_log.FILE_BYTES, audit_log.SIGN_SECONDS = 20000, 0.01
keys = SigningKey.from_bytes(bytes.fromhex(sys.argv[2])), EnvelopeKey.generate()
log = AuditLog(sys.argv[1], Identity("st-mary", *keys))
number = int(sys.argv[3])
while True:
    log.append([Event(1.7e9, "alice", "query", f"wbc {number + i}", "answered") for i in range(9)])
    number += 9
    print(number, flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.long)])
def test_a_process_that_is_killed(tmp_path, kills, rng):
    folder = tmp_path / "log"
    secret = OWNER.signing_key.to_bytes().hex()
    number = 0
    for kill in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, folder, secret, str(number)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                # From some call on, at whatever moment.
                for _ in range(int(rng.integers(1, 60))):
                    told = int(process.stdout.readline())
                threading.Event().wait(float(rng.random()) / 200)
            finally:
                process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
        told = int(rest[-1]) if rest else told
        verdict = verify(folder, keys)
        assert not verdict.closed
        assert verdict.crashes == kill
        found = events_of_whole(folder)
        assert found[:told] == [f"wbc {each}" for each in range(told)]
        number = len(found)
    with AuditLog(folder, OWNER):
        pass
    assert verify(folder, keys).crashes == kills


def events_of_whole(folder):
    """As `events_of`, of a log whose last line may be torn."""
    files = sorted(folder.glob("log-*"))
    content = files[-1].read_bytes()
    whole = content[: content.rindex(b"\n") + 1]
    lines = [line for file in files[:-1] for line in file.read_bytes().splitlines()]
    found = [json.loads(line) for line in [*lines, *whole.splitlines()]]
    return [line["about"] for line in found if line["line"] == "event" and line["what"] != "log"]


def test_errors_are_of_the_package(closed):
    (closed / "log-0000000000000099").mkdir()
    for call in (lambda: verify(closed, keys), lambda: AuditLog(closed, OWNER)):
        with pytest.raises(OmpdError, match="Is a directory"):
            call()

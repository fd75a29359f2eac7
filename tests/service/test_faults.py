"""Servers that are killed, cut off, lied to by disks and clocks, and kept waiting.

After each: no accepted report is lost, no frame is accepted twice, no table is half there, the
chains of the audit logs are whole, and the servers live.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import threading
import time

import pytest

from ompd.errors import ExpiredError, OmpdError, ReplayError
from ompd.stores import DurableReplayGuard
from ompd.wire import Frame, Kind
from tests.marks import long
from tests.roles.conftest import World, instances
from tests.service.rig import Asker, Rig, until

#: So many that a window of hints is worth its while, and ends after some queries.
ROWS = 3000
QUESTIONS = [(a, b, c) for a in (2, 5, 7) for b in (3, 6) for c in (2, 8)]
#: Which server is killed, and how often: over both tests and servers some fifty times.
OFTEN = [
    # Each time some seconds, most of which a process takes to start.
    pytest.param(role, 13, marks=(pytest.mark.long, pytest.mark.timeout(1800)))
    for role in ("hospital", "cloud")
]
RENEWED = 'ompd_renewals_total{outcome="done"}'


def opposite(data):
    """The same people with the other label."""
    data.labels = 1 - data.labels
    return data


#: Two tables of one disease; every answer must be of one or the other.
TABLES = {"first": instances(rows=ROWS), "second": opposite(instances(rows=ROWS))}


def gist(diagnosis):
    return diagnosis.label, dict(diagnosis.votes), dict(diagnosis.probabilities)


@pytest.fixture(name="expected", scope="module")
def _expected():
    """What each table says to each question, by the library alone."""
    found = {}
    for name, data in TABLES.items():
        world = World(profile="sealed")
        world.publish(data=data)
        query = world.user.ask("st-mary", "flu", QUESTIONS)
        report = world.hospital.report(world.cloud.answer(world.hospital.forward(query)))
        diagnoses = [gist(each) for each in world.user.read(report)]
        found[name] = dict(zip(QUESTIONS, diagnoses, strict=True))
    assert all(found["first"][each] != found["second"][each] for each in QUESTIONS)
    return found


@pytest.fixture(name="files", scope="module")
def _files(tmp_path_factory):
    """Each table as a file and its schema."""
    folder = tmp_path_factory.mktemp("tables")
    found = {}
    for name, data in TABLES.items():
        table, schema = folder / f"{name}.csv", folder / f"{name}.toml"
        lines = [",".join([*(each.name for each in data.schema.features), "label"])]
        lines += [
            ",".join([*map(str, row), data.schema.classes[label]])
            for row, label in zip(data.features.tolist(), data.labels.tolist(), strict=True)
        ]
        table.write_text("\n".join(lines))
        schema.write_text(data.schema.to_toml())
        found[name] = table, schema
    return found


@pytest.fixture(name="rig", scope="module")
def _rig(tmp_path_factory, files):
    with Rig(tmp_path_factory.mktemp("rig"), profile="sealed", users=4) as rig:
        assert "done" in rig.outsource(*files["first"])
        yield rig


class Crowd:
    """Users who ask for as long as the block takes, and what they were told."""

    def __init__(self, rig):
        self.askers = [Asker(rig, number) for number in range(len(rig.users))]
        self.told = []
        self._errors = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(each,)) for each in self.askers]

    def _ask(self, asker):
        try:
            turn = 0
            while not self._stop.is_set():
                question = QUESTIONS[turn % len(QUESTIONS)]
                self.told.append((question, gist(asker.ask(question))))
                turn += 1
        except BaseException as error:
            self._errors.append(error)
            raise

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def more(self, count=4):
        """Wait until so many more answers came."""
        enough = len(self.told) + count
        until(lambda: self._errors or len(self.told) >= enough, "users get answers")


def sound(rig, askers, expected, tables=("first",), *, kept=True):
    """What must hold after every fault; `kept` is whether answers could be written to disk."""
    asker = askers[0]
    # They live, and answer by one of the tables.
    diagnosis = gist(asker.ask(QUESTIONS[0]))
    assert diagnosis in [expected[name][QUESTIONS[0]] for name in tables]
    for server in rig.servers.values():
        assert server.lives()
        until(lambda server=server: server.get("/health/ready").status_code == 200, "ready")
    # What was answered gets the same answer, and is computed no second time.
    computed = count(rig.audit("cloud"), "answered")
    for each in askers:
        for frame, report in each.answered[-3:]:
            again = each.send(frame)
            if again != report:
                # What was answered and could not be kept is refused, and nothing else.
                assert not kept
                Frame.decode(again, Kind.REFUSAL)
    events = rig.audit("hospital")
    assert count(rig.audit("cloud"), "answered") == computed
    # No frame was accepted twice: there are no more answers than frames.
    for each in askers:
        answers = [event for event in events if event["who"] == each.user.id]
        assert count(answers, "answered") <= rig.asked[each.user.id]


def count(events, outcome):
    jobs = [event for event in events if event["what"] == "query" or event["what"].endswith("job")]
    return sum(event["outcome"] == outcome for event in jobs)


def kill_in_turn(rig, role, crowd, times, seed):
    """Kill a server again and again, at moments that nobody chose, and start it anew."""
    pause = random.Random(seed)  # noqa: S311  (moments, and no secrets)
    server = rig.servers[role]
    for _ in range(times):
        crowd.more(1)
        time.sleep(pause.uniform(0, 0.3))
        server.kill()
        server.start()
        crowd.more()


@pytest.mark.parametrize(("role", "times"), OFTEN)
def test_killed_while_it_answers_and_windows_are_renewed(rig, expected, role, times):
    with Crowd(rig) as crowd:
        kill_in_turn(rig, role, crowd, times, seed=times)
        renewed = rig.hospital.metric(RENEWED)
        until(lambda: rig.hospital.metric(RENEWED) > renewed, "a window is renewed")
    for question, told in crowd.told:
        assert told in (expected["first"][question], expected["second"][question])
    sound(rig, crowd.askers, expected, TABLES)


@pytest.mark.long
@pytest.mark.parametrize(("role", "times"), [("cloud", 1), *OFTEN])
def test_killed_while_tables_are_uploaded(rig, files, expected, role, times):
    pause = random.Random(times)  # noqa: S311
    names = ("second", "first")
    server = rig.servers[role]
    with Crowd(rig) as crowd:
        for turn in range(times):
            upload = threading.Thread(target=rig.outsource, args=files[names[turn % 2]])
            upload.start()
            time.sleep(pause.uniform(0, 0.6))
            server.kill()
            server.start()
            upload.join()
            crowd.more()
        # Whatever was left behind does not stand in the way of the next.
        told = rig.outsource(*files["first"])
        assert "done" in told, told
        crowd.more(8)
    for question, answer in crowd.told:
        assert answer in (expected["first"][question], expected["second"][question])
    sound(rig, crowd.askers, expected)
    status = rig.hospital.status()
    assert status["damaged"] == []
    assert status["waiting"] == []
    for question in QUESTIONS:
        assert gist(crowd.askers[0].ask(question)) == expected["first"][question]


@pytest.mark.long
def test_both_restarted(rig, expected):
    asker = Asker(rig)
    first = gist(asker.ask(QUESTIONS[1]))
    for server in rig.servers.values():
        server.stop()
    for server in rig.servers.values():
        server.start()
    assert first == expected["first"][QUESTIONS[1]] == gist(asker.ask(QUESTIONS[1]))
    sound(rig, [asker], expected)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [1.5, *long(30)])
def test_a_cloud_that_is_away(rig, expected, seconds):
    target = rig.cloud.proxy.target
    with Crowd(rig) as crowd:
        crowd.more()
        rig.cloud.proxy.target = None
        time.sleep(seconds)
        assert rig.hospital.lives()
        rig.cloud.proxy.target = target
        crowd.more()
    sound(rig, crowd.askers, expected)


def test_every_answer_is_lost_once(rig, files, expected):
    proxies = [server.proxy for server in rig.servers.values()]
    lost = [proxy.lost for proxy in proxies]
    asker = Asker(rig)
    for proxy in proxies:
        proxy.lose_first = True
    try:
        told = rig.outsource(*files["first"])
        assert "done" in told, told
        for question in QUESTIONS:
            assert gist(asker.ask(question)) == expected["first"][question]
    finally:
        for proxy in proxies:
            proxy.lose_first = False
    # Nothing was asked anew for it.
    assert asker.refused == 0
    assert proxies[0].lost - lost[0] == len(QUESTIONS)
    assert proxies[1].lost - lost[1] >= len(QUESTIONS)
    sound(rig, [asker], expected)


@pytest.mark.parametrize("role", ["hospital", *long("cloud")])
def test_a_full_disk(rig, files, expected, role):
    server = rig.servers[role]
    with Crowd(rig) as crowd:
        crowd.more()
        server.limit_files(0)
        # Users are told to come again, and no table is accepted.
        told = rig.outsource(*files["second"])
        assert "done" not in told
        time.sleep(0.5)
        assert server.lives()
        server.limit_files(-1)
        crowd.more()
    for question, answer in crowd.told:
        assert answer in (expected["first"][question], expected["second"][question])
    told = rig.outsource(*files["first"])
    assert "done" in told, told
    sound(rig, crowd.askers, expected, kept=False)
    assert rig.hospital.status()["damaged"] == []


@contextlib.contextmanager
def read_only(folder):
    """Let nothing be written into a folder for as long as the block takes."""

    def mount(*options):
        command = [shutil.which("mount") or "mount", *options]
        return subprocess.run(command, capture_output=True, check=False).returncode

    if os.name != "posix" or mount("--bind", str(folder), str(folder)):
        pytest.skip("needs the right to mount")
    try:
        assert mount("-o", "remount,ro,bind", str(folder)) == 0
        yield
    finally:
        subprocess.run([shutil.which("umount"), "-l", str(folder)], check=True)


@pytest.mark.long
@pytest.mark.parametrize("role", ["hospital", "cloud"])
def test_a_read_only_disk(rig, files, expected, role):
    server = rig.servers[role]
    server.stop()
    with read_only(server.state):
        process = server.begin()
        assert process.wait(60) != 0
    server.start()
    sound(rig, [Asker(rig)], expected)


def test_slow_and_half_open_peers(rig, expected):
    host, port = rig.hospital.proxy.target
    asker = Asker(rig)
    with contextlib.ExitStack() as stack:
        for start in (b"", b"POST", b"POST /v1/frames HTTP/1.1\r\ncontent-length: 900\r\n\r\nomp"):
            for _ in range(30):
                line = stack.enter_context(socket.create_connection((host, port)))
                line.sendall(start)
        for question in QUESTIONS[:4]:
            assert gist(asker.ask(question)) == expected["first"][question]
    sound(rig, [asker], expected)


@pytest.mark.long
def test_a_cloud_that_takes_jobs_and_never_answers(rig, expected):
    asker = Asker(rig)
    rig.cloud.proxy.swallow = True
    answers = []
    thread = threading.Thread(target=lambda: answers.append(gist(asker.ask(QUESTIONS[2]))))
    thread.start()
    time.sleep(70)
    rig.cloud.proxy.swallow = False
    thread.join()
    assert answers == [expected["first"][QUESTIONS[2]]]
    sound(rig, [asker], expected)


@pytest.mark.parametrize("jump", [-7200.0, 7200.0, 400 * 86400.0])
def test_a_clock_that_jumps_and_comes_back(tmp_path, jump):
    with DurableReplayGuard(tmp_path / "frames", 120.0, power_safe=False) as guard:
        world = World(replays=guard)
        world.publish()
        query = world.frames()[0]
        world.clock.now += jump
        # Others are answered by the wrong clock, until what they know of the world has expired.
        with contextlib.suppress(OmpdError):
            world.frames()
        world.clock.now -= jump
        with pytest.raises((ReplayError, ExpiredError)):
            world.hospital.forward(query)
        world.clock.now += 130
        world.frames()

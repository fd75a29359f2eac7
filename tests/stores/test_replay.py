from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import (
    ExpiredError,
    OmpdError,
    ParameterError,
    ReplayError,
    StoreError,
    TooLargeError,
)
from ompd.stores import ReplayGuard, database
from ompd.stores.forgotten import Forgotten
from ompd.stores.replay import DurableReplayGuard, disk, memory
from ompd.wire import Header, Kind

HEADER = Header(1, Kind.QUERY, "alice", "st-mary", b"n" * 16, 1_000_000, 7)


def test_a_frame_is_claimed_once():
    guard = ReplayGuard(120)
    guard.check_new(HEADER)
    guard.claim(HEADER, 1000)
    with pytest.raises(ReplayError):
        guard.check_new(HEADER)
    with pytest.raises(ReplayError):
        guard.claim(HEADER, 1000)
    for change in (
        {"sender": "bob"},
        {"kind": Kind.PAPER_JOB},
        {"nonce": b"m" * 16},
        {"sequence": 8},
    ):
        guard.claim(msgspec.structs.replace(HEADER, **change), 1000)


def test_a_forgotten_frame_stays_refused():
    guard = ReplayGuard(120)
    guard.claim(HEADER, 1000)
    other = msgspec.structs.replace(HEADER, timestamp=1_200_000)
    guard.claim(other, 1121)  # the first frame has left the memory
    for now in (1121, 1119, 1000):  # also for a clock that was set back
        with pytest.raises(ExpiredError):
            guard.claim(HEADER, now)
    with pytest.raises(ReplayError):
        guard.claim(other, 1121)


def test_memory_is_bounded_and_freed():
    guard = ReplayGuard(120, capacity=3)
    for sequence in range(3):
        guard.claim(msgspec.structs.replace(HEADER, sequence=sequence), 1000)
    late = msgspec.structs.replace(HEADER, timestamp=1_100_000)
    with pytest.raises(TooLargeError):
        guard.claim(late, 1100)
    guard.claim(late, 1121)
    assert len(guard._seen) == len(guard._expiry) == 1


# --- the durable guard ----------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "replay.db"


def frame(**changes):
    return msgspec.structs.replace(HEADER, **changes)


def test_a_restart_forgets_nothing(path):
    with DurableReplayGuard(path, 120) as guard:
        guard.check_new(HEADER)
        guard.claim(HEADER, 1000)
    with DurableReplayGuard(path, 120) as guard:
        assert len(guard) == 1
        with pytest.raises(ReplayError):
            guard.check_new(HEADER)
        with pytest.raises(ReplayError):
            guard.claim(HEADER, 1000)
        for change in (
            {"sender": "bob"}, {"kind": Kind.PAPER_JOB}, {"nonce": b"m" * 16}, {"sequence": 8},
        ):  # fmt: skip
            guard.claim(frame(**change), 1000)
        guard.claim(frame(sequence=9, timestamp=1_200_000), 1121)
    with DurableReplayGuard(path, 120) as guard:
        for now in (1121, 1119, 1000):  # the clock was set back while nobody ran
            with pytest.raises(ExpiredError):
                guard.claim(HEADER, now)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["claim", "check_new", "check_time", "reopen"]),
            st.integers(0, 3),
            st.integers(0, 12).map(lambda tens: 900_000 + 10_000 * tens),
            st.integers(80, 115).map(lambda tens: tens * 10 + 0.5),
        ),
        max_size=40,
    )
)
def test_both_guards_decide_alike(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("guard") / "replay.db"
    plain, durable = ReplayGuard(60, 3), DurableReplayGuard(path, 60, 3, power_safe=False)
    try:
        for action, sequence, timestamp, now in steps:
            if action == "reopen":
                durable.close()
                durable = DurableReplayGuard(path, 60, 3, power_safe=False)
                continue
            header = frame(sequence=sequence, timestamp=timestamp)
            arguments = (header,) if action == "check_new" else (header, now)
            outcomes = []
            for guard in (plain, durable):
                try:
                    getattr(guard, action)(*arguments)
                    outcomes.append(None)
                except OmpdError as error:
                    outcomes.append((type(error), str(error)))
            assert outcomes[0] == outcomes[1]
    finally:
        durable.close()


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except OmpdError as error:
        return type(error), str(error)


@given(
    batches=st.lists(
        st.tuples(
            st.lists(
                st.tuples(
                    st.integers(0, 5),
                    st.integers(0, 12).map(lambda tens: 900_000 + 10_000 * tens),
                    st.sampled_from([b"", b"c"]),
                ),
                min_size=1,
                max_size=8,
            ),
            st.integers(80, 115).map(lambda tens: tens * 10 + 0.5),
        ),
        max_size=8,
    )
)
def test_claims_together_are_as_one_after_the_other(tmp_path_factory, batches):
    path = tmp_path_factory.mktemp("guard") / "replay.db"
    one, many = ReplayGuard(60, 4), ReplayGuard(60, 4)
    with DurableReplayGuard(path, 60, 4, power_safe=False) as durable:
        for batch, now in batches:
            claims = [
                (frame(sequence=sequence, timestamp=timestamp), content)
                for sequence, timestamp, content in batch
            ]
            expected = [outcome(one.claim, header, now, content) for header, content in claims]
            for guard in (many, durable):
                verdicts = guard.claim_many(claims, now)
                assert [each and (type(each), str(each)) for each in verdicts] == expected
                guard.keep_many([(header, content + b"!") for header, content in claims])
            for header, content in claims:
                one.keep(header, content + b"!")
            for header, content in claims:
                answers = [outcome(guard.answer, header, content) for guard in (one, many, durable)]
                assert answers == [answers[0]] * 3
            check_outbox(durable)


def check_outbox(guard):
    """What a guard counts is what there is."""
    with guard._database.reading() as connection:
        counted = connection.execute("SELECT answers, held FROM state").fetchone()
    with guard._database.reading() as connection:
        found = connection.execute("SELECT count(*), total(length(answer)) FROM answers").fetchone()
    assert counted == found


def test_memory_shrinks_under_large_batches(path):
    with DurableReplayGuard(path, 120, power_safe=False) as guard:
        early = [frame(sequence=number, timestamp=1_000_000 + number) for number in range(1000)]
        guard.claim_many([(header, b"") for header in early], 1000)
        late = [(frame(sequence=number, timestamp=1_200_000), b"") for number in range(1000, 1500)]
        assert guard.claim_many(late, 1200) == [None] * 500
        assert len(guard) == 500


def test_claims_together_wait_for_the_disk_once(path):
    statements = []
    with DurableReplayGuard(path, 120) as guard:
        guard._database._connection.set_trace_callback(statements.append)
        claims = [(frame(sequence=number), b"c") for number in range(50)]
        guard.claim_many(claims, 1000)
        assert statements.count("COMMIT") == 1
        assert "PRAGMA synchronous = FULL" in statements
        guard.keep_many([(header, b"answer") for header, _ in claims])
        assert statements.count("COMMIT") == 2
        assert statements[-1] == "COMMIT"
    with DurableReplayGuard(path, 120) as guard:
        assert {guard.answer(*claim) for claim in claims} == {b"answer"}


def test_claims_together_are_all_or_none(path):
    with DurableReplayGuard(path, 120) as guard:
        guard.claim(HEADER, 1000)
        with guard._database.reading() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        claims = [(frame(sequence=100 + number), bytes(32)) for number in range(1000)]
        with pytest.raises(StoreError, match="full"):
            guard.claim_many(claims, 1000)
        assert len(guard) == 1
        for header, _ in claims:
            guard.check_new(header)
        assert guard.claim_many(claims[:3], 1000) == [None] * 3


def test_durable_memory_is_bounded_and_freed(path):
    with DurableReplayGuard(path, 120, capacity=200, power_safe=False) as guard:
        for sequence in range(200):
            guard.claim(frame(sequence=sequence), 1000)
        late = frame(timestamp=1_100_000)
        with pytest.raises(ReplayError):  # known, though the memory is full
            guard.claim(HEADER, 1000)
        with pytest.raises(TooLargeError):
            guard.claim(frame(sequence=999), 1100)
        assert len(guard) == 200
        for sequence in range(4):
            guard.claim(msgspec.structs.replace(late, sequence=sequence + 1000), 1121)
        assert len(guard) == 4
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM frames").fetchone() == (4,)


def test_another_window_revives_nothing(path):
    with DurableReplayGuard(path, 60) as guard:
        guard.claim(HEADER, 1000)
        guard.claim(frame(sequence=8, timestamp=1_061_000), 1062)  # forgets the first
        with DurableReplayGuard(path, 600) as wider:
            with pytest.raises(ExpiredError):
                wider.claim(HEADER, 1062)
            with pytest.raises(ReplayError):
                wider.claim(frame(sequence=8, timestamp=1_061_000), 1062)
            wider.claim(frame(sequence=9, timestamp=1_010_000), 1062)
            with pytest.raises(StoreError, match="window"):
                guard.claim(frame(sequence=10, timestamp=1_061_000), 1062)


def test_a_broken_clock_is_refused(path):
    with DurableReplayGuard(path, 60) as guard:
        for now in (math.inf, -math.inf, math.nan):
            with pytest.raises(ParameterError):
                guard.claim(HEADER, now)
        guard.claim(HEADER, 1000)
    for window, capacity in ((0, 1), (math.inf, 1), (math.nan, 1), (60, 0), (60, 1.5)):
        with pytest.raises(ParameterError):
            DurableReplayGuard(path, window, capacity)


def test_extreme_timestamps(path):
    with DurableReplayGuard(path, 1e18, power_safe=False) as guard:
        guard.claim(frame(timestamp=2**63 - 1), 1000)
        guard.claim(frame(timestamp=0, sequence=8), 1e17)
        assert len(guard) == 2


def both(path, window=60, capacity=1000):
    yield ReplayGuard(window, capacity)
    with DurableReplayGuard(path, window, capacity, power_safe=False) as guard:
        yield guard


YEARS = 10 * 365 * 86400.0


@pytest.mark.parametrize("jump", [-YEARS, -7200.0, 7200.0, YEARS])
@pytest.mark.parametrize("wrong_for", [0.0, 1000.0])
def test_a_clock_that_was_wrong_for_a_while_locks_nothing(path, jump, wrong_for):
    for guard in both(path):
        right = 1_800_000_000.0
        used = []

        def accept(now, guard=guard, used=used):
            header = frame(sequence=len(used), timestamp=int(now * 1000))
            guard.claim(header, now)
            used.append(header)

        accept(right)
        # Long enough, with frames all the time, that the wrong time is partly forgotten too.
        for second in range(0, int(wrong_for) + 1, 50):
            accept(right + jump + second)
        right += wrong_for + 61
        for second in range(0, 300, 50):
            accept(right + second)
        # Whatever the clock says, nothing is accepted twice.
        for header in used:
            for now in (right, right + jump, right - 1000, header.timestamp / 1000):
                with pytest.raises((ReplayError, ExpiredError)):
                    guard.claim(header, now)


def test_what_was_let_go_of_is_refused_and_says_for_how_long(path):
    for guard in both(path):
        now = 1_800_000_000.0
        # An hour ahead, for two hours.
        for second in range(0, 7200, 30):
            guard.claim(frame(sequence=second, timestamp=int((now + 3600 + second) * 1000)),
                        now + 3600 + second)  # fmt: skip
        now += 7200
        with pytest.raises(ExpiredError, match=r"clock was ahead; new frames .* in 3[45]\d\d s"):
            guard.claim(frame(sequence=1, timestamp=int(now * 1000)), now)
        now += 3600
        guard.claim(frame(sequence=1, timestamp=int(now * 1000)), now)


def test_frames_of_a_wrong_future_do_not_fill_the_memory(path):
    for guard in both(path, capacity=20):
        now = 1_800_000_000.0
        for number in range(20):
            guard.claim(frame(sequence=number, timestamp=int((now + YEARS) * 1000)), now + YEARS)
        for number in range(20):
            guard.claim(frame(sequence=100 + number, timestamp=int(now * 1000)), now)
        with pytest.raises(TooLargeError):
            guard.claim(frame(sequence=200, timestamp=int(now * 1000)), now)
        with pytest.raises(ExpiredError, match="clock was ahead"):
            guard.claim(frame(sequence=0, timestamp=int((now + YEARS) * 1000)), now + YEARS)


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(0, 40), st.booleans()),
        max_size=60,
    )
)
def test_nothing_is_accepted_twice_whatever_the_clock_does(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("guard") / "replay.db"
    plain, durable = ReplayGuard(2, 4), DurableReplayGuard(path, 2, 4, power_safe=False)
    try:
        accepted = set()
        for sequence, timestamp, now, reopen in steps:
            if reopen:
                durable.close()
                durable = DurableReplayGuard(path, 2, 4, power_safe=False)
            header = frame(sequence=sequence, timestamp=1000 * timestamp)
            outcomes = []
            for guard in (plain, durable):
                try:
                    guard.check_time(header, now)
                    guard.claim(header, now)
                    outcomes.append("accepted")
                except OmpdError as error:
                    outcomes.append(str(error))
            assert outcomes[0] == outcomes[1]
            if outcomes[0] == "accepted":
                assert (sequence, timestamp) not in accepted
                accepted.add((sequence, timestamp))
    finally:
        durable.close()


def test_ranges_that_are_many_are_joined():
    forgotten = Forgotten()
    for place in range(100):
        forgotten.add(10**6 * place, 10**6 * place + 1)
    forgotten.add(10**15, 10**15 + 5)
    again = Forgotten.from_bytes(forgotten.to_bytes())
    for place in range(100):
        assert again.until(10**6 * place + 1) is not None
    assert again.until(10**15 + 5) == 10**15 + 5
    assert again.until(10**15 - 1) is again.until(10**14) is again.until(-1) is None
    for bad in (b"", b"x", b"\x91\x91\x01"):
        with pytest.raises(StoreError):
            Forgotten.from_bytes(bad)


# --- answers --------------------------------------------------------------------------------------


def test_answers_are_kept_as_long_as_their_frame_is_fresh(path):
    for guard in both(path):
        guard.keep(HEADER, b"too early")
        assert guard.answer(HEADER, b"c") is None
        guard.claim(HEADER, 1000, b"c")
        assert guard.answer(HEADER, b"c") is None
        guard.keep(HEADER, b"answer")
        guard.keep(HEADER, b"the answer")
        assert guard.answer(HEADER, b"c") == b"the answer"
        with pytest.raises(ReplayError):
            guard.answer(HEADER, b"other content")
        with pytest.raises(ReplayError):
            guard.claim(HEADER, 1000, b"c")
        guard.claim(frame(sequence=8, timestamp=1_061_000), 1061, b"d")
        assert guard.answer(HEADER, b"c") is None
        guard.keep(HEADER, b"too late")
        assert guard.answer(HEADER, b"c") is None


def test_answers_outlive_the_process(path):
    with DurableReplayGuard(path, 60) as guard:
        guard.claim(HEADER, 1000, b"c")
        guard.keep(HEADER, b"answer")
    with DurableReplayGuard(path, 60) as guard:
        assert guard.answer(HEADER, b"c") == b"answer"


def test_answers_are_bounded(path, monkeypatch):
    for module in (disk, memory):
        monkeypatch.setattr(module, "OUTBOX_BYTES", 1000)
        monkeypatch.setattr(module, "OUTBOX_ANSWERS", 6)
    for guard in both(path):
        headers = [frame(sequence=number) for number in range(20)]
        for header in headers:
            guard.claim(header, 1000, b"c")
            guard.keep(header, bytes(200))
        held = [guard.answer(header, b"c") is not None for header in headers]
        assert held == [False] * 15 + [True] * 5
        for header in headers[:10]:
            guard.keep(header, b"short")
        held = [guard.answer(header, b"c") is not None for header in headers]
        assert held == [False] * 4 + [True] * 6 + [False] * 10
        guard.keep(headers[0], bytes(251))
        assert guard.answer(headers[0], b"c") is None
        # What is forgotten frees its room.
        guard.claim(frame(sequence=99, timestamp=1_061_000), 1061, b"c")
        late = [frame(sequence=100 + number, timestamp=1_061_000) for number in range(5)]
        for header in late:
            guard.claim(header, 1061, b"c")
            guard.keep(header, bytes(200))
        assert all(guard.answer(header, b"c") for header in late)
        if isinstance(guard, DurableReplayGuard):
            check_outbox(guard)


def test_one_of_many_threads_wins(path):
    with DurableReplayGuard(path, 120) as guard:
        outcomes = []

        def run():
            try:
                guard.claim(HEADER, 1000)
            except ReplayError:
                outcomes.append("lost")
            else:
                outcomes.append("won")

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]


RIVAL = """
import sys
from ompd.errors import ReplayError
from ompd.stores.replay import DurableReplayGuard
from ompd.wire import Header, Kind
print("ready", flush=True)
sys.stdin.readline()
with DurableReplayGuard(sys.argv[1], 120) as guard:
    for number in range(100):
        header = Header(1, Kind.QUERY, "alice", "st-mary", b"n" * 16, 1_000_000, number)
        try:
            guard.claim(header, 1000)
        except ReplayError:
            continue
        print(number)
"""


def test_one_of_two_processes_wins_each_frame(path):
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for rival in rivals:
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:  # the file itself is created in the race
        rival.stdin.write("go\n")
        rival.stdin.flush()
    won = [rival.communicate(timeout=60)[0].split() for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0]
    assert sorted(map(int, won[0] + won[1])) == list(range(100))


def test_a_kill_forgets_nothing(path):
    code = (
        "import os, sys\n"
        "from ompd.stores.replay import DurableReplayGuard\n"
        "from ompd.wire import Header, Kind\n"
        "guard = DurableReplayGuard(sys.argv[1], 120)\n"
        "for sequence in range(7):\n"
        "    guard.claim(Header(1, Kind.QUERY, 'alice', 'st-mary', b'n' * 16, 1_000_000, sequence),"
        " 1000)\n"
        "with guard._database.writing() as connection:\n"
        "    connection.execute('DELETE FROM frames')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    with DurableReplayGuard(path, 120) as guard:
        assert len(guard) == 7
        for sequence in range(7):
            with pytest.raises(ReplayError):
                guard.check_new(frame(sequence=sequence))
        guard.claim(frame(sequence=7), 1000)


def test_other_files_are_no_memory(path):
    path.write_bytes(b"x" * 5000)
    path.chmod(0o600)
    with pytest.raises(StoreError):
        DurableReplayGuard(path, 120)
    path.unlink()
    with DurableReplayGuard(path, 120):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE state SET forgotten = 'noon'")
    with DurableReplayGuard(path, 120) as guard, pytest.raises(StoreError, match="damaged"):
        guard.claim(HEADER, 1000)
    from ompd.stores.registry import Registry

    with pytest.raises(StoreError, match="another kind"):
        Registry(path)


def test_a_locked_file_is_a_typed_error(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with DurableReplayGuard(path, 120) as guard, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            guard.claim(HEADER, 1000)
        guard.check_new(HEADER)  # readers do not wait
        other.rollback()
        guard.claim(HEADER, 1000)

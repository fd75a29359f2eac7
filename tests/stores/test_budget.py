from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.errors import (
    BudgetExceededError,
    ParameterError,
    PrivacyParameterError,
    StoreError,
    VersionError,
)
from ompd.stores import BudgetLedger, DurableReplayGuard
from ompd.stores.budget import _digest


def digest(number):
    return number.to_bytes(16, "little")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "budget.db"


@pytest.fixture(params=["file", "memory"])
def ledger(request, path):
    with BudgetLedger(
        path if request.param == "file" else None, limit=1, power_safe=False
    ) as open_:
        yield open_


def test_floats_do_not_drift(ledger):
    for number in range(10):
        ledger.spend("alice", digest(number), 0.1)
    assert ledger.spent("alice") == ledger.limit == 1
    with pytest.raises(BudgetExceededError):
        ledger.spend("alice", digest(10), 1e-300)
    assert ledger.spent("alice") == 1
    assert ledger.spent("bob") == 0


def test_a_repeated_release_is_free_even_when_nothing_is_left(ledger):
    ledger.spend("alice", digest(1), Fraction(2, 3))
    ledger.spend("alice", digest(1), Fraction(2, 3))
    assert ledger.spent("alice") == Fraction(2, 3)
    ledger.spend("alice", digest(2), Fraction(1, 3))
    for number in (1, 2):
        ledger.spend("alice", digest(number), 5)
    assert ledger.spent("alice") == 1
    # Another patient's release of the same name is another release.
    ledger.spend("bob", digest(1), 1)
    assert ledger.spent("bob") == 1


def test_a_refused_release_is_not_recorded(ledger):
    ledger.spend("alice", digest(1), 0.75)
    for _ in range(2):
        with pytest.raises(BudgetExceededError) as caught:
            ledger.spend("alice", digest(2), 0.5)
    assert "alice" not in str(caught.value)
    ledger.spend("alice", digest(2), 0.25)
    assert ledger.spent("alice") == 1


def test_several_releases_are_charged_together_or_not_at_all(ledger):
    ledger.spend_all("alice", [digest(1), digest(2), digest(1)], 0.25)
    assert ledger.spent("alice") == Fraction(1, 2)
    with pytest.raises(BudgetExceededError):
        ledger.spend_all("alice", [digest(number) for number in range(1, 6)], 0.25)
    assert ledger.spent("alice") == Fraction(1, 2)
    ledger.spend_all("alice", [digest(number) for number in range(1, 5)], 0.25)
    assert ledger.spent("alice") == 1
    ledger.spend_all("alice", [], 3)
    assert ledger.spent("alice") == 1
    with pytest.raises(BudgetExceededError):
        ledger.spend("bob", digest(1), 10**400)


def test_records_are_charged_all_or_none_and_are_no_patients(ledger):
    both = [("alice", digest(1)), ("bob", digest(2))]
    ledger.spend_each(both, 0.75)
    ledger.spend_each(both, 0.75)
    for last in ("bob", "carol"):
        with pytest.raises(BudgetExceededError) as caught:
            ledger.spend_each([("carol", digest(3)), ("alice", digest(4)), (last, digest(5))], 0.5)
        assert "alice" not in str(caught.value)
    # Nothing of what was refused is charged, and patients of these names have their own account.
    ledger.spend_each([("carol", digest(3)), ("carol", digest(4))], 0.5)
    assert ledger.spent("alice") == ledger.spent("carol") == 0
    ledger.spend("alice", digest(1), 1)
    assert ledger.spent("alice") == 1
    ledger.spend_each([], 1)
    for bad in ([("", digest(1))], [(b"x", digest(1))], [("x", b"short")]):
        with pytest.raises(ParameterError):
            ledger.spend_each([("dave", digest(1)), *bad], 0.1)
    ledger.spend_each([("dave", digest(1))], 1)


def test_patients_are_charged_one_after_the_other_by_one_call(ledger):
    charges = [
        ("alice", [digest(1), digest(2)]), ("bob", [digest(1)] * 2), ("alice", [digest(3)] * 3),
        ("alice", [digest(4), digest(1)]), ("bob", []), ("bob", [digest(4)]),
        ("alice", [digest(2)]),
    ]  # fmt: skip
    verdicts = ledger.spend_many(charges, 0.4)
    refused = [type(verdict) for verdict in verdicts]
    assert refused == [type(None)] * 2 + [BudgetExceededError] * 2 + [type(None)] * 3
    assert ledger.spent("alice") == ledger.spent("bob") == Fraction(4, 5)
    # As if each had been alone: what was refused left nothing.
    ledger.spend("alice", digest(3), 0.2)
    assert ledger.spent("alice") == 1
    assert ledger.spend_many([], 1) == []
    for bad in (("", [digest(1)]), ("x", [b"short"])):
        with pytest.raises(ParameterError):
            ledger.spend_many([("carol", [digest(1)]), bad], 0.1)
    assert ledger.spent("carol") == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "ä\udc80"]),
            st.integers(0, 4),
            st.one_of(
                st.fractions(min_value="1/1000", max_value=3),
                st.floats(1e-3, 3),
                st.integers(1, 3),
            ),
        ),
        max_size=12,
    ),
    st.fractions(min_value=1, max_value=6),
)
def test_accounts_follow_the_oracle(charges, limit):
    released, totals = set(), {}
    with BudgetLedger(None, limit=limit) as ledger:
        for patient, number, epsilon in charges:
            exact = Fraction(str(epsilon))
            total = totals.get(patient, Fraction(0))
            if (patient, number) not in released and total + exact > limit:
                with pytest.raises(BudgetExceededError):
                    ledger.spend(patient, digest(number), epsilon)
            else:
                ledger.spend(patient, digest(number), epsilon)
                if (patient, number) not in released:
                    released.add((patient, number))
                    totals[patient] = total + exact
        for patient in ("a", "b", "ä\udc80"):
            assert ledger.spent(patient) == totals.get(patient, 0)


@pytest.mark.parametrize("bad", [0, -1, 0.0, math.nan, math.inf, -math.inf, True, "1", None, 1j])
def test_senseless_amounts_are_refused(ledger, bad):
    with pytest.raises(PrivacyParameterError, match="epsilon: expected"):
        ledger.spend("alice", digest(1), bad)
    with pytest.raises(PrivacyParameterError, match="limit: expected"):
        BudgetLedger(None, limit=bad)
    assert ledger.spent("alice") == 0


@pytest.mark.parametrize("bad", [b"", b"x" * 15, b"x" * 65, "x" * 32, 7, None])
def test_senseless_digests_are_refused(ledger, bad):
    with pytest.raises(ParameterError, match="digest: expected"):
        ledger.spend_all("alice", [digest(1), bad], 0.1)
    assert ledger.spent("alice") == 0


@pytest.mark.parametrize("bad", ["", b"alice", 7, None])
def test_senseless_patients_are_refused(ledger, bad):
    with pytest.raises(ParameterError, match="patient: expected"):
        ledger.spend(bad, digest(1), 0.1)
    with pytest.raises(ParameterError, match="patient: expected"):
        ledger.spent(bad)


def test_a_closed_ledger_is_a_typed_error(ledger):
    ledger.close()
    ledger.close()
    with pytest.raises(StoreError, match="closed"):
        ledger.spend("alice", digest(1), 0.1)
    with pytest.raises(StoreError, match="closed"):
        ledger.spent("alice")


def test_the_account_outlives_the_process_and_the_limit_may_change(path):
    with BudgetLedger(path, limit=1) as ledger:
        ledger.spend("alice", digest(1), 0.5)
    with BudgetLedger(path, limit=0.75) as ledger:
        assert ledger.spent("alice") == Fraction(1, 2)
        ledger.spend("alice", digest(1), 0.5)
        with pytest.raises(BudgetExceededError):
            ledger.spend("alice", digest(2), 0.5)
    assert repr(ledger) == "<BudgetLedger with a limit of 0.75>"


def test_the_file_does_not_show_who_is_in_it(tmp_path):
    names = []
    for place in ("one.db", "two.db"):
        with BudgetLedger(tmp_path / place, limit=1) as ledger:
            ledger.spend("alice@example.org", digest(1), 0.5)
        files = [file.read_bytes() for file in tmp_path.glob(f"{place}*")]
        assert not any(b"alice" in data for data in files)
        if os.name == "posix":
            assert (tmp_path / place).stat().st_mode & 0o777 == 0o600
        with closing(sqlite3.connect(tmp_path / place)) as connection:
            names += connection.execute("SELECT patient FROM totals").fetchone()
    assert names[0] != names[1]
    assert [len(name) for name in names] == [32, 32]


def test_threads_do_not_overdraw(path):
    with BudgetLedger(path, limit=5, power_safe=False) as ledger:
        outcomes = []

        def run(number):
            for turn in range(4):
                try:
                    ledger.spend("alice", digest(8 * turn + number), 0.5)
                except BudgetExceededError:
                    outcomes.append(0)
                else:
                    outcomes.append(1)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(outcomes) == 10
        assert len(outcomes) == 32
        assert ledger.spent("alice") == 5


RIVAL = """
import sys
from ompd.errors import BudgetExceededError
from ompd.stores.budget import BudgetLedger
print("ready", flush=True)
sys.stdin.readline()
won = 0
with BudgetLedger(sys.argv[1], limit=3, power_safe=False) as ledger:
    for number in range(40):
        try:
            ledger.spend("alice", (sys.argv[2] + str(number)).encode().ljust(16), 0.1)
        except BudgetExceededError:
            continue
        won += 1
print(won)
"""


def test_processes_do_not_overdraw(path):
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(path), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in "ab"
    ]  # fmt: skip
    for rival in rivals:
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:  # the file itself is created in the race
        rival.stdin.write("go\n")
        rival.stdin.flush()
    won = [int(rival.communicate(timeout=60)[0]) for rival in rivals]
    assert [rival.returncode for rival in rivals] == [0, 0]
    assert sum(won) == 30
    with BudgetLedger(path, limit=3) as ledger:
        assert ledger.spent("alice") == 3


def test_a_forked_process_does_not_count_for_itself(ledger):
    ledger.spend("alice", digest(1), 0.5)
    child = os.fork()
    if child == 0:
        try:
            ledger.spend("alice", digest(2), 0.5)
        except StoreError as error:
            os._exit(42 if "forked" in str(error) else 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert ledger.spent("alice") == Fraction(1, 2)


def test_a_kill_charges_all_or_nothing(path):
    code = (
        "import os, sys\n"
        "from ompd.stores.budget import BudgetLedger\n"
        "ledger = BudgetLedger(sys.argv[1], limit=1)\n"
        "ledger.spend('alice', b'1' * 16, 0.5)\n"
        "with ledger._database.writing() as connection:\n"
        "    connection.execute('DELETE FROM releases')\n"
        "    connection.execute('DELETE FROM totals')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    with BudgetLedger(path, limit=1) as ledger:
        ledger.spend("alice", b"1" * 16, 0.5)
        assert ledger.spent("alice") == Fraction(1, 2)


def test_a_kill_between_patients_charges_none_of_them(path):
    code = (
        "import os, sys\n"
        "from ompd.stores.budget import BudgetLedger\n"
        "ledger = BudgetLedger(sys.argv[1], limit=1)\n"
        "add = ledger._add\n"
        "def some(connection, who, *rest):\n"
        "    if who == ledger._name('carol'):\n"
        "        os.kill(os.getpid(), 9)\n"
        "    add(connection, who, *rest)\n"
        "ledger._add = some\n"
        "ledger.spend_many([(who, [b'1' * 16]) for who in ('alice', 'bob')], 0.5)\n"
        "ledger.spend_many([(who, [b'2' * 16]) for who in ('alice', 'bob', 'carol')], 0.5)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    with BudgetLedger(path, limit=1) as ledger:
        assert [ledger.spent(who) for who in ("alice", "bob", "carol")] == [0.5, 0.5, 0]
        assert (
            ledger.spend_many([("alice", [b"2" * 16]), ("carol", [b"2" * 16])], 0.5) == [None] * 2
        )
        assert ledger.spent("alice") == 1


def test_other_files_are_no_ledger(path, tmp_path):
    with DurableReplayGuard(tmp_path / "frames.db", 120):
        pass
    with pytest.raises(StoreError, match="another kind"):
        BudgetLedger(tmp_path / "frames.db", limit=1)
    with BudgetLedger(path, limit=1) as ledger:
        ledger.spend("alice", digest(1), 0.5)
    for damage in ("'much'", "'-1'", "'1/0'", "NULL", "x'31'", "'nan'"):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.create_function("digest", 2, lambda who, spent: _digest(who, str(spent)))
            connection.execute("DROP TABLE totals")
            connection.execute(
                "CREATE TABLE totals (patient BLOB PRIMARY KEY, spent TEXT, digest BLOB)"
            )
            connection.execute(
                f"INSERT INTO totals SELECT DISTINCT patient, {damage}, "  # noqa: S608
                f"digest(patient, {damage}) FROM releases"
            )
        with BudgetLedger(path, limit=1) as ledger:
            for call in (
                lambda: ledger.spent("alice"),
                lambda: ledger.spend("alice", digest(2), 1),
            ):
                with pytest.raises(StoreError, match="damaged"):
                    call()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE state SET salt = 'short'")
    with pytest.raises(StoreError, match="damaged"):
        BudgetLedger(path, limit=1)


def test_no_bit_of_the_file_gives_anything_back(path):
    with BudgetLedger(path, limit=9) as ledger:
        for number in range(6):
            for release in range(number + 1):
                ledger.spend(f"patient {number}", digest(release), 0.25)
        before = [ledger.spent(f"patient {number}") for number in range(6)]
        key = ledger.key(b"noise")
    content = path.read_bytes()
    rng = np.random.default_rng(5)
    damaged = path.with_name("damaged.db")
    refusals = 0
    for place in rng.choice(np.flatnonzero(np.frombuffer(content, np.uint8)), 150, replace=False):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        damaged.unlink(missing_ok=True)
        damaged.write_bytes(changed)
        try:
            with BudgetLedger(damaged, limit=9) as ledger:
                # What cannot be told is refused, one patient at a time.
                for number in range(6):
                    ledger.spend(f"patient {number}", digest(0), 0.25)
                    assert ledger.spent(f"patient {number}") >= before[number]
                assert ledger.key(b"noise") == key
        except (StoreError, VersionError):
            refusals += 1
    assert refusals > 50

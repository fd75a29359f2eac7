"""Files of older versions of the stores, which are brought up when they are opened."""

from __future__ import annotations

import hashlib
import hmac
import math
import multiprocessing
import os
import sqlite3
from contextlib import closing
from fractions import Fraction

import pytest
from msgspec.structs import replace

from ompd.errors import (
    BudgetExceededError,
    ExpiredError,
    ReplayError,
    StoreError,
    VersionError,
)
from ompd.stores import BudgetLedger, DurableReplayGuard
from ompd.stores.database import Database
from ompd.stores.replay.guard import digest_of
from ompd.wire import Header, Kind

SALT = bytes(range(32))
HEADER = Header(1, Kind.QUERY, "alice", "st-mary", b"n" * 16, 1_000_000, 7)


def make(path, application, version, statements):
    """Write a file as an earlier version of the library did."""
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement, *values in statements:
            connection.execute(statement, values)
        connection.execute(f"PRAGMA application_id = {application}")
        connection.execute(f"PRAGMA user_version = {version}")
    return path


def version_of(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def old_ledger(path, *, spent="2/3"):
    alice = hmac.digest(SALT, b"alice", hashlib.sha256)
    return make(path, 0x4F4D5042, 1, [
        ("CREATE TABLE releases (patient BLOB NOT NULL, digest BLOB NOT NULL, "
         "PRIMARY KEY (patient, digest)) WITHOUT ROWID",),
        ("CREATE TABLE totals (patient BLOB PRIMARY KEY, spent TEXT NOT NULL) WITHOUT ROWID",),
        ("CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), salt BLOB NOT NULL)",),
        ("INSERT INTO state VALUES (1, ?)", SALT),
        ("INSERT INTO releases VALUES (?, ?)", alice, b"d" * 16),
        ("INSERT INTO totals VALUES (?, ?)", alice, spent),
    ])  # fmt: skip


def old_frames(path, *, clock=1000.0, floor=-math.inf, timestamp=1_000_000):
    return make(path, 0x4F4D5047, 1, [
        ("CREATE TABLE frames (digest BLOB PRIMARY KEY, timestamp INTEGER NOT NULL) "
         "WITHOUT ROWID",),
        ("CREATE INDEX frames_by_age ON frames (timestamp)",),
        ("CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), window REAL NOT NULL, "
         "clock REAL NOT NULL, floor REAL NOT NULL, count INTEGER NOT NULL)",),
        ("INSERT INTO frames VALUES (?, ?)", digest_of(HEADER), timestamp),
        ("INSERT INTO state VALUES (1, 120.0, ?, ?, 1)", clock, floor),
    ])  # fmt: skip


def header(**changes):
    return replace(HEADER, **changes)


def test_a_ledger_keeps_what_was_spent(tmp_path):
    path = old_ledger(tmp_path / "ledger")
    for _ in range(2):
        with BudgetLedger(path, limit=1) as ledger:
            assert ledger.spent("alice") == Fraction(2, 3)
            assert ledger.spent("bob") == 0
            ledger.spend("alice", b"d" * 16, 1)
            assert ledger.key(b"x") == hmac.digest(SALT, b"ompd key\x00x", "sha256")
            with pytest.raises(BudgetExceededError):
                ledger.spend("alice", b"e" * 16, Fraction(1, 2))
        assert version_of(path) == 2


def test_a_ledger_that_nobody_used(tmp_path):
    path = old_ledger(tmp_path / "ledger")
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("state", "releases", "totals"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
    with BudgetLedger(path, limit=1) as ledger:
        ledger.spend("alice", b"e" * 16, 1)


@pytest.mark.parametrize("spent", [b"\xff", "ompd"])
def test_damage_of_an_old_ledger_is_none_of_a_new_one(tmp_path, spent):
    path = old_ledger(tmp_path / "ledger", spent=spent)
    with pytest.raises(StoreError, match="damaged"), BudgetLedger(path, limit=1) as ledger:
        ledger.spent("alice")


def test_frames_are_refused_as_before(tmp_path):
    path = old_frames(tmp_path / "frames")
    for _ in range(2):
        with DurableReplayGuard(path, 120) as guard:
            assert len(guard) >= 1
            for call in (
                lambda: guard.check_new(HEADER),
                lambda: guard.claim(HEADER, 1000),
                lambda: guard.answer(HEADER, b"content"),
            ):
                with pytest.raises(ReplayError):
                    call()
            # A time that the old version had let go of, whatever the clock says now.
            with pytest.raises(ExpiredError):
                guard.claim(header(sequence=8, timestamp=880_000), 800)
            guard.claim(header(sequence=9, timestamp=881_000), 1000)
            guard.keep(header(sequence=9, timestamp=881_000), b"answer")
            assert guard.answer(header(sequence=9, timestamp=881_000), b"") == b"answer"
        assert version_of(path) == 2
        path.unlink()
        old_frames(path, clock=-math.inf, floor=880.0)


def test_frames_that_nobody_claimed(tmp_path):
    path = old_frames(tmp_path / "frames", clock=-math.inf)
    with DurableReplayGuard(path, 120) as guard:
        guard.claim(header(sequence=8, timestamp=10_000), 10)


def test_steps_happen_all_or_not_at_all(tmp_path):
    path = tmp_path / "file"

    def opened(version, steps):
        return Database(path, application=7, version=version, schema=["CREATE TABLE t (a)"],
                        steps=steps)  # fmt: skip

    def add(connection):
        connection.execute("INSERT INTO t VALUES (1)")

    def fail(connection):
        connection.execute("SELECT * FROM nothing")

    def foreign(connection):
        raise TypeError("Mr. Smith")

    opened(1, {}).close()
    for step, match in ((fail, "damaged"), (foreign, "is damaged")):
        with pytest.raises(StoreError, match=match) as caught:
            opened(3, {1: add, 2: step})
        assert "Smith" not in str(caught.value)
        assert version_of(path) == 1
    for version, steps in ((2, {}), (3, {1: add}), (3, {2: add})):
        with pytest.raises(VersionError, match=f"expected schema version {version}, got 1"):
            opened(version, steps)
    database = opened(3, {1: add, 2: add})
    with database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)
    database.close()
    with pytest.raises(VersionError, match="expected schema version 2, got 3"):
        opened(2, {1: add})


def _die(connection):
    connection.execute("INSERT INTO t VALUES (1)")
    os.kill(os.getpid(), 9)


def _open(path, die):
    step = _die if die else _add_slowly
    Database(path, application=7, version=2, schema=[], steps={1: step}).close()


def _add_slowly(connection):
    connection.execute("INSERT INTO t VALUES (1)")
    connection.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) "
        "SELECT sum(i) FROM n"
    ).fetchone()


def test_a_killed_process_leaves_the_old_version_and_of_several_one_does_it(tmp_path):
    path = tmp_path / "file"
    Database(path, application=7, version=1, schema=["CREATE TABLE t (a)"]).close()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_open, args=(path, True))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert version_of(path) == 1
    processes = [context.Process(target=_open, args=(path, False)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert version_of(path) == 2
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading

import msgspec
import pytest

from ompd.errors import (
    ContextMismatchError,
    ContributorsError,
    ParameterError,
    QuotaError,
    ReplayError,
    StoreError,
    TooLargeError,
)
from ompd.stores import BudgetLedger, Collections
from ompd.stores import collections as module
from ompd.wire import Terms

NOW = 1_800_000_000.0
AT = 1_800_000_000_000
TERMS = Terms(
    b"c" * 16, "dr-lee", "cloud", "steps", "sum", 2, 3, 7, 9, hashlib.sha256(b"key").digest()
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "collections.db"


@pytest.fixture(params=["file", "memory"])
def store(request, path):
    with Collections(path if request.param == "file" else None, power_safe=False) as opened:
        opened.open(TERMS, b"key", NOW)
        yield opened


def other(**changes):
    return msgspec.structs.replace(TERMS, **changes)


def test_what_is_kept_comes_back(store):
    found = store.find(TERMS.collection)
    assert (found.terms, found.closed) == (TERMS, False)
    assert store.key(TERMS) == b"key"
    assert "dr-lee" not in repr(found) + repr(store)
    store.put(TERMS.collection, "bob", [b"one", b"two"], AT)
    store.put(TERMS.collection, "al", [b""], AT)
    assert store.contribution(TERMS.collection, "bob") == (b"one", b"two")
    assert list(store.contributions(TERMS.collection)) == [(b"",), (b"one", b"two")]


def test_a_later_contribution_takes_the_place_of_an_earlier_one(store):
    for number in range(9):
        store.put(TERMS.collection, "bob", [bytes([number])], AT)
    assert list(store.contributions(TERMS.collection)) == [(b"\x08",)]


def test_an_earlier_contribution_does_not_take_the_place_of_a_later_one(store):
    store.put(TERMS.collection, "bob", [b"new"], AT)
    with pytest.raises(ReplayError):
        store.put(TERMS.collection, "bob", [b"old"], AT - 1)
    assert store.contribution(TERMS.collection, "bob") == (b"new",)


def test_the_same_collection_again_changes_nothing(store):
    store.put(TERMS.collection, "bob", [b"one"], AT)
    store.open(TERMS, b"key", NOW + 1)
    assert store.contribution(TERMS.collection, "bob") == (b"one",)
    for terms in (other(key=b"k" * 32), other(least=1), other(physician="x")):
        with pytest.raises(ContextMismatchError, match="taken"):
            store.open(terms, b"key", NOW)


def test_a_result_ends_a_collection(store):
    store.put(TERMS.collection, "al", [b"1"], AT)
    with pytest.raises(ContributorsError):
        store.check_enough(TERMS.collection, 2)
    with pytest.raises(ContributorsError):
        store.close_collection(TERMS.collection, 2)
    store.put(TERMS.collection, "bob", [b"2"], AT)
    store.check_enough(TERMS.collection, 2)
    assert store.close_collection(TERMS.collection, 2) == 2
    assert store.find(TERMS.collection).closed
    for sender in ("al", "carol"):
        with pytest.raises(ContextMismatchError, match="no more"):
            store.put(TERMS.collection, sender, [b"3"], AT)
    assert store.result(TERMS.collection) is None
    assert list(store.contributions(TERMS.collection)) == [(b"1",), (b"2",)]
    store.keep_result(TERMS.collection, 2, [b"sum"])
    # There is one result, and nothing else is left.
    store.keep_result(TERMS.collection, 1, [b"another"])
    assert store.result(TERMS.collection) == (2, (b"sum",))
    assert list(store.contributions(TERMS.collection)) == []


def test_what_is_not_here(store):
    nowhere = b"n" * 16
    for call in (
        lambda: store.find(nowhere),
        lambda: store.key(other(collection=nowhere)),
        lambda: store.put(nowhere, "bob", [b"x"], AT),
        lambda: store.contribution(nowhere, "bob"),
        lambda: store.contribution(TERMS.collection, "bob"),
    ):
        with pytest.raises(ContextMismatchError):
            call()
    assert store.result(nowhere) is None
    assert list(store.contributions(nowhere)) == []


def test_contributors_are_bounded(store):
    for sender in ("al", "bob", "carol"):
        store.put(TERMS.collection, sender, [b"x"], AT)
    with pytest.raises(TooLargeError):
        store.put(TERMS.collection, "dave", [b"x"], AT)
    store.put(TERMS.collection, "carol", [b"y"], AT)
    assert store.contribution(TERMS.collection, "carol") == (b"y",)


def test_one_sender_has_a_quota(store, monkeypatch):
    monkeypatch.setattr(module, "MOST_CONTRIBUTIONS", 2)
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    for number in (1, 2):
        store.open(other(collection=bytes([number]) * 16), b"key", NOW)
    store.put(TERMS.collection, "bob", [bytes(40)], AT)
    store.put(b"\1" * 16, "bob", [bytes(40)], AT)
    with pytest.raises(QuotaError, match="its sender"):
        store.put(b"\2" * 16, "bob", [b"x"], AT)
    with pytest.raises(QuotaError, match="its sender"):
        store.put(b"\1" * 16, "bob", [bytes(60)], AT)
    # What was refused took nothing's place, and others are not hit.
    assert store.contribution(b"\1" * 16, "bob") == (bytes(40),)
    store.put(b"\2" * 16, "al", [b"x"], AT)
    store.put(b"\1" * 16, "bob", [bytes(50)], AT)


def test_one_physician_has_a_quota(store, monkeypatch):
    monkeypatch.setattr(module, "MOST_COLLECTIONS", 2)
    store.open(other(collection=b"\1" * 16), b"key", NOW)
    with pytest.raises(QuotaError, match="at most 2"):
        store.open(other(collection=b"\2" * 16), b"key", NOW)
    store.open(other(collection=b"\2" * 16, physician="dr-who"), b"key", NOW)


def test_the_room_is_bounded(path):
    with Collections(path, room=100) as store:
        store.open(TERMS, bytes(40), NOW)
        with pytest.raises(QuotaError, match="no room"):
            store.open(other(collection=b"d" * 16), bytes(70), NOW)
        store.put(TERMS.collection, "al", [bytes(40)], AT)
        with pytest.raises(QuotaError, match="no room"):
            store.put(TERMS.collection, "bob", [bytes(20)], AT)
        store.put(TERMS.collection, "al", [bytes(50)], AT)
    for room in (0, -1, 1.5, True, None):
        with pytest.raises(ParameterError, match="room"):
            Collections(path, room=room)


def test_old_collections_are_removed_as_a_whole(store):
    store.open(other(collection=b"d" * 16), b"key", NOW + 10)
    store.put(TERMS.collection, "bob", [b"x"], AT)
    store.put(b"d" * 16, "bob", [b"x"], AT)
    store.forget(NOW + 5)
    with pytest.raises(ContextMismatchError):
        store.find(TERMS.collection)
    assert list(store.contributions(TERMS.collection)) == []
    assert store.contribution(b"d" * 16, "bob") == (b"x",)
    # A new one of that id has nothing of the old one.
    store.open(TERMS, b"key", NOW + 20)
    assert list(store.contributions(TERMS.collection)) == []


def test_everything_outlives_the_process(path):
    with Collections(path) as store:
        store.open(TERMS, b"key", NOW)
        store.put(TERMS.collection, "al", [b"1"], AT)
        store.put(TERMS.collection, "bob", [b"2"], AT)
        store.close_collection(TERMS.collection, 2)
    with Collections(path) as store:
        assert store.find(TERMS.collection).closed
        assert list(store.contributions(TERMS.collection)) == [(b"1",), (b"2",)]
        store.keep_result(TERMS.collection, 2, [b"sum"])
    with Collections(path) as store:
        assert store.result(TERMS.collection) == (2, (b"sum",))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_kill_leaves_all_or_nothing(path):
    code = (
        "import os, sys\n"
        "from tests.stores.test_collections import AT, NOW, TERMS\n"
        "from ompd.stores import Collections\n"
        "store = Collections(sys.argv[1])\n"
        "store.open(TERMS, b'key', NOW)\n"
        "store.put(TERMS.collection, 'al', [b'1'], AT)\n"
        "with store._database.writing() as connection:\n"
        "    connection.execute('DELETE FROM contributions')\n"
        "    connection.execute('UPDATE collections SET closed = 1')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    with Collections(path) as store:
        assert not store.find(TERMS.collection).closed
        assert store.contribution(TERMS.collection, "al") == (b"1",)


@pytest.mark.parametrize("column", ["key", "terms", "parts", "result"])
def test_damage_is_noticed(path, column):
    with Collections(path) as store:
        store.open(TERMS, b"key", NOW)
        store.put(TERMS.collection, "al", [b"1"], AT)
        if column == "result":
            store.keep_result(TERMS.collection, 1, [b"1"])
        table = "contributions" if column == "parts" else "collections"
        with store._database.writing() as connection:
            change = f"UPDATE {table} SET {column} = ?"  # noqa: S608
            connection.execute(change, (b"\x91\xc4\x012",))
        read = {
            "parts": lambda: store.contribution(TERMS.collection, "al"),
            "result": lambda: store.result(TERMS.collection),
            "terms": lambda: store.find(TERMS.collection),
            "key": lambda: store.key(TERMS),
        }[column]
        with pytest.raises(StoreError, match="damaged"):
            read()


def test_contributions_are_not_swapped(path):
    with Collections(path) as store:
        store.open(TERMS, b"key", NOW)
        store.put(TERMS.collection, "al", [b"1"], AT)
        store.put(TERMS.collection, "bob", [b"2"], AT)
        with store._database.writing() as connection:
            connection.execute("UPDATE contributions SET sender = 'x' WHERE sender = 'al'")
            connection.execute("UPDATE contributions SET sender = 'al' WHERE sender = 'bob'")
        with pytest.raises(StoreError, match="damaged"):
            store.contribution(TERMS.collection, "al")


def test_a_full_disk_changes_nothing(path):
    with Collections(path) as store:
        store.open(TERMS, b"key", NOW)
        store.put(TERMS.collection, "al", [b"1"], AT)
        (pages,) = store._database._connection.execute("PRAGMA page_count").fetchone()
        store._database._connection.execute(f"PRAGMA max_page_count = {pages}")
        for _ in range(2):
            with pytest.raises(StoreError, match="full"):
                store.put(TERMS.collection, "al", [bytes(100_000)], AT)
            with pytest.raises(StoreError, match="full"):
                store.open(other(collection=b"d" * 16), bytes(100_000), NOW)
            with pytest.raises(StoreError, match="full"):
                store.keep_result(TERMS.collection, 1, [bytes(100_000)])
            assert store.contribution(TERMS.collection, "al") == (b"1",)
        store._database._connection.execute("PRAGMA max_page_count = 100000")
        store.put(TERMS.collection, "al", [bytes(100_000)], AT)


def test_another_file_is_refused(path):
    BudgetLedger(path, limit=1).close()
    with pytest.raises(StoreError, match="another kind"):
        Collections(path)


def test_threads_do_not_pass_the_bound(path):
    with Collections(path, power_safe=False) as store:
        store.open(TERMS, b"key", NOW)
        accepted = []

        def put(name):
            try:
                store.put(TERMS.collection, name, [os.urandom(10)], AT)
                accepted.append(name)
            except TooLargeError:
                pass

        threads = [threading.Thread(target=put, args=(f"p{n}",)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(accepted) == len(list(store.contributions(TERMS.collection))) == 3

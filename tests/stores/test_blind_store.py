"""Models, keys and counts are there again, each for its own user, and damage is found."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from ompd.errors import AllowanceError, StoreError
from ompd.stores import BlindStore

FLU, COLD = bytes(range(16)), bytes(range(16, 32))


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    with BlindStore(None if request.param == "memory" else tmp_path / "blind") as store:
        yield store


def test_counts_are_of_a_user_and_a_model(store):
    store.take("alice", FLU, 3, 5)
    store.take("bob", FLU, 5, 5)
    store.take("alice", COLD, 5, 5)
    with pytest.raises(AllowanceError, match="5 rows"):
        store.take("alice", FLU, 3, 5)
    assert store.had("alice", FLU) == 3
    store.take("alice", FLU, 2, 5)
    store.untake("alice", FLU, 2)
    assert (store.had("alice", FLU), store.had("bob", FLU), store.had("carol", FLU)) == (3, 5, 0)


def test_a_new_model_counts_anew_and_others_go_on(store):
    store.keep_model("flu", b"one", FLU, b"")
    store.take("alice", FLU, 5, 5)
    store.take("alice", COLD, 5, 5)
    store.keep_model("flu", b"two", bytes(16), FLU)
    assert store.models() == {"flu": b"two"}
    assert (store.had("alice", FLU), store.had("alice", COLD)) == (0, 5)
    store.drop_model("flu", bytes(16))
    assert store.models() == {}


def test_a_user_has_one_key(store):
    assert store.key("alice") is None
    assert store.key_id("alice") is None
    first = store.keep_key("alice", b"signer", b"first")
    second = store.keep_key("alice", b"other", b"second")
    assert first != second
    assert store.key("alice") == (b"other", second, b"second")
    assert store.key_id("alice") == (b"other", second)
    assert store.key("bob") is None


def test_nobody_gets_more_by_asking_at_once(tmp_path):
    with BlindStore(tmp_path / "blind") as one, BlindStore(tmp_path / "blind") as two:
        taken = []

        def take(store):
            for _ in range(20):
                try:
                    store.take("alice", FLU, 1, 25)
                except AllowanceError:
                    continue
                taken.append(1)

        threads = [threading.Thread(target=take, args=(store,)) for store in (one, two, one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == one.had("alice", FLU) == 25


def test_all_is_there_again(tmp_path):
    with BlindStore(tmp_path / "blind") as store:
        store.keep_model("flu", b"model", FLU, b"")
        store.keep_key("alice", b"signer", b"key")
        store.take("alice", FLU, 4, 5)
    with BlindStore(tmp_path / "blind") as store:
        assert store.models() == {"flu": b"model"}
        assert store.key("alice").key == b"key"
        with pytest.raises(AllowanceError):
            store.take("alice", FLU, 2, 5)
    with pytest.raises(StoreError, match="closed"):
        store.had("alice", FLU)


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("UPDATE models SET content = ?", lambda store: store.models()),
        ("UPDATE keys SET key = ?", lambda store: store.key("alice")),
    ],
)
def test_damage_is_found(tmp_path, statement, read):
    with BlindStore(tmp_path / "blind") as store:
        store.keep_model("flu", b"model", FLU, b"")
        store.keep_key("alice", b"signer", b"key")
    with sqlite3.connect(tmp_path / "blind") as connection:
        connection.execute(statement, (b"other",))
    connection.close()
    with BlindStore(tmp_path / "blind") as store, pytest.raises(StoreError, match="damaged"):
        read(store)

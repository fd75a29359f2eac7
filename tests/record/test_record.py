"""The record beside a plain dictionary, and what its files show, lose and refuse."""

from __future__ import annotations

import contextlib
import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ompd.crypto import COMPACT, POST_QUANTUM, Identity, encrypt
from ompd.errors import (
    DecryptionError,
    DowngradeError,
    OmpdError,
    PasswordError,
    RecordError,
    SignatureError,
    StoreError,
    StoreFullError,
    UnknownResourceError,
)
from ompd.record import Record, slots
from ompd.record.entries import head_of
from ompd.record.record import FILE
from ompd.record.shelf import Row, Shelf
from tests.places import ROOT
from tests.record.people import START, condition, observation

NAMES = [f"n{each}" for each in range(6)]
WORDS = ["fever", "cough", "fièvre", "rest", "8867-4"]


class Plain:
    """What a record does, with everything in a dictionary and every query a walk over it."""

    def __init__(self):
        self.known = {}
        self.versions = {}
        self.ages = {}
        self.clock = 0

    def put(self, resources, removed=()):
        changed = [each for each in resources if self.known.get(f"{each.kind}/{each.id}") != each]
        self.clock += bool(changed or removed)
        for each in changed:
            reference = f"{each.kind}/{each.id}"
            self.versions[reference] = self.versions.get(reference, 0) + 1
            self.known[reference] = each
            self.ages[reference] = self.clock
        for reference in removed:
            del self.known[reference], self.versions[reference], self.ages[reference]

    def ordered(self, wanted):
        oldest = datetime.min.replace(tzinfo=UTC)
        found = [reference for reference, each in self.known.items() if wanted(each)]
        return sorted(
            ((self.known[each].when or oldest, self.ages[each], each) for each in found),
            reverse=True,
        )


def has_code(code, resource):
    return any(code in (pair, pair[1]) for pair in resource.codes)


def has_words(words, resource):
    return words <= set(resource.words)


def same(record, plain, wanted, found):
    expected = plain.ordered(wanted)
    oldest = datetime.min.replace(tzinfo=UTC)
    got = [(entry.when or oldest, entry.changed, entry.reference) for entry in found]
    assert got == expected


resources = st.builds(
    lambda name, code, day, words, value: observation(
        name, code=code, day=day, note=" ".join(words), value=value
    ),
    st.sampled_from(NAMES),
    st.sampled_from(["8867-4", "8480-6", "4548-4"]),
    st.integers(0, 3),
    st.lists(st.sampled_from(WORDS), max_size=3),
    st.integers(0, 2),
) | st.builds(condition, st.sampled_from(NAMES), st.sampled_from("ab"))
steps = st.lists(
    st.tuples(st.just("put"), st.lists(resources, max_size=4))
    | st.tuples(st.just("remove"), st.integers(0, 99))
    | st.tuples(st.just("reopen"), st.none()),
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_is_a_dictionary(tmp_path_factory, ann, done):
    folder = tmp_path_factory.mktemp("record") / "r"
    plain, record = Plain(), Record.create(folder, ann)
    with contextlib.closing(record):
        for what, argument in done:
            if what == "put":
                last = {f"{each.kind}/{each.id}": each for each in argument}
                count = record.put_all(argument)
                new = sum(each not in plain.known for each in last)
                kept = sum(plain.known.get(name) == each for name, each in last.items())
                assert count == (new, len(last) - new - kept, kept)
                plain.put(last.values())
            elif what == "remove" and plain.known:
                reference = sorted(plain.known)[argument % len(plain.known)]
                record.remove(reference)
                plain.put([], [reference])
            elif what == "reopen":
                record.close()
                record = Record.open(folder, ann)
        assert len(record) == len(plain.known)
        assert {name: record.get(name) for name in plain.known} == plain.known
        assert all(record.entry(name).version == n for name, n in plain.versions.items())
        same(record, plain, lambda _: True, record.list())
        since, until = START + timedelta(days=1), START + timedelta(days=3)
        same(
            record,
            plain,
            lambda each: each.kind == "Observation" and since <= each.when < until,
            record.list("Observation", since=since, until=until),
        )
        for code in ("8867-4", ("http://loinc.org", "4548-4"), ("other", "4548-4")):
            wanted = partial(has_code, code)
            same(record, plain, wanted, record.list(code=code))
        for word in WORDS[:4]:
            same(record, plain, partial(has_words, {word}), record.search(word.upper()))
        same(
            record,
            plain,
            partial(has_words, {"fever", "rest"}),
            record.search("rest fever"),
        )
    record.close()


def test_search(record):
    record.add_all(
        [
            observation("a", note="Blood-pressure after REST", text="pressure"),
            observation("b", code="4548-4", note="Straße"),
            condition("c", "I20.0", text="Angina pectoris"),
        ]
    )

    def found(query, **page):
        return {entry.id for entry in record.search(query, **page)}

    assert found("blood-pressure") == found("pressure  rest") == {"a"}
    assert found("4548-4") == {"b"} == found("STRASSE")
    assert found("i20.0") == found("angina i20.0") == {"c"}
    assert found("ang") == found("angina rest") == found("") == found("  ") == set()
    record.add(observation("d"))
    assert found("heart", limit=1) | found("heart", limit=2, offset=1) == {"b", "d"}


def test_pages_and_counts(record):
    record.add_all([observation(f"o{day}", day=day) for day in range(5)])
    record.add(condition("c", "a"))
    assert [entry.id for entry in record.list("Observation", limit=2, offset=1)] == ["o3", "o2"]
    assert record.count("Observation", since=START + timedelta(days=3)) == 2
    assert record.kinds() == {"Condition": 1, "Observation": 5}
    with pytest.raises(RecordError):
        record.list(since=datetime(2024, 1, 1))


def test_what_is_refused_changes_nothing(record):
    first = observation("a")
    record.add(first)
    with pytest.raises(RecordError, match="already"):
        record.add(first)
    for wrong in (
        [observation("b"), observation("a", value=1)],
        [observation("b"), observation("b", value=1)],
        [observation("b"), object()],
    ):
        with pytest.raises(RecordError):
            record.add_all(wrong)
    with pytest.raises(UnknownResourceError):
        record.put_all([observation("b")], remove=["Observation/c"])
    with pytest.raises(RecordError, match="removed"):
        record.put_all([observation("a", value=1)], remove=["Observation/a"])
    with pytest.raises(UnknownResourceError):
        record.replace(observation("b"))
    with pytest.raises(UnknownResourceError):
        record.get("Observation/b")
    assert len(record) == 1
    assert record.changes == 1
    assert record.get("Observation/a") == first


def test_large_ones_and_naive_times_are_refused(record):
    with pytest.raises(RecordError, match="bytes"):
        record.add(observation("a", note="x" * (8 << 20)))
    kept = observation("a", note="word " * 300_000)
    record.add(kept)
    assert record.get("Observation/a") == kept

    class Naive:
        json, kind, id, codes, words = b"{}", "Observation", "b", (), ()
        when = datetime(2024, 1, 1)

    with pytest.raises(RecordError, match="zone"):
        record.add(Naive())


def test_passwords_and_identities(folder, ann):
    bob = Identity.generate("bob", suite=POST_QUANTUM)
    weak = Identity.generate("carol", suite=COMPACT)
    with pytest.raises(DowngradeError):
        Record.create(folder, weak)
    with pytest.raises(PasswordError):
        Record.create(folder, "")
    with Record.create(folder, "first") as record:
        record.add(observation("a"))
        with pytest.raises(RecordError, match="nothing else"):
            record.exclude("first")
        record.protect("second")
        record.protect(ann)
        record.protect(weak, least=COMPACT)
    with pytest.raises(StoreError, match="already"):
        Record.create(folder, ann)
    with pytest.raises(PasswordError):
        Record.open(folder, "first")
    with pytest.raises(DecryptionError):
        Record.open(folder, bob)
    for key in ("second", ann, weak):
        with Record.open(folder, key) as record:
            assert len(record) == 1
    with Record.open(folder, ann) as record:
        record.exclude("second")
    with pytest.raises(PasswordError):
        Record.open(folder, "second")
    with pytest.raises(StoreError, match="no record"):
        Record.open(folder / "none", ann)
    assert not (folder / "none").exists()


def test_nobody_wraps_another_record_for_an_identity(tmp_path, ann):
    """HPKE alone would let whoever knows a public key make her a record."""
    eve = Identity.generate("eve", suite=POST_QUANTUM)

    def forge(record, signer):
        name = slots.name_of(ann)
        bound = slots._LABEL + record.id + name.encode()
        wrapped = encrypt(ann.public.envelope_key, record._shelf.key, bound)
        slot = slots._IdentitySlot(wrapped, signer.signing_key.sign(bound + wrapped))
        record._shelf.put_slots({name: msgspec.msgpack.encode(slot)})

    with Record.create(tmp_path / "r", eve) as forged:
        forge(forged, eve)
    with pytest.raises(SignatureError):
        Record.open(tmp_path / "r", ann)
    with Record.open(tmp_path / "r", eve) as forged:
        forge(forged, ann)
    Record.open(tmp_path / "r", ann).close()


def test_another_process_is_refused(record, folder, ann):
    with pytest.raises(StoreError, match="another process"):
        Record.open(folder, ann)
    code = (
        "import sys; from ompd.record import Record\n"
        "try: Record.open(sys.argv[1], 'x')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "StoreError record: another process has it open\n"
    record.close()
    record.close()
    for use in (record.list, lambda: record.add(observation("a")), lambda: record.keep("x", b"y")):
        with pytest.raises(StoreError, match="closed"):
            use()
    Record.open(folder, ann).close()


def test_it_shows_nothing(record):
    record.add(observation("a", note="fever"))
    (entry,) = record.list()
    assert repr(record) == "<Record>"
    assert "8867" not in repr(entry)
    head = head_of(observation("planted"), 1)
    assert [repr(head), repr(Row(head, b"planted"))] == ["<Head>", "<Row>"]
    with pytest.raises(TypeError):
        pickle.dumps(record)


# --- what is on the disk -------------------------------------------------------------------------


def all_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_hold_nothing_in_clear(folder, ann):
    rng = random.Random(1)  # noqa: S311
    planted = ["".join(rng.choices("abcdefghijklmnop", k=9)) for _ in range(200)]

    def found():
        return {word for content in all_bytes(folder).values() for word in planted
                if word.encode() in content}  # fmt: skip

    with Record.create(folder, ann) as record:
        for at in range(0, 180, 6):
            note, text, code, unit, name, other = planted[at : at + 6]
            record.add(observation(name, code=code, note=note, text=text, unit=unit, device=other))
        record.keep(planted[180], planted[181].encode())
        record.search(planted[182])
        record.list(code=planted[183])
        for at in range(184, 200):
            record.replace(observation(planted[4], note=planted[at]))
            assert not found()
        assert record.search(planted[199])
        record.remove(f"Observation/{planted[4]}")
        assert not found()
    assert not found()
    # The control: it is found where it is in clear.
    (folder / "control").write_text(planted[7])
    assert found() == {planted[7]}


def test_searches_leave_no_trace(record, folder):
    record.add_all([observation(f"o{n}", note="fever" if n % 2 else "cough") for n in range(20)])
    before = all_bytes(folder)
    assert len(record.search("fever")) == 10
    assert record.list(code="8867-4")
    assert all_bytes(folder) == before


def test_lengths_do_not_tell_answers(tmp_path, ann):
    sizes = []
    for name, answer in (("one", "no"), ("two", "only when I climb stairs in the cold")):
        with Record.create(tmp_path / name, ann) as record:
            record.add_all([observation(f"o{n}", note=answer) for n in range(3)])
        with contextlib.closing(sqlite3.connect(tmp_path / name / FILE)) as connection:
            query = "SELECT place, length(head), length(body) FROM rows"
            sizes.append(connection.execute(query).fetchall())
    assert sizes[0] == sizes[1]
    # The control: much longer ones do, in steps.
    with Record.open(tmp_path / "one", ann) as record:
        record.add(observation("o", note="x" * 600))
        assert len(record.row(3)[1]) == sizes[0][0][2] + 512


def test_removed_ones_leave_the_file(record, folder):
    record.add_all([observation(f"o{n}") for n in range(3)])
    head, body = record._shelf.sealed(1)
    assert any(body in content for content in all_bytes(folder).values())
    record.remove("Observation/o1")
    assert not any(
        part in content for content in all_bytes(folder).values() for part in (head, body)
    )


def rows(folder):
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        return connection.execute("SELECT * FROM rows").fetchall()


def meddle(folder, *statements):
    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        for statement, *values in statements:
            connection.execute(statement, values)
        connection.commit()


@pytest.fixture
def meddled(folder, ann):
    """A closed record of three, and the second one's row before it was replaced."""
    with Record.create(folder, ann) as record:
        record.add_all([observation(f"o{n}", value=n) for n in range(3)])
        old = record._shelf.sealed(1)
        state = record._shelf._database._connection.execute("SELECT state FROM record").fetchone()
        record.replace(observation("o1", value=9))
    return old, state[0]


PUT_HEAD = "UPDATE rows SET head = ? WHERE place = ?"
PUT_BODY = "UPDATE rows SET body = ? WHERE place = ?"


@pytest.mark.parametrize(
    "change",
    [
        "cut", "swap", "double", "flip head", "flip state", "old row", "old state", "old head",
        "foreign slot",
    ],
)  # fmt: skip
def test_changed_files_do_not_open(folder, ann, meddled, change):
    (old_head, old_body), old_state = meddled
    kept = rows(folder)
    one, two = kept[0], kept[2]

    def flip(content, at=40):
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
        (state,) = connection.execute("SELECT state FROM record").fetchone()
    changes = {
        "cut": [("DELETE FROM rows WHERE place = 1",)],
        "swap": [(PUT_HEAD, one[1], 2), (PUT_HEAD, two[1], 0),
                 (PUT_BODY, one[2], 2), (PUT_BODY, two[2], 0)],
        "double": [("INSERT INTO rows VALUES (7, ?, ?)", one[1], one[2])],
        "flip head": [(PUT_HEAD, flip(one[1]), 0)],
        "flip state": [("UPDATE record SET state = ?", flip(state))],
        "old row": [(PUT_HEAD, old_head, 1), (PUT_BODY, old_body, 1)],
        "old state": [("UPDATE record SET state = ?", old_state)],
        "old head": [(PUT_HEAD, old_head, 1)],
        "foreign slot": [("UPDATE slots SET content = ?", b"x")],
    }  # fmt: skip
    meddle(folder, *changes[change])
    with pytest.raises(StoreError):
        Record.open(folder, ann)


def test_an_old_copy_of_all_opens_and_tells(folder, ann, meddled):
    """What a file alone cannot notice; `changes` says it, and the backup."""
    (old_head, old_body), old_state = meddled
    with Record.open(folder, ann) as record:
        last = record.changes
    meddle(
        folder,
        (PUT_HEAD, old_head, 1),
        (PUT_BODY, old_body, 1),
        ("UPDATE record SET state = ?", old_state),
    )
    with Record.open(folder, ann) as record:
        assert record.get("Observation/o1") == observation("o1", value=1)
        assert record.changes == last - 1


@pytest.mark.parametrize("change", ["flip", "swap", "old", "cut"])
def test_changed_bodies_do_not_open(folder, ann, meddled, change):
    (_, old_body), _ = meddled
    kept = rows(folder)
    body = {
        "flip": kept[1][2][:-1] + bytes([kept[1][2][-1] ^ 1]),
        "swap": kept[0][2],
        "old": old_body,
        "cut": b"",
    }[change]
    meddle(folder, (PUT_BODY, body, 1))
    with Record.open(folder, ann) as record:
        with pytest.raises(StoreError):
            record.get("Observation/o1")
        assert record.get("Observation/o0") == observation("o0", value=0)


def test_noise_is_no_record(folder, ann, record):
    record.add(observation("a"))
    record.close()
    whole = (folder / FILE).read_bytes()
    rng = random.Random(2)  # noqa: S311
    for _ in range(40):
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        (folder / FILE).write_bytes(content[: rng.choice((len(content), rng.randrange(5000)))])
        try:
            with Record.open(folder, ann) as opened:
                assert opened.get("Observation/a") == observation("a")
        except OmpdError:
            pass


def test_rows_know_their_places(record):
    """Beside the sum of all rows, which notices it as well."""
    record.add_all([observation("a"), observation("b")])
    head, body = record._shelf.sealed(0)
    assert record._shelf._open_head(0, head).id == "a"
    with pytest.raises(StoreError):
        record._shelf._open_head(1, head)
    with pytest.raises(StoreError):
        record._shelf._open_body(1, record._shelf._open_head(0, head), body)


# --- refusing disks, threads, kills ---------------------------------------------------------------


def test_a_full_disk_changes_nothing(record, folder, ann):
    record.add_all([observation("a"), observation("b")])
    before = [entry.reference for entry in record.list()]
    connection = record._shelf._database._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = observation("c", note="word " * 20_000)
    for _ in range(2):
        for attempt in (
            lambda: record.add(large),
            lambda: record.put_all([large], remove=["Observation/a"]),
            lambda: record.keep("name", bytes(100_000)),
        ):
            with pytest.raises(StoreFullError, match="full"):
                attempt()
            assert [entry.reference for entry in record.list()] == before
            assert record.get("Observation/a") == observation("a")
            assert not record.search("word")
    connection.execute("PRAGMA max_page_count = 100000")
    record.add(large)
    record.close()
    with Record.open(folder, ann) as again:
        assert again.search("word")


def test_what_was_written_counts_whatever_happens_then(record, monkeypatch):
    """An interrupt behind the commit: the file has the change, and the record soon as well."""
    record.add(observation("a"))

    def interrupted(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "_wipe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            record.put_all([observation("b")], remove=["Observation/a"])
    assert [entry.id for entry in record.list()] == ["b"]
    record.add(observation("a"))
    assert len(record) == 2


def test_a_disk_without_any_room_is_told_from_a_failing_one(record, monkeypatch):
    """SQLite has one error for both: what it says on a mounted disk of 400 KB is repeated here."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE

    def refused():
        with pytest.raises(StoreError) as found, record._shelf._database.reading():
            raise error
        return type(found.value)

    assert refused() is StoreError
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    assert refused() is StoreFullError


def test_threads_share_it(record):
    record.add_all([observation(f"o{n}") for n in range(20)])
    wrong = []

    def work(number):
        try:
            for each in range(10):
                record.add(observation(f"t{number}-{each}"))
                assert record.get(f"Observation/o{each}").id == f"o{each}"
                assert record.search("heart")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(record) == 60


WRITER = """
import sys
from ompd.record import Record
from tests.record.people import observation
record = Record.open(sys.argv[1], "password")
last = "Observation/last"
start = record.get(last).document()["valueQuantity"]["value"] + 1 if last in record else 0
print("ready", flush=True)
for number in range(start, start + 100_000):
    record.put_all(
        [observation(f"o{number}"), observation("last", value=number)],
        remove=[f"Observation/o{number - 3}"] if f"Observation/o{number - 3}" in record else [],
    )
    print(number, flush=True)
"""


@pytest.mark.long
def test_a_kill_between_any_two_writes_loses_nothing(folder, ann, rng):
    with Record.create(folder, "password") as record:
        record.protect(ann)
    for _ in range(20):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout.readline() == "ready\n"
            lines = [process.stdout.readline() for _ in range(int(rng.integers(1, 30)))]
            process.kill()
            lines += process.stdout.read().split("\n")
        told = max(int(line) for line in lines if line.strip())
        with Record.open(folder, ann) as record:
            last = record.get("Observation/last").document()["valueQuantity"]["value"]
            # All that was told of is there, and at most one more; of each write all or nothing.
            assert told <= last <= told + 1
            assert f"Observation/o{last}" in record
            assert f"Observation/o{last + 1}" not in record

"""Backups and shares at a cloud: equal, sealed, never half of them, and not silently older."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from datetime import UTC, datetime

import msgspec
import pytest

from ompd.crypto import POST_QUANTUM, Identity
from ompd.errors import (
    ContextMismatchError,
    DecryptionError,
    EpochError,
    FramingError,
    OmpdError,
    PasswordError,
    RecordError,
    ResourceError,
    StoreError,
    TooLargeError,
    UnknownResourceError,
    VersionError,
)
from ompd.record import Record
from ompd.record import sharing as sharing_module
from ompd.record.backups import KIND, backup, restore
from ompd.record.direct import Direct
from ompd.record.parcels import MANIFEST, Manifest, Parcel, decode_manifest
from ompd.record.sharing import Share, Shared, refresh, revoke, share, shares
from ompd.share import EPOCH_SECONDS
from tests.monitor.world import World
from tests.record.people import condition, observation

pytest.importorskip("fhir.resources")


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def alice(world):
    return Direct(world.alice, world.cloud)


@pytest.fixture
def bell(world):
    return Direct(world.bell, world.cloud)


def contents(record):
    return {
        entry.reference: (entry.version, record.get(entry.reference)) for entry in record.list()
    }


def copy_of(tmp_path, key, person, **options):
    """What a new device gets, and the record's own notes but those about backups."""
    folder = tmp_path / "new device"
    with restore(folder, key, person, **options) as record:
        found = contents(record), record.kept("draft"), record.id
    shutil.rmtree(folder)
    return found


def names_at(person, kind=KIND, epoch=0):
    return set(person.names(person.subscriber.records.scope(kind, epoch)))


def manifest_at(person):
    return decode_manifest(person.open_record(person.subscriber.records.scope(KIND, 0), MANIFEST))


def test_a_new_device_gets_an_equal_record(tmp_path, ann, record, alice):
    with pytest.raises(UnknownResourceError):
        restore(tmp_path / "early", ann, alice)
    rng = random.Random(5)  # noqa: S311
    large = "".join(rng.choices("abcdefgh ", k=1_200_000))
    largest = 0
    record.keep("draft", b"half an answer")
    for step in range(6):
        gone = [entry.reference for entry in record.list()[: 7 * step : 3]]
        made = (
            observation(f"o{rng.randrange(150)}", value=step, note="x" * 900) for _ in range(99)
        )
        record.put_all([each for each in made if f"Observation/{each.id}" not in gone], remove=gone)
        if step == 3:
            record.put_all([condition("large", "a", note=[{"text": large}])])
        number = backup(record, alice)
        assert copy_of(tmp_path, ann, alice, least=number) == (
            contents(record), b"half an answer", record.id,
        )  # fmt: skip
        manifest = manifest_at(alice)
        assert number == manifest.changes
        assert names_at(alice) == {MANIFEST} | {n for each in manifest.parcels for n in each.names}
        largest = max(largest, *(len(each.names) for each in manifest.parcels))
        # Few and full: one at most is small.
        assert sum(each.size < 64 << 10 for each in manifest.parcels) <= 1
    token = manifest_at(alice).token
    assert backup(record, alice) == number
    assert manifest_at(alice).token == token, "nothing had changed"
    assert largest >= 3


def test_only_what_changed_travels(record, world):
    sent = []

    class Counting(Direct):
        def store(self, kind, content, **options):
            sent.append(len(content))
            return super().store(kind, content, **options)

    alice = Counting(world.alice, world.cloud)
    record.add_all([observation(f"o{n}", note="x" * 700) for n in range(700)])
    backup(record, alice)
    whole = sum(sent)
    del sent[:]
    record.add(observation("new"))
    backup(record, alice)
    assert sum(sent) < whole / 5


def test_the_clouds_file_holds_nothing_in_clear(tmp_path, world, record, alice):
    rng = random.Random(3)  # noqa: S311
    planted = ["".join(rng.choices("abcdefghijklmnop", k=9)) for _ in range(200)]
    for at in range(0, 200, 4):
        name, note, text, code = planted[at : at + 4]
        record.add(observation(name, note=note, text=text, code=code))
    backup(record, alice)
    share(record, alice, ["Observation"], "bell", world.bell.records.public)

    def found():
        content = b"".join(path.read_bytes() for path in tmp_path.glob("keeper.sqlite*"))
        words = {word for word in planted if word.encode() in content}
        assert b"Observation" not in content
        return words | ({record.id} if record.id in content else set())

    assert not found()
    with sqlite3.connect(tmp_path / "keeper.sqlite") as connection:
        kinds = {row[0] for row in connection.execute("SELECT kind FROM records")}
        # The control.
        connection.execute("CREATE TABLE control (word)")
        connection.execute("INSERT INTO control VALUES (?)", (planted[7],))
    connection.close()
    assert len(kinds) == 2
    assert KIND in kinds
    assert found() == {planted[7]}


def test_what_was_removed_leaves_the_cloud(tmp_path, record, alice):
    record.add_all([observation(f"o{n}") for n in range(5)])
    backup(record, alice)
    rows = [record.row(place) for place in range(5)]
    record.remove("Observation/o2")
    backup(record, alice)
    scope = alice.subscriber.records.scope(KIND, 0)
    kept = b"".join(alice.open_record(scope, name) for name in names_at(alice) - {MANIFEST})
    assert [any(part in kept for part in row) for row in rows] == [True, True, False, True, True]


def test_an_older_backup_is_noticed(tmp_path, world, ann, record, alice):
    record.add(observation("a"))
    first = backup(record, alice)
    kept = {}
    with sqlite3.connect(tmp_path / "keeper.sqlite") as connection:
        kept = connection.execute("SELECT * FROM records").fetchall()
    record.add(observation("b"))
    second = backup(record, alice)
    with connection:
        connection.execute("DELETE FROM records")
        marks = ",".join("?" * len(kept[0]))
        connection.executemany(f"INSERT INTO records VALUES ({marks})", kept)  # noqa: S608
    record.add(observation("c"))
    with pytest.raises(VersionError, match="older"):
        backup(record, alice)
    with pytest.raises(VersionError, match="older"):
        restore(tmp_path / "new", ann, alice, least=second)
    # What nobody can notice who knows nothing but the cloud.
    found, _, _ = copy_of(tmp_path, ann, alice, least=first)
    assert set(found) == {"Observation/a"}
    with connection:
        connection.execute("DELETE FROM records")
    connection.close()
    with pytest.raises(VersionError, match="lost"):
        backup(record, alice)
    backup(record, alice, replace=True)
    assert len(copy_of(tmp_path, ann, alice)[0]) == 3


def test_parcels_of_another_time_do_not_pass(tmp_path, ann, record, alice):
    record.add(observation("a"))
    backup(record, alice)
    scope = alice.subscriber.records.scope(KIND, 0)
    (name,) = names_at(alice) - {MANIFEST}
    old = alice.open_record(scope, name)
    record.replace(observation("a", value=1))
    backup(record, alice)
    (name,) = names_at(alice) - {MANIFEST}
    alice.store(KIND, old, record=name, epoch=0)
    with pytest.raises(ContextMismatchError, match="not the one"):
        restore(tmp_path / "new", ann, alice)


def test_two_devices_and_two_records(tmp_path, ann, record, alice):
    record.add(observation("a"))
    backup(record, alice)
    with restore(tmp_path / "second", ann, alice) as second:
        second.add(observation("b"))
        backup(second, alice)
        with pytest.raises(VersionError, match="another device"):
            backup(record, alice)
        assert len(copy_of(tmp_path, ann, alice)[0]) == 2
        backup(record, alice, replace=True)
        assert len(copy_of(tmp_path, ann, alice)[0]) == 1
    with (
        Record.create(tmp_path / "other", ann) as other,
        pytest.raises(RecordError, match="another record"),
    ):
        backup(other, alice)
    with pytest.raises(StoreError, match="already"):
        restore(tmp_path / "second", ann, alice)


def test_a_record_put_back_from_an_older_copy_is_noticed(tmp_path, ann, record, alice, folder):
    record.add(observation("a"))
    backup(record, alice)
    record.close()
    shutil.copytree(folder, tmp_path / "copy")
    with Record.open(folder, ann) as again:
        again.add(observation("b"))
        backup(again, alice)
    with Record.open(tmp_path / "copy", ann) as old, pytest.raises(VersionError):
        backup(old, alice)


def test_keys_travel_with_it(tmp_path, world, record, ann, alice):
    record.protect("first")
    record.add(observation("a"))
    backup(record, alice)
    record.protect("second")
    backup(record, alice)
    with pytest.raises(PasswordError):
        restore(tmp_path / "new", "first", alice)
    with pytest.raises(DecryptionError):
        restore(tmp_path / "new", Identity.generate("x", suite=POST_QUANTUM), alice)
    assert not (tmp_path / "new").exists()
    assert copy_of(tmp_path, "second", alice)[0] == contents(record)


class StoppedError(Exception):
    pass


class Stopping(Direct):
    """Ends like a process, before or after the cloud did what was asked."""

    left = 10**9

    def _step(self, call, *arguments, **options):
        self.left -= 1
        if self.left == -1:
            raise StoppedError
        result = call(*arguments, **options)
        self.left -= 1
        if self.left == -1:
            raise StoppedError
        return result

    def store(self, *arguments, **options):
        return self._step(super().store, *arguments, **options)

    def remove(self, *arguments):
        return self._step(super().remove, *arguments)


def test_whenever_a_backup_ends_there_is_one(tmp_path, world, ann, record):
    alice = Stopping(world.alice, world.cloud)
    stops, last = 0, {}
    for left in range(100):
        before = contents(record) if left else None
        record.put_all([observation(f"o{n}", value=left) for n in range(2)])
        if before:
            record.remove(f"Observation/o{left % 2}")
        alice.left = left
        try:
            backup(record, alice)
        except StoppedError:
            stops += 1
        else:
            break
        finally:
            alice.left = 10**9
        if MANIFEST in names_at(alice):
            assert copy_of(tmp_path, ann, alice)[0] in (last, contents(record))
        # The next one goes through, and sweeps up.
        backup(record, alice)
        last = contents(record)
        assert copy_of(tmp_path, ann, alice)[0] == last
        assert len(names_at(alice)) == 2
    assert stops >= 6


# --- sharing --------------------------------------------------------------------------------------


@pytest.fixture
def filled(record):
    record.add_all(
        [observation(f"o{n}", day=n, status="final", subject={"display": "Alice"})
         for n in range(3)]
    )  # fmt: skip
    record.add(condition("c", "73211009", text="diabetes"))
    return record


def test_a_physician_reads_what_is_granted_and_no_more(world, filled, alice, bell):
    before = contents(filled)
    notices = share(filled, alice, ["Observation"], "bell", world.bell.records.public)
    view = Shared.open(bell, notices)
    assert view.owner == "alice"
    assert view.until == datetime.fromtimestamp(
        (world.clock() // EPOCH_SECONDS + 1) * EPOCH_SECONDS, UTC
    )
    assert contents(view) == {name: each for name, each in before.items() if "Obs" in name}
    assert [entry.id for entry in view.list(limit=2)] == ["o2", "o1"]
    assert view.count("Observation") == len(view.search("heart")) == 3
    assert "Condition/c" not in view
    assert repr(view) == "<Shared>"
    assert contents(filled) == before
    # Somebody else gets nothing with the same notices.
    with pytest.raises(ContextMismatchError):
        Shared.open(Direct(world.eve, world.cloud), notices)
    more = share(filled, alice, ["Condition", "Observation"], "bell", world.bell.records.public)
    assert contents(Shared.open(bell, more)) == before


def test_shares_follow_the_record(world, filled, alice, bell):
    notices = share(filled, alice, ["Observation"], "bell", world.bell.records.public)
    filled.put_all([observation("o1", day=9), observation("new")], remove=["Observation/o0"])
    assert "Observation/new" not in Shared.open(bell, notices)
    assert refresh(filled, alice) == ["Observation"]
    view = Shared.open(bell, notices)
    assert {entry.reference: entry.version for entry in view.list()} == {
        "Observation/o1": 2, "Observation/o2": 1, "Observation/new": 1,
    }  # fmt: skip


def test_shares_of_a_device_that_was_restored_are_its_own(
    tmp_path, world, ann, filled, alice, bell
):
    """Places and numbers of changes are used twice when a device goes on from a backup."""
    notices = share(filled, alice, ["Observation"], "bell", world.bell.records.public)
    backup(filled, alice)
    for n in range(6):
        filled.replace(observation("o1", value=100 + n))
    refresh(filled, alice)
    with restore(tmp_path / "new device", ann, alice) as second:
        second.replace(observation("o1", value=7))
        refresh(second, alice)
        assert contents(Shared.open(bell, notices)) == {
            name: each for name, each in contents(second).items() if "Observation" in name
        }
        # Only once: from now on what changed travels alone.
        token = second.kept("shared/Observation")
        refresh(second, alice)
        assert second.kept("shared/Observation") == token


def test_a_cloud_that_keeps_a_grant_goes_on_with_it(tmp_path, world, filled, alice, bell):
    """As SECURITY.md says: all of the type until the epoch ends, but nothing of another."""
    notices = share(filled, alice, ["Observation"], "bell", world.bell.records.public)
    share(filled, alice, ["Observation"], "eve", world.eve.records.public)
    with sqlite3.connect(tmp_path / "keeper.sqlite") as connection:
        kept = connection.execute("SELECT * FROM grants").fetchall()
        revoke(filled, alice, "bell")
        with pytest.raises(OmpdError):
            Shared.open(bell, notices)
        filled.put_all([observation("later")])
        refresh(filled, alice)
        connection.execute("DELETE FROM grants")
        marks = ",".join("?" * len(kept[0]))
        connection.executemany(f"INSERT INTO grants VALUES ({marks})", kept)  # noqa: S608
    connection.close()
    view = Shared.open(bell, notices)
    assert "Observation/later" in view
    assert "Condition/c" not in view


def test_rows_do_not_move_between_records_or_places(tmp_path, world, ann, filled, alice):
    """Whoever writes an owner's parcels anew without the record's key is found out."""
    backup(filled, alice)
    manifest = manifest_at(alice)
    scope = alice.subscriber.records.scope(KIND, 0)
    (parcel,) = manifest.parcels
    things = msgspec.msgpack.decode(alice.open_record(scope, parcel.names[0]))
    with Record.create(tmp_path / "other", ann) as other:
        other.add(observation("o0"))
        foreign = msgspec.msgpack.encode(other.row(0))

    def put(*changed):
        content = msgspec.msgpack.encode(changed)
        alice.store(KIND, content, record=parcel.names[0], epoch=0)
        made = Parcel(
            parcel.names, hashlib.sha256(content).digest(), len(content),
            tuple(place for place, _ in changed),
        )  # fmt: skip
        whole = Manifest(manifest.token, manifest.changes, manifest.about, (made,))
        alice.store(KIND, msgspec.msgpack.encode(whole), record=MANIFEST, epoch=0)

    (first, one), (second, two), *rest = things
    for changed in ([(first, two), (second, one), *rest], [(first, foreign), (second, two), *rest]):
        put(*changed)
        with pytest.raises(StoreError):
            restore(tmp_path / "new", ann, alice)
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
    put(*things)
    assert copy_of(tmp_path, ann, alice)[0] == contents(filled)


def test_a_grant_to_a_foreign_key_opens_nothing(world, filled, alice, bell):
    notices = share(filled, alice, ["Condition"], "bell", world.eve.records.public)
    with pytest.raises(OmpdError):
        Shared.open(bell, notices)
    with pytest.raises(ContextMismatchError):
        Shared.open(Direct(world.eve, world.cloud), notices)
    good = share(filled, alice, ["Condition"], "bell", world.bell.records.public)
    assert len(Shared.open(bell, good)) == 1
    for at in range(0, len(good), 41):
        changed = bytearray(good)
        changed[at] ^= 1
        with pytest.raises(OmpdError):
            Shared.open(bell, bytes(changed))


def test_revoking(world, filled, alice, bell):
    public = world.bell.records.public
    share(filled, alice, ["Condition"], "bell", public)
    notices = share(filled, alice, ["Observation"], "bell", public)
    assert len(Shared.open(bell, notices)) == 3
    eve = Direct(world.eve, world.cloud)
    others = share(filled, alice, ["Observation"], "eve", world.eve.records.public)
    epoch = int(world.clock() // EPOCH_SECONDS)
    assert shares(filled) == [
        Share("bell", "Condition", epoch),
        Share("bell", "Observation", epoch),
        Share("eve", "Observation", epoch),
    ]
    assert len(revoke(filled, alice, "bell")) == 2
    with pytest.raises(OmpdError):
        Shared.open(bell, notices)
    assert len(Shared.open(eve, others)) == 3
    # What nobody may read any more is gone.
    kind = filled.alias(sharing_module._KIND_LABEL, "Condition")
    assert not names_at(alice, kind, epoch)
    assert shares(filled) == [Share("eve", "Observation", epoch)]
    assert not revoke(filled, alice, "bell")
    assert revoke(filled, alice, "eve", ["Observation"])
    again = share(filled, alice, ["Condition"], "bell", public)
    assert len(Shared.open(bell, again)) == 1


def test_a_share_ends_with_its_epoch(world, filled, alice, bell):
    public = world.bell.records.public
    notices = share(filled, alice, ["Condition"], "bell", public)
    kind = filled.alias(sharing_module._KIND_LABEL, "Condition")
    (old,) = shares(filled)
    assert names_at(alice, kind, old.epoch)
    world.clock.now += EPOCH_SECONDS
    with pytest.raises(EpochError):
        Shared.open(bell, notices)
    assert refresh(filled, alice) == []
    assert not names_at(alice, kind, old.epoch)
    assert shares(filled) == []
    assert len(Shared.open(bell, share(filled, alice, ["Condition"], "bell", public))) == 1
    world.clock.now += EPOCH_SECONDS
    share(filled, alice, ["Observation"], "bell", public)
    assert [(each.kind, each.epoch) for each in shares(filled)] == [("Observation", old.epoch + 2)]
    assert not names_at(alice, kind, old.epoch + 1)


def test_what_others_write_is_checked(world, filled, alice, bell):
    """An owner may write anything: a physician gets a typed error, and no memory is filled."""
    for wrong in (b"", b"x", msgspec.msgpack.encode(("ompd-notices-1", [])), bytes(100)):
        with pytest.raises(FramingError):
            Shared.open(bell, wrong)
    notices = share(filled, alice, ["Condition"], "bell", world.bell.records.public)
    kind = filled.alias(sharing_module._KIND_LABEL, "Condition")

    def put(*parcels, things=None, name=b"n" * 16):
        if things is not None:
            alice.store(kind, things, record=name)
        alice.store(
            kind,
            msgspec.msgpack.encode(Manifest(bytes(16), 1, b"", parcels)),
            record=MANIFEST,
        )

    def parcel(content, places=(1,), size=None):
        digest = hashlib.sha256(content).digest()
        return Parcel((b"n" * 16,), digest, len(content) if size is None else size, places)

    for thing, error in (
        ((1, b"{}"), ResourceError),
        ((1, b'{"resourceType":"Condition","id":"c"}'), ResourceError),
        (("1", b"{}"), FramingError),
    ):
        content = msgspec.msgpack.encode([(1, msgspec.msgpack.encode(thing))])
        put(parcel(content), things=content)
        with pytest.raises(error):
            Shared.open(bell, notices)
    content = msgspec.msgpack.encode([(2, b"")])
    put(parcel(content), things=content)
    with pytest.raises(ContextMismatchError, match="other things"):
        Shared.open(bell, notices)
    put(parcel(b"[]"), things=b"[]")
    with pytest.raises(FramingError):
        Shared.open(bell, notices)
    put(parcel(b"", size=600 << 10))
    with pytest.raises(FramingError, match="contradict"):
        Shared.open(bell, notices)
    put(*[parcel(b"", size=512 << 10)] * 2049)
    with pytest.raises(TooLargeError):
        Shared.open(bell, notices)
    alice.store(kind, b"no manifest", record=MANIFEST)
    with pytest.raises(FramingError):
        Shared.open(bell, notices)


def test_nothing_to_share(world, filled, alice):
    with pytest.raises(RecordError):
        share(filled, alice, [], "bell", world.bell.records.public)
    notices = share(filled, alice, ["Patient"], "bell", world.bell.records.public)
    assert len(Shared.open(Direct(world.bell, world.cloud), notices)) == 0

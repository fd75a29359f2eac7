"""What was removed is gone from the cloud by the time that it told, whatever happens meanwhile."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import ompd
from ompd.errors import (
    ContextMismatchError,
    FrameError,
    LabelError,
    NeighborsError,
    OmpdError,
    StoreError,
    TableError,
    VersionError,
)
from ompd.roles.upkeep import Upkeep
from ompd.search import ballots
from ompd.stores import FolderTables, MemoryTables
from ompd.wire import HardenedChange, PaperChange, Receipt, Withdrawal
from tests.faults import EVERY, torture
from tests.marks import long
from tests.roles.conftest import World, keys_of, post_of
from tests.roles.test_changes import K, drawn

PROFILES = ("paper", "hardened")


@pytest.fixture
def still(monkeypatch):
    """No thread does anything by itself."""
    monkeypatch.setattr(Upkeep, "plan", lambda self, soon=False: None)


def scene_of(profile, tables, seed=3, rows=30):
    made = World(profile=profile)
    made.cloud = ompd.Cloud(**keys_of(made.cloud), tables=tables, clock=made.clock)
    ompd.introduce(made.hospital, made.cloud, made.user)
    records = drawn(np.random.default_rng(seed), rows, 0)
    upload = made.hospital.publish("flu", records, cloud="cloud", k=K)
    made.hospital.deliver(upload, made.cloud.store)
    return made


def reopened(made, path):
    made.cloud.close()
    made.cloud = ompd.Cloud(**keys_of(made.cloud), tables=FolderTables(path), clock=made.clock)
    ompd.introduce(made.hospital, made.cloud, made.user)


def stored(made):
    ref = made.hospital.tables["flu"].ref
    return made.cloud.tables.versions(ref.table_id)[0].stored


def bytes_of(made, row):
    return stored(made).limbs.limbs[row].tobytes()


def is_on_disk(path, content):
    """Whether a row is in any file; rows end where a file does, if it has any."""
    for file in path.rglob("*"):
        data = file.read_bytes() if file.is_file() else b""
        place = data.find(content)
        # Coordinates of two rows that follow one another may look like those of one.
        while place >= 0:
            if (len(data) - place) % len(content) == 0:
                return True
            place = data.find(content, place + 1)
    return False


def removed(made, *ids):
    return made.hospital.deliver(made.hospital.remove("flu", list(ids)), made.cloud.store)


def asks(made):
    query = made.user.ask("st-mary", "flu", [[3.1, 4.2, 5.3]])
    job = made.hospital.forward(query)
    return made.user.read(made.hospital.report(made.cloud.answer(job)))


@pytest.mark.parametrize("profile", PROFILES)
def test_bytes_of_a_removed_row_are_in_no_file_any_more(still, tmp_path, profile):
    made = scene_of(profile, FolderTables(tmp_path / "tables"))
    gone, stays = bytes_of(made, 7), bytes_of(made, 8)
    receipt = removed(made, "p7")
    assert receipt.erased == (made.clock.now + 120) * 1000
    assert is_on_disk(tmp_path, gone)
    made.clock.now += 61
    made.cloud.tidy()
    assert not is_on_disk(tmp_path, gone)
    assert is_on_disk(tmp_path, stays)
    index = stored(made).limbs.index
    asks(made)
    reopened(made, tmp_path / "tables")
    assert not made.cloud.tables.damaged
    assert np.array_equal(stored(made).limbs.index.heads, index.heads)
    asks(made)
    # Once more, now that there is a blank row.
    gone = bytes_of(made, 20)
    removed(made, "p20")
    made.clock.now += 61
    made.cloud.tidy()
    assert not is_on_disk(tmp_path, gone)
    reopened(made, tmp_path / "tables")
    assert not made.cloud.tables.damaged


@pytest.mark.parametrize("profile", PROFILES)
def test_memory_of_a_removed_row_is_overwritten(still, profile):
    made = scene_of(profile, MemoryTables())
    removed(made, "p7", "p0")
    made.hospital.deliver(
        made.hospital.add("flu", drawn(np.random.default_rng(1), 3, 50)), made.cloud.store
    )
    made.clock.now += 61
    made.cloud.tidy()
    ref = made.hospital.tables["flu"].ref
    for version in made.cloud.tables.versions(ref.table_id):
        assert not version.stored.limbs.limbs[[0, 7]].any()
        assert version.stored.limbs.limbs[1].any()
    asks(made)


def test_rows_stay_as_long_as_a_version_with_them_may_be_asked(still, tmp_path):
    made = scene_of("paper", FolderTables(tmp_path / "tables"))
    gone = bytes_of(made, 7)
    upload = made.hospital.remove("flu", ["p7"])
    receipt = made.cloud.store(upload[0])
    asks(made)  # by the version before, which has the row
    made.clock.now += 59
    made.cloud.tidy()
    asks(made)
    assert is_on_disk(tmp_path, gone)
    made.clock.now += 2
    made.cloud.tidy()
    assert not is_on_disk(tmp_path, gone)
    with pytest.raises(VersionError):
        asks(made)
    made.hospital.confirm(receipt)
    asks(made)


def test_a_thread_does_it_by_itself_and_again_after_a_restart(tmp_path):
    def tables():
        return FolderTables(tmp_path / "tables")

    made = SimpleNamespace(
        hospital=ompd.Hospital.create("st-mary", profile="hardened"),
        cloud=ompd.Cloud.create("cloud", tables=tables(), window=2.0),
    )
    ompd.introduce(made.hospital, made.cloud)
    records = drawn(np.random.default_rng(3), 30, 0)
    made.hospital.deliver(
        made.hospital.publish("flu", records, cloud="cloud", k=K), made.cloud.store
    )
    for restart, id, row in ((False, "p7", 7), (True, "p8", 8)):
        gone = bytes_of(made, row)
        receipt = removed(made, id)
        if restart:
            made.cloud.close()
            made.cloud = ompd.Cloud(**keys_of(made.cloud), tables=tables(), window=2.0)
            ompd.introduce(made.hospital, made.cloud)
        assert is_on_disk(tmp_path, gone) or time.time() * 1000 > receipt.erased - 1000
        for _ in range(600):
            if not is_on_disk(tmp_path, gone):
                break
            time.sleep(0.05)
        assert not is_on_disk(tmp_path, gone)
    thread = made.cloud._upkeep._thread
    made.cloud.close()
    assert thread is None or not thread.is_alive()


def test_a_cloud_that_nobody_uses_is_not_kept_by_its_thread():
    made = scene_of("hardened", MemoryTables())
    removed(made, "p1")
    thread = made.cloud._upkeep._thread
    assert thread is not None
    made.cloud = made.hospital = None
    thread.join(20)
    assert not thread.is_alive()


def test_what_a_job_still_reads_is_not_overwritten(still):
    began, goes_on = threading.Event(), threading.Event()

    def slow(*arguments, **options):
        began.set()
        assert goes_on.wait(60)
        return ballots(*arguments, **options)

    made = scene_of("paper", MemoryTables(ballots=slow))
    query = made.user.ask("st-mary", "flu", [[3.1, 4.2, 5.3]])
    job = made.hospital.forward(query)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(made.cloud.answer(job)))
    thread.start()
    assert began.wait(60)
    removed(made, "p7")
    made.clock.now += 61
    made.cloud.tidy()
    assert bytes_of(made, 7).strip(b"\0")
    goes_on.set()
    thread.join()
    made.cloud.tidy()
    assert not bytes_of(made, 7).strip(b"\0")
    assert made.user.read(made.hospital.report(answers[0])).votes.sum() == K


@pytest.mark.parametrize("profile", [*PROFILES, "sealed"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_withdrawn_table_is_gone_and_does_not_come_back(still, tmp_path, profile, folder):
    path = tmp_path / "tables"
    made = scene_of(profile, FolderTables(path) if folder else MemoryTables())
    (again,) = made.hospital.publish("flu", drawn(np.random.default_rng(4), 30, 0), cloud="cloud")
    made.hospital.confirm(made.cloud.store(again))
    upload = made.hospital.withdraw("flu")
    assert len(made.hospital.withdraw("flu")) == len(upload) == 1
    receipt = made.hospital.deliver(upload, made.cloud.store)
    assert receipt.erased == (made.clock.now + 120) * 1000
    assert not made.hospital.tables
    made.clock.now += 10
    assert opened(made, made.cloud.store(upload[0])).erased == receipt.erased
    made.clock.now += 51
    made.cloud.tidy()
    (left,) = (found for found in made.cloud.tables.kept().values())
    assert [each.stored for each in left] == [None]
    if folder:
        assert [each.name[:6] for each in path.iterdir() if each.name != "lock"] == ["table-"]
        reopened(made, path)
        assert not made.cloud.tables.damaged
    # Somebody kept the frames, which are good for a day.
    with pytest.raises(VersionError):
        made.cloud.store(again)
    made.clock.now += 3 * 86_400
    made.cloud.tidy()
    assert not made.cloud.tables.kept()
    made.hospital.deliver(
        made.hospital.publish("flu", drawn(np.random.default_rng(5), 30, 0), cloud="cloud", k=K),
        made.cloud.store,
    )
    asks(made)


def opened(made, frame):
    post = post_of(made.hospital)
    return post.open(post.authenticate(frame, ompd.wire.Kind.RECEIPT), Receipt)


def sent(made, body, nonce=b"x" * 16):
    return made.cloud.store(post_of(made.hospital).send("cloud", body, nonce=nonce, sequence=9))


def change_of(made, **fields):
    """A good change of the table as it was published, but for some fields."""
    profile = made.hospital.profile
    width = stored(made).limbs.limbs[0].nbytes
    body = (PaperChange if profile == "paper" else HardenedChange)(
        table_id=made.hospital.tables["flu"].ref.table_id,
        version=7,
        base=1,
        rows=30,
        removed=np.array([1, 4], "<u4").tobytes(),
        relabelled=np.array([2, 9], "<u4").tobytes(),
        codes=np.array([0, 2], "<u2").tobytes(),
        labels=np.array([1], "<u2").tobytes(),
        values=bytes(width),
    )
    return msgspec.structs.replace(body, **fields)


def rows_of(*rows):
    return np.array(rows, "<u4").tobytes()


ALL_BUT_TWO = rows_of(*sorted(set(range(30)) - {2, 9}))
NOTHING = dict.fromkeys(("removed", "relabelled", "codes", "labels", "values"), b"")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"base": 0}, VersionError),
        ({"base": 7}, VersionError),
        ({"version": 1}, VersionError),
        ({"rows": 29}, ContextMismatchError),
        ({"rows": 31}, ContextMismatchError),
        ({"removed": b"123"}, FrameError),
        ({"removed": rows_of(4, 1)}, FrameError),
        ({"removed": rows_of(4, 4)}, FrameError),
        ({"removed": rows_of(30)}, TableError),
        ({"removed": rows_of(2)}, TableError),
        ({"removed": ALL_BUT_TWO, "labels": b"", "values": b""}, NeighborsError),
        ({"relabelled": rows_of(2, 30)}, TableError),
        ({"relabelled": rows_of(2)}, FrameError),
        ({"codes": np.array([0, 3], "<u2").tobytes()}, LabelError),
        ({"labels": np.array([3], "<u2").tobytes()}, LabelError),
        ({"labels": b""}, FrameError),
        ({"values": b"1234567"}, FrameError),
        ({"table_id": b"another table id"}, OmpdError),
        (NOTHING, FrameError),
    ],
)  # fmt: skip
def test_impossible_changes_are_refused_and_change_nothing(still, profile, fields, error):
    made = scene_of(profile, MemoryTables())
    before = stored(made)
    with pytest.raises(error):
        sent(made, change_of(made, **fields))
    assert stored(made) is before
    receipt = opened(made, sent(made, change_of(made)))
    assert (receipt.version, receipt.have) == (7, 31)


def test_values_beyond_the_modulus_are_refused(still):
    made = scene_of("paper", MemoryTables())
    width = stored(made).limbs.limbs[0].nbytes
    with pytest.raises(OmpdError, match="below"):
        sent(made, change_of(made, values=b"\xff" * width))
    asks(made)
    sent(made, change_of(made))
    assert len(stored(made).limbs) == 31


def test_changes_of_another_profile_or_hospital_are_refused(still):
    made = scene_of("paper", MemoryTables())
    other = scene_of("hardened", MemoryTables())
    body = change_of(other)
    with pytest.raises(ContextMismatchError, match="profile"):
        sent(made, msgspec.structs.replace(
            body, table_id=made.hospital.tables["flu"].ref.table_id
        ))  # fmt: skip
    thief = ompd.Hospital.create("st-john", profile="paper", clock=made.clock)
    ompd.introduce(thief, made.cloud)
    for stolen in (change_of(made), Withdrawal(made.hospital.tables["flu"].ref.table_id, 9)):
        frame = post_of(thief).send("cloud", stolen, nonce=b"y" * 16, sequence=0)
        with pytest.raises(ContextMismatchError, match="another hospital"):
            made.cloud.store(frame)
    asks(made)


@EVERY
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("full", [False, *long(True)])
def test_a_failing_disk_leaves_the_old_version_or_the_new_one(
    still, tmp_path, profile, full, every
):
    def prepare(at):
        made = scene_of(profile, FolderTables(tmp_path / f"{at}"))
        made.path = tmp_path / f"{at}"
        made.upload = made.hospital.remove("flu", ["p7"])
        made.more = made.hospital.add("flu", drawn(np.random.default_rng(1), 2, 50))
        return made

    def act(made):
        for frame in made.more:
            made.cloud.store(frame)
        made.clock.now += 61
        made.cloud.tidy()

    def check(made, refused):
        asks_before = made.clock.now
        reopened(made, made.path)
        assert not made.cloud.tables.damaged
        made.hospital.deliver(made.hospital.resend("flu"), made.cloud.store)
        made.clock.now = asks_before + 200
        made.cloud.tidy()
        assert not stored(made).limbs.limbs[7].any()
        assert len(stored(made).limbs) == 32
        asks(made)
        reopened(made, made.path)
        assert not made.cloud.tables.damaged
        homes = [each for each in made.path.iterdir() if each.is_dir()]
        assert len(homes) == 1
        ref = made.hospital.tables["flu"].ref
        indexes = {each.index for each in made.cloud.tables.versions(ref.table_id)}
        assert {each.name for each in homes[0].glob("index*")} == indexes
        made.cloud.close()

    # Each version has a map of its own, which has a descriptor; so has the one that erasing makes.
    assert "write" in torture(prepare, act, check, full=full, every=every, kept=4)


def test_erasing_that_was_cut_off_is_done_when_the_folder_is_opened(still, tmp_path, monkeypatch):
    made = scene_of("paper", FolderTables(tmp_path / "tables"))
    gone = bytes_of(made, 7)
    removed(made, "p7")
    made.clock.now += 61

    def fail(self, table_id):
        raise StoreError("the process ends here")

    with monkeypatch.context() as patch:
        patch.setattr(FolderTables, "erase", fail)
        with pytest.raises(StoreError):
            made.cloud.tidy()
    assert is_on_disk(tmp_path, gone)
    reopened(made, tmp_path / "tables")
    assert not made.cloud.tables.damaged
    assert not is_on_disk(tmp_path, gone)
    asks(made)

"""A cloud does what is due whatever fails, and nothing at it grows with the number of changes."""

from __future__ import annotations

import contextlib
import os
import threading

import numpy as np
import pytest

import ompd
from ompd.errors import OmpdError, StoreError, VersionError
from ompd.roles import cloud as cloud_module
from ompd.roles.upkeep import Upkeep
from ompd.stores import FolderTables, MemoryTables
from ompd.wire import Withdrawal
from tests.marks import long
from tests.roles.conftest import keys_of, post_of
from tests.roles.test_changes import K, drawn
from tests.roles.test_erasing import asks, bytes_of, is_on_disk, removed, scene_of, stored


@pytest.fixture
def still(monkeypatch):
    """No thread does anything by itself."""
    monkeypatch.setattr(Upkeep, "plan", lambda self, soon=False: None)


def more(made, first=100, rows=2):
    upload = made.hospital.add("flu", drawn(np.random.default_rng(first), rows, first))
    return made.hospital.deliver(upload, made.cloud.store)


@contextlib.contextmanager
def nothing_is_removed(monkeypatch):
    """The disk lets no name be removed, and says so to nobody who does not listen."""

    def refuse(*arguments, **options):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        for name in ("unlink", "rmdir"):
            patch.setattr(os, name, refuse)
        yield


@pytest.mark.parametrize("profile", ["paper", "sealed"])
def test_what_could_not_be_removed_is_removed_later(still, tmp_path, monkeypatch, profile):
    path = tmp_path / "tables"
    made = scene_of(profile, FolderTables(path))
    gone = next(path.glob("*-*/limbs-*" if profile == "paper" else "*-*/*"), None)
    made.hospital.deliver(made.hospital.withdraw("flu"), made.cloud.store)
    made.clock.now += 61
    with nothing_is_removed(monkeypatch), pytest.raises(StoreError, match="cannot be removed"):
        made.cloud.tidy()
    assert gone.exists()
    assert made.cloud._upkeep.step() == 0.0
    assert not gone.exists()
    assert sorted(each.name[:6] for each in path.iterdir()) == ["lock", "table-"]
    assert not made.cloud.tables.littered
    # Nothing is due before the table may be forgotten.
    assert made.cloud._upkeep.step() == 30.0


def test_rows_of_an_upload_that_is_over_are_removed_later(still, tmp_path, monkeypatch):
    path = tmp_path / "tables"
    made = scene_of("sealed", FolderTables(path))
    records = drawn(np.random.default_rng(9), 30, 0)
    (upload,) = made.hospital.publish("flu", records, cloud="cloud", k=K)
    with nothing_is_removed(monkeypatch):
        made.cloud.store(upload)
    assert [each for each in path.iterdir() if each.name.startswith("staged-")]
    made.cloud.tidy()
    assert not [each for each in path.iterdir() if each.name.startswith("staged-")]
    made.hospital.confirm(made.cloud.store(upload))


def test_a_table_that_cannot_be_tidied_keeps_no_other_from_it(still, tmp_path, monkeypatch):
    made = scene_of("hardened", FolderTables(tmp_path / "tables"))
    for disease in ("gout", "cold"):
        upload = made.hospital.publish(
            disease, drawn(np.random.default_rng(9), 30, 0), cloud="cloud", k=K
        )
        made.hospital.deliver(upload, made.cloud.store)
    gone = {}
    for disease in ("flu", "gout", "cold"):
        ref = made.hospital.tables[disease].ref
        limbs = made.cloud.tables.versions(ref.table_id)[0].stored.limbs.limbs
        gone[ref.table_id] = limbs[7].tobytes()
        made.hospital.deliver(made.hospital.remove(disease, ["p7"]), made.cloud.store)
    made.clock.now += 61
    (bad, *others) = made.cloud.tables.kept()
    tended = FolderTables.tended

    def refuse(self, table_id):
        if table_id == bad:
            raise StoreError("tables: a bad sector")
        return tended(self, table_id)

    with monkeypatch.context() as patch:
        patch.setattr(FolderTables, "tended", refuse)
        with pytest.raises(StoreError, match="bad sector"):
            made.cloud.tidy()

    def is_there(table_id):
        # In its own folder: another table may have the same few numbers.
        home = made.cloud.tables.versions(table_id)[0].home
        return is_on_disk(tmp_path / "tables" / home, gone[table_id])

    assert is_there(bad)
    assert not any(map(is_there, others))
    made.cloud.tidy()
    assert not is_there(bad)


def test_no_failure_is_the_last_and_each_waits_longer(still, monkeypatch, caplog):
    made = scene_of("paper", MemoryTables())
    removed(made, "p7")
    made.clock.now += 61

    def fail(self, table_id):
        raise MemoryError("p7 is the name of a patient")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryTables, "tended", fail)
        assert [made.cloud._upkeep.step() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert "MemoryError" in caplog.text
    assert "patient" not in caplog.text
    assert bytes_of(made, 7).strip(b"\0")
    assert made.cloud._upkeep.step() == 0.0
    assert not bytes_of(made, 7).strip(b"\0")
    assert made.cloud._upkeep.step() is None


@pytest.mark.parametrize("folder", [False, True])
def test_a_clock_that_is_set_back_does_not_put_erasing_off(still, tmp_path, folder):
    path = tmp_path / "tables"
    made = scene_of("paper", FolderTables(path) if folder else MemoryTables())
    hours = 7200
    made.clock.now += hours
    more(made)
    removed(made, "p7")
    made.clock.now -= hours
    if folder:
        made.cloud.close()
        made.cloud = ompd.Cloud(**keys_of(made.cloud), tables=FolderTables(path), clock=made.clock)
    assert made.cloud._upkeep.step() == 0.0
    # The next look is within the window again, not in hours.
    assert made.cloud._upkeep.step() == 30.0
    made.clock.now += 121
    assert made.cloud._upkeep.step() == 0.0
    assert not bytes_of(made, 7).strip(b"\0")
    assert made.cloud._upkeep.step() is None


@pytest.mark.parametrize("folder", [True, *long(False)])
@pytest.mark.parametrize("profile", ["paper", "hardened"])
def test_many_small_changes_take_no_more_than_a_few(still, tmp_path, profile, folder):
    path = tmp_path / "tables"
    made = scene_of(profile, FolderTables(path) if folder else MemoryTables())
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    jobs = []
    for change in range(40):
        query = made.user.ask("st-mary", "flu", [[3.1, 4.2, 5.3]])
        jobs.append(made.hospital.forward(query))
        more(made, 100 + change, 1)
        # Each version is asked, so that none came to nothing.
        asks(made)
    ref = made.hospital.tables["flu"].ref
    assert len(made.cloud.tables.versions(ref.table_id)) == cloud_module._MOST_VERSIONS
    assert max(len(each.past) for each in made.cloud.tables.versions(ref.table_id)) <= 64
    if folder:
        (home,) = (each for each in path.iterdir() if each.is_dir())
        assert len(list(home.glob("index*"))) == cloud_module._MOST_VERSIONS
        if descriptors:
            assert len(os.listdir("/proc/self/fd")) <= descriptors + 2 * cloud_module._MOST_VERSIONS
    # What has been on its way since a while ago still counts; what is very old does not.
    made.cloud.answer(jobs[-10])
    with pytest.raises(VersionError):
        made.cloud.answer(jobs[0])
    made.clock.now += 121
    made.cloud.tidy()
    assert len(made.cloud.tables.versions(ref.table_id)) == 1
    asks(made)


def test_changes_of_tables_that_are_not_here_leave_nothing(still):
    made = scene_of("hardened", MemoryTables())
    for number in range(20):
        body = Withdrawal(number.to_bytes(16, "big"), 1)
        frame = post_of(made.hospital).send("cloud", body, nonce=b"x" * 16, sequence=number)
        with contextlib.suppress(OmpdError):
            made.cloud.store(frame)
    assert not made.cloud._upkeep._changing


def test_a_piece_that_comes_while_its_table_is_withdrawn_is_not_kept(still, tmp_path, monkeypatch):
    path = tmp_path / "tables"
    made = scene_of("paper", FolderTables(path))
    upload = made.hospital.publish("gout", drawn(np.random.default_rng(4), 30, 0), cloud="cloud")
    ref = made.hospital._shelf.waiting["gout"].published.ref
    end = post_of(made.hospital).send(
        "cloud", Withdrawal(ref.table_id, ref.version), nonce=b"y" * 16, sequence=0
    )
    stage = FolderTables.stage
    withdrawing = threading.Thread(target=lambda: made.cloud.store(end))

    def late(self, header, body):
        # The version was looked at, and nothing is put down yet.
        withdrawing.start()
        withdrawing.join(0.3)
        have = stage(self, header, body)
        withdrawing.join(0.3)
        return have - 1

    monkeypatch.setattr(FolderTables, "stage", late)
    made.cloud.store(upload[0])
    withdrawing.join()
    assert made.cloud.tables.versions(ref.table_id)[0].withdrawn
    assert not [each for each in path.iterdir() if each.name.startswith("staged-")]


def test_an_upload_of_just_the_version_that_ended_a_table_is_refused(still):
    made = scene_of("paper", MemoryTables())
    upload = made.hospital.publish("flu", drawn(np.random.default_rng(4), 30, 0), cloud="cloud")
    ref = made.hospital._shelf.waiting["flu"].published.ref
    end = Withdrawal(ref.table_id, ref.version)
    made.cloud.store(post_of(made.hospital).send("cloud", end, nonce=b"y" * 16, sequence=0))
    with pytest.raises(VersionError):
        made.cloud.store(upload[0])
    assert made.cloud.tables.versions(ref.table_id)[0].withdrawn
    assert not made.cloud.tables._staging._rows


def test_a_cloud_that_is_closed_does_nothing_more(tmp_path):
    made = scene_of("paper", FolderTables(tmp_path / "tables"))
    removed(made, "p7")
    made.cloud.close()
    made.cloud._upkeep.plan(soon=True)
    assert made.cloud._upkeep._thread is None or not made.cloud._upkeep._thread.is_alive()
    again = ompd.Cloud(
        **keys_of(made.cloud), tables=FolderTables(tmp_path / "tables"), clock=made.clock
    )
    again.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_closes_though_the_thread_was_at_work(tmp_path):
    made = scene_of("paper", FolderTables(tmp_path / "tables"))
    removed(made, "p7")
    upkeep = made.cloud._upkeep
    # As if the thread had just been looking, and had been about to sleep.
    with upkeep._guard, upkeep._woken._cond:
        child = os.fork()
        if child == 0:
            threading.Timer(20, os._exit, (2,)).start()
            made.cloud.close()
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert upkeep._thread is not None
    made.cloud.close()


def test_rows_that_are_added_go_behind_those_that_were_uploaded(still):
    made = scene_of("paper", MemoryTables())
    first = stored(made).limbs.limbs
    more(made)
    second = stored(made).limbs.limbs
    assert len(second) == len(first) + 2
    assert np.shares_memory(first, second)
    asks(made)

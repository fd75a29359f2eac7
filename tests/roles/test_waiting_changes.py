"""Changes whose receipts are lost, and hospitals that die or have no disk while they change."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytest

from ompd.errors import ParameterError, StoreError, UnknownDiseaseError
from ompd.roles import changes
from tests.faults import EVERY, torture
from tests.marks import long
from tests.places import ROOT
from tests.roles.test_changes import CLASSES, Scene, drawn

PROFILES = ("paper", "hardened")


def made(path, profile, *, folder=False):
    path.mkdir()
    scene = Scene(profile, path, folder=folder)
    scene.publish(drawn(np.random.default_rng(3), 20, 0))
    return scene


@pytest.mark.parametrize("profile", PROFILES)
def test_a_hospital_that_missed_a_receipt_is_told_before_it_gets_no_answers(tmp_path, profile):
    scene = made(tmp_path / "a", profile)
    hospital, clock = scene.hospital, scene.world.clock
    assert hospital.due() == []
    upload = hospital.remove("flu", ["p7"])
    del scene.model["p7"]
    # Whoever made it is about to deliver it.
    assert hospital.due() == []
    scene.cloud.store(upload[0])
    clock.now += 14
    assert hospital.due() == []
    clock.now += 2
    assert hospital.due() == [("flu", "resend")]
    again = hospital.resend("flu")
    assert hospital.due() == []
    clock.now += 50
    # Half a window after the removal the version before is no more.
    assert hospital.due() == [("flu", "resend")]
    hospital.deliver(again, scene.cloud.store)
    assert hospital.due() == []
    scene.check(np.random.default_rng(1))


def test_changes_of_a_process_that_ended_are_due_at_once(tmp_path):
    scene = made(tmp_path / "a", "hardened")
    scene.hospital.add("flu", drawn(np.random.default_rng(4), 2, 50))
    scene.crash_hospital()
    assert scene.hospital.due() == [("flu", "resend")]
    scene.hospital.deliver(scene.hospital.resend("flu"), scene.cloud.store)
    assert scene.hospital.due() == []
    scene.hospital.withdraw("flu")
    scene.crash_hospital()
    assert scene.hospital.due() == [("flu", "resend")]
    scene.hospital.deliver(scene.hospital.resend("flu"), scene.cloud.store)
    assert scene.hospital.due() == []


def test_a_clock_that_is_set_back_makes_them_due(tmp_path):
    scene = made(tmp_path / "a", "paper")
    scene.hospital.remove("flu", ["p7"])
    scene.world.clock.now -= 500
    assert scene.hospital.due() == [("flu", "resend")]


def test_changes_that_wait_take_little_and_are_bounded(tmp_path, monkeypatch):
    scene = made(tmp_path / "a", "hardened")
    monkeypatch.setattr(changes, "_MOST_WAITING", 12)
    rng = np.random.default_rng(5)
    for number in range(12):
        records = drawn(rng, 1, 100 + number)
        upload = scene.hospital.add("flu", records)
        scene.model[f"p{100 + number}"] = (
            records.features[0], int(records.labels[0]), int(records.labels[0])
        )  # fmt: skip
    with pytest.raises(ParameterError, match="deliver them"):
        scene.hospital.remove("flu", ["p1"])
    # Of all that wait, one book has the ids.
    waiting = scene.hospital._changes._waiting["flu"]
    assert not any(hasattr(each, "book") for each in waiting)
    # A receipt in the middle stands for those before.
    for frame in upload[:5]:
        receipt = scene.cloud.store(frame)
    scene.hospital.confirm(receipt)
    assert len(scene.hospital.resend("flu")) == 7
    del upload, waiting
    scene.crash_hospital()
    assert len(scene.hospital.resend("flu")) == 7
    scene.hospital.deliver(scene.hospital.resend("flu"), scene.cloud.store)
    scene.hospital.deliver(scene.hospital.remove("flu", ["p1"]), scene.cloud.store)
    del scene.model["p1"]
    scene.check(rng)


def settled(scene):
    """Deliver what waits; then the hospital's book and the cloud's table are of the same rows."""
    try:
        upload = scene.hospital.resend("flu")
    except UnknownDiseaseError:
        pass
    else:
        scene.hospital.deliver(upload, scene.cloud.store)
    rows = scene.hospital._shelf.books.of("flu").rows
    if scene.profile != "sealed":
        ref = scene.hospital.tables["flu"].ref
        limbs = scene.cloud.tables.versions(ref.table_id)[0].stored.limbs
        assert np.flatnonzero(rows.gone).tolist() == limbs.removed.tolist()
        assert rows.labels[~rows.gone].tolist() == limbs.labels[~rows.gone].tolist()
    return rows


def finished(scene, rows, change):
    """Complete a change of which some or nothing is in effect, and compare all answers."""
    rng = np.random.default_rng(8)
    there = {id for id in ("p50", "p51") if (rows._find([id]) >= 0).all()}
    assert len(there) in (0, 2)
    if not there:
        scene.hospital.deliver(scene.hospital.add("flu", change), scene.cloud.store)
    if (rows._find(["p7"]) >= 0).all():
        scene.hospital.deliver(scene.hospital.remove("flu", ["p7"]), scene.cloud.store)
    if rows.labels[3] != 2:
        scene.hospital.deliver(
            scene.hospital.relabel("flu", ["p3"], [CLASSES[2]]), scene.cloud.store
        )
    for place, id in enumerate(("p50", "p51")):
        label = int(change.labels[place])
        scene.model[id] = (change.features[place], label, label)
    scene.model["p3"] = (scene.model["p3"][0], 2, scene.model["p3"][2])
    del scene.model["p7"]
    scene.check(rng)
    scene.crash_hospital()
    assert not scene.hospital.damaged
    scene.check(rng)


def changing(scene, change):
    scene.hospital.deliver(scene.hospital.add("flu", change), scene.cloud.store)
    scene.hospital.deliver(scene.hospital.remove("flu", ["p7"]), scene.cloud.store)
    scene.hospital.deliver(scene.hospital.relabel("flu", ["p3"], [CLASSES[2]]), scene.cloud.store)


@EVERY
@pytest.mark.parametrize("profile", ["paper", "hardened", "sealed"])
@pytest.mark.parametrize("full", [False, True], ids=["one step fails", "the disk is full"])
@pytest.mark.parametrize("ends", [True, *long(False)])
def test_a_failing_disk_of_a_hospital(tmp_path, profile, full, ends, every):
    change = drawn(np.random.default_rng(4), 2, 50)

    def check(scene, refused):
        if ends:
            scene.crash_hospital()
            assert not scene.hospital.damaged
        finished(scene, settled(scene), change)
        scene.hospital.close()
        scene.cloud.close()

    found = torture(
        lambda at: made(tmp_path / str(at), profile),
        lambda scene: changing(scene, change),
        check,
        full=full,
        every=every,
        kept=3,
    )
    assert "write" in found


_DYING = """
import os, pathlib, sys, traceback
import numpy as np
from tests.faults import STEPS
from tests.roles.test_changes import drawn
from tests.roles.test_waiting_changes import changing, finished, made, settled

base, profile = pathlib.Path(sys.argv[1]), sys.argv[2]
change = drawn(np.random.default_rng(4), 2, 50)
warm = made(base / "warm", profile)
changing(warm, change)
warm.hospital.close()
allowed = 0

def dying(function):
    def wrapped(*arguments, **options):
        global allowed
        if allowed == 0:
            os._exit(9)
        allowed -= 1
        return function(*arguments, **options)
    return wrapped

steps = 0
while True:
    # Keys are made before; what reaches the disk is done in the child.
    scene = made(base / str(steps), profile, folder=True)
    scene.hospital.close()
    scene.cloud.close()
    child = os.fork()
    if child == 0:
        try:
            scene.crash_cloud()
            scene.crash_hospital()
            allowed = steps
            for name in STEPS:
                setattr(os, name, dying(getattr(os, name)))
            changing(scene, change)
        except BaseException as error:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), code
    scene.crash_cloud()
    scene.crash_hospital()
    assert not scene.hospital.damaged and not scene.cloud.tables.damaged
    # What was accepted is remembered by the dead: ask with fresh frames only.
    finished(scene, settled(scene), change)
    scene.hospital.close()
    scene.cloud.close()
    if code == 0:
        break
    steps += 11
print(steps)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.long
@pytest.mark.parametrize("profile", PROFILES)
def test_a_killed_pair_goes_on(tmp_path, profile):
    done = subprocess.run(
        [sys.executable, "-c", _DYING, str(tmp_path), profile],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 22


def test_two_processes_do_not_change_one_state(tmp_path):
    scene = made(tmp_path / "a", "hardened")
    change = drawn(np.random.default_rng(4), 2, 50)
    with pytest.raises(StoreError, match="another process"):
        Scene("hardened", scene.path, folder=False)
    child = os.fork() if hasattr(os, "fork") else None
    if child == 0:
        try:
            scene.hospital.add("flu", change)
        except StoreError:
            os._exit(7)
        os._exit(1)
    if child is not None:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    changing(scene, change)
    gc.collect()

"""A hospital with sealed tables stops, or is stopped, and goes on."""

from __future__ import annotations

import gc
import os
import shutil
import stat
import traceback
import warnings

import pytest

import ompd
from ompd.errors import (
    ContextMismatchError,
    OmpdError,
    ReplayError,
    StoreError,
    StoreWarning,
)
from tests.roles.conftest import World, instances, keys_of, post_of
from tests.roles.test_profiles import answered, population


class Deployment(World):
    """A world whose hospital keeps its state in a folder."""

    def __init__(self, folder):
        self.folder = folder
        super().__init__(profile="sealed", state=folder)
        # As kept beside the identity; `tests/crypto/test_prekeys.py` is about that.
        self.keys = keys_of(self.hospital)

    def restart(self, *, crash=False):
        if not crash:
            self.hospital.close()
        old, self.hospital = self.hospital, None
        # A process that ended holds no lock; so does an object that nothing refers to.
        del old
        gc.collect()
        self.hospital = ompd.Hospital(**self.keys, state=self.folder, clock=self.clock)
        self.hospital.meet(self.cloud.public, "cloud")
        self.hospital.meet(self.user.public)

    def ask(self, features=(5, 5, 5)):
        return answered(self, self.user.ask("st-mary", "flu", features))

    def renew(self):
        self.hospital.renewed(self.cloud.answer(self.hospital.renew("flu")))


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path / "state")
    made.publish("flu", population(), k=5, advice={"yes": "rest"})
    return made


def test_a_stopped_hospital_goes_on_where_it_was(deployment):
    first = deployment.ask()
    left = deployment.hospital.remaining("flu")
    deployment.restart()
    assert deployment.hospital.remaining("flu") == left
    assert deployment.ask() == first
    assert deployment.hospital.diseases["flu"] == population().schema


@pytest.mark.parametrize("crash", [False, True])
def test_a_frame_is_not_accepted_again_after_a_restart(deployment, crash):
    query = deployment.user.ask("st-mary", "flu", [5, 5, 5])
    answered(deployment, query)
    deployment.restart(crash=crash)
    deployment.renew()
    with pytest.raises(ReplayError):
        deployment.hospital.forward(query)


def test_a_crashed_hospital_needs_a_new_window(deployment):
    first = deployment.ask()
    deployment.restart(crash=True)
    assert deployment.hospital.remaining("flu") == 0
    deployment.renew()
    assert deployment.ask() == first


def test_a_query_after_a_crash_brings_a_new_window(deployment):
    first = deployment.ask()
    deployment.restart(crash=True)
    assert deployment.hospital.remaining("flu") == 0
    assert deployment.ask() == first
    left = deployment.hospital.remaining("flu")
    assert left > 0
    assert deployment.ask() == first
    assert deployment.hospital.remaining("flu") == left - 1


def test_old_hints_that_are_put_back_count_as_lost(deployment, tmp_path):
    deployment.restart()
    deployment.hospital.close()
    shutil.copytree(deployment.folder, tmp_path / "copy")
    deployment.restart()
    deployment.ask()
    deployment.hospital.close()
    shutil.rmtree(deployment.folder)
    shutil.copytree(tmp_path / "copy", deployment.folder)
    deployment.restart()
    assert deployment.hospital.remaining("flu") == 0
    deployment.renew()
    deployment.ask()


def test_versions_are_never_given_twice(deployment):
    (lost,) = deployment.hospital.publish("flu", population(seed=1), cloud="cloud", k=5)
    receipt = deployment.cloud.store(lost)
    deployment.restart(crash=True)
    # The cloud has version 2, the hospital's process ended before it knew, and version 1 is asked.
    assert deployment.hospital.tables["flu"].ref.version == 1
    deployment.publish("flu", population(seed=2), k=5)
    assert deployment.hospital.tables["flu"].ref.version == 3
    deployment.ask()
    folders = [path.name for path in deployment.folder.iterdir() if path.is_dir()]
    assert len([name for name in folders if name != "records"]) == 1
    with pytest.raises(ContextMismatchError):
        deployment.hospital.confirm(receipt)
    assert not list(deployment.folder.glob("*.spool"))


def test_a_small_table_is_kept_as_well(tmp_path):
    made = Deployment(tmp_path / "state")
    made.publish("flu", instances(), k=5)
    first = made.ask()
    made.restart()
    assert made.ask() == first


def test_the_learned_method_is_kept_as_well(deployment):
    deployment.publish("flu", population(rows=1500), k=None, method="evidence")
    first = deployment.ask()
    deployment.restart()
    assert deployment.ask() == first
    deployment.restart(crash=True)
    deployment.renew()
    assert deployment.ask() == first


@pytest.mark.parametrize("decision", ["probability", "majority"])
def test_the_rule_of_decisions_is_kept_as_well(tmp_path, decision):
    made = Deployment(tmp_path / "state")
    made.publish("flu", instances(), k=5, decision=decision)
    rule = made.hospital.tables["flu"].rule
    assert (rule.calibration is None) == (decision == "majority")
    made.restart()
    assert made.hospital.tables["flu"].rule == rule


def test_two_processes_cannot_share_a_folder(deployment):
    with pytest.raises(StoreError, match="another process"):
        ompd.Hospital.create("twin", state=deployment.folder)


def test_two_processes_cannot_share_an_empty_folder_either(tmp_path):
    first = ompd.Hospital.create("one", state=tmp_path / "state")
    with pytest.raises(StoreError, match="another process"):
        ompd.Hospital.create("two", state=tmp_path / "state")
    first.close()
    ompd.Hospital.create("two", state=tmp_path / "state")


def test_a_receipt_is_good_until_its_table_is_on_disk(deployment, monkeypatch):
    (upload,) = deployment.hospital.publish("flu", population(seed=1), cloud="cloud", k=5)
    receipt = deployment.cloud.store(upload)
    folder = deployment.folder

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ompd.roles.archive.os.fsync", full)
    with pytest.raises(ompd.OmpdError):
        deployment.hospital.confirm(receipt)
    monkeypatch.undo()
    assert deployment.hospital.tables["flu"].ref.version == 1
    deployment.ask()
    deployment.hospital.confirm(receipt)
    assert deployment.hospital.tables["flu"].ref.version == 2
    deployment.ask()
    assert len(folders(folder)) == 1


def test_tables_without_a_name_are_removed(deployment):
    orphan = deployment.folder / f"{'0' * 32}-7"
    orphan.mkdir()
    (deployment.folder / "notes").mkdir()
    deployment.restart()
    assert not orphan.exists()
    assert (deployment.folder / "notes").exists()


def test_what_is_kept_is_for_the_owner_only(deployment):
    for path in [deployment.folder, *deployment.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def flip(path, position=-40):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.fixture
def two(tmp_path):
    """A closed deployment with two diseases."""
    made = Deployment(tmp_path / "state")
    for disease in ("flu", "gout"):
        made.publish(disease, instances(), k=5)
    made.hospital.close()
    return made


def folders(state):
    """Of tables."""
    return [path for path in state.iterdir() if path.is_dir() and path.name != "records"]


def entry_file(deployment, disease):
    (found,) = (
        path
        for path in deployment.folder.glob("disease-*")
        if disease.encode() in path.read_bytes()
    )
    return found


@pytest.mark.parametrize("part", ["table", "folder", "entry", "empty", "gone"])
def test_damage_concerns_one_disease(two, part):
    file = entry_file(two, "flu")
    name = file.name
    ref = two.hospital.tables["flu"].ref
    table = two.folder / f"{ref.table_id.hex()}-{ref.version}"
    if part == "folder":
        shutil.rmtree(table)
    elif part == "table":
        flip(table / "table", 500)
    elif part == "entry":
        flip(file, 60)
    elif part == "empty":
        file.write_bytes(b"")
    else:
        (table / "table").unlink()
    called = "flu" if part in {"table", "folder", "gone"} else name
    with pytest.warns(StoreWarning, match="publish it anew"):
        two.restart()
    assert set(two.hospital.damaged) == {called}
    assert set(two.hospital.diseases) == {"gout"}
    answered(two, two.user.ask("st-mary", "gout", (5, 5, 5)))
    query = two.user.ask("st-mary", "flu", (5, 5, 5))
    for _ in range(2):  # the query is not used up
        with pytest.raises(StoreError, match="damaged; publish it anew"):
            two.hospital.forward(query)
    for call in (two.hospital.remaining, two.hospital.renew):
        with pytest.raises(StoreError, match="damaged"):
            call("flu")
    two.publish("flu", instances(), k=5)
    assert not two.hospital.damaged
    expected = two.ask()
    two.restart()
    assert not two.hospital.damaged
    assert two.ask() == expected
    assert len(folders(two.folder)) == 2


def test_tables_are_kept_while_a_file_that_may_name_them_is_damaged(two):
    file = entry_file(two, "flu")
    good = file.read_bytes()
    flip(file)
    with pytest.warns(StoreWarning):
        two.restart()
    two.hospital.close()
    file.write_bytes(good)
    two.restart()
    two.ask()


@pytest.mark.parametrize("step", [331, pytest.param(41, marks=pytest.mark.long)])
def test_no_bit_of_a_disease_changes_unnoticed(two, step):
    file = entry_file(two, "flu")
    good = file.read_bytes()
    for position in range(0, len(good), step):
        flip(file, position)
        with pytest.warns(StoreWarning):
            two.restart()
        two.hospital.close()
        file.write_bytes(good)


def test_what_a_crash_left_is_swept(two):
    table = next(path for path in two.folder.iterdir() if path.is_dir())
    for place in (two.folder, table):
        (place / f".table.{'a' * 16}.new").touch()
        (place / ".note.new").touch()
    two.restart()
    left = [path.name for path in two.folder.rglob("*.new")]
    assert left == [".note.new"] * 2


def test_state_of_an_older_form_is_refused(two):
    file = entry_file(two, "flu")
    good = file.read_bytes()
    file.write_bytes(b'{"version":3,"disease":"flu"}')
    with pytest.warns(StoreWarning, match="older version of this library; make it anew"):
        two.restart()
    two.hospital.close()
    file.write_bytes(good)
    (two.folder / "tables").write_bytes(b"{}")
    for _ in range(2):  # and the folder is not locked then
        with pytest.raises(StoreError, match="older version"):
            two.restart()
        two.hospital = ompd.Hospital.create("other")


def in_child(check):
    """Run something in a forked child; returns its exit status."""
    child = os.fork()
    if child == 0:
        try:
            check()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_hospital_refuses_and_changes_nothing(deployment):
    hospital = deployment.hospital
    receipt = deployment.cloud.store(
        *hospital.publish("flu", population(seed=1), cloud="cloud", k=5)
    )
    query = deployment.user.ask("st-mary", "flu", (5, 5, 5))
    pending = hospital.forward(deployment.user.ask("st-mary", "flu", (6, 6, 6)))
    verdict = deployment.cloud.answer(pending)
    renewal = deployment.cloud.answer(hospital.renew("flu"))
    files = {path: path.stat().st_mtime_ns for path in deployment.folder.rglob("*")}

    def check():
        for call in (
            lambda: hospital.publish("flu", population(), cloud="cloud", k=5),
            lambda: hospital.confirm(receipt),
            lambda: hospital.forward(query),
            lambda: hospital.report(verdict),
            lambda: hospital.report_batch(verdict),
            lambda: hospital.refuse(query),
            lambda: hospital.remaining("flu"),
            lambda: hospital.renew("flu"),
            lambda: hospital.renewed(renewal),
        ):
            with pytest.raises(StoreError, match="forked; open it in the child only, or spawn"):
                call()
        batch = hospital.forward_batch([query])
        assert isinstance(batch.refused[0], StoreError)
        hospital.close()
        hospital.close()

    assert in_child(check) == 0
    assert {path: path.stat().st_mtime_ns for path in deployment.folder.rglob("*")} == files
    with pytest.raises(StoreError, match="another process"):
        ompd.Hospital.create("twin", state=deployment.folder)
    hospital.report(verdict)
    hospital.confirm(receipt)
    deployment.ask()
    deployment.restart()
    deployment.ask()


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_does_not_keep_the_folder_locked(deployment):
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done[1])  # or it would outlive a parent that fails
        os.write(ready[1], b"1")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    deployment.restart()
    deployment.ask()
    os.write(done[1], b"1")
    os.waitpid(child, 0)


@pytest.mark.parametrize("reason", ["profile", "patience", "frames", "warning"])
def test_an_opening_that_is_refused_costs_no_hints(deployment, reason):
    deployment.publish("gout", instances(), k=5)
    left = deployment.hospital.remaining("flu")
    deployment.hospital.close()
    options = {}
    if reason == "profile":
        options["profile"] = "hardened"
    elif reason == "patience":
        options["patience"] = -1
    elif reason == "frames":
        file = deployment.folder / "frames"
        file.write_bytes(b"no database" * 100)
    else:
        file = entry_file(deployment, "gout")
        file.write_bytes(file.read_bytes()[:-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises((OmpdError, StoreWarning)):
            ompd.Hospital(
                deployment.keys["identity"],
                state=deployment.folder,
                clock=deployment.clock,
                **options,
            )
    if reason == "frames":
        file.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = ompd.Hospital(**deployment.keys, state=deployment.folder, clock=deployment.clock)
    assert again.remaining("flu") == left > 0


def test_a_state_belongs_to_one_profile(tmp_path):
    world = World(profile="hardened", state=tmp_path / "state")
    world.publish()
    world.hospital.close()
    with pytest.raises(StoreError, match="profile 'hardened'"):
        ompd.Hospital(post_of(world.hospital).identity, state=tmp_path / "state")


def test_folders_of_others_are_not_changed(tmp_path):
    (tmp_path / "home").mkdir(mode=0o755)
    # An empty one is made private.
    ompd.Hospital.create("h", state=tmp_path / "home").close()
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    (tmp_path / "home").chmod(0o755)
    with pytest.raises(StoreError, match="expected mode 0700, got 0755"):
        ompd.Hospital.create("h", state=tmp_path / "home")
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o755


def test_what_cannot_be_kept_is_refused(deployment, tmp_path):
    with pytest.raises(StoreError):
        ompd.Hospital.create("h", state=tmp_path / "no" / "parent")

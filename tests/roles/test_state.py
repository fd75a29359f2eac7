"""A hospital with sealed tables stops, or is stopped, and goes on."""

from __future__ import annotations

import gc
import shutil
import stat

import pytest

import ompd
from ompd.errors import HintStateError, ParameterError, StoreError, WindowExhaustedError
from tests.roles.conftest import World, instances
from tests.roles.test_profiles import answered, population


class Deployment(World):
    """A world whose hospital keeps its state in a folder."""

    def __init__(self, folder):
        self.folder = folder
        super().__init__(profile="sealed", state=folder)
        self.identity = self.hospital._identity

    def restart(self, *, crash=False):
        if not crash:
            self.hospital.close()
        old, self.hospital = self.hospital, None
        # A process that ended holds no lock; so does an object that nothing refers to.
        del old
        gc.collect()
        self.hospital = ompd.Hospital(self.identity, state=self.folder, clock=self.clock)
        self.hospital.meet(self.cloud.public)
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


def test_a_crashed_hospital_needs_a_new_window(deployment):
    first = deployment.ask()
    deployment.restart(crash=True)
    assert deployment.hospital.remaining("flu") == 0
    with pytest.raises(WindowExhaustedError):
        deployment.ask()
    deployment.renew()
    assert deployment.ask() == first


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
    lost = deployment.hospital.publish("flu", population(seed=1), cloud="cloud", k=5)
    receipt = deployment.cloud.store(lost)
    deployment.restart(crash=True)
    # The cloud has version 2, the hospital's process ended before it knew.
    with pytest.raises(ompd.OmpdError):
        deployment.hospital.confirm(receipt)
    deployment.publish("flu", population(seed=2), k=5)
    assert deployment.hospital._tables["flu"].place.version == 3
    deployment.ask()
    assert len([path for path in deployment.folder.iterdir() if path.is_dir()]) == 1


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
    rule = made.hospital._tables["flu"].rule
    assert (rule.calibration is None) == (decision == "majority")
    made.restart()
    assert made.hospital._tables["flu"].rule == rule


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
    upload = deployment.hospital.publish("flu", population(seed=1), cloud="cloud", k=5)
    receipt = deployment.cloud.store(upload)
    folder = deployment.folder

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ompd.roles.archive.os.fsync", full)
    with pytest.raises(ompd.OmpdError):
        deployment.hospital.confirm(receipt)
    monkeypatch.undo()
    assert deployment.hospital._tables["flu"].place.version == 1
    deployment.ask()
    deployment.hospital.confirm(receipt)
    assert deployment.hospital._tables["flu"].place.version == 2
    deployment.ask()
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 1


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


def test_damaged_state_is_refused(deployment):
    deployment.hospital.close()
    file = deployment.folder / "tables"
    good = file.read_bytes()
    for bad in (b"", good[:-1], good.replace(b'"version":2,', b'"version":1,', 1), b"[]"):
        file.write_bytes(bad)
        with pytest.raises(StoreError, match="tables: "):
            deployment.restart()
        deployment.hospital = ompd.Hospital.create("other")
    file.write_bytes(good)
    (secret,) = deployment.folder.rglob("table")
    secret.write_bytes(secret.read_bytes()[:-1])
    with pytest.raises(HintStateError):
        deployment.restart()


def test_what_cannot_be_kept_is_refused(deployment, tmp_path):
    with pytest.raises(ParameterError, match="'paper' keeps nothing"):
        ompd.Hospital.create("h", profile="paper", state=tmp_path / "other")
    with pytest.raises(StoreError):
        ompd.Hospital.create("h", state=tmp_path / "no" / "parent")

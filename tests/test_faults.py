"""Every store, when each step that reaches the disk fails: try again, open again, compare."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import warnings
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import ompd
from ompd.crypto import EnvelopeKey, Identity, Prekeys, SigningKey
from ompd.crypto.identity_files import load_identity, save_identity
from ompd.errors import OmpdError, ReplayError, StoreError, StoreWarning, VersionError
from ompd.sealed import SealedTable, answer
from ompd.stores import BudgetLedger, DurableReplayGuard, Registry, TableFolder
from ompd.wire import Header, Kind
from tests.faults import EVERY, torture
from tests.roles.conftest import Clock, instances, shelf_of
from tests.sealed.conftest import SMALL, clustered
from tests.stores.test_tables import create, labels, same_answers, values

FULL = pytest.mark.parametrize("full", [False, True], ids=["one step fails", "the disk is full"])


def leftovers(folder):
    return [path.name for path in folder.rglob("*.new")]


# --- a sealed table -------------------------------------------------------------------------------


VECTORS, CODES = clustered(np.random.default_rng(3), 600)


class Sealed:
    """A sealed table in memory and a folder for it."""

    def __init__(self, folder):
        self.folder = folder
        self.table, self.ciphertexts = SealedTable.build(VECTORS, CODES, 3, 5, layout=SMALL)

    def ask(self):
        # Hints that do not belong to the table would be noticed.
        request, ticket = self.table.ask(VECTORS[7:8])
        self.table.read(ticket, answer(self.ciphertexts, SMALL, request))

    def close(self):
        self.table.close()

    def open(self):
        self.table = SealedTable.open(self.folder)


@EVERY
@FULL
def test_saving_a_sealed_table(tmp_path, full, every):
    def check(world, refused):
        assert world.table.saved == (not refused)
        if refused:
            with pytest.raises(OmpdError):
                SealedTable.open(world.folder)
            world.table.save(world.folder)
        world.close()
        world.open()
        assert world.table.remaining == SMALL.window
        world.ask()
        assert not leftovers(world.folder)

    kinds = torture(
        lambda at: Sealed(tmp_path / str(at)),
        lambda world: world.table.save(world.folder),
        check,
        full=full,
        every=every,
    )
    assert kinds >= {"open", "write", "mkdir"}


@EVERY
@FULL
def test_closing_a_sealed_table(tmp_path, full, every):
    def prepare(at):
        world = Sealed(tmp_path / str(at))
        world.table.save(world.folder)
        world.table.ask(VECTORS[:1])
        return world

    def check(world, refused):
        if refused:
            # What may be on disk is not used from memory any more, nor by anybody else.
            with pytest.raises(OmpdError, match="closed"):
                world.ask()
            with pytest.raises(OmpdError, match="another process"):
                SealedTable.open(world.folder)
            world.close()
        world.open()
        assert world.table.remaining == SMALL.window - 1
        world.ask()
        assert not leftovers(world.folder)

    assert torture(prepare, Sealed.close, check, full=full, every=every) >= {"open", "write"}


@EVERY
def test_opening_a_sealed_table(tmp_path, every):
    def prepare(at):
        world = Sealed(tmp_path / str(at))
        world.table.save(world.folder)
        world.close()
        return world

    def check(world, refused):
        if refused:
            world.open()
        # The hints of before, or none; never both here and there.
        assert world.table.remaining in {0, SMALL.window}
        assert {path.name for path in world.folder.iterdir()} == {"table", "lock"}
        if world.table.remaining:
            world.ask()

    assert torture(prepare, Sealed.open, check, full=False, every=every) >= {"unlink", "fsync"}


# --- a hospital -----------------------------------------------------------------------------------


class Site:
    """A hospital with two diseases on disk, and the receipt of a new version of one."""

    def __init__(self, folder, identity):
        self.folder = folder
        self.identity = identity
        self.clock = Clock()
        self.cloud = ompd.Cloud.create("cloud", clock=self.clock)
        self.user = ompd.User.create("alice", clock=self.clock)
        self.hospital = None
        # As kept beside the identity.
        self.prekeys = Prekeys(identity, clock=self.clock)
        self.open()
        for disease in ("flu", "gout"):
            self.hospital.deliver(self.publish(disease), self.cloud.store)

    def publish(self, disease, seed=0):
        return self.hospital.publish(disease, instances(seed=seed), cloud="cloud", k=3)

    def open(self):
        self.hospital = ompd.Hospital(
            self.identity, state=self.folder, clock=self.clock, prekeys=self.prekeys
        )
        ompd.introduce(self.hospital, self.cloud, self.user)

    def reopen(self):
        self.hospital.close()
        self.open()

    def labels(self, disease):
        query = self.user.ask("st-mary", disease, instances(seed=5).features[:8])
        answer = self.cloud.answer(self.hospital.forward(query))
        return [result.label for result in self.user.read(self.hospital.report(answer))]

    def whole(self):
        """Both diseases answer, nothing is damaged, and nothing is left behind."""
        assert not self.hospital.damaged
        assert set(self.hospital.diseases) == {"flu", "gout"}
        assert self.labels("gout")
        shelf = shelf_of(self.hospital)
        tables = (*shelf.tables.values(), *(each.published for each in shelf.waiting.values()))
        folders = {path.name for path in self.folder.iterdir() if path.is_dir()}
        assert folders == {
            "records", *(f"{each.ref.table_id.hex()}-{each.ref.version}" for each in tables)
        }  # fmt: skip
        assert not leftovers(self.folder)


@pytest.fixture
def sites(tmp_path):
    identity = Identity.generate("st-mary")

    def prepare(at):
        return Site(tmp_path / str(at), identity)

    return prepare


def confirm(site):
    site.hospital.confirm(site.receipt)


@EVERY
@FULL
def test_confirming_a_table(sites, full, every):
    def prepare(at):
        site = sites(at)
        site.before = site.labels("flu")
        site.receipt = site.cloud.store(*site.publish("flu", seed=1))
        return site

    def check(site, refused):
        if refused:
            assert site.hospital.tables["flu"].ref.version == 1
            assert site.labels("flu") == site.before
            site.hospital.confirm(site.receipt)
        assert site.hospital.tables["flu"].ref.version == 2
        now = site.labels("flu")
        site.reopen()
        assert site.labels("flu") == now
        site.whole()

    assert torture(prepare, confirm, check, full=full, every=every, kept=1) >= {"open", "write"}


@EVERY
@FULL
def test_a_process_that_ends_after_the_failure(sites, full, every):
    def prepare(at):
        site = sites(at)
        site.receipt = site.cloud.store(*site.publish("flu", seed=1))
        return site

    def check(site, refused):
        site.reopen()
        if refused:
            # The old version or the new one; the cloud has both.
            assert site.hospital.tables["flu"].ref.version in {1, 2}
        site.labels("flu")
        site.whole()

    torture(prepare, confirm, check, full=full, every=every, kept=1)


@EVERY
@FULL
def test_publishing(sites, full, every):
    def check(site, refused):
        if refused:
            site.upload = site.publish("flu", seed=1)
        site.hospital.deliver(site.upload, site.cloud.store)
        site.reopen()
        # What failed may have used up a version, and none was given twice.
        assert site.hospital.tables["flu"].ref.version == 2 + refused
        site.labels("flu")
        site.whole()

    def act(site):
        site.upload = site.publish("flu", seed=1)

    assert torture(sites, act, check, full=full, every=every, kept=2) >= {"open", "write", "mkdir"}


@EVERY
def test_opening_and_closing_a_hospital(sites, every):
    def check_closed(site, refused):
        if refused:
            with pytest.raises(StoreError, match="another process"):
                site.open()
            site.hospital.close()
        site.open()
        site.whole()

    kinds = torture(
        sites, lambda site: site.hospital.close(), check_closed, full=False, every=every
    )
    assert not kinds  # tables that are returned whole have no hints to put back

    def prepare(at):
        site = sites(100 + at)
        site.hospital.close()
        return site

    def act(site):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StoreWarning)
            site.open()

    def check_opened(site, refused):
        if not refused:
            # A table that could not be opened is named, and no other table suffers.
            assert set(site.hospital.diseases) | set(site.hospital.damaged) >= {"flu", "gout"}
            site.hospital.close()
        site.open()
        site.whole()

    assert torture(prepare, act, check_opened, full=False, every=every) >= {"open", "fsync"}


# --- keys -----------------------------------------------------------------------------------------

ALICE = Identity("alice", SigningKey(1234), EnvelopeKey(b"\1" + bytes(range(32))))
LATER = Identity("alice", SigningKey(4321), EnvelopeKey(b"\1" + bytes(range(1, 33))))


@EVERY
@FULL
@pytest.mark.parametrize("replace", [False, True])
def test_saving_an_identity(tmp_path, full, replace, every):
    if replace:
        save_identity(tmp_path / "first", ALICE, "secret", _n=2)

    def prepare(at):
        if replace:
            shutil.copytree(tmp_path / "first", tmp_path / str(at))
        return tmp_path / str(at)

    def act(folder):
        save_identity(folder, LATER, "secret", replace=replace, _n=2)

    def check(folder, refused):
        if refused:
            if replace:
                # After a folder that could not be synced, the new one may be there already.
                kept = load_identity(folder, "secret")
                assert kept.public in (ALICE.public, LATER.public)
            else:
                with pytest.raises(OmpdError):
                    load_identity(folder, "secret")
            act(folder)
        assert load_identity(folder, "secret").public == LATER.public

    assert torture(prepare, act, check, full=full, every=every) >= {"open", "write"}


def test_what_a_crash_left_of_an_identity_is_removed(tmp_path):
    save_identity(tmp_path / "keys", ALICE, "secret", _n=2)
    old, new = (tmp_path / "keys" / f".identity.json.{digit * 16}.new" for digit in "01")
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    load_identity(tmp_path / "keys", "secret")
    assert (old.exists(), new.exists()) == (False, True)  # one may just be being written


# --- tables of limbs ------------------------------------------------------------------------------


@EVERY
@FULL
@pytest.mark.parametrize("change", ["create", "replace", "append", "remove", "rebuild"])
def test_changing_a_table_of_limbs(tmp_path, full, change, every):
    limbs = values(60)
    if change != "create":
        create(tmp_path / "first", limbs[:50])

    def prepare(at):
        folder = tmp_path / str(at)
        if change != "create":
            shutil.copytree(tmp_path / "first", folder)
        table = TableFolder.open(folder) if change not in {"create", "replace"} else None
        return SimpleNamespace(folder=folder, table=table)

    def act(world):
        if change in {"create", "replace"}:
            create(world.folder, limbs)
        elif change == "append":
            world.table.append(limbs[50:], labels(60)[50:])
        elif change == "remove":
            world.table.remove(np.array([7]))
        else:
            world.table.rebuild()

    before = (limbs[:50], ())
    after = {"append": (limbs, ()), "remove": (limbs[:50], {7}), "rebuild": before}.get(
        change, (limbs, ())
    )

    def check(world, refused):
        if refused and change == "create":
            # Not there yet, or as it should be.
            if (world.folder / "index").exists():
                same_answers(TableFolder.open(world.folder), *after)
            act(world)
        elif refused:
            found = TableFolder.open(world.folder)
            same_answers(found, *(after if found.generation else before))
            if world.table is not None:
                same_answers(world.table, *before)
            try:
                act(world)
            except VersionError:
                assert found.generation == 1
        same_answers(TableFolder.open(world.folder), *after)
        assert len(list(world.folder.glob("limbs-*"))) == 1
        assert not leftovers(world.folder)
        for path in world.folder.iterdir():
            assert path.name == "lock" or path.stat().st_mode & 0o777 == 0o600

    assert torture(prepare, act, check, full=full, every=every) >= {"open", "write"}


# --- folders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: Sealed(folder).table.save(folder),
        lambda folder: ompd.Hospital.create("h", state=folder).close(),
        lambda folder: save_identity(folder, ALICE, "secret", _n=2),
        lambda folder: create(folder, values(10)),
    ],
    ids=["sealed table", "hospital", "identity", "table of limbs"],
)
def test_a_new_folder_outlives_a_power_failure(tmp_path, monkeypatch, make):
    """What is synced inside a folder that is not is lost with it."""
    synced = []
    fsync = os.fsync

    def seen(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    make(tmp_path / "new")
    assert str(tmp_path) in synced


# --- databases ------------------------------------------------------------------------------------

HEADER = Header(1, Kind.QUERY, "alice", "st-mary", b"n" * 16, 1_000_000, 7)


def claim(path):
    with DurableReplayGuard(path, 120) as guard:
        guard.claim(HEADER, 1000)


def claimed(path):
    with DurableReplayGuard(path, 120) as guard, pytest.raises(ReplayError):
        guard.check_new(HEADER)


def spend(path):
    with BudgetLedger(path, limit=3) as ledger:
        ledger.spend("patient", b"d" * 32, 1)


def spent(path):
    with BudgetLedger(path, limit=3) as ledger:
        assert ledger.spent("patient") == 1


def admit(path):
    with Registry(path) as registry:
        registry.admit(ALICE.public, "user")


def admitted(path):
    with Registry(path) as registry:
        assert registry.get("alice") == ALICE.public


@pytest.mark.parametrize(("change", "check"), [(claim, claimed), (spend, spent), (admit, admitted)])
def test_databases_on_a_full_disk(tmp_path, change, check):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    refusals = 0
    for size in (0, 1, 100, 511, 512, 1000, 4000, 4096, 5000, 9000, 17000, 33000, 50000, 90000):
        path = tmp_path / f"{size}.db"
        # No file may grow beyond this, which SQLite meets wherever it writes.
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            change(path)
            refused = False
        except StoreError:
            refused = True
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        refusals += refused
        if refused:
            change(path)
        check(path)
    assert 3 < refusals < 14


@pytest.mark.parametrize("change", [claim, spend, admit])
def test_an_emptied_database_is_no_new_one(tmp_path, change):
    change(tmp_path / "file.db")
    os.truncate(tmp_path / "file.db", 0)
    with pytest.raises(StoreError, match="is empty"):
        change(tmp_path / "file.db")


def test_what_sqlite_says_of_damage_is_not_repeated(tmp_path):
    claim(tmp_path / "file.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "file.db")) as connection, connection:
        connection.execute("ALTER TABLE state RENAME COLUMN window TO x_secret")
    with pytest.raises(StoreError, match="is damaged or no file of this library"):
        claim(tmp_path / "file.db")


def test_a_full_database_keeps_what_it_had(tmp_path):
    with DurableReplayGuard(tmp_path / "frames.db", 120) as guard:
        guard.claim(HEADER, 1000)
        with guard._database.writing() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        guard._database._connection.execute(f"PRAGMA max_page_count = {pages}")
        last = 100
        for last in range(100, 1100):
            try:
                guard.claim(msgspec.structs.replace(HEADER, sequence=last), 1000)
            except StoreError:
                break
        assert 100 < last < 1099
        guard._database._connection.execute("PRAGMA max_page_count = 1000000")
        guard.claim(msgspec.structs.replace(HEADER, sequence=last), 1000)
        for sequence in (7, *range(100, last + 1)):
            with pytest.raises(ReplayError):
                guard.check_new(msgspec.structs.replace(HEADER, sequence=sequence))

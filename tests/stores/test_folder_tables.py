"""A cloud on a folder: started again it answers as before, whatever happened meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

import ompd
from ompd.arrays import pack, unpack
from ompd.crypto import Directory, Identity, Prekeys
from ompd.errors import ContextMismatchError, OmpdError, StoreError, StoreWarning, VersionError
from ompd.stores import FolderTables, MemoryTables
from ompd.stores.tables import folder, table_file
from ompd.wire import Frame, Kind, SealedAnswer, Verdict
from tests.faults import EVERY, torture
from tests.marks import long
from tests.places import ROOT
from tests.roles.conftest import World, post_of

try:
    import resource
except ImportError:  # on Windows
    resource = None

PROFILES = ("paper", "hardened", "sealed", "fetched")
FULL = pytest.mark.parametrize("full", [False, True], ids=["one step fails", "the disk is full"])
JOBS = (Kind.PAPER_JOB, Kind.HARDENED_JOB, Kind.SEALED_JOB)
IDENTITY = Identity.generate("cloud")


def records(profile, seed=0):
    """Data of a table, real numbers without ties; a sealed one is sent whole unless it is large."""
    rng = np.random.default_rng(seed)
    labels = np.arange(3000 if profile == "fetched" else 60) % 2
    values = np.clip(rng.normal(labels[:, None] * 3 + 4, 2, (len(labels), 3)), 0, 12)
    schema = ompd.Schema(
        tuple(ompd.Feature(f"f{j}", "numeric", 0, 12) for j in range(3)), ("no", "yes")
    )
    return SimpleNamespace(schema=schema, features=values, labels=labels)


class Site(World):
    """A world whose cloud keeps its tables in a folder."""

    def __init__(self, folder, profile="hardened"):
        self.profile = profile
        super().__init__(profile="sealed" if profile == "fetched" else profile)
        self.folder = folder
        self.cloud = None
        # As from a file: jobs that were made before a restart are opened after it.
        self.prekeys = Prekeys(IDENTITY, clock=self.clock)
        self.start()

    def start(self, tables=None):
        if self.cloud is not None:
            self.cloud.close()
        tables = FolderTables(self.folder) if tables is None else tables
        options = {"clock": self.clock, "prekeys": self.prekeys}
        self.cloud = ompd.Cloud(IDENTITY, tables=tables, **options)
        for other in (self.hospital, self.user):
            post_of(other).directory = Directory(clock=self.clock)
        ompd.introduce(self.hospital, self.cloud, self.user)

    def upload(self, disease="flu", seed=0):
        data = records(self.profile, seed)
        options = {"retrain": True} if self.profile == "hardened" and seed else {}
        return self.hospital.publish(disease, data, cloud="cloud", k=3, **options)

    def frame(self, disease="flu", seed=0):
        (frame,) = self.upload(disease, seed)
        return frame

    def store(self, disease="flu", seed=0):
        frame = self.frame(disease, seed)
        self.hospital.confirm(self.cloud.store(frame))
        return frame

    def job(self, disease="flu"):
        query = self.user.ask("st-mary", disease, records(self.profile, 7).features[:5])
        return self.hospital.forward(query)

    def labels(self, disease="flu"):
        answer = self.cloud.answer(self.job(disease))
        return [result.label for result in self.user.read(self.hospital.report(answer))]

    def data(self):
        return data(self.folder)


@pytest.fixture(params=PROFILES)
def site(request, tmp_path):
    return Site(tmp_path / "tables", request.param)


def versions(site):
    (found,) = site.cloud.tables.kept().values()
    return [each.version for each in found]


def test_a_cloud_started_again_answers_as_before(site):
    upload = site.store()
    site.store("gout", seed=1)
    before = site.labels(), site.labels("gout")
    receipt = site.cloud.store(upload)
    found = site.cloud.tables.kept()
    site.start()
    assert (site.labels(), site.labels("gout")) == before
    assert site.cloud.store(upload) == receipt
    again = site.cloud.tables.kept()
    assert list(again) == sorted(found)
    for table_id, (version,) in again.items():
        (old,) = found[table_id]
        assert (version.owner, version.version, version.asked) == ("st-mary", 1, True)
        assert version.stored.k == old.stored.k == 3 * (site.profile in {"paper", "hardened"})
        with pytest.raises(ContextMismatchError, match="another hospital"):
            site.cloud._check_succession(table_id, 2, "st-john")
        with pytest.raises(VersionError):
            site.cloud._check_succession(table_id, 1, "st-mary")


def test_a_folder_answers_as_memory_does(site):
    upload = site.upload()
    (frame,) = upload
    memory = ompd.Cloud(IDENTITY, tables=MemoryTables(), clock=site.clock, prekeys=site.prekeys)
    memory.meet(site.hospital.public, "hospital")
    memory.store(frame)
    site.hospital.deliver(upload, site.cloud.store)
    site.start()
    frame, bodies = site.job(), []
    for cloud in (site.cloud, memory):
        ((found,),) = cloud.tables.kept().values()
        opened = post_of(cloud).open(post_of(cloud).authenticate(frame, *JOBS), found.stored.job)
        bodies.append(found.stored.prepare(opened)())
    assert bodies[0] == bodies[1]


def test_succession_outlives_the_process(site):
    first = site.store()
    site.labels()
    receipt = site.cloud.store(site.frame(seed=1))
    late = site.job()
    site.start()
    assert versions(site) == [2, 1]
    site.cloud.answer(late)
    site.hospital.confirm(receipt)
    site.labels()
    site.start()
    # The old one still answers what is on its way: from when the new one was asked, or in `sealed`,
    # where it may have rows that were removed, from when the new one came.
    ((new, old),) = site.cloud.tables.kept().values()
    assert (new.asked, new.expires, old.expires) == (
        True,
        None,
        site.clock.now + (60 if site.profile in {"sealed", "fetched"} else 120),
    )
    site.clock.now += 121
    site.labels()
    assert versions(site) == [2]
    assert len(site.data()) == 1
    with pytest.raises(VersionError):
        site.cloud.store(first)
    site.start()
    assert versions(site) == [2]


def test_an_upload_that_came_second_leaves_nothing(site):
    upload = site.frame()
    build = site.cloud.tables.build

    def late(*arguments):
        built = build(*arguments)
        site.cloud.tables.build = build
        site.cloud.store(upload)
        return built

    site.cloud.tables.build = late
    with pytest.raises(VersionError):
        site.cloud.store(upload)
    assert len(site.data()) == 1
    site.hospital.confirm(site.cloud.store(upload))
    assert site.labels()


# --- one process, one folder ----------------------------------------------------------------------


def test_one_process_has_the_folder(tmp_path):
    site = Site(tmp_path / "tables")
    upload = site.store()
    with pytest.raises(StoreError, match="another process"):
        FolderTables(site.folder)
    job = site.job()
    site.cloud.close()
    site.cloud.close()
    for refused in (lambda: site.cloud.store(site.frame("gout")), lambda: site.cloud.answer(job)):
        with pytest.raises(StoreError, match="was closed"):
            refused()
    site.start()
    site.cloud.answer(job)
    site.cloud.store(upload)
    assert (site.folder.stat().st_mode & 0o777) == 0o700
    for path in site.folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_changes_nothing(tmp_path):
    site = Site(tmp_path / "tables")
    site.store()
    job, upload = site.job(), site.frame("gout")
    child = os.fork()
    if child == 0:
        status = 1
        for refused in (lambda: site.cloud.answer(job), lambda: site.cloud.store(upload)):
            try:
                refused()
            except StoreError as error:
                status *= 2 if "forked" in str(error) else 1
        site.cloud.close()
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    with pytest.raises(StoreError, match="another process"):
        FolderTables(site.folder)
    site.cloud.answer(job)
    site.cloud.store(upload)
    assert len(site.data()) == 2


# --- damage ---------------------------------------------------------------------------------------


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "gone":
        path.unlink()
    else:
        content[len(content) // 3] ^= 4
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
@pytest.mark.parametrize("what", ["values", "index", "table"])
@pytest.mark.parametrize("profile", ["paper", "hardened", "sealed"])
def test_damage_concerns_one_table(tmp_path, profile, what, how):
    site = Site(tmp_path / "tables", profile)
    upload = site.store()
    (flu,) = site.cloud.tables.kept()
    site.store("gout", seed=1)
    before = site.labels()
    job = site.job()
    site.cloud.close()
    (data,) = site.folder.glob(f"{flu.hex()}-*")
    (values,) = (path for path in data.iterdir() if path.name not in {"index", "lock"})
    damage({"values": values, "index": data / "index"}.get(
        what, site.folder / f"table-{flu.hex()}"), how)  # fmt: skip
    if what == "table" and how == "gone":
        # Then nothing tells of the table.
        site.start()
        assert not list(site.folder.glob(f"{flu.hex()}*"))
    else:
        with pytest.warns(StoreWarning, match="upload it again"):
            site.start()
        assert set(site.cloud.tables.damaged) == {flu.hex()}
        assert list(site.folder.glob(f"{flu.hex()}-*")) == [data]
    with pytest.raises(OmpdError):
        site.cloud.answer(job)
    assert site.labels("gout")
    # The upload of before is not acknowledged as if it were there, and mends it.
    site.cloud.store(upload)
    assert site.labels() == before
    assert not site.cloud.tables.damaged
    site.start()
    assert site.labels() == before
    assert len(site.data()) == 2


def test_a_newer_version_mends_a_damaged_one(site):
    site.store()
    site.cloud.close()
    (data,) = site.data()
    damage(data / "index", "changed")
    with pytest.warns(StoreWarning):
        site.start()
    with pytest.raises(StoreError, match="damaged"):
        site.cloud.answer(site.job())
    site.store(seed=1)
    site.labels()
    assert versions(site) == [2]
    assert not data.exists()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda entry: (), id="no version"),
        pytest.param(lambda entry: (entry, entry), id="one version twice"),
        pytest.param(
            lambda entry: (replace(entry, version=2, owner="st-john"), entry), id="two owners"
        ),
        pytest.param(
            lambda entry: (replace(entry, upload=replace(entry.upload, kind=Kind.QUERY)),),
            id="not an upload",
        ),
        pytest.param(lambda entry: (replace(entry, home=f"../{entry.home}"),), id="elsewhere"),
        pytest.param(lambda entry: (replace(entry, home=f"{entry.home}\0"),), id="no name"),
        pytest.param(
            lambda entry: (replace(entry, home="0" * 32 + entry.home[32:]),), id="another table's"
        ),
    ],
)
def test_a_file_that_this_library_does_not_write_concerns_one_table(tmp_path, change):
    site = Site(tmp_path / "tables")
    upload = site.store()
    (flu,) = site.cloud.tables.kept()
    site.store("gout", seed=1)
    site.cloud.close()
    form, content = table_file.FORM, table_file.TableFile
    file = site.folder / f"table-{flu.hex()}"
    read = unpack(file.read_bytes(), form, content, name="table", error=StoreError).content
    file.write_bytes(b"".join(pack(form, content(change(*read.versions))).parts))
    with pytest.warns(StoreWarning, match="expected the versions of a table"):
        site.start()
    assert set(site.cloud.tables.damaged) == {flu.hex()}
    assert site.labels("gout")
    site.cloud.store(upload)
    assert site.labels()


@pytest.mark.skipif(resource is None, reason="no limits here")
@pytest.mark.parametrize("left", [1, 2, 3])
def test_too_few_open_files_are_no_damage(tmp_path, left):
    site = Site(tmp_path / "tables")
    site.store()
    before = site.labels()
    site.cloud.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spent = [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 20, hard)
        )
        with contextlib.suppress(OSError):
            while True:
                spent.append(os.dup(spent[0]))
        for descriptor in (spent.pop() for _ in range(left)):
            os.close(descriptor)
        # Not a warning that says to send the tables again.
        try:
            FolderTables(site.folder).close()
        except StoreError as error:
            problem = str(error)
        else:
            problem = ""
    finally:
        for descriptor in spent:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files" in problem or left == 3
    site.start()
    assert site.labels() == before


def test_mapped_values_can_be_left_unread(site):
    site.store()
    site.cloud.close()
    (data,) = site.data()
    (values,) = (path for path in data.iterdir() if path.name not in {"index", "lock"})
    damage(values, "changed")
    with pytest.warns(StoreWarning, match="differs from its digest"):
        FolderTables(site.folder).close()
    with_values = FolderTables(site.folder, verify=False)
    assert not with_values.damaged
    with_values.close()


def test_closing_waits_for_a_change(site, monkeypatch):
    site.store()
    site.labels()
    upload = site.frame(seed=1)
    closing = threading.Thread(target=site.cloud.close)
    sync = folder.sync_folder

    def late(path):
        # The lock was looked at, and the file is not written yet.
        monkeypatch.setattr(folder, "sync_folder", sync)
        closing.start()
        closing.join(0.2)
        with pytest.raises(StoreError, match="another process"):
            FolderTables(site.folder)
        sync(path)

    monkeypatch.setattr(folder, "sync_folder", late)
    site.cloud.store(upload)
    closing.join()
    site.start()
    assert versions(site) == [2, 1]
    assert not site.cloud.tables.damaged


# --- a disk that refuses --------------------------------------------------------------------------


class Past:
    """Folders of a cloud at two moments, with a job on each version and what it is answered.

    All clouds that are started on copies get the same frames.
    """

    def __init__(self, folder, profile):
        self.site = Site(folder / "first", profile)
        self.site.store()
        self.jobs = [self.site.job()]
        self.site.cloud.answer(self.jobs[0])
        self.site.start()
        self.upload = self.site.frame(seed=1)
        shutil.copytree(folder / "first", folder / "second")
        self.site.start(FolderTables(folder / "second"))
        self.site.hospital.confirm(self.site.cloud.store(self.upload))
        self.jobs.append(self.site.job())
        self.answers = [self.said(self.site.cloud, job) for job in self.jobs[:1]]
        self.site.start(FolderTables(folder / "third"))
        self.site.cloud.store(self.upload)
        self.answers.append(self.said(self.site.cloud, self.jobs[1]))
        self.site.cloud.close()
        self.folder = folder

    def said(self, cloud, job):
        frame = Frame.decode(cloud.answer(job), Kind.VERDICT, Kind.SEALED_ANSWER)
        body = Verdict if frame.header.kind is Kind.VERDICT else SealedAnswer
        return post_of(self.site.hospital).open(frame, body)

    def copy(self, at, moment="first"):
        folder = self.folder / str(at)
        shutil.copytree(self.folder / moment, folder)
        return SimpleNamespace(folder=folder, cloud=None, past=self, data=lambda: data(folder))

    def start(self, world):
        if world.cloud is not None:
            world.cloud.close()
        options = {"clock": self.site.clock, "prekeys": self.site.prekeys}
        world.cloud = ompd.Cloud(IDENTITY, tables=FolderTables(world.folder), **options)
        world.cloud.meet(self.site.hospital.public, "hospital")

    def check(self, world, *expected):
        """These versions answer, nothing is damaged, and nothing is left behind."""
        assert versions(world) == list(expected)
        for version in expected[::-1]:
            assert self.said(world.cloud, self.jobs[version - 1]) == self.answers[version - 1]
        assert not world.cloud.tables.damaged
        # What could not be removed when it was to be; a thread does so, too.
        world.cloud.tidy()
        kept = [each.home for found in world.cloud.tables.kept().values() for each in found]
        assert sorted(path.name for path in world.data()) == sorted(kept)
        assert not list(world.folder.rglob("*.new"))
        assert not list(world.folder.glob("staged-*"))


def data(folder):
    """Folders of tables; not those of uploads that wait for more, or for room."""
    return [
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("staged-")
    ]


@EVERY
@FULL
@pytest.mark.parametrize("ends", [True, *long(False)])
@pytest.mark.parametrize("profile", ["paper", "hardened", "sealed"])
def test_storing(tmp_path, profile, ends, full, every):
    past = Past(tmp_path, profile)

    def prepare(at):
        world = past.copy(at)
        past.start(world)
        return world

    def act(world):
        world.cloud.store(past.upload)

    def check(world, refused):
        if refused and full:
            # What a full disk needs least is half a table.
            assert len(world.data()) == 1
        if refused and not ends:
            assert versions(world) == [1]
        if ends:
            past.start(world)
            assert refused or versions(world) == [2, 1]
        act(world)
        past.check(world, 2, 1)
        past.start(world)
        past.check(world, 2, 1)
        world.cloud.close()

    assert torture(prepare, act, check, full=full, every=every) >= {"open", "write", "mkdir"}


@EVERY
@FULL
def test_answering_goes_on(tmp_path, full, every):
    past = Past(tmp_path, "hardened")

    def prepare(at):
        world = past.copy(at, "second")
        past.start(world)
        return world

    def act(world):
        world.cloud.answer(past.jobs[1])

    def check(world, refused):
        assert not refused
        # That the first version is to end can be written at a later answer.
        past.start(world)
        past.check(world, 2, 1)
        ((new, old),) = world.cloud.tables.kept().values()
        assert (new.asked, old.expires) == (True, past.site.clock.now + 120)
        world.cloud.close()

    assert torture(prepare, act, check, full=full, every=every) >= {"open", "write"}


@EVERY
def test_starting(tmp_path, every):
    past = Past(tmp_path, "hardened")

    def prepare(at):
        world = past.copy(at, "second")
        # What a crash left: data without a name, and a spare file.
        home = world.data()[0]
        shutil.copytree(home, home.with_name(home.name[:33] + "0" * 16))
        (world.folder / f".table-{home.name[:32]}.{'0' * 16}.new").touch()
        return world

    def act(world):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StoreWarning)
            past.start(world)

    def check(world, refused):
        if not refused:
            assert versions(world) == [2, 1]
        past.start(world)
        past.check(world, 2, 1)
        world.cloud.close()

    assert torture(prepare, act, check, full=False, every=every, kept=2) >= {"open", "unlink"}


KILLED = """
import os, pathlib, shutil, sys
sys.path.insert(0, {root!r})
import ompd
from ompd.stores import FolderTables
from ompd.wire import Frame, Kind, SealedAnswer, Verdict
from tests.faults import STEPS
from tests.stores.test_folder_tables import Site, data

base, growth = pathlib.Path(sys.argv[1]), int(sys.argv[3])
os.chdir(base.parent)
site = Site(base, sys.argv[2])
first = site.store()
site.labels()
second = site.frame(seed=1)
site.cloud.close()
# Load the kernels once, before the children part.
site.start(FolderTables(base.with_name("warm")))
for upload in (first, second):
    site.cloud.store(upload)
site.cloud.close()

allowed = 0

def dying(function):
    # Every step that reaches the disk may be the last one.
    def wrapped(*arguments, **options):
        global allowed
        if allowed == 0:
            os._exit(9)
        allowed -= 1
        return function(*arguments, **options)
    return wrapped

steps = 0
while True:
    path = base.with_name(f"after-{{steps}}")
    shutil.copytree(base, path)
    child = os.fork()
    if child == 0:
        try:
            site.start(FolderTables(path))
            allowed = steps
            for name in STEPS:
                setattr(os, name, dying(getattr(os, name)))
            site.cloud.store(second)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # What comes after a crash.
    site.start(FolderTables(path))
    assert not site.cloud.tables.damaged
    ((*found,),) = site.cloud.tables.kept().values()
    kept = {{each.home for each in found}}
    assert {{each.name for each in data(path)}} == kept
    assert not list(path.rglob("*.new"))
    print(code, len(found), flush=True)
    site.cloud.store(second)
    assert site.labels()
    assert not list(path.glob("staged-*"))
    if code != 9:
        break
    steps += 1 + steps // growth
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@EVERY
@pytest.mark.parametrize("profile", ["sealed", *long("hardened")])
def test_a_killed_cloud_has_the_old_versions_or_the_new_ones(tmp_path, profile, every):
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(root=str(ROOT)), str(tmp_path / "base"), profile,
            str(1 << 30 if every else 3),
        ],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert lines[-1] == (0, 2), done.stderr
    assert {code for code, _ in lines[:-1]} == {9}
    counts = [count for _, count in lines]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert len(lines) > 8

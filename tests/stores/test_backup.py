"""Backups: all of it or nothing, unchanged or refused, and nothing replaced."""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ompd.crypto import Identity
from ompd.crypto.identity_files import load_identity, save_identity
from ompd.errors import ExpiredError, OmpdError, SignatureError, StoreError
from ompd.files import FolderLock, is_spare
from ompd.stores import AuditLog, BudgetLedger, DurableReplayGuard
from ompd.stores.audit_check import verify
from ompd.stores.backup import Backup, back_up, manifest
from ompd.stores.backup.manifest import File, Folder, Manifest
from ompd.stores.registry import Registry
from ompd.wire import Header, Kind
from tests.faults import EVERY, torture
from tests.marks import long

OWNER = Identity.generate("st-mary")
NOW = 1_800_000_000.0
PASSWORD = "correct horse"  # noqa: S105


def header(sequence, seconds=0.0):
    return Header(
        1, Kind.QUERY, "alice", "st-mary", b"n" * 16, int((NOW + seconds) * 1000), sequence
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """The folder of an identity."""
    folder = tmp_path_factory.mktemp("keys") / "identity"
    save_identity(folder, OWNER, PASSWORD, role="hospital", _n=16)
    (folder / "prekeys.json").write_bytes(b"deleted tomorrow")
    return folder


def place(home, keys):
    """A party's state below a folder."""
    home.mkdir()
    (home / "st.toml").write_bytes(b'id = "st-mary"\n')
    (home / "st.toml").chmod(0o640)
    (home / "keys").mkdir(mode=0o700)
    for file in keys.iterdir():
        target = home / "keys" / file.name
        target.write_bytes(file.read_bytes())
        target.chmod(0o600)
    with Registry(home / "registry") as registry:
        registry.admit(OWNER.public, "hospital")
    state = home / "state"
    (state / "table-1" / "empty").mkdir(parents=True, mode=0o700)
    for folder in (state, state / "table-1"):
        folder.chmod(0o700)
    for name, content in {
        "table": bytes(range(256)) * 9, "hints": b"once", "closed": b"once", "none": b"",
        ".table.0123456789abcdef.new": b"half", "lock": b"",
    }.items():  # fmt: skip
        (state / "table-1" / name).write_bytes(content)
        (state / "table-1" / name).chmod(0o600)
    with DurableReplayGuard(state / "frames", 120) as guard:
        guard.claim(header(1), NOW)
    with AuditLog(state / "audit-log", OWNER):
        pass
    return {
        "config": home / "st.toml", "identity": home / "keys", "registry": home / "registry",
        "state": state,
    }  # fmt: skip


@pytest.fixture
def parts(tmp_path, keys):
    return place(tmp_path / "old", keys)


@pytest.fixture
def backup(tmp_path, parts):
    """The file of a backup."""
    back_up(tmp_path / "backup", parts, OWNER, "hospital", lambda: NOW)
    return tmp_path / "backup"


def places(home):
    home.mkdir(exist_ok=True)
    names = {"config": "st.toml", "identity": "keys", "registry": "registry", "state": "state"}
    return {part: home / name for part, name in names.items()}


def tree(home):
    """Names, modes and contents below a folder; of databases, what is in them."""
    found = {}
    for path in sorted(home.rglob("*")):
        content = path.read_bytes() if path.is_file() else None
        if content and content.startswith(b"SQLite"):
            with closing(sqlite3.connect(path)) as connection:
                content = list(connection.iterdump())
        found[str(path.relative_to(home))] = stat.S_IMODE(path.stat().st_mode), content
    return found


def test_what_is_put_back_is_what_there_was(tmp_path, parts, backup):
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    before = tree(tmp_path / "old")
    with Backup(backup) as opened:
        assert opened.public == OWNER.public
        assert opened.manifest.parts == ("config", "identity", "registry", "state")
        assert opened.manifest.time == NOW * 1000
        assert opened.content("config") == b'id = "st-mary"\n'
        with pytest.raises(StoreError, match="has no state/none-such"):
            opened.content("state/none-such")
        opened.restore(places(tmp_path / "new"), clock=lambda: NOW)
    after = tree(tmp_path / "new")
    left_out = {
        "keys/prekeys.json", "state/table-1/hints", "state/table-1/closed", "state/table-1/lock",
        "state/table-1/.table.0123456789abcdef.new", "state/audit-log/lock",
    }  # fmt: skip
    assert set(before) - set(after) == left_out
    assert set(after) - set(before) == {"state/audit-log/restored"}
    frames = {"state/frames"}
    for name in set(before) & set(after) - frames:
        assert after[name] == before[name], name
    assert load_identity(tmp_path / "new" / "keys", PASSWORD).id == "st-mary"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "new", "old"]


def test_the_audit_log_says_that_it_was_put_back(tmp_path, backup):
    with Backup(backup) as opened:
        opened.restore(places(tmp_path / "new"))
    folder = tmp_path / "new" / "state" / "audit-log"
    for _ in range(2):
        with AuditLog(folder, OWNER):
            pass
        verdict = verify(folder, lambda _: [OWNER.public.signing_key])
        assert (verdict.restores, verdict.crashes) == (1, 0)


def test_frames_that_may_have_been_accepted_since_are_refused(tmp_path, backup):
    with Backup(backup) as opened:
        opened.restore(places(tmp_path / "new"), clock=lambda: NOW + 500)
    with DurableReplayGuard(tmp_path / "new" / "state" / "frames", 120) as guard:
        # Sent before the restore by a clock that may be ahead.
        for seconds in (1, 500, 620):
            with pytest.raises(ExpiredError):
                guard.claim(header(2, seconds), NOW + seconds)
        guard.claim(header(2, 621), NOW + 621)
        guard.claim(header(3, 622), NOW + 621)


def test_all_that_a_database_has_is_there_also_in_use(tmp_path, parts):
    with BudgetLedger(tmp_path / "old" / "ledger", limit=1) as ledger:
        ledger.spend("alice", b"d" * 16, 1)
        # Not in the file itself yet.
        wal = tmp_path / "old" / "ledger-wal"
        assert wal.stat().st_size > 0
        content = (tmp_path / "old" / "ledger").read_bytes() + wal.read_bytes()
    for number in range(2):
        copy = tmp_path / str(number)
        copy.mkdir()
        (copy / "ledger").write_bytes(content[: -len(wal_of(content))])
        (copy / "ledger").chmod(0o600)
        (copy / "ledger-wal").write_bytes(wal_of(content))
        back_up(tmp_path / f"b{number}", parts | {"ledger": copy / "ledger"}, OWNER, "hospital")
        with Backup(tmp_path / f"b{number}") as opened:
            opened.restore(places(tmp_path / f"n{number}") | {"ledger": tmp_path / f"l{number}"})
        with BudgetLedger(tmp_path / f"l{number}", limit=1) as ledger:
            assert ledger.spent("alice") == 1
        assert not list(tmp_path.glob("*-wal"))


def wal_of(content):
    return content[content.index(b"\x37\x7f\x06") :]


def test_a_damaged_database_is_told(tmp_path, parts):
    data = bytearray(parts["registry"].read_bytes())
    data[4096:8192] = os.urandom(4096)
    parts["registry"].write_bytes(data)
    with pytest.raises(StoreError, match="registry: "):
        back_up(tmp_path / "backup", parts, OWNER, "hospital")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


def test_what_cannot_be_backed_up(tmp_path, parts, backup):
    def refused(match, more=None, out="other"):
        with pytest.raises(StoreError, match=match):
            back_up(tmp_path / out, parts | (more or {}), OWNER, "hospital")
        assert not (tmp_path / "other").exists()

    refused("File exists", out="backup")
    refused("outside of state", out="old/state/backup")
    refused("ledger: is missing", {"ledger": tmp_path / "none"})
    refused("lies in another part", {"ledger": parts["state"] / "table-1" / "table"})
    lock = FolderLock(parts["state"] / "audit-log")
    refused("state/audit-log: another process has it open")
    lock.release()
    (parts["state"] / "link").symlink_to("/etc/passwd")
    refused("state/link: expected files and folders only")
    (parts["state"] / "link").unlink()
    (parts["state"] / "a\nb").touch()
    refused("names that can be printed")
    assert not any(parts["state"].glob("**/*.new-wal"))


@pytest.mark.parametrize("step", [499, pytest.param(7, marks=pytest.mark.long)])
def test_every_byte_that_matters_is_compared(tmp_path, backup, step):
    data = bytearray(backup.read_bytes())
    with Backup(backup) as opened:
        good = opened.manifest
    harmless = 0
    for at in range(0, len(data), step):
        data[at] ^= 1
        backup.write_bytes(data)
        data[at] ^= 1
        try:
            with Backup(backup) as opened:
                assert opened.manifest == good
        except OmpdError:
            continue
        # Between the end of a member and the next, or who owned it once.
        harmless += 1
    assert harmless < len(range(0, len(data), step)) / 2


def test_every_cut_is_noticed(tmp_path, backup):
    data = backup.read_bytes()
    end = data.rindex(b"signature") + 512 + 96
    for size in (*range(0, end, 487), end - 1):
        backup.write_bytes(data[:size])
        with pytest.raises(StoreError):
            Backup(backup)
    backup.write_bytes(data[:-1024] + data)
    with pytest.raises(StoreError, match="behind its end"):
        Backup(backup)


def rewritten(backup, change):
    """Write a backup anew after a change of its files, by name, with a manifest that agrees."""
    with tarfile.open(backup) as archive:
        files = {each.name: archive.extractfile(each).read() for each in archive}
    said = msgspec.json.decode(files.pop("manifest.json"), type=Manifest)
    signature = files.pop("signature")
    said = change(files, said) or said
    listed = tuple(
        File(name, 0o600, len(content), hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    )
    encoded = msgspec.json.encode(msgspec.structs.replace(said, files=listed))
    with tarfile.open(backup, "w") as archive:
        for name, content in (*files.items(), ("manifest.json", encoded), ("signature", signature)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            archive.addfile(member, io.BytesIO(content))
    return encoded


def test_a_backup_that_somebody_else_made(tmp_path, backup, keys):
    def change(files, said):
        files["state/table-1/table"] = b"other"

    rewritten(backup, change)
    with pytest.raises(SignatureError):
        Backup(backup)

    def replace_identity(files, said):
        other = tmp_path / "other"
        save_identity(other, Identity.generate("st-mary"), "another", role="hospital", _n=16)
        files["identity/identity.json"] = (other / "identity.json").read_bytes()

    rewritten(backup, replace_identity)
    with pytest.raises(SignatureError):
        Backup(backup)


@pytest.mark.parametrize(
    "name",
    ["state/../../escaped", "/etc/passwd", "state//x", "other/x", "state/./x", "state/new/x"],
)
def test_names_that_lead_elsewhere(tmp_path, backup, monkeypatch, name):
    encoded = rewritten(backup, lambda files, said: files.update({name: b"x"}))
    # As its owner could have signed it.
    signature = OWNER.signing_key.sign(manifest.signed(encoded))
    data = backup.read_bytes()
    with tarfile.open(backup) as archive:
        at = archive.getmember("signature").offset_data
    backup.write_bytes(data[:at] + signature + data[at + 96 :])
    with pytest.raises(StoreError, match=r"name is of no part|a folder is missing"):
        Backup(backup)


def test_names_that_occur_twice():
    files = (File("state", 0, 0, "0" * 64),)
    said = Manifest("ompd-backup", 1, "a", "cloud", 0, ("state",), (Folder("state", 0o700),), files)
    with pytest.raises(StoreError, match="twice"):
        said.check()


def test_nothing_is_replaced(tmp_path, backup):
    new = places(tmp_path / "new")
    new["state"].mkdir()
    new["registry"].write_bytes(b"newer")
    with Backup(backup) as opened:
        with pytest.raises(StoreError, match="registry: its place is not empty"):
            opened.restore(new)
        assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["registry", "state"]
        new["registry"].unlink()
        (new["state"] / "x").touch()
        with pytest.raises(StoreError, match="state: its place is not empty"):
            opened.restore(new)
        (new["state"] / "x").unlink()
        with pytest.raises(StoreError, match="has registry, which has no place"):
            opened.restore({name: path for name, path in new.items() if name != "registry"})
        with pytest.raises(StoreError, match="has no ledger"):
            opened.restore(new | {"ledger": tmp_path / "ledger"})
        # An empty folder may be there, and the configuration from elsewhere.
        del new["config"]
        opened.restore(new)
    assert not (tmp_path / "new" / "st.toml").exists()
    with Backup(backup) as opened, pytest.raises(StoreError, match="not empty"):
        opened.restore(new)


def test_what_has_to_be_changed_fails_as_a_whole(tmp_path, backup):
    def prepare(parts):
        assert (parts["state"] / "table-1" / "table").exists()
        raise StoreError("state: no")

    with Backup(backup) as opened, pytest.raises(StoreError, match="state: no"):
        opened.restore(places(tmp_path / "new"), prepare)
    assert not any((tmp_path / "new").iterdir())


@EVERY
@pytest.mark.parametrize("full", [False, *long(True)])
def test_a_disk_that_refuses(tmp_path, keys, full, every):
    parts = place(tmp_path / "old", keys)

    def act(home):
        back_up(home / "backup", parts, OWNER, "hospital")
        with Backup(home / "backup") as opened:
            opened.restore(places(home / "new"))

    def prepare(at):
        home = tmp_path / str(at)
        home.mkdir()
        (home / "new").mkdir()
        return home

    def check(home, refused):
        found = {path.name for path in (home / "new").iterdir()}
        # A spare that could not be removed can stay.
        assert {path.name for path in home.iterdir() if not is_spare(path.name)} <= {
            "backup", "new"
        }  # fmt: skip
        if refused:
            assert all(map(is_spare, found))
            (home / "backup").unlink(missing_ok=True)
            act(home)
        assert {path.name for path in (home / "new").iterdir() if not is_spare(path.name)} == {
            "st.toml", "keys", "registry", "state"
        }  # fmt: skip
        assert load_identity(home / "new" / "keys", PASSWORD).id == "st-mary"

    assert torture(prepare, act, check, full=full, every=every) >= {"open", "write", "mkdir"}


def test_a_killed_restore_leaves_no_identity(tmp_path, backup):
    for renames in range(4):
        new = places(tmp_path / f"new-{renames}")
        child = os.fork()
        if not child:
            left = [renames]
            rename = os.rename

            def dying(*names, left=left, rename=rename):
                if not left[0]:
                    os.kill(os.getpid(), 9)
                left[0] -= 1
                rename(*names)

            os.rename = dying
            try:
                Backup(backup).restore(new)
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 9
        assert not new["identity"].exists()
        assert sum(path.exists() for path in new.values()) == renames
        # What is there is whole.
        assert not new["registry"].exists() or len(Registry(new["registry"]).parties()) == 1


def test_its_errors_have_no_path(tmp_path):
    with pytest.raises(StoreError) as caught:
        Backup(tmp_path / "none")
    assert str(tmp_path) not in str(caught.value)
    (tmp_path / "file").write_bytes(b"no tar file" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        Backup(tmp_path / "file")
    (tmp_path / "file").write_bytes(bytes(10240))
    with pytest.raises(StoreError, match="cut, or none"):
        Backup(Path(tmp_path / "file"))
